"""The rewrites from stage ``float`` to stage ``folded``, in order; one file each.

Examples
--------
>>> [rewrite.__name__ for rewrite in PASSES][:3]
['drop_identity', 'fold_batchnorm', 'fuse_clamp']
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from calibrant.core.errors import ModelError
from calibrant.graph.graph import Graph
from calibrant.graph.verify import verify
from calibrant.passes.drop_dead import drop_dead
from calibrant.passes.drop_identity import drop_identity
from calibrant.passes.fold_batchnorm import fold_batchnorm
from calibrant.passes.fuse_clamp import fuse_clamp
from calibrant.passes.fuse_sign import fuse_sign
from calibrant.passes.merge_flatten import merge_flatten
from calibrant.passes.name_values import name_values

PASSES: tuple[Callable[[Graph], Graph], ...] = (
    drop_identity,
    fold_batchnorm,
    fuse_clamp,
    merge_flatten,
    fuse_sign,
    drop_dead,
    name_values,
)

__all__ = ["PASSES", "run"]


def run(graph: Graph) -> Graph:
    """Apply all passes.

    Parameters
    ----------
    graph : Graph
        Of stage ``float``. It is verified first, and after each pass.

    Returns
    -------
    Graph
        Of stage ``folded``: the same function, with batch normalization in the weights and clamps in their producers.

    Raises
    ------
    ModelError
        If the graph is not legal, or not of stage ``float``.

    Examples
    --------
    >>> from calibrant.graph.graph import Node, Value
    >>> values = {name: Value(name, (2, 1, 4)) for name in "xyz"}
    >>> nodes = (Node("add", "sum", ("x", "x"), "y"), Node("relu", "act", ("y",), "z"))
    >>> run(Graph(nodes, values, "x", "z")).nodes[0].attrs["clamp_low"]
    0.0
    """
    if graph.stage != "float":
        raise ModelError(f"passes: expected a graph of stage 'float', got '{graph.stage}'")
    verify(graph)
    for rewrite in PASSES:
        graph = rewrite(graph)
        verify(graph)
    folded = replace(graph, stage="folded")
    verify(folded)
    return folded
