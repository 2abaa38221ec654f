"""What a program says, against what its graph says."""

from __future__ import annotations

import math

import numpy as np
import pytest

from calibrant.core.errors import ModelError, PlanError
from calibrant.core.fixedpoint import quantize_multiplier
from calibrant.core.qparams import QParams
from calibrant.core.rng import generator
from calibrant.core.scratch import scratch_bytes
from calibrant.graph.graph import Graph, Value
from calibrant.plan import lower
from calibrant.quantize import annotate, to_integer
from random_graphs import Sketch, random_annotated


def sketch(*shape: int) -> Sketch:
    return Sketch(shape, generator(0, "lower"))


def integer(graph: Graph, bits: int = 4) -> Graph:
    return to_integer(annotate(graph, dict.fromkeys(graph.values, (-2.0, 6.0)), bits))


def test_weights_go_channels_last() -> None:
    s = sketch(6, 1, 10)
    y = s.emit("conv2d", ("x",), s.params(4, 3, 1, 5), groups=2, pad_left=2, pad_right=2, stride_w=2, dilation_w=1)
    graph = integer(s.graph(s.emit("linear", (s.emit("mean", (y,)),), s.params(3, 4))))
    program, constants = lower(graph)
    conv, last = program.layers
    assert conv.weight_shape == (4, 1, 5, 3)
    codes = constants.weights[conv.weight_slice].reshape(conv.weight_shape)
    np.testing.assert_array_equal(codes, graph.nodes[0].params["weight"].transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(constants.weights[last.weight_slice].reshape(3, 4), graph.nodes[2].params["weight"])
    np.testing.assert_array_equal(constants.bias, np.concatenate([graph.nodes[i].params["bias"] for i in (0, 2)]))
    assert (conv.bits, conv.groups, conv.c_in, last.c_in, last.pooled_offset) == (4, 2, 6, 4, 6)
    op = program.ops[0]
    expected = {"kernel_h": 1, "kernel_w": 5, "stride_h": 1, "stride_w": 2, "pad_top": 0, "pad_left": 2, "groups": 2}
    assert expected.items() <= op.attrs.items()
    assert op.attrs["scratch_bytes"] == scratch_bytes("conv2d", program.tensors[0], program.tensors[1], op.attrs)
    assert (program.channel_count, program.pooled_count, program.weight_count) == (7, 10, 60 + 12)
    for array, count in zip(
        (constants.weights, constants.bias, constants.multiplier, constants.shift, constants.scale),
        (72, 7, 7, 7, 7),
        strict=True,
    ):
        assert array.shape == (count,)  # type: ignore[attr-defined]
        assert array.flags.c_contiguous  # type: ignore[attr-defined]


def test_multipliers_and_raw_output() -> None:
    s = sketch(2, 3, 3)
    y = s.emit("conv2d", ("x",), s.params(3, 2, 3, 3), clamp_low=0.0, clamp_high=3.0)
    graph = integer(s.graph(s.emit("linear", (s.emit("flatten", (y,)),), s.params(2, 3))))
    program, constants = lower(graph)
    x, y_tensor, logits = program.tensors
    for o in range(3):
        real = x.scale * float(graph.nodes[0].params["weight_scale"][o]) / y_tensor.scale
        assert (constants.multiplier[o], constants.shift[o]) == quantize_multiplier(real)
    zero, top = y_tensor.zero_point, y_tensor.zero_point + round(3.0 / y_tensor.scale)
    assert (program.ops[0].attrs["clamp_low"], program.ops[0].attrs["clamp_high"]) == (zero, top)
    assert (logits.bits, logits.scale, logits.channels) == (32, y_tensor.scale, 2)
    assert constants.shift[3:].tolist() == [1, 1]


def test_flatten_becomes_the_kernel_of_the_linear_layer() -> None:
    s = sketch(2, 3, 4)
    graph = integer(s.graph(s.emit("linear", (s.emit("flatten", ("x",)),), s.params(5, 24))))
    program, constants = lower(graph)
    (op,), (layer,) = program.ops, program.layers
    assert (op.kind, op.inputs, layer.weight_shape) == ("conv2d", (program.input,), (5, 3, 4, 2))
    weight = graph.nodes[1].params["weight"].reshape(5, 2, 3, 4)
    np.testing.assert_array_equal(constants.weights.reshape(5, 3, 4, 2), weight.transpose(0, 2, 3, 1))


def test_flattened_map_may_only_feed_linear_layers() -> None:
    s = sketch(2, 3, 4)
    flat = s.emit("flatten", ("x",))
    with pytest.raises(ModelError, match=r"flatten 'flatten0': .*\[2, 3, 4\], got \['add'\]; pool to 1x1"):
        lower(integer(s.graph(s.emit("add", (flat, flat)))))
    s = sketch(2, 3, 4)
    y = s.emit("clamp", ("x",), low=0.0, high=1.0)
    with pytest.raises(ModelError, match="got the output"):
        lower(integer(s.graph(s.emit("flatten", (y,)))))


def test_flatten_of_a_single_position_is_free() -> None:
    s = sketch(6, 1, 1)
    program, _ = lower(integer(s.graph(s.emit("clamp", (s.emit("flatten", ("x",)),), low=0.0, high=1.0))))
    assert [op.kind for op in program.ops] == ["rescale"]


def test_moves_copy_where_nothing_changes() -> None:
    s = sketch(3, 1, 8)
    pooled = s.emit("max_pool2d", ("x",), kernel_h=1, kernel_w=3, pad_left=1, pad_right=1)
    graph = integer(s.graph(s.emit("concat", ("x", pooled))))
    program, _ = lower(graph)
    assert program.ops[1].attrs["multiplier0"] == program.ops[1].attrs["multiplier1"] == 0
    values = {**graph.values, graph.output: Value(graph.output, (6, 1, 8), QParams(0.5, 3))}
    moved = Graph(graph.nodes, values, graph.input, graph.output, graph.stage)
    attrs = lower(moved)[0].ops[1].attrs
    assert (attrs["multiplier0"], attrs["shift0"]) == quantize_multiplier(program.tensors[0].scale / 0.5)


def test_accumulator_bound_is_proved_with_weights_at_their_limit() -> None:
    """(2^31 - 2^30) / (127 * 255) = 33155.5 weights beside the largest bias, whatever the weights at hand are."""
    for features, fits in ((33_155, True), (33_156, False)):
        s = sketch(features)
        params = {"weight": np.zeros((2, features), np.float32), "bias": np.zeros(2, np.float32)}
        graph = integer(s.graph(s.emit("linear", ("x",), params)), bits=8)
        if fits:
            assert lower(graph)[0].layers[0].weight_count == 2 * features
        else:
            with pytest.raises(PlanError, match=r"linear 'linear0': channel 0: expected an accumulator below 2\^31"):
                lower(graph)


def test_bias_counts_in_the_bound() -> None:
    s = sketch(4)
    graph = integer(s.graph(s.emit("linear", ("x",), s.params(3, 4))))
    node = graph.nodes[0]
    for bias, fits in ((2**31 - 1 - 4 * 7 * 255, True), (2**31 - 4 * 7 * 255, False), (-(2**31), False)):
        params = {**node.params, "bias": np.array([0, bias, 0], np.int64).astype(np.int32)}
        changed = Graph((node.updated(params=params),), graph.values, "x", graph.output, "integer")
        if fits:
            lower(changed)
        else:
            with pytest.raises(PlanError, match=r"channel 1: .* bias"):
                lower(changed)


def test_stage_is_checked() -> None:
    with pytest.raises(ModelError, match="stage 'integer', got 'annotated'"):
        lower(random_annotated(0)[0])


@pytest.mark.parametrize("seed", range(20))
def test_random_programs_agree_with_their_graphs(seed: int) -> None:
    graph = to_integer(random_annotated(seed, classifier=seed % 3 > 0)[0])
    program, constants = lower(graph)
    assert [layer.name for layer in program.layers] == [node.name for node in graph.weighted()]
    kinds = {"linear": "conv2d", "clamp": "rescale"}
    assert [op.kind for op in program.ops] == [kinds.get(n.op, n.op) for n in graph.nodes if n.op != "flatten"]
    assert program.tensors[program.output].elements == math.prod(graph.values[graph.output].shape)
    assert len(constants.weights) == program.weight_count
    assert len(constants.scale) == program.channel_count
    assert all(o + t.nbytes <= program.arena_bytes for o, t in zip(program.offsets, program.tensors, strict=True))
