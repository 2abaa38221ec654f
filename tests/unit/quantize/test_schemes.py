"""Weight scales and annotation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibrant.core.dtype import WEIGHT_BITS, weight_range
from calibrant.core.errors import ModelError
from calibrant.core.qparams import QParams
from calibrant.core.rng import generator
from calibrant.graph.verify import verify
from calibrant.quantize import annotate, observe_ranges, weight_scales
from random_graphs import Sketch, random_graph, random_input


def rounding_error(weight: np.ndarray, scale: np.ndarray, bits: int) -> np.ndarray:
    limit = weight_range(bits)[1]
    rows = weight.reshape(len(weight), -1)
    codes = np.clip(np.rint(rows / scale[:, None]), -limit, limit)
    return np.square(codes * scale[:, None] - rows).sum(axis=1)


@given(st.integers(0, 2**32 - 1), st.sampled_from(WEIGHT_BITS))
def test_never_worse_than_the_absolute_maximum(seed: int, bits: int) -> None:
    weight = generator(seed, "weights").standard_t(3, (4, 3, 1, 5)).astype(np.float32)
    largest = np.abs(weight).reshape(4, -1).max(axis=1) / weight_range(bits)[1]
    found = rounding_error(weight, weight_scales(weight, bits), bits)
    assert (found <= rounding_error(weight, largest.astype(np.float32), bits) * (1 + 1e-3)).all()


def test_clipping_pays_at_two_bits() -> None:
    """For Gaussian weights the best ternary grid has +-1.22 deviations, far below the largest weight."""
    weight = generator(0, "weights").normal(0, 1, (8, 4000)).astype(np.float32)
    np.testing.assert_allclose(weight_scales(weight, 2), 1.22, atol=0.12)
    absolute = np.abs(weight).max(axis=1)
    assert (rounding_error(weight, weight_scales(weight, 2), 2) < 0.3 * rounding_error(weight, absolute, 2)).all()


@pytest.mark.parametrize("bits", WEIGHT_BITS)
def test_zero_channel_and_channel_independence(bits: int) -> None:
    weight = generator(1, "weights").normal(0, 1, (3, 2, 3, 3)).astype(np.float32)
    weight[1] = 0
    scale = weight_scales(weight, bits)
    assert scale.dtype == np.float32
    assert 0 < scale[1] < 1e-6
    for o in range(3):
        assert scale[o] == weight_scales(weight[o : o + 1], bits)[0]
    np.testing.assert_allclose(weight_scales(weight * 4, bits)[[0, 2]], scale[[0, 2]] * 4, rtol=1e-6)


def chain() -> Sketch:
    s = Sketch((3, 1, 12), generator(0, "chain"))
    y = s.emit("conv2d", ("x",), s.params(4, 3, 1, 3), pad_left=1, pad_right=1, clamp_low=0.0)
    y = s.emit("max_pool2d", (y,), kernel_h=1, kernel_w=2, stride_w=2)
    y = s.emit("mean", (y,))
    s.emit("linear", (y,), s.params(5, 4))
    return s


RANGES = {
    "x": (-3.0, 2.0),
    "conv2d0_out": (0.0, 4.0),
    "max_pool2d1_out": (0.0, 4.0),
    "mean2_out": (0.0, 1.0),
    "linear3_out": (-9.0, 9.0),
}


def test_widths_and_scales_go_where_they_belong() -> None:
    graph = annotate(chain().graph("linear3_out"), RANGES, weight_bits=2, activation_bits=4)
    q = {name: value.qparams for name, value in graph.values.items()}
    assert q["x"] == QParams.from_range(-3.0, 2.0, 8)
    assert q["conv2d0_out"] == q["max_pool2d1_out"] == QParams.from_range(0.0, 4.0, 4)
    assert (q["conv2d0_out"].qmin, q["conv2d0_out"].qmax) == (-8, 7)
    assert q["linear3_out"].scale == q["mean2_out"].scale
    conv, _, _, linear = graph.nodes
    assert conv.attrs["weight_bits"] == linear.attrs["weight_bits"] == 2
    assert linear.attrs["output_bits"] == 32
    assert "output_bits" not in conv.attrs
    np.testing.assert_array_equal(conv.params["weight_scale"], weight_scales(conv.params["weight"], 2))


def test_a_tree_of_concats_rounds_once() -> None:
    """Inner concats get the outer's parameters, so that it copies them; one that others read keeps its own."""
    s = Sketch((2, 1, 6), generator(0, "tree"))
    parts = [s.emit("conv2d", ("x",), s.params(2, 2, 1, 1)) for _ in range(4)]
    inner = s.emit("concat", (parts[0], parts[1]))
    middle = s.emit("concat", (inner, parts[2]), clamp_low=0.0)
    shared = s.emit("concat", (parts[0], parts[3]))
    outer = s.emit("concat", (middle, shared, parts[3]))
    top = s.emit("concat", (s.emit("mean", (outer,)), s.emit("mean", (shared,))))
    names = {"x": 1.0} | {name: 1.0 + i for i, name in enumerate(s.values)}
    graph = annotate(s.graph(top), {name: (-high, high) for name, high in names.items()}, 8)
    q = {name: value.qparams for name, value in graph.values.items()}
    assert q[inner] == q[middle] == q[outer] == QParams.from_range(-names[outer], names[outer])
    assert q[shared] == QParams.from_range(-names[shared], names[shared]) != q[outer]
    assert q[parts[2]] == QParams.from_range(-names[parts[2]], names[parts[2]])


