"""Removes nodes that the output does not need."""

from __future__ import annotations

from calibrant.graph.graph import Graph, Node
from calibrant.passes.edits import rebuild


def drop_dead(graph: Graph) -> Graph:
    """Keep what the output is computed from."""
    needed, kept = {graph.output}, list[Node]()
    for node in reversed(graph.nodes):
        if node.output in needed:
            kept.append(node)
            needed.update(node.inputs)
    return rebuild(graph, reversed(kept))
