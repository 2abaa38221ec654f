"""A graph of integers becomes a program: channels-last, flat constants, multipliers, proved bounds, an arena plan."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrant.core.dtype import BIAS_LIMIT, weight_range
from calibrant.core.errors import ModelError, PlanError
from calibrant.core.program import Constants, Layer, Op, Program, Tensor
from calibrant.core.qparams import QParams
from calibrant.core.scratch import scratch_bytes
from calibrant.graph.graph import Graph, Node
from calibrant.graph.verify import verify
from calibrant.ops import SCHEMAS, OpKind, clamp_codes
from calibrant.ops.binary import UNIT
from calibrant.ops.conv import multipliers
from calibrant.plan.arena import place
from calibrant.plan.check import check

CODES = (-128, 127)
LINEAR = {"linear", "binary_linear"}
LARGEST_INPUT = 255  # |x - z_x| of any int8 code and zero point; the C library proves its bound with the same number
ACCUMULATOR_LIMIT = 2**31


def lower(graph: Graph) -> tuple[Program, Constants]:
    """The program and the constants of an integer graph, planned and checked.

    Parameters
    ----------
    graph : Graph of stage ``integer``

    Returns
    -------
    Program, Constants
        One layer per weighted node, in order and with its name. A flatten becomes nothing; a linear layer after it is
        a convolution with the whole map as kernel.

    Raises
    ------
    ModelError
        If the graph is not legal at its stage, an op has no lowering rule, or a flattened map feeds anything but
        linear layers.
    PlanError
        If an accumulator could reach 2^31 with every weight at the limit of its width.
    """
    if graph.stage != "integer":
        raise ModelError(f"lower: expected a graph of stage 'integer', got '{graph.stage}'")
    verify(graph)
    tensors, ids = _tensors(graph)
    layers: list[Layer] = []
    rows: list[_Row] = [_NO_ROWS]
    ops: list[Op] = []
    for node in graph.nodes:
        if node.op == "flatten":
            continue
        source, output = tensors[ids[node.inputs[0]]], tensors[ids[node.output]]
        layer, given = -1, node.attrs
        if SCHEMAS[node.op].weighted:
            layer = len(layers)
            rows.append(_constants(graph, node, source, output))
            layers.append(_layer(node, source, layers))
            given = {**node.attrs, **_kernel(layers[-1])}
        kind, target = _kind(node), _qparams(graph, node.output)
        shapes = tuple(graph.values[name].shape for name in node.inputs)
        attrs = kind.lowering(given, shapes, tuple(_qparams(graph, name) for name in node.inputs), target)
        low, high = clamp_codes(node.attrs, target) if output.bits == 8 else CODES
        attrs |= {"clamp_low": low, "clamp_high": high, "rounding": 0, "scratch_offset": 0}
        attrs["scratch_bytes"] = scratch_bytes(kind.name, source, output, attrs)
        ops.append(Op(kind.name, tuple(ids[name] for name in node.inputs), ids[node.output], attrs, layer))
    program = place(tuple(tensors), tuple(ops), tuple(layers), ids[graph.input], ids[graph.output])
    check(program)
    return program, Constants(*(np.concatenate(column) for column in zip(*rows, strict=True)))


_Row = tuple[NDArray[np.int8], NDArray[np.int32], NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]
_NONE = np.empty(0, np.int32)
_NO_ROWS: _Row = np.empty(0, np.int8), _NONE, _NONE, _NONE, np.empty(0, np.float32)


def _tensors(graph: Graph) -> tuple[list[Tensor], dict[str, int]]:
    """Tensors in order of computation, and the tensor id of every value; a flattened value is its source's tensor."""
    tensors: list[Tensor] = []
    ids: dict[str, int] = {}
    for name in (graph.input, *(node.output for node in graph.nodes)):
        node = graph.producer(name)
        if node is not None and node.op == "flatten":
            _check_flatten(graph, node)
            ids[name] = ids[node.inputs[0]]
            continue
        shape, q = graph.values[name].shape, _qparams(graph, name)
        channels, height, width = shape if len(shape) == 3 else (shape[0], 1, 1)
        ids[name] = len(tensors)
        bits = 8 if node is None else node.attrs.get("output_bits", 8)
        tensors.append(Tensor(name, height, width, channels, q.scale, q.zero_point, bits))
    return tensors, ids


