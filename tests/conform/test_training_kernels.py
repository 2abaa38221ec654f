"""Every training kernel in every variant: near numpy in float64, equal between variants, exact where it is integers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from convolution import CASES, codes, constants_of, random_conv, rng_of
from gradient import (
    CLASSES,
    TINY,
    adaptive_windows,
    average_gradient,
    in_all_variants,
    input_gradient,
    maximum_gradient,
    near,
    one_step,
    steps_of,
    trained,
    weight_gradient,
    windows,
)
from test_kernels import POOLS

from calibrant import _engine  # private: its lists of kernels, steps and types
from calibrant.core import fmath
from calibrant.core.dtype import BIAS_LIMIT
from calibrant.core.program import Tensor
from calibrant.core.training import BUFFER_DTYPES, STEP_KINDS
from calibrant.engine import Engine, Trainer, variants
from programs import Conv, joined, no_constants, one_op
from trainings import Draft, contents, in_place

COVERED = {  # kernel -> the test here that compares it; a new row in training.def must add one
    "mask": "test_conv2d",
    "gate": "test_conv2d",
    "gather": "test_trained_channels",
    "dense": "test_head",
    "dense_grad": "test_head",
    "dense_update": "test_head",
    "head_commit": "test_head",
    "loss": "test_loss_is_that_of_fmath",
    "bias_update": "test_conv2d",
    "weight_update": "test_conv2d",
    "conv2d_grad": "test_conv2d",
    "add_grad": "test_joined_gradients",
    "concat_grad": "test_joined_gradients",
    "mean_grad": "test_mean",
    "avg_pool2d_grad": "test_pools",
    "max_pool2d_grad": "test_pools",
    "weight_commit": "test_commit_is_exact",
    "bias_commit": "test_commit_is_exact",
}


def test_every_kernel_is_compared():
    assert set(COVERED) == set(_engine.TRAINING_KERNELS)
    assert set(COVERED.values()) <= set(globals())
    assert _engine.STEP_KINDS == STEP_KINDS
    assert _engine.DTYPES == BUFFER_DTYPES


def check_layer(conv, seed=0):
    rng = rng_of(conv, seed)
    x, constants = codes(rng, (1, *conv.size, conv.channels[0])), constants_of(conv, rng, False)
    training, ids = trained(conv)
    seen = in_all_variants(conv.program(), constants, training, one_step(ids, x))
    g = seen["g"].astype(np.float64)
    assert np.isfinite(g).all()
    if conv.output_bits == 8:
        inside = (seen["y"] > conv.clamp[0]) & (seen["y"] < conv.clamp[1])
        np.testing.assert_array_equal(seen["mask"], inside)
        assert not g[~inside].any()
        assert (g[inside] != 0).all()
    near(seen["dx"], input_gradient(conv, constants.weights, g))
    near(seen["bias"].astype(np.float64) / TINY, steps_of(g.sum((0, 1)), training.bias_scaling))
    weight = steps_of(weight_gradient(conv, x[0], g), training.weight_scaling)
    near(seen["weight"].astype(np.float64) / TINY, weight.ravel())
    np.testing.assert_array_equal(seen["weights"], constants.weights)


@pytest.mark.parametrize("conv", CASES, ids=str)
def test_conv2d(conv):
    check_layer(conv)


@pytest.mark.parametrize("channels", [1, 15, 16, 17, 45, 64, 65, 130])
def test_conv2d_around_blocks(channels):
    check_layer(Conv((channels, 3), (3, 4), (2, 3), pad=(1, 1, 0, 1)))
    check_layer(Conv((2, channels), (3, 4)))
    check_layer(Conv((channels, channels), (4, 17), (3, 3), stride=(1, 2), pad=(1, 1, 1, 1), groups=channels))


@pytest.mark.parametrize("seed", range(25))
def test_conv2d_at_random(seed):
    check_layer(random_conv(seed), seed)


def test_gate_scales_what_it_passes():
    """The gate's output against its input, which a training without the gate leaves to be read."""
    conv = Conv((3, 17), (4, 5), (3, 3), pad=(1, 1, 1, 1), clamp=(-20, 30))
    rng = rng_of(conv)
    x, constants = codes(rng, (1, 4, 5, 3)), constants_of(conv, rng, False)
    training, ids = trained(conv)
    bare = replace(training, steps=tuple(step for step in training.steps if step.kind != "gate"))
    gated, before = (in_all_variants(conv.program(), constants, t, one_step(ids, x)) for t in (training, bare))
    want = np.where(gated["mask"], before["g"] * training.effective, np.float32(0))
    assert gated["mask"].any()
    assert not gated["mask"].all()
    np.testing.assert_array_equal(gated["g"], want)
    np.testing.assert_array_equal(before["dx"] == gated["dx"], False)


