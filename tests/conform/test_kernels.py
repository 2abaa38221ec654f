"""Every kernel in every variant this processor has, at awkward shapes, equal to numpy to the last bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import test_binary_kernels
from convolution import CASES, check_conv, check_largest_sums, codes, random_conv, rng_of

from calibrant import _engine  # private: its list of kernels, and the scratch that C counts
from calibrant.core.fixedpoint import requantize
from calibrant.core.program import Tensor
from calibrant.core.qparams import QParams
from calibrant.core.scratch import scratch_bytes
from calibrant.engine import Engine, variants
from calibrant.export.sources import KERNELS
from calibrant.ops import SCHEMAS
from calibrant.ops.move import move_multiplier
from calibrant.ops.pointwise import add_multipliers
from calibrant.ops.pool import mean_multiplier
from programs import Conv, joined, no_constants, one_op, run

# kernel -> the test here or in test_binary_kernels that compares it; others are compared by the row of an op they run
COVERED = {
    "conv2d": "test_conv2d",
    "conv2d_taps": "test_conv2d",
    "channel_sum": "test_conv2d",
    "max_pool2d": "test_pools",
    "avg_pool2d": "test_pools",
    "mean": "test_mean",
    "add": "test_add",
    "concat": "test_concat",
    "sign": "test_binary_conv2d",
    "binary_conv2d": "test_binary_conv2d",
}


@pytest.fixture(params=variants())
def variant(request):
    return request.param


PLAIN = [  # ops of 8-bit output that a node without attributes and constants is enough for
    name
    for name, row in SCHEMAS.items()
    if row.kind
    and not row.params
    and row.complete().get("output_bits", 8) == 8
    and set(row.complete()) == {k for k, a in row.attrs.items() if not a.optional}
]


def test_every_kernel_is_compared():
    by_row = {KERNELS[SCHEMAS[name].kind.name] for name in PLAIN}
    assert set(COVERED) | by_row == set(_engine.KERNELS)
    assert set(COVERED.values()) <= {*globals(), *vars(test_binary_kernels)}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", PLAIN)
def test_rows(name, seed, variant):
    """Lowered as its row says, an op gives what the integer reference of the row does."""
    row, rng = SCHEMAS[name], rng_of(seed, "rows", name)
    count = row.inputs_min if seed < 2 else row.inputs_max
    shapes = [(int(rng.integers(1, 20)), int(rng.integers(1, 6)), int(rng.integers(1, 40)))] * count
    *sources, target = (QParams(float(rng.uniform(0.01, 0.2)), int(rng.integers(-128, 128))) for _ in range(count + 1))
    attrs, shape = row.complete(), row.shape(row.complete(), {}, tuple(shapes))
    channels, height, width = (*shape, 1, 1)[:3]
    first = shapes[0]
    parts = [Tensor(f"x{i}", first[1], first[2], first[0], q.scale, q.zero_point) for i, q in enumerate(sources)]
    output = Tensor("y", height, width, channels, target.scale, target.zero_point)
    lowered = row.kind.lowering(attrs, tuple(shapes), tuple(sources), target)
    x = [codes(rng, (3, *each), seed % 2 == 0) for each in shapes]
    expected = row.integer_reference(attrs, {}, tuple(x), tuple(sources), target)
    program, constants = joined(row.kind.name, parts, output, lowered)
    got = run(program, constants, np.concatenate(x, axis=1).transpose(0, 2, 3, 1), variant)
    assert np.array_equal(got, expected.reshape(3, channels, height, width).transpose(0, 2, 3, 1).reshape(got.shape))


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("conv", CASES, ids=str)
def test_conv2d(conv, bits, variant):
    for extreme in (False, True):
        check_conv(replace(conv, bits=bits), variant, extreme)


@pytest.mark.parametrize("zero_points", [(-128, -128), (127, 127), (0, 0)])
def test_conv2d_at_zero_point_limits(zero_points, variant):
    conv = Conv((17, 18), (4, 5), (3, 3), pad=(1, 1, 1, 1), zero_points=zero_points, clamp=(-128, 127))
    for bits in (4, 8):
        for extreme in (False, True):
            check_conv(replace(conv, bits=bits), variant, extreme)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("groups", [1, 48])
def test_conv2d_at_the_largest_sums(groups, bits, sign, variant):
    check_largest_sums(Conv((48, 48), (1, 290), (1, 11), groups=groups, bits=bits), variant, sign)


@pytest.mark.parametrize("seed", range(25))
def test_conv2d_at_random(seed, variant):
    check_conv(random_conv(seed), variant, extreme=seed % 3 == 0)


POOLS = [
    ((1, 13), (1, 2), (1, 2), (0, 0), (1, 1)),
    ((1, 25), (1, 3), (1, 1), (0, 1), (1, 1)),
    ((9, 7), (3, 2), (2, 1), (1, 0), (1, 1)),
    ((8, 8), (8, 8), (1, 1), (0, 0), (1, 1)),
    ((9, 9), (2, 3), (1, 2), (1, 1), (3, 2)),
]


@pytest.mark.parametrize("channels", [1, 15, 16, 17, 45, 64, 65])
@pytest.mark.parametrize("pool", POOLS, ids=str)
def test_pools(pool, channels, variant):
    size, kernel, stride, pad, dilation = pool
    rng = rng_of(pool, channels)
    x = codes(rng, (2, *size, channels))
    for op, flags in (
        ("max_pool2d", {}),
        ("avg_pool2d", {"count_include_pad": 0}),
        ("avg_pool2d", {"count_include_pad": 1}),
    ):
        if op == "avg_pool2d" and dilation != (1, 1):
            continue
        q = QParams(0.1, int(rng.integers(-128, 128)))
        attrs = {"kernel_h": kernel[0], "kernel_w": kernel[1], "stride_h": stride[0], "stride_w": stride[1]}
        attrs |= {"pad_top": pad[0], "pad_left": pad[1], **flags}
        if op == "max_pool2d":
            attrs |= {"dilation_h": dilation[0], "dilation_w": dilation[1]}
        y = reference(op, attrs | {"pad_bottom": pad[0], "pad_right": pad[1]}, (x,), (q,), q)
        compare(op, attrs, x, q, y, variant)


@pytest.mark.parametrize("outputs", [(1, 1), (2, 3), (7, 5), (9, 11)])
def test_adaptive_pools(outputs, variant):
    rng = rng_of(outputs)
    x, q = codes(rng, (2, 7, 5, 19)), QParams(0.1, 12)
    y = reference("adaptive_avg_pool2d", {"output_h": outputs[0], "output_w": outputs[1]}, (x,), (q,), q)
    compare("avg_pool2d", {"adaptive": 1}, x, q, y, variant)
    compare("adaptive_avg_pool2d", {"adaptive": 1}, x, q, y, variant)


@pytest.mark.parametrize("channels", [1, 17, 64, 130])
def test_mean(channels, variant):
    rng = rng_of(channels)
    x = codes(rng, (2, 6, 7, channels))
    source, output = QParams(0.2, -17), QParams(0.03, 40)
    y = reference("mean", {}, (x,), (source,), output)
    multiplier, shift = mean_multiplier(source.scale, output.scale, 42)
    program = one_op("mean", tensor("x", x, source), Tensor("y", 1, 1, channels, output.scale, output.zero_point),
                     {"multiplier0": multiplier, "shift0": shift})  # fmt: skip
    np.testing.assert_array_equal(run(program, no_constants(), x, variant), y)


SCALES = [(0.1, 0.1, 0.1), (0.1, 0.07, 0.2), (3.0, 0.001, 0.02), (1e-6, 2e-6, 1.0)]


@pytest.mark.parametrize("scales", SCALES)
@pytest.mark.parametrize("channels", [1, 17, 64])
@pytest.mark.parametrize("clamp", [(-128, 127), (5, 60)])
def test_add(clamp, scales, channels, variant):
    rng = rng_of(scales, channels)
    a, b = codes(rng, (2, 3, 5, channels)), codes(rng, (2, 3, 5, channels), extreme=True)
    first, second, output = QParams(scales[0], -20), QParams(scales[1], 127), QParams(scales[2], 5)
    y = reference("add", {}, (a, b), (first, second), output).clip(*clamp)
    (left, right), shift = add_multipliers(first.scale, second.scale, output.scale)
    program, constants = joined(
        "add",
        (tensor("a", a, first), tensor("b", b, second)),
        tensor("y", a, output),
        {"multiplier0": left, "multiplier1": right, "shift0": shift, "clamp_low": clamp[0], "clamp_high": clamp[1]},
    )
    x = np.concatenate((a, b), 3)
    np.testing.assert_array_equal(run(program, constants, x, variant), y)
    active = Engine(program, constants, variant).observe(x).active
    assert active.shape == (2, program.active_count) == (2, 3 * channels)
    inside = ((clamp[0] < y) & (y < clamp[1])).sum(axis=(1, 2))
    np.testing.assert_array_equal(active[:, program.active_slices[program.output]], inside)


@pytest.mark.parametrize("shift", [1, 2, 30, 39, 40, 41, 51, 52, 53, 62])
def test_add_rounds_once_at_any_shift(shift, variant):
    """Multipliers need not be what lowering makes of scales: ties and extreme shifts, too."""
    rng = rng_of(shift)
    a, b = codes(rng, (1, 1, 500, 2)), codes(rng, (1, 1, 500, 2))
    top = min(2**31 - 1, 2**shift)
    for left, right in ((top, top), (top // 2, top // 2), (top // 4 + 1, 3), (0, 1)):
        total = (a.astype(np.int64) - 7) * left + (b.astype(np.int64) + 9) * right
        y = np.clip(requantize(total, 1, shift) - 3, -128, 127)
        parts = (Tensor("a", 1, 500, 2, 1.0, 7), Tensor("b", 1, 500, 2, 1.0, -9))
        attrs = {"multiplier0": left, "multiplier1": right, "shift0": shift}
        program, constants = joined("add", parts, Tensor("y", 1, 500, 2, 1.0, -3), attrs)
        np.testing.assert_array_equal(run(program, constants, np.concatenate((a, b), 3), variant), y)


@pytest.mark.parametrize("channels", [(5,), (16, 16), (1, 17, 3), (2, 3, 1, 4, 5, 1, 2, 45)])
def test_concat(channels, variant):
    rng = rng_of(channels)
    output = QParams(0.1, 11)
    qparams = [
        output if i == 1 else QParams(0.03 * (i + 1), int(rng.integers(-128, 128))) for i in range(len(channels))
    ]
    parts = [codes(rng, (2, 3, 4, c)) for c in channels]
    y = reference("concat", {}, tuple(parts), tuple(qparams), output)
    attrs = {"clamp_low": -90, "clamp_high": 100}
    for i, q in enumerate(qparams):
        attrs[f"multiplier{i}"], attrs[f"shift{i}"] = move_multiplier(q, output)
    tensors = [tensor(f"p{i}", p, q) for i, (p, q) in enumerate(zip(parts, qparams, strict=True))]
    for kind in ("concat", "rescale") if len(channels) == 1 else ("concat",):
        program, constants = joined(kind, tensors, tensor("y", y, output), attrs)
        result = run(program, constants, np.concatenate(parts, 3), variant)
        np.testing.assert_array_equal(result, np.clip(y, -90, 100))


def test_scratch_formula_is_the_same_in_c_and_python():
    rng = rng_of("scratch")
    for _ in range(200):
        c_in, c_out = (int(c) for c in rng.integers(1, 5, 2) * 4)
        tensors = [Tensor("t", *(int(v) for v in rng.integers(1, 40, 2)), c, 1.0, 0) for c in (c_in, c_out)]  # type: ignore[call-arg]
        names = ("kernel_h", "kernel_w", "stride_h", "stride_w", "dilation_h", "dilation_w")
        attrs = {name: int(rng.integers(1, 9)) for name in names} | {"groups": int(rng.choice([1, 2, 4, c_in]))}
        kind = str(rng.choice(_engine.KINDS))
        fields = dict.fromkeys(_engine.OP_FIELDS, 0) | attrs | {"kind": _engine.KINDS.index(kind)}
        op = np.array([fields[name] for name in _engine.OP_FIELDS], np.int32)
        records = [np.array([t.height, t.width, t.channels, 0, 8, 0], np.int32) for t in tensors]
        assert _engine.scratch_bytes(op, *records) == scratch_bytes(kind, *tensors, attrs)  # type: ignore[call-arg]


def tensor(name, x, q):
    return Tensor(name, *x.shape[1:], q.scale, q.zero_point)  # type: ignore[call-arg]


def reference(op, attrs, arrays, qparams, output):
    """The integer reference of `ops/`, which is channels-first, on channels-last arrays."""
    schema = SCHEMAS[op]
    y = schema.integer_reference(
        schema.complete(**attrs), {}, tuple(a.transpose(0, 3, 1, 2) for a in arrays), qparams, output
    )
    return (y if y.ndim == 4 else y[:, :, None, None]).transpose(0, 2, 3, 1)


def compare(kind, attrs, x, q, y, variant):
    for low, high in ((-128, 127), (-60, 50)):
        full = {**attrs, "clamp_low": low, "clamp_high": high}
        program = one_op(kind, tensor("x", x, q), tensor("y", y, q), full)
        np.testing.assert_array_equal(run(program, no_constants(), x, variant), np.clip(y, low, high))
