"""Simplifies the way from maps to vectors: global average pooling and flatten become ``mean``; needless flattens go."""

from __future__ import annotations

from calibrant.graph.graph import Graph, Node
from calibrant.passes.edits import bypass, exchange, uses


def merge_flatten(graph: Graph) -> Graph:
    """Drop flattens of vectors, merge flattens of global averages."""
    for node in graph.nodes:
        if node.op != "flatten":
            continue
        current = next(n for n in graph.nodes if n.name == node.name)
        source = graph.producer(current.inputs[0])
        if len(graph.values[current.inputs[0]].shape) == 1:
            graph = bypass(graph, current.name)
        elif source is not None and uses(graph, source.output) == 1 and _is_global_average(graph, source):
            graph = bypass(exchange(graph, {current.name: current.updated(op="mean")}), source.name)
    return graph


def _is_global_average(graph: Graph, node: Node) -> bool:
    _, height, width = graph.values[node.output].shape
    if (height, width) != (1, 1):
        return False
    if node.op == "adaptive_avg_pool2d":
        return True
    covers = (node.attrs.get("kernel_h"), node.attrs.get("kernel_w")) == graph.values[node.inputs[0]].shape[1:]
    unpadded = not any(node.attrs.get(f"pad_{side}") for side in ("top", "bottom", "left", "right"))
    return node.op == "avg_pool2d" and covers and unpadded