@pytest.mark.parametrize(
    ("conv", "channels"),
    [
        (Conv((17, 6), (3, 4), (1, 1)), (0, 3, 16)),
        (Conv((130, 5), (2, 3), (2, 2), pad=(0, 0, 1, 1)), tuple(range(1, 130, 2))),
        (Conv((12, 8), (5, 5), (3, 3), pad=(1, 1, 1, 1), groups=4), (1, 2)),
        (Conv((70, 70), (5, 4), (3, 3), stride=(2, 1), pad=(1, 1, 1, 1), groups=70), (0, 64, 65, 69)),
        (Conv((80, 80), (1, 9), (1, 3), pad=(0, 1, 0, 1), groups=80), tuple(range(70))),
    ],
    ids=str,
)
def test_trained_channels(conv, channels):
    """Some input channels of each group, or some channels of a depthwise layer; the others do not move."""
    rng = rng_of(conv, channels)
    x, constants = codes(rng, (1, *conv.size, conv.channels[0])), constants_of(conv, rng, False)
    training, ids = trained(conv, channels)
    seen = in_all_variants(conv.program(), constants, training, one_step(ids, x))
    single = conv.groups == conv.channels[0]
    groups = 1 if single else conv.groups
    np.testing.assert_array_equal(seen["kept"].reshape(*conv.size, groups, -1),
                                  x[0].reshape(*conv.size, groups, -1)[..., channels])  # fmt: skip
    whole = steps_of(weight_gradient(conv, x[0], seen["g"]), training.weight_scaling)
    chosen = whole[list(channels)] if single else whole[..., list(channels)]
    near(seen["weight"].astype(np.float64) / TINY, chosen.ravel())
    moved = in_all_variants(conv.program(), constants, training, one_step(ids, x, rate=3.0))
    change = (moved["weights"] != constants.weights).reshape(conv.weight_shape)
    allowed = np.zeros(change.shape, bool)
    allowed[np.array(channels) if single else (..., np.array(channels))] = True
    assert change[allowed].any()
    assert not change[~allowed].any()


def settled(code, accumulator, limit, carry):
    """The rule of commit, for one parameter, in Python's own integers and rounding (half to even)."""
    if not np.isfinite(accumulator):
        code += 0 if np.isnan(accumulator) else int(np.sign(accumulator)) * 2**40
        return max(-limit, min(limit, code)), 0.0
    change = round(float(accumulator))
    moved = max(-limit, min(limit, code + change))
    return moved, float(accumulator) - change if carry and moved == code + change else 0.0


@pytest.mark.parametrize("carry", [True, False])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_commit_is_exact(bits, carry):
    conv = Conv((6, 20), (1, 2), bits=bits, output_bits=32)
    limit, rng = 2 ** (bits - 1) - 1, rng_of(bits)
    constants = constants_of(conv, rng, False)
    constants.bias[:4] = [BIAS_LIMIT, -BIAS_LIMIT, BIAS_LIMIT - 3, 2**24 + 1]
    training, _ = trained(conv)
    special = [0.5, -0.5, 1.5, -1.5, 2.5, -2.5, 0.49999997, 1e9, -1e9, 3e38, -3e38, -0.0, 126.5]
    special += [np.inf, -np.inf, np.nan]
    special += [4194303.5, 4194305.5, -4194304.5, 8388609.0, 3.0, -3.0, 2.0**31, 2.0**24 + 2]
    values = np.concatenate([np.resize(np.array(special, np.float32), 100), rng.normal(0, 4, 40).astype(np.float32)])
    values = rng.permutation(values)

    def run(trainer):
        trainer.accumulators = values
        trainer.step(np.zeros((1, 1, 2, 6), np.int8), np.zeros(1, np.int64), 0.0)
        return {
            "weights": trainer.engine.parameters.weights,
            "bias": trainer.engine.parameters.bias,
            "left": trainer.accumulators,
        }

    seen = in_all_variants(conv.program(), constants, training, run, carry=carry)
    weights = [settled(int(w), a, limit, carry) for w, a in zip(constants.weights, values[:120], strict=True)]
    biases = [settled(int(b), a, BIAS_LIMIT, carry) for b, a in zip(constants.bias, values[120:], strict=True)]
    np.testing.assert_array_equal(seen["weights"], [code for code, _ in weights])
    np.testing.assert_array_equal(seen["bias"], [code for code, _ in biases])
    np.testing.assert_array_equal(seen["left"], np.array([left for _, left in weights + biases], np.float32))


