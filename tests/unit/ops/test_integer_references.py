"""Integer references against an oracle in exact rational arithmetic: loops over positions, one rounding per output."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from calibrant.core.errors import ModelError
from calibrant.core.fixedpoint import quantize_multiplier
from calibrant.core.qparams import QParams
from calibrant.core.rng import generator
from calibrant.ops import SCHEMAS, Attr, Schema, clamp_codes, conv, move, pointwise, pool
from calibrant.ops.schema import table

EIGHT = QParams(0.043, -17)
FOUR = QParams(0.31, 2, -8, 7)
QPARAMS = st.builds(
    lambda scale, z, bits: QParams(float(np.float32(scale)), z >> (8 - bits), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1),
    st.floats(0.002, 2.0),
    st.integers(-128, 127),
    st.sampled_from([4, 8]),
)
CLAMPS = st.sampled_from([{}, {"clamp_low": 0.0}, {"clamp_low": 0.0, "clamp_high": 6.0}, {"clamp_high": -0.3}])


def half_away(x: Fraction) -> int:
    magnitude = (2 * abs(x.numerator) + x.denominator) // (2 * x.denominator)
    return -magnitude if x < 0 else magnitude


def real(multiplier: int, shift: int) -> Fraction:
    return Fraction(int(multiplier), 2 ** int(shift))


def bounded(code: int, attrs: dict[str, Any], q: QParams) -> int:
    low, high = clamp_codes(attrs, q)
    return min(max(code, low), high)


def codes(q: QParams, *shape: int, seed: int = 0) -> NDArray[np.int8]:
    return generator(seed, str(shape)).integers(q.qmin, q.qmax + 1, shape).astype(np.int8)


def reference(op: str, inputs: Any, q_in: Any, q_out: QParams | None, params: Any = None, **attrs: Any) -> Any:
    schema = SCHEMAS[op]
    assert schema.integer_reference is not None
    complete = schema.complete(**attrs)
    out = schema.integer_reference(complete, params or {}, tuple(inputs), tuple(q_in), q_out)
    assert out.shape[1:] == schema.shape(complete, params or {}, tuple(x.shape[1:] for x in inputs))
    assert out.dtype == (np.int32 if attrs.get("output_bits") == 32 else np.int8)
    return out


def positions(attrs: dict[str, Any], kernel: tuple[int, int], y: int, x: int) -> Any:
    """(tap row, tap column, input row, input column) of one window, padding included."""
    for i, j in itertools.product(range(kernel[0]), range(kernel[1])):
        row = y * attrs["stride_h"] - attrs["pad_top"] + i * attrs.get("dilation_h", 1)
        column = x * attrs["stride_w"] - attrs["pad_left"] + j * attrs.get("dilation_w", 1)
        yield i, j, row, column


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[dict[str, Any], tuple[int, ...], tuple[int, ...]]:
    groups, per_in, per_out = draw(st.integers(1, 3)), draw(st.integers(1, 2)), draw(st.integers(1, 2))
    kernel = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    attrs = {name: draw(st.integers(1, 2)) for name in ("stride_h", "stride_w", "dilation_h", "dilation_w")}
    attrs |= {name: draw(st.integers(0, 2)) for name in ("pad_top", "pad_bottom", "pad_left", "pad_right")}
    attrs["groups"] = groups
    size = (kernel[0] - 1) * 2 + draw(st.integers(1, 3)), (kernel[1] - 1) * 2 + draw(st.integers(1, 3))
    return attrs, (groups * per_in, *size), (groups * per_out, per_in, *kernel)


@settings(max_examples=40, deadline=None)
@given(convolutions(), QPARAMS, QPARAMS, CLAMPS, st.sampled_from([2, 4, 8]), st.booleans())
def test_conv2d(case: Any, q_in: QParams, q_out: QParams, clamp: Any, bits: int, raw: bool) -> None:
    attrs, size, shape = case
    limit = 2 ** (bits - 1) - 1
    rng = generator(1, "conv")
    params = {
        "weight": rng.integers(-limit, limit + 1, shape).astype(np.int8),
        "bias": rng.integers(-5000, 5000, shape[0]).astype(np.int32),
        "weight_scale": rng.uniform(1e-4, 0.1, shape[0]).astype(np.float32),
    }
    x = codes(q_in, 2, *size)
    attrs = {**attrs, **({"output_bits": 32} if raw else clamp)}
    found = reference("conv2d", [x], [q_in], None if raw else q_out, params, **attrs)
    per_group = shape[0] // attrs["groups"]
    for n, o, y, t in np.ndindex(found.shape):
        acc = int(params["bias"][o])
        for (i, j, row, column), c in itertools.product(positions(attrs, shape[2:], y, t), range(shape[1])):
            if 0 <= row < size[1] and 0 <= column < size[2]:
                source = int(x[n, o // per_group * shape[1] + c, row, column])
                acc += (source - q_in.zero_point) * int(params["weight"][o, c, i, j])
        if raw:
            assert found[n, o, y, t] == acc
            continue
        factor = real(*quantize_multiplier(float(q_in.scale) * float(params["weight_scale"][o]) / float(q_out.scale)))
        assert found[n, o, y, t] == bounded(half_away(acc * factor) + q_out.zero_point, attrs, q_out)


@settings(max_examples=20, deadline=None)
@given(QPARAMS, QPARAMS, CLAMPS, st.booleans(), st.integers(1, 5), st.integers(1, 9))
def test_linear_is_a_convolution_on_one_pixel(
    q_in: QParams, q_out: QParams, clamp: Any, raw: bool, c_out: int, c_in: int
) -> None:
    rng = generator(2, "linear")
    weight = rng.integers(-127, 128, (c_out, c_in)).astype(np.int8)
    rest = {
        "bias": rng.integers(-900, 900, c_out).astype(np.int32),
        "weight_scale": rng.uniform(1e-3, 0.1, c_out).astype(np.float32),
    }
    x = codes(q_in, 3, c_in)
    attrs = {"output_bits": 32} if raw else clamp
    found = reference("linear", [x], [q_in], q_out, {"weight": weight, **rest}, **attrs)
    kernel = weight[:, :, None, None]
    mapped = reference("conv2d", [x[:, :, None, None]], [q_in], q_out, {"weight": kernel, **rest}, **attrs)
    assert (found == mapped[:, :, 0, 0]).all()


@settings(max_examples=30, deadline=None)
@given(convolutions(), QPARAMS, st.booleans())
def test_pools(case: Any, q: QParams, counted: bool) -> None:
    attrs, size, shape = case
    kernel = shape[2:]
    attrs = {k: v for k, v in attrs.items() if k.startswith(("stride", "pad"))} | {
        "kernel_h": kernel[0],
        "kernel_w": kernel[1],
    }
    for side, k in (("top", 0), ("bottom", 0), ("left", 1), ("right", 1)):
        attrs[f"pad_{side}"] = min(attrs[f"pad_{side}"], kernel[k] - 1)
    x = codes(q, 2, *size)
    largest = reference("max_pool2d", [x], [q], q, **attrs)
    average = reference("avg_pool2d", [x], [q], q, **attrs, count_include_pad=int(counted))
    for n, c, y, t in np.ndindex(largest.shape):
        window = [
            int(x[n, c, row, column])
            for _, _, row, column in positions(attrs, kernel, y, t)
            if 0 <= row < size[1] and 0 <= column < size[2]
        ]
        assert largest[n, c, y, t] == max(window)
        total = sum(window) - q.zero_point * len(window)
        count = kernel[0] * kernel[1] if counted else len(window)
        assert average[n, c, y, t] == bounded(half_away(Fraction(total, count)) + q.zero_point, {}, q)


@settings(max_examples=30, deadline=None)
@given(QPARAMS, st.tuples(*[st.integers(1, 6)] * 4))
def test_adaptive_avg_pool2d(q: QParams, sizes: tuple[int, ...]) -> None:
    height, width, output_h, output_w = sizes
    x = codes(q, 1, 2, height, width)
    found = reference("adaptive_avg_pool2d", [x], [q], q, output_h=output_h, output_w=output_w)
    for n, c, y, t in np.ndindex(found.shape):
        rows = range(y * height // output_h, -(-(y + 1) * height // output_h))
        columns = range(t * width // output_w, -(-(t + 1) * width // output_w))
        window = [int(x[n, c, i, j]) - q.zero_point for i in rows for j in columns]
        assert found[n, c, y, t] == half_away(Fraction(sum(window), len(window))) + q.zero_point


@settings(max_examples=30, deadline=None)
@given(QPARAMS, QPARAMS, st.integers(1, 5), st.integers(1, 5))
def test_mean(q_in: QParams, q_out: QParams, height: int, width: int) -> None:
    x = codes(q_in, 2, 3, height, width)
    found = reference("mean", [x], [q_in], q_out)
    factor = real(*quantize_multiplier(float(q_in.scale) / (float(q_out.scale) * height * width)))
    for n, c in np.ndindex(found.shape):
        total = sum(int(v) - q_in.zero_point for v in x[n, c].ravel())
        assert found[n, c] == bounded(half_away(total * factor) + q_out.zero_point, {}, q_out)


@settings(max_examples=50, deadline=None)
@given(QPARAMS, QPARAMS, QPARAMS, CLAMPS)
def test_add(q_a: QParams, q_b: QParams, q_out: QParams, clamp: Any) -> None:
    a, b = codes(q_a, 2, 5), codes(q_b, 2, 5, seed=1)
    found = reference("add", [a, b], [q_a, q_b], q_out, **clamp)
    (first, second), shift = pointwise.add_multipliers(q_a.scale, q_b.scale, q_out.scale)
    for at in np.ndindex(found.shape):
        parts = (int(a[at]) - q_a.zero_point) * real(first, shift), (int(b[at]) - q_b.zero_point) * real(second, shift)
        assert found[at] == bounded(half_away(sum(parts, Fraction(0))) + q_out.zero_point, clamp, q_out)


@settings(max_examples=50, deadline=None)
@given(QPARAMS, QPARAMS, CLAMPS)
def test_concat_and_clamp(q_in: QParams, q_out: QParams, clamp: Any) -> None:
    moved, copied = codes(q_in, 2, 3), codes(q_out, 2, 2)
    found = reference("concat", [moved, copied], [q_in, q_out], q_out, **clamp)
    same = (q_in.scale, q_in.zero_point) == (q_out.scale, q_out.zero_point)
    factor = real(*quantize_multiplier(q_in.scale / q_out.scale))
    for n, c in np.ndindex(2, 3):
        offset = int(moved[n, c]) - q_in.zero_point
        wanted = int(moved[n, c]) if same else half_away(offset * factor) + q_out.zero_point
        assert found[n, c] == bounded(wanted, clamp, q_out)
    assert (found[:, 3:] == np.clip(copied, *clamp_codes(clamp, q_out))).all()
    low, high = clamp.get("clamp_low", -np.inf), clamp.get("clamp_high", np.inf)
    assert (reference("clamp", [moved], [q_in], q_out, low=low, high=high) == found[:, :3]).all()


def test_flatten_keeps_channel_order() -> None:
    x = codes(EIGHT, 2, 3, 2, 2)
    assert (reference("flatten", [x], [EIGHT], EIGHT) == x.reshape(2, 12)).all()


def test_multipliers_are_float64_products_of_float32_scales() -> None:
    scales = np.array([1e-3, 0.7, 1e-9], np.float32)
    multiplier, shift = conv.multipliers(0.1, scales, 0.37)
    assert [real(m, s) for m, s in zip(multiplier, shift, strict=True)] == [
        real(*quantize_multiplier(0.1 * float(s) / 0.37)) for s in scales
    ]
    assert multiplier.dtype == shift.dtype == np.int32
    assert pool.mean_multiplier(0.3, 0.2, 7) == quantize_multiplier(0.3 / (0.2 * 7))
    assert move.move_multiplier(FOUR, EIGHT) == quantize_multiplier(0.31 / 0.043)


@pytest.mark.parametrize(
    ("attrs", "expected"),
    [
        ({}, (-8, 7)),
        ({"clamp_low": 0.0}, (2, 7)),
        ({"clamp_low": 0.0, "clamp_high": 1.0}, (2, 5)),
        ({"low": -0.5, "high": np.inf}, (0, 7)),
        ({"clamp_low": 100.0}, (7, 7)),
        ({"clamp_high": -100.0}, (-8, -8)),
    ],
)
def test_clamp_codes(attrs: dict[str, float], expected: tuple[int, int]) -> None:
    assert clamp_codes(attrs, FOUR) == expected


def test_eight_bit_output_needs_qparams() -> None:
    with pytest.raises(ModelError, match="no quantization parameters"):
        reference("mean", [codes(EIGHT, 1, 1, 1, 1)], [EIGHT], None)


def test_an_op_is_registered_once() -> None:
    row = SCHEMAS["relu"]
    with pytest.raises(ModelError, match="'relu': registered twice"):
        table([(row,), (row,)])
    assert table([(row,)]) == {"relu": row}


def test_every_op_declares_whether_it_is_an_integer_op() -> None:
    gone = {name for name, schema in SCHEMAS.items() if schema.integer_reference is None}
    assert gone == {"batch_norm", "relu", "dropout"}
    assert all(isinstance(s, Schema) and s.name == name for name, s in SCHEMAS.items())
    assert all(isinstance(a, Attr) for s in SCHEMAS.values() for a in s.attrs.values())
