"""Removes nodes that change nothing when predicting: dropout, an unbounded clamp, a concat of one."""

from __future__ import annotations

import math

from calibrant.graph.graph import Graph, Node
from calibrant.ops import clamp_bounds
from calibrant.passes.edits import bypass


def drop_identity(graph: Graph) -> Graph:
    """Bypass every identity."""
    for node in graph.nodes:
        if _is_identity(node):
            graph = bypass(graph, node.name)
    return graph


def _is_identity(node: Node) -> bool:
    unbounded = clamp_bounds(node.attrs) == (-math.inf, math.inf)
    single = node.op == "concat" and len(node.inputs) == 1
    return node.op == "dropout" or (unbounded and (node.op == "clamp" or single))