@pytest.mark.parametrize("kind", ["int8", "int32", "float32"])
def test_loss_is_that_of_fmath(kind):
    """Loss, logits and gradient to the last bit; so are exp and log, at thousands of arguments."""
    classes, rng = 50, rng_of(kind)
    conv = Conv((1, classes), (1, 1), output_bits=32 if kind == "int32" else 8, clamp=(-128, 127))
    draft = Draft(conv.program())
    draft.forward()
    if kind == "float32":
        error, _ = draft.head(classes)
    else:
        error = draft.add("loss", (1,), draft.like("g", 1))
    scale = rng.uniform(0.001, 0.3, classes).astype(np.float32)
    training = draft.training("float32" if kind == "float32" else "int8", head_scale=scale)
    x, y = np.arange(-128, 128, dtype=np.int8).reshape(-1, 1, 1, 1), rng.integers(0, classes, 256)
    constants = constants_of(conv, rng, False)
    for variant in variants():
        trainer = Trainer(Engine(conv.program(), constants, variant), training)
        if kind == "float32":
            trainer.head_weight = rng_of(1).normal(0, 1, (classes, classes)).astype(np.float32)
        logits = trainer.logits(x)
        if kind != "float32":
            zero = conv.zero_points[1] if kind == "int8" else 0
            np.testing.assert_array_equal(logits, (trainer.engine.infer(x) - np.int32(zero)).astype(np.float32) * scale)
        shifted = logits - logits.max(axis=1, keepdims=True)
        mass, total = fmath.exp(shifted), np.zeros(256, np.float32)
        for k in range(classes):
            total += mass[:, k]
        losses = trainer.loss(x, y)
        np.testing.assert_array_equal(losses, fmath.log(total) - shifted[np.arange(256), y])
        for i in (0, 100, 255):
            trainer.step(x[i : i + 1], y[i : i + 1], 0.0)
            want = mass[i] / total[i] - (np.arange(classes) == y[i]).astype(np.float32)
            want = want if kind == "float32" else want * scale
            np.testing.assert_array_equal(contents(trainer, {"g": error})["g"].ravel(), want)


@pytest.mark.parametrize("features", [1, 15, 64, 65, 200])
def test_head(features):
    """The float32 head: logits, gradients, and its update, at once and in accumulators."""
    tensor = Tensor("x", 1, 1, features, 0.07, -9)
    program = one_op("rescale", tensor, replace(tensor, name="y"), {})
    draft = Draft(program)
    draft.forward()
    error, g = draft.head(CLASSES)
    part = draft.train(-1, "head", CLASSES * (features + 1))
    draft.add("dense_update", (program.output, error), part=part, factor=tensor.scale)
    training = draft.training()
    rng = rng_of(features)
    x, y, rate = codes(rng, (3, 1, 1, features)), np.array([4, 0, 2]), 0.25
    start = {}

    def run(trainer):
        start.update(weight=trainer.head_weight, bias=trainer.head_bias, logits=trainer.logits(x))
        trainer.step(x, y, rate, bias_rate=rate / 2)
        assert not trainer.accumulators.any()
        return contents(trainer, {"g": g, "error": error}) | {"weight": trainer.head_weight, "bias": trainer.head_bias}

    seen = in_all_variants(program, no_constants(), training, run)
    reals = (x.reshape(3, -1).astype(np.float64) + 9) * 0.07
    scores = reals @ start["weight"].T.astype(np.float64) + start["bias"]
    near(start["logits"], scores)
    p = np.exp(scores - scores.max(1, keepdims=True))
    errors = p / p.sum(1, keepdims=True) - np.eye(CLASSES)[y]
    near(seen["error"].ravel(), errors[2])
    near(seen["g"].ravel(), errors[2] @ start["weight"].astype(np.float64) * 0.07)
    near(seen["weight"], start["weight"] - rate / 3 * errors.T @ reals)
    near(seen["bias"], start["bias"] - rate / 6 * errors.sum(0))
    one = slice(0, 1)

    def single(trainer):
        trainer.step(x[one], y[one], rate)
        return {"weight": trainer.head_weight, "bias": trainer.head_bias}

    at_once = in_all_variants(program, no_constants(), training, single, accumulators=False)
    batched = in_all_variants(program, no_constants(), training, single)
    near(at_once["weight"], start["weight"] - rate * errors[:1].T @ reals[:1])
    for name, values in at_once.items():
        near(batched[name], values)