def _check_flatten(graph: Graph, node: Node) -> None:
    """A flattened map is channels-last in memory: only a linear layer, whose columns are permuted, may read it."""
    shape = graph.values[node.inputs[0]].shape
    readers = [reader.op for reader in graph.consumers(node.output)]
    if shape[1:] in ((), (1, 1)) or (node.output != graph.output and set(readers) <= LINEAR):
        return
    raise ModelError(
        f"flatten '{node.name}': expected only linear layers to read a flattened map of shape {list(shape)}, got "
        f"{'the output' if node.output == graph.output else sorted(set(readers))}; pool to 1x1 or add a linear layer"
    )


def _qparams(graph: Graph, name: str) -> QParams:
    qparams = graph.values[name].qparams
    if qparams is None:
        raise ModelError(f"value '{name}': expected quantization parameters, got none")
    return qparams


def _constants(graph: Graph, node: Node, source: Tensor, output: Tensor) -> _Row:
    """Flat channels-last weights, bias, multiplier, shift and weight scale of a weighted node, its bound proved."""
    weight, bias, scale = node.params["weight"], node.params["bias"], node.params["weight_scale"]
    if node.op in LINEAR:
        weight = weight.reshape(len(weight), source.channels, source.height, source.width)
    _prove_bound(node, weight[0].size, bias)
    if output.bits != 8:
        multiplier, shift = np.zeros(len(weight), np.int32), np.ones(len(weight), np.int32)
    else:
        multiplier, shift = multipliers(source.scale, scale, output.scale)
    return weight.transpose(0, 2, 3, 1).ravel(), bias, multiplier, shift, scale


def _prove_bound(node: Node, taps: int, bias: NDArray[np.int32]) -> None:
    """No accumulator of the node can leave int32, wherever flips move its weights and bias."""
    product = UNIT if SCHEMAS[node.op].binary else weight_range(node.attrs["weight_bits"])[1] * LARGEST_INPUT
    bound = taps * product
    channel = int(np.abs(bias.astype(np.int64)).argmax())
    total = bound + max(abs(int(bias[channel])), BIAS_LIMIT)
    if total >= ACCUMULATOR_LIMIT:
        raise PlanError(
            f"{node.op} '{node.name}': channel {channel}: expected an accumulator below 2^31, got up to {total} "
            f"({taps} weights of {node.attrs['weight_bits']} bits, bias {bias[channel]})"
        )


def _layer(node: Node, source: Tensor, before: list[Layer]) -> Layer:
    shape = node.params["weight"].shape
    kernel = (source.height, source.width) if node.op in LINEAR else shape[2:]
    return Layer(
        name=node.name,
        bits=node.attrs["weight_bits"],
        c_out=shape[0],
        kernel_h=kernel[0],
        kernel_w=kernel[1],
        c_in=source.channels,
        groups=node.attrs.get("groups", 1),
        weight_offset=sum(layer.weight_count for layer in before),
        channel_offset=sum(layer.c_out for layer in before),
        pooled_offset=sum(layer.c_in for layer in before),
    )


def _kernel(layer: Layer) -> dict[str, int]:
    return {"kernel_h": layer.kernel_h, "kernel_w": layer.kernel_w, "groups": layer.groups}


def _kind(node: Node) -> OpKind:
    kind = SCHEMAS[node.op].kind
    if kind is None:
        known = ", ".join(name for name, row in SCHEMAS.items() if row.kind is not None)
        raise ModelError(f"{node.op} '{node.name}': expected an op with a lowering rule, one of {known}")
    return kind
