"""The vocabulary of the graph: one `Schema` a name, with its shape rule, float reference and integer reference.

Examples
--------
>>> sorted(SCHEMAS)[:4]
['adaptive_avg_pool2d', 'add', 'avg_pool2d', 'batch_norm']
"""

from calibrant.ops import conv, linear, move, pointwise, pool
from calibrant.ops.clamp import clamp_bounds, clamp_codes
from calibrant.ops.schema import Attr, Schema, table

SCHEMAS = table((conv.SCHEMAS, linear.SCHEMAS, pool.SCHEMAS, pointwise.SCHEMAS, move.SCHEMAS))

__all__ = ["SCHEMAS", "Attr", "Schema", "clamp_bounds", "clamp_codes", "conv", "linear", "move", "pointwise", "pool"]