@pytest.mark.parametrize("kind", ["add", "concat", "rescale"])
def test_joined_gradients(kind):
    """Each operand's share, and a second gradient added to it; factors are what the step says."""
    depths = {"add": (17, 17), "concat": (5, 65, 1), "rescale": (9,)}[kind]
    parts = [Tensor(f"p{i}", 3, 4, c, 0.1, 2) for i, c in enumerate(depths)]
    channels = sum(depths) if kind == "concat" else depths[0]
    attrs = {"multiplier0": 1, "multiplier1": 1, "shift0": 1} if kind == "add" else {}
    program, constants = joined(kind, parts, Tensor("y", 3, 4, channels, 0.1, 2), attrs)
    draft = Draft(program)
    draft.forward()
    _, g = draft.head(CLASSES)
    ids, op, step = {"g": g}, len(parts), "add_grad" if kind == "add" else "concat_grad"
    for i in range(len(parts)):
        ids[f"d{i}"] = draft.add(step, (g,), draft.like(f"d{i}", i + 1), op=op, operand=i, factor=0.3 + i)
    draft.add(step, (g,), ids["d0"], op=op, operand=0, factor=2.0, accumulate=1)
    x = codes(rng_of(kind), (1, 3, 4, sum(depths)))
    seen = in_all_variants(program, constants, draft.training(), one_step(ids, x))
    first = 0
    for i, depth in enumerate(depths):
        own = seen["g"] if kind == "add" else seen["g"][..., first : first + depth]
        want = own * np.float32(0.3 + i)
        np.testing.assert_array_equal(seen[f"d{i}"], want + own * np.float32(2) if i == 0 else want)
        first += depth


@pytest.mark.parametrize("channels", [1, 17, 64, 130])
def test_mean(channels):
    x = Tensor("x", 5, 7, channels, 0.2, -17)
    program = one_op("mean", x, Tensor("y", 1, 1, channels, 0.03, 40), {"multiplier0": 2**30, "shift0": 34})
    draft = Draft(program)
    draft.forward()
    _, g = draft.head(CLASSES)
    ids = {"g": g, "dx": draft.add("mean_grad", (g,), draft.like("dx", 0), op=0, factor=0.2 / (0.03 * 35))}
    draft.add("mean_grad", (g,), ids["dx"], op=0, factor=1.0, accumulate=1)
    seen = in_all_variants(program, no_constants(), draft.training(),
                           one_step(ids, codes(rng_of(channels), (1, 5, 7, channels))))  # fmt: skip
    want = seen["g"] * np.float32(0.2 / (0.03 * 35)) + seen["g"]
    np.testing.assert_array_equal(seen["dx"], np.broadcast_to(want, (5, 7, channels)))


def pool_gradient(kind, x, outputs, attrs):
    """x's codes, the output's gradient, and the input's: one sample, one pool; twice it where it is accumulated."""
    source = Tensor("x", *x.shape[1:], 0.1, 12)  # type: ignore[call-arg]
    program = one_op(kind, source, Tensor("y", *outputs, x.shape[3], 0.1, 12), attrs)  # type: ignore[call-arg]
    draft = Draft(program)
    draft.forward()
    _, g = draft.head(CLASSES)
    step = "max_pool2d_grad" if kind == "max_pool2d" else "avg_pool2d_grad"
    inputs = (0, g) if kind == "max_pool2d" else (g,)
    ids = {"g": g, "dx": draft.add(step, inputs, draft.like("dx", 0), op=0), "twice": draft.like("twice", 0)}
    draft.add(step, inputs, ids["twice"], op=0)
    draft.add(step, inputs, ids["twice"], op=0, accumulate=1)
    seen = in_all_variants(program, no_constants(), draft.training(), one_step(ids, x))
    near(seen["twice"], 2 * seen["dx"].astype(np.float64))
    return seen["g"], seen["dx"]


