"""Brings signs to where they cost least: one for all who read a value, before a flatten, or inside of a binary layer.

A binary layer whose output goes to signs alone writes bits: normalization, clamp and sign become one comparison.
"""

from __future__ import annotations

import math
from dataclasses import replace

from calibrant.graph.graph import Graph
from calibrant.ops import SCHEMAS, clamp_bounds
from calibrant.passes.edits import bypass, exchange, rebuild

UNBOUNDED = {"clamp_low": -math.inf, "clamp_high": math.inf}


def fuse_sign(graph: Graph) -> Graph:
    """Hoist, merge and fuse every sign that can be."""
    for name in [node.name for node in graph.nodes if node.op == "sign"]:
        graph = _hoist(graph, name)
    for name in [node.name for node in graph.nodes if node.op == "sign"]:
        graph = _merge(graph, name)
    for name in [node.name for node in graph.nodes if SCHEMAS[node.op].binary]:
        graph = _fuse(graph, name)
    return graph


def _hoist(graph: Graph, name: str) -> Graph:
    """Signs of a flattened map are the flattened signs of the map."""
    sign = next(node for node in graph.nodes if node.name == name)
    source = graph.producer(sign.inputs[0])
    if source is None or source.op != "flatten":
        return graph
    early = replace(sign, inputs=source.inputs, output=f"{sign.output}.map")
    late = replace(source, name=f"{source.name}.signs", inputs=(early.output,), output=sign.output)
    nodes = [part for node in graph.nodes for part in ((early, late) if node is sign else (node,))]
    return rebuild(graph, nodes)


def _merge(graph: Graph, name: str) -> Graph:
    """Whoever reads a sign reads the first one of the same value."""
    sign = next(node for node in graph.nodes if node.name == name)
    first = next(node for node in graph.nodes if node.op == "sign" and node.inputs == sign.inputs)
    if first is sign or sign.output == graph.output:
        return graph
    nodes = [
        node.updated(inputs=tuple(first.output if value == sign.output else value for value in node.inputs))
        for node in graph.nodes
        if node is not sign
    ]
    return rebuild(graph, nodes)


def _fuse(graph: Graph, name: str) -> Graph:
    layer = next(node for node in graph.nodes if node.name == name)
    readers = graph.consumers(layer.output)
    low, high = clamp_bounds(layer.attrs)
    alone = layer.output != graph.output and [node.op for node in readers] == ["sign"]
    if not alone or not low < 0 <= high or readers[0].output == graph.output:
        return graph
    graph = exchange(graph, {name: layer.updated(attrs={**layer.attrs, **UNBOUNDED, "output_bits": 1})})
    return bypass(graph, readers[0].name)
