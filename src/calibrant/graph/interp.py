"""Executes a graph of any stage with the numpy references of `ops`.

Stages ``float``, ``folded`` and ``annotated`` compute in float32 (quantization parameters are ignored); stage
``integer`` computes in integer codes, and its outputs are compared with ``==``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.core.errors import DataError, ModelError
from calibrant.core.qparams import QParams
from calibrant.core.statistics import moments_of
from calibrant.graph.graph import Graph, Node
from calibrant.ops import SCHEMAS
from calibrant.ops.conv import multipliers


def run(graph: Graph, x: NDArray[Any]) -> NDArray[Any]:
    """The graph's output for a batch.

    Parameters
    ----------
    graph : Graph
        Of any stage.
    x : float32 or int8 [N, C, H, W], [N, C, T] for a graph of height 1, or [N, F]
        Real values; at stage ``integer`` codes of the input's QParams.

    Returns
    -------
    float32[N, ...]
        Or, at stage ``integer``, int8 codes; int32 accumulators if the last node has ``output_bits`` 32.

    Raises
    ------
    DataError
        If shape or dtype of `x` does not fit the graph's input.

    Examples
    --------
    >>> from calibrant.graph.graph import Value
    >>> values = {"x": Value("x", (2, 1, 4)), "y": Value("y", (2,))}
    >>> graph = Graph((Node("mean", "pool", ("x",), "y"),), values, "x", "y")
    >>> run(graph, np.arange(8, dtype=np.float32).reshape(1, 2, 4)).tolist()
    [[1.5, 5.5]]
    """
    last_use = {name: i for i, node in enumerate(graph.nodes) for name in node.inputs}
    live = {graph.input: _entry(graph, x)}
    for i, node in enumerate(graph.nodes):
        live[node.output] = _compute(graph, node, live)
        for name in set(node.inputs):
            if last_use[name] == i and name != graph.output:
                del live[name]  # a deep network's activations would not fit together
    return live[graph.output]


def evaluate(graph: Graph, x: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """As :func:`run`, but every value of the graph by name, the input included."""
    live = {graph.input: _entry(graph, x)}
    for node in graph.nodes:
        live[node.output] = _compute(graph, node, live)
    return live


def moments(graph: Graph, x: NDArray[np.int8]) -> dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Total and square, see `core.statistics.Moments`, by the name of each weighted node of 8-bit output.

    Parameters
    ----------
    graph : Graph
        Of stage ``integer``.
    x : int8[N, ...]
        As for :func:`run`.

    Returns
    -------
    dict of str to (int64[N, c_out], int64[N, c_out])
    """
    values, found = evaluate(graph, x), {}
    for node in graph.nodes:
        output = graph.values[node.output].qparams
        if "weight" not in node.params or output is None or node.attrs.get("output_bits", 8) == 32:
            continue
        sums = _compute(graph, replace(node, attrs={**node.attrs, "output_bits": 32}), values).astype(np.int64)
        multiplier, shift = multipliers(
            _qparams(graph, node, node.inputs[0]).scale, node.params["weight_scale"], output.scale
        )
        flat = np.moveaxis(sums, 1, -1).reshape(len(sums), -1, sums.shape[1])
        found[node.name] = moments_of(flat, multiplier, shift)
    return found


def _entry(graph: Graph, x: NDArray[Any]) -> NDArray[Any]:
    shape, dtype = graph.values[graph.input].shape, np.dtype(np.int8 if graph.stage == "integer" else np.float32)
    if x.dtype != dtype:
        raise DataError(f"input '{graph.input}': expected {dtype}, got {x.dtype}")
    if x.ndim == 3 and len(shape) == 3 and shape[1] == 1:
        x = x[:, :, None, :]
    if x.shape[1:] != shape:
        raise DataError(f"input '{graph.input}': expected shape [N, {', '.join(map(str, shape))}], got {list(x.shape)}")
    return x


def _compute(graph: Graph, node: Node, live: dict[str, NDArray[Any]]) -> NDArray[Any]:
    schema, inputs = SCHEMAS[node.op], tuple(live[name] for name in node.inputs)
    if graph.stage != "integer":
        return schema.float_reference(node.attrs, node.params, inputs)
    reference: Callable[..., NDArray[Any]] | None = schema.integer_reference
    if reference is None:
        raise ModelError(f"{node.op} '{node.name}': has no integer form; run the passes first")
    qparams = tuple(_qparams(graph, node, name) for name in node.inputs)
    return reference(node.attrs, node.params, inputs, qparams, graph.values[node.output].qparams)


def _qparams(graph: Graph, node: Node, value: str) -> QParams:
    found = graph.values[value].qparams
    if found is None:
        raise ModelError(f"{node.op} '{node.name}': input '{value}' has no quantization parameters")
    return found