@pytest.mark.parametrize("channels", [1, 17, 65])
@pytest.mark.parametrize("pool", POOLS, ids=str)
def test_pools(pool, channels):
    size, kernel, stride, pad, dilation = pool
    x = codes(rng_of(pool, channels), (1, *size, channels)) // 32  # few codes, so that the largest is seldom alone
    outputs = tuple((n + 2 * p - (k - 1) * d - 1) // s + 1
                    for n, k, s, p, d in zip(size, kernel, stride, pad, dilation, strict=True))  # fmt: skip
    attrs = {"kernel_h": kernel[0], "kernel_w": kernel[1], "stride_h": stride[0], "stride_w": stride[1]}
    attrs |= {"pad_top": pad[0], "pad_left": pad[1]}
    window = attrs | {"dilation_h": dilation[0], "dilation_w": dilation[1]}
    g, dx = pool_gradient("max_pool2d", x, outputs, window)
    near(dx, maximum_gradient(x[0], g, windows(size, outputs, kernel, stride, pad, dilation)))
    if dilation != (1, 1):
        return
    for include in (0, 1):
        g, dx = pool_gradient("avg_pool2d", x, outputs, attrs | {"count_include_pad": include})
        count = kernel[0] * kernel[1] if include else None
        near(dx, average_gradient(size, g, windows(size, outputs, kernel, stride, pad), count))


@pytest.mark.parametrize("outputs", [(1, 1), (2, 3), (7, 5), (9, 11)])
def test_adaptive_pools(outputs):
    x = codes(rng_of(outputs), (1, 7, 5, 19))
    g, dx = pool_gradient("adaptive_avg_pool2d", x, outputs, {"adaptive": 1})
    near(dx, average_gradient((7, 5), g, adaptive_windows((7, 5), outputs)))


@pytest.mark.parametrize(
    "conv", [Conv((9, 5), (4, 4), (3, 3), pad=(1, 1, 1, 1)), Conv((6, 6), (4, 9), groups=6)], ids=str
)
def test_gradients_add_up(conv):
    """A second consumer's gradient is added after its own sum."""
    training, ids = trained(conv)
    step = next(step for step in training.steps if step.kind == "conv2d_grad")
    at = training.steps.index(step) + 1
    again = replace(step, attrs={"accumulate": 1})
    twice = replace(training, steps=(*training.steps[:at], again, *training.steps[at:]))
    rng = rng_of(conv)
    x, constants = codes(rng, (1, *conv.size, conv.channels[0])), constants_of(conv, rng, False)
    once, sums = (in_all_variants(conv.program(), constants, t, one_step(ids, x))["dx"] for t in (training, twice))
    assert once.any()
    np.testing.assert_array_equal(sums, once + once)


@pytest.mark.parametrize(
    "conv",
    [
        Conv((13, 13), (7, 5), (3, 3), pad=(1, 1, 1, 1), groups=13),
        Conv((16, 16), (1, 20), (1, 4), pad=(0, 1, 0, 2), groups=16),
        Conv((3, 3), (6, 11), (5, 4), pad=(2, 2, 2, 1), groups=3, bits=4),
        Conv((18, 18), (9, 9), (3, 2), dilation=(2, 3), pad=(2, 1, 2, 2), groups=18, output_bits=32),
        Conv((73, 73), (3, 4), (3, 3), pad=(0, 1, 2, 1), groups=73),
        Conv((9, 9), (1, 1), (1, 1), groups=9),
    ],
    ids=str,
)
def test_depthwise_gradient_in_place(conv):
    """The same bits in the memory of its input, and everything else as without."""
    training, ids = trained(conv)
    moved = in_place(training)
    apart = replace(training, arena_bytes=moved.arena_bytes)
    rng = rng_of(conv)
    x, constants = codes(rng, (1, *conv.size, conv.channels[0])), constants_of(conv, rng, False)
    natural, shared = (in_all_variants(conv.program(), constants, t, one_step(ids, x)) for t in (apart, moved))
    assert natural["dx"].any()
    np.testing.assert_array_equal(shared["g"], natural["dx"])
    for name in set(natural) - {"g"}:
        assert not (shared[name] != natural[name]).any(), name
