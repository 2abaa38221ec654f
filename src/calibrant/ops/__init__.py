"""The vocabulary of the graph: one `Schema` a name, with its shape rule, references and the rules of every stage.

`KINDS` are the kinds of op that a program may have, by name: what server and device look rules up in.

Examples
--------
>>> sorted(SCHEMAS)[:4]
['adaptive_avg_pool2d', 'add', 'avg_pool2d', 'batch_norm']
>>> SCHEMAS["linear"].kind is KINDS["conv2d"]
True
"""

from calibrant.ops import binary, conv, linear, move, pointwise, pool
from calibrant.ops.clamp import clamp_bounds, clamp_codes
from calibrant.ops.kind import Gradient, OpKind
from calibrant.ops.schema import Attr, Schema, kinds, table

SCHEMAS = table((conv.SCHEMAS, linear.SCHEMAS, pool.SCHEMAS, pointwise.SCHEMAS, move.SCHEMAS, binary.SCHEMAS))
KINDS = kinds(SCHEMAS.values())

__all__ = [
    "KINDS",
    "SCHEMAS",
    "Attr",
    "Gradient",
    "OpKind",
    "Schema",
    "binary",
    "clamp_bounds",
    "clamp_codes",
    "conv",
    "linear",
    "move",
    "pointwise",
    "pool",
]