def test_quantized_outputs_stay_at_eight_bits() -> None:
    s = chain()
    y = s.emit("clamp", ("linear3_out",), low=0.0, high=6.0)
    graph = annotate(s.graph(y), {**RANGES, y: (0.0, 6.0)}, 4, activation_bits=2)
    assert graph.values[y].qparams == QParams.from_range(0.0, 6.0, 8)
    assert graph.values["linear3_out"].qparams == QParams.from_range(-9.0, 9.0, 2)
    assert "output_bits" not in graph.nodes[3].attrs


def test_a_clamped_last_layer_is_not_raw() -> None:
    s = Sketch((3,), generator(0, "raw"))
    y = s.emit("linear", ("x",), s.params(2, 3), clamp_low=0.0)
    graph = annotate(s.graph(y), {"x": (-1.0, 1.0), y: (0.0, 2.0)}, 8)
    assert "output_bits" not in graph.nodes[0].attrs
    assert graph.values[y].qparams.qmax == 127


def test_a_dead_channel_keeps_its_bias() -> None:
    """With the tiny scale of a zero channel the code of its bias would leave int32."""
    s = Sketch((3,), generator(0, "dead"))
    params = {"weight": np.zeros((2, 3), np.float32), "bias": np.array([0.0, -7.0], np.float32)}
    y = s.emit("linear", ("x",), params)
    node = annotate(s.graph(y), {"x": (-1.0, 1.0), y: (-7.0, 0.0)}, 4).nodes[0]
    scale = node.params["weight_scale"].astype(np.float64) * 2 / 255
    assert (scale > 0).all()
    assert abs(-7.0 / scale[1]) <= 2**23 * 1.001


def test_refusals() -> None:
    graph = chain().graph("linear3_out")
    with pytest.raises(ModelError, match="stage 'folded', got 'annotated'"):
        annotate(annotate(graph, RANGES, 4), RANGES, 4)
    with pytest.raises(ModelError, match="weight bits: expected one of"):
        annotate(graph, RANGES, 3)
    with pytest.raises(ModelError, match="activation bits: expected 2 to 8, got 9"):
        annotate(graph, RANGES, 4, 9)
    with pytest.raises(ModelError, match="'mean2_out': expected an observed range, got none"):
        annotate(graph, {k: v for k, v in RANGES.items() if k != "mean2_out"}, 4)
    with pytest.raises(ModelError, match="'mean2_out': expected a finite range"):
        annotate(graph, {**RANGES, "mean2_out": (0.0, math.nan)}, 4)


@pytest.mark.parametrize("seed", range(10))
def test_random_graphs_are_legal_at_their_stage(seed: int) -> None:
    graph = random_graph(seed)
    annotated = annotate(graph, observe_ranges(graph, random_input(graph, 4, seed)), 4)
    verify(annotated)
    assert annotated.stage == "annotated"
