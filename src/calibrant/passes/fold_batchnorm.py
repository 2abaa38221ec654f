"""Folds batch normalization into weights.

It goes up, into the convolution or linear layer that produces its input, through whatever commutes with a scale and an
offset per channel: concat (InceptionTime normalizes a concat of convolutions), average pooling, and max pooling where
the scale is positive. Failing that it goes down into linear layers. What cannot be folded becomes a depthwise 1x1
convolution (on vectors: a diagonal linear layer).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from calibrant.graph.graph import Graph, Node
from calibrant.ops import SCHEMAS, clamp_bounds
from calibrant.passes.edits import bypass, exchange, uses

Vector = NDArray[np.float64]


def fold_batchnorm(graph: Graph) -> Graph:
    """Replace every batch_norm."""
    for node in graph.nodes:
        if node.op == "batch_norm":
            current = next(n for n in graph.nodes if n.name == node.name)
            graph = _fold(graph, current)
    return graph


def _fold(graph: Graph, node: Node) -> Graph:
    scale, offset = node.params["scale"].astype(np.float64), node.params["offset"].astype(np.float64)
    changed = _into_producers(graph, node.inputs[0], scale, offset)
    if changed is None:
        changed = _into_readers(graph, node, scale, offset)
    if changed is not None:
        return bypass(exchange(graph, changed), node.name)
    return exchange(graph, {node.name: _as_layer(graph, node)})


def _into_producers(graph: Graph, value: str, scale: Vector, offset: Vector) -> dict[str, Node] | None:
    """Changed nodes that make `value` come out scaled and shifted, or None if somebody would see a difference."""
    node = graph.producer(value)
    if node is None or uses(graph, value) != 1 or clamp_bounds(node.attrs) != (-math.inf, math.inf):
        return None
    if SCHEMAS[node.op].weighted:
        weight = node.params["weight"] * scale.reshape(-1, *[1] * (node.params["weight"].ndim - 1))
        bias = node.params["bias"] * scale + offset
        return {node.name: _with_weights(node, weight, bias)}
    if node.op == "concat":
        return _into_parts(graph, node, scale, offset)
    positive = bool((scale > 0).all())
    averages = node.op in ("mean", "adaptive_avg_pool2d") or not node.attrs.get("count_include_pad", 1)
    one_to_one = node.op == "flatten" and math.prod(graph.values[node.inputs[0]].shape[1:]) == 1
    if averages or one_to_one or (node.op == "max_pool2d" and positive):
        return _into_producers(graph, node.inputs[0], scale, offset)
    return None


def _into_parts(graph: Graph, concat: Node, scale: Vector, offset: Vector) -> dict[str, Node] | None:
    changed: dict[str, Node] = {}
    start = 0
    for name in concat.inputs:
        stop = start + graph.values[name].shape[0]
        part = _into_producers(graph, name, scale[start:stop], offset[start:stop])
        if part is None:
            return None
        changed |= part
        start = stop
    return changed


def _into_readers(graph: Graph, node: Node, scale: Vector, offset: Vector) -> dict[str, Node] | None:
    readers = graph.consumers(node.output)
    if node.output == graph.output or not readers or any(reader.op != "linear" for reader in readers):
        return None
    changed = {}
    for reader in readers:
        weight = reader.params["weight"].astype(np.float64)
        bias = reader.params["bias"] + weight @ offset
        changed[reader.name] = _with_weights(reader, weight * scale, bias)
    return changed


def _as_layer(graph: Graph, node: Node) -> Node:
    scale, offset = node.params["scale"], node.params["offset"]
    if len(graph.values[node.output].shape) == 1:
        layer = node.updated(op="linear", attrs=SCHEMAS["linear"].complete())
        return _with_weights(layer, np.diag(scale), offset)
    layer = node.updated(op="conv2d", attrs=SCHEMAS["conv2d"].complete(groups=len(scale)))
    return _with_weights(layer, scale.reshape(-1, 1, 1, 1), offset)


def _with_weights(node: Node, weight: NDArray[np.floating], bias: NDArray[np.floating]) -> Node:
    return node.updated(params={"weight": weight.astype(np.float32), "bias": bias.astype(np.float32)})
