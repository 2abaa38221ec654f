"""Which bits and scales go where: per-channel weight scales, and quantization parameters on every value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.core.dtype import weight_range
from calibrant.core.errors import ModelError
from calibrant.core.qparams import QParams
from calibrant.graph.graph import Graph, Node, Value
from calibrant.graph.verify import verify
from calibrant.ops import SCHEMAS, clamp_bounds
from calibrant.ops.binary import SIGNS, UNIT

CLIP_RATIOS = np.linspace(0.1, 1.0, 73)
MIN_SCALE = 1e-8  # of a channel of zeros; in layers of tiny weights less, see `_least_scale`
MAX_BINARY_BIAS_CODE = 2**29  # of a channel whose weights are worth next to nothing
MAX_BIAS_CODE = 2**23  # float32 training code holds bias codes exactly; far from the int32 accumulator's bound
INT32 = (-(2**31), 2**31 - 1)


def weight_scales(weight: NDArray[Any], bits: int) -> NDArray[np.float32]:
    """Symmetric scale per output channel with the least squared rounding error over a grid of clip ratios.

    Parameters
    ----------
    weight : float[c_out, ...]
    bits : {2, 4, 8}

    Returns
    -------
    float32[c_out], positive; a channel of zeros gets a tiny scale.

    Examples
    --------
    >>> weight_scales(np.array([[0.5, -0.5, 0.5, 0.0]]), 2).tolist()
    [0.5]
    """
    _, limit = weight_range(bits)
    rows = np.asarray(weight, np.float32).reshape(weight.shape[0], -1)
    largest = np.abs(rows).max(axis=1)
    floor = _least_scale(largest, limit)
    best: NDArray[np.float32] = np.maximum(largest / limit, floor).astype(np.float32)
    least = np.full(rows.shape[0], np.inf)
    for ratio in CLIP_RATIOS[::-1]:
        scale = np.maximum(largest * np.float32(ratio / limit), floor).astype(np.float32)[:, None]
        error = np.square(np.clip(np.rint(rows / scale), -limit, limit) * scale - rows).sum(axis=1, dtype=np.float64)
        better = error < least
        least[better], best[better] = error[better], scale[better, 0]
    return best


def _least_scale(largest: NDArray[np.float32], limit: int) -> float:
    """A thousandth of what the layer's largest weight needs, and no more than `MIN_SCALE`: relative to the data."""
    whole = float(largest.max(initial=0.0)) / limit
    return min(MIN_SCALE, whole / 1024) or MIN_SCALE


def annotate(
    graph: Graph, ranges: Mapping[str, tuple[float, float]], weight_bits: int, activation_bits: int = 8
) -> Graph:
    """Stage ``folded`` -> ``annotated``: quantization parameters on values, bits and scales on weighted nodes.

    Parameters
    ----------
    graph : Graph of stage ``folded``
    ranges : (lo, hi) per value name, from :func:`observe_ranges`
    weight_bits : {2, 4, 8}
    activation_bits : 2 to 8; the graph's input and a quantized output stay at 8

    Raises
    ------
    ModelError
        If the stage is wrong, a range is missing or not finite, or a bit-width is not supported.
    """
    if graph.stage != "folded":
        raise ModelError(f"annotate: expected a graph of stage 'folded', got '{graph.stage}'")
    verify(graph)
    ranges = _joined(graph, ranges)
    values: dict[str, Value] = {}
    values[graph.input] = _with_range(graph, graph.input, ranges, 8)
    nodes = []
    for node in graph.nodes:
        source = values[node.inputs[0]].qparams
        assert source is not None  # set when the producer was visited
        value = graph.values[node.output]
        raw = _is_raw(graph, node)
        if raw:
            # All channels share the factor s_x; the weight scale of each channel completes it.
            values[node.output] = replace(value, qparams=QParams(source.scale, 0, *INT32))
        elif node.attrs.get("output_bits") == 1:
            values[node.output] = replace(value, qparams=SIGNS)
        elif SCHEMAS[node.op].keeps_qparams:
            values[node.output] = replace(value, qparams=source)
        else:
            bits = 8 if node.output == graph.output else activation_bits
            values[node.output] = _with_range(graph, node.output, ranges, bits)
        nodes.append(_annotated(node, source.scale, weight_bits, raw))
    annotated = replace(graph, nodes=tuple(nodes), values=values, stage="annotated")
    verify(annotated)
    return annotated


def _joined(graph: Graph, ranges: Mapping[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """The ranges, where a concat that only a concat reads gets its reader's: codes are copied, not rounded again."""
    shared = dict(ranges)
    for node in reversed(graph.nodes):
        readers = graph.consumers(node.output)
        tree = node.op == "concat" and node.output != graph.output and [reader.op for reader in readers] == ["concat"]
        if tree and readers[0].output in shared:
            shared[node.output] = shared[readers[0].output]
    return shared


def _is_raw(graph: Graph, node: Node) -> bool:
    """Whether a node ends the graph with raw accumulators: weighted, unclamped, read by no other."""
    return (
        node.output == graph.output
        and SCHEMAS[node.op].weighted
        and clamp_bounds(node.attrs) == (-math.inf, math.inf)
        and not graph.consumers(node.output)
    )


def _with_range(graph: Graph, name: str, ranges: Mapping[str, tuple[float, float]], bits: int) -> Value:
    if name not in ranges:
        raise ModelError(f"annotate: value '{name}': expected an observed range, got none")
    lo, hi = ranges[name]
    if not (math.isfinite(lo) and math.isfinite(hi) and lo <= hi):
        raise ModelError(f"annotate: value '{name}': expected a finite range lo <= hi, got ({lo}, {hi})")
    return replace(graph.values[name], qparams=QParams.from_range(lo, hi, bits))


def _annotated(node: Node, input_scale: float, weight_bits: int, raw: bool) -> Node:
    if not SCHEMAS[node.op].weighted:
        return node
    if SCHEMAS[node.op].binary:
        weight_bits, most = 1, MAX_BINARY_BIAS_CODE
        scale = np.maximum(
            np.abs(node.params["weight"]).reshape(len(node.params["weight"]), -1)[:, 0] / UNIT, MIN_SCALE
        )
    else:
        scale, most = weight_scales(node.params["weight"], weight_bits), MAX_BIAS_CODE
    # A channel of (almost) zero weights may carry a large bias: its scale must keep the bias code representable.
    least = np.abs(node.params["bias"]) / (np.float32(input_scale) * most)
    scale = np.maximum(scale, least).astype(np.float32)
    attrs = {**node.attrs, "weight_bits": weight_bits} | ({"output_bits": 32} if raw else {})
    return node.updated(attrs=attrs, params={**node.params, "weight_scale": scale})
