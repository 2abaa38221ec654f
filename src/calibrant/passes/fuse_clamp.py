"""Turns relu into clamps and fuses clamps into the nodes that compute their input.

A clamp commutes with max pooling and flatten, so it may land beyond them. On a concat it lands on the concat and,
because clamping twice is clamping once, also on each part that nobody else reads: the parts' ranges become tight. A
clamp whose input others read, or that follows an average, stays a ``clamp`` node.
"""

from __future__ import annotations

import math

from calibrant.graph.graph import Graph, Node
from calibrant.ops import SCHEMAS, clamp_bounds
from calibrant.passes.edits import bypass, exchange, rebuild, uses

UNBOUNDED = {"clamp_low": -math.inf, "clamp_high": math.inf}


def fuse_clamp(graph: Graph) -> Graph:
    """Fuse every relu and clamp that can be; nodes that may carry a clamp get theirs written out."""
    graph = rebuild(graph, map(_normal, graph.nodes))
    for node in graph.nodes:
        if node.op == "clamp":
            current = next(n for n in graph.nodes if n.name == node.name)
            changed = _land(graph, current.inputs[0], clamp_bounds(current.attrs))
            if changed is not None:
                graph = bypass(exchange(graph, changed), current.name)
    return graph


def _normal(node: Node) -> Node:
    if node.op == "relu":
        return node.updated(op="clamp", attrs={"low": 0.0, "high": math.inf})
    return node.updated(attrs={**UNBOUNDED, **node.attrs}) if SCHEMAS[node.op].clamps else node


def _land(graph: Graph, value: str, bounds: tuple[float, float]) -> dict[str, Node] | None:
    """Changed nodes that make `value` come out clamped, or None if somebody would see a difference."""
    node = graph.producer(value)
    if node is None or uses(graph, value) != 1:
        return None
    if node.op in ("max_pool2d", "flatten"):
        return _land(graph, node.inputs[0], bounds)
    if node.op != "clamp" and not SCHEMAS[node.op].clamps:
        return None
    low, high = (min(max(bound, bounds[0]), bounds[1]) for bound in clamp_bounds(node.attrs))
    names = ("low", "high") if node.op == "clamp" else ("clamp_low", "clamp_high")
    changed = {node.name: node.updated(attrs={**node.attrs, names[0]: low, names[1]: high})}
    if node.op == "concat":
        for name in node.inputs:
            changed |= _land(graph, name, bounds) or {}
    return changed
