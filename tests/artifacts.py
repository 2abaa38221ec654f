"""Small real artifacts, built from records: a two-layer series classifier whose weights come from a seed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from calibrant.artifact import Artifact
from calibrant.core.dtype import weight_range
from calibrant.core.fixedpoint import quantize_multiplier
from calibrant.core.program import Constants, Layer, Op, Program, Tensor
from calibrant.core.rng import generator
from calibrant.core.scratch import scratch_bytes
from calibrant.core.settings import FlipSettings
from calibrant.core.statistics import Coreset, FeatureStatistics, Feedback, InDistribution, Preprocess
from calibrant.core.window import encode
from calibrant.engine import Engine
from calibrant.pipeline import parts, recognition
from calibrant.pipeline.home import pre_activations


def make_artifact(
    bits: int = 4,
    channels: int = 3,
    length: int = 8,
    hidden: int = 6,
    classes: int = 3,
    coreset: int = 9,
    seed: int = 0,
    settings: FlipSettings | None = None,
) -> Artifact:
    """Series [channels, length] -> conv2d (kernel 3, clamp at zero) -> mean -> conv2d 1x1 with 32-bit class scores."""
    rng = generator(seed, "tests")
    x = Tensor("x", 1, length, channels, 0.05, 0)
    h = Tensor("h", 1, length, hidden, 0.05, -128)
    m = Tensor("m", 1, 1, hidden, 0.05, -128)
    y = Tensor("y", 1, 1, classes, 1.0, 0, bits=32)
    first = Layer("first", bits, hidden, 1, 3, channels, 1, 0, 0, 0)
    last = Layer("last", bits, classes, 1, 1, hidden, 1, first.weight_count, hidden, channels)
    conv = {
        "kernel_h": 1,
        "kernel_w": 3,
        "stride_h": 1,
        "stride_w": 1,
        "pad_top": 0,
        "pad_left": 1,
        "dilation_h": 1,
        "dilation_w": 1,
        "groups": 1,
        "clamp_low": -128,
        "clamp_high": 127,
        "rounding": 0,
    }
    head = conv | {"kernel_w": 1, "pad_left": 0}
    multiplier, shift = quantize_multiplier(1 / length)
    mean = {"multiplier0": multiplier, "shift0": shift, "clamp_low": -128, "clamp_high": 127, "rounding": 0}
    offsets, used = [], 0
    for tensor in (x, h, m, y):
        offsets.append(used)
        used += -(-tensor.nbytes // 64) * 64
    ops = []
    for kind, source, target, attrs, layer in (
        ("conv2d", 0, 1, conv, 0),
        ("mean", 1, 2, mean, -1),
        ("conv2d", 2, 3, head, 1),
    ):
        tensors = (x, h, m, y)
        scratch = scratch_bytes(kind, tensors[source], tensors[target], attrs)
        ops.append(Op(kind, (source,), target, attrs | {"scratch_offset": used, "scratch_bytes": scratch}, layer))
    arena = used + max(op.attrs["scratch_bytes"] for op in ops)
    program = Program((x, h, m, y), tuple(ops), (first, last), 0, 3, tuple(offsets), arena)
    low, high = weight_range(bits)
    scale = np.full(program.channel_count, 0.4 / high, np.float32)
    requantize = np.array([quantize_multiplier(0.05 * float(s) / 0.05) for s in scale], np.int32)
    constants = Constants(
        weights=rng.integers(low, high + 1, program.weight_count).astype(np.int8),
        bias=rng.integers(-20, 21, program.channel_count).astype(np.int32),
        multiplier=np.ascontiguousarray(requantize[:, 0]),
        shift=np.ascontiguousarray(requantize[:, 1]),
        scale=scale,
    )
    return Artifact(
        program=program,
        constants=constants,
        preprocess=Preprocess(np.zeros(channels, np.float32), np.ones(channels, np.float32)),
        feedback=Feedback(
            rng.integers(-127, 128, (classes, program.channel_count)).astype(np.int8), np.ones(2, np.float32)
        ),
        coreset=Coreset(
            rng.integers(-60, 60, (coreset, 1, length, channels)).astype(np.int8),
            np.arange(coreset, dtype=np.int64) % classes,
        ),
        reference=FeatureStatistics.of(rng.normal(0, 10, program.pooled_count), np.full(program.pooled_count, 100.0)),
        classes=tuple(f"class {i}" for i in range(classes)),
        input_shape=(channels, length),
        usual=InDistribution(error=0.0078125, distance=0.5),
        settings=settings or FlipSettings(form="pooled", steps=8, loss_goal=0.03),
        thresholds={"coreset_drop": 1.0, "holdout": 0.15},
        report={"note": "made by tests"},
    )


def at_home(artifact: Artifact, n: int = 90, by_class: bool = False) -> Artifact:
    """With what its pre-activations are on windows that :func:`make_window` gives."""
    x, y = make_window(artifact, n, seed=100)
    codes = encode(x, artifact.program.tensors[0], artifact.preprocess, artifact.input_shape)
    home = pre_activations(Engine(artifact.program, artifact.constants), codes, y, len(artifact.classes))
    if by_class:
        rows = np.float32(np.float16([home.mean, np.sqrt(home.variance)]))
        mean, std = (np.repeat(row[None], len(artifact.classes), axis=0) for row in rows)
        home = replace(home, class_mean=mean, class_std=std)
    return replace(artifact, home=home)


def recognizing(artifact: Artifact, n: int = 200) -> Artifact:
    """With what tells home from elsewhere, by windows that :func:`make_window` gives."""
    x, y = make_window(artifact, n)
    codes = encode(x, artifact.program.tensors[0], artifact.preprocess, artifact.input_shape)
    pooled = Engine(artifact.program, artifact.constants).observe(codes).pooled
    last = pooled[:, artifact.program.layers[-1].pooled_slice]
    return replace(artifact, recognition=recognition.of(artifact.program, codes, last, y))


def make_window(artifact: Artifact, n: int = 40, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """A learnable window: class k raises channel k."""
    rng = generator(seed, "window")
    classes, (channels, length) = len(artifact.classes), artifact.input_shape
    y = rng.integers(0, classes, n).astype(np.int64)
    x = rng.normal(0, 0.5, (n, channels, length)).astype(np.float32)
    x[np.arange(n), y % channels] += 2
    return x, y


def make_sparse_artifact(scheme: str = "full", **about: object) -> Artifact:
    """The same with a planned training step of a scheme by name, and settings that run it."""
    plain = make_artifact(**about)  # type: ignore[arg-type]
    settings = FlipSettings(form="sparse", steps=10, rate=0.05, loss_goal=0.03)
    step = parts.training_step(plain.program, plain.constants, scheme)
    return replace(plain, training=step, settings=settings)
