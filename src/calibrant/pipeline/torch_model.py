"""The server's composition: a torch model and its training data go in, an artifact comes out, one call a stage."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from calibrant import autodiff, feedback, frontend, passes, plan, quantize
from calibrant import coreset as coresets
from calibrant.artifact import Artifact
from calibrant.core import nibbles
from calibrant.core.dtype import pack
from calibrant.core.errors import DataError
from calibrant.core.logits import logits
from calibrant.core.program import Constants, Program
from calibrant.core.settings import FlipSettings
from calibrant.core.statistics import Coreset, FeatureStatistics, InDistribution, Preprocess
from calibrant.core.task import check_labels
from calibrant.core.training import Training
from calibrant.core.window import check_window, encode
from calibrant.engine import Engine
from calibrant.graph.graph import Graph
from calibrant.policy.feature_distance import DISTANCE_ONE, Features, nearest
from calibrant.updaters import defaults
from calibrant.updaters import form as row

Labeled = tuple[NDArray[np.float32], NDArray[np.int64]]
Progress = Callable[[str, int, int], None]

_BATCH = 256
_TWO_BIT_RATE = 3e-3  # where a code is as large as the weights, small steps take too long
_USUAL_WEIGHT = 0.05  # root mean square of the weights that rates were chosen for


@dataclass(frozen=True)
class Prepared:
    """What `prepare` returns: the artifact, and what a researcher wants beside it.

    `net` is the fine-tuned fake-quantized torch module, `graph` its annotated graph, `report` plain JSON values.
    """

    artifact: Artifact
    net: quantize.FakeQuantNet
    graph: Graph
    report: dict[str, Any]


def prepare(
    model: torch.nn.Module | torch.export.ExportedProgram,
    x: NDArray[np.float32],
    y: NDArray[np.int64],
    *,
    bits: int = 4,
    activation_bits: int = 8,
    coreset: int = 20,
    coreset_rule: str = "balanced",
    coreset_bits: int = 8,
    misses: NDArray[np.int64] | None = None,
    classes: tuple[str, ...] | None = None,
    standardize: bool = True,
    epochs: int | None = None,
    seed: int = 0,
    form: str = "accumulated",
    scheme: str = "last-2",
    steps: int | None = None,
    validation: Labeled | None = None,
    progress: Progress | None = None,
) -> Prepared:
    """Quantize a trained model, choose its coreset, learn its feedback, plan its memory.

    Parameters
    ----------
    model : torch.nn.Module or torch.export.ExportedProgram
        A trained classifier of [N, C, T], [N, C, H, W] or [N, F]; it sees standardized inputs when `standardize`.
    x, y : float32[N, ...], int64[N]
        Training samples in physical units, and their classes.
    bits : {2, 4, 8}
        Weight bits.
    activation_bits : int
        2 to 8.
    coreset : int
        Samples that travel with the model.
    coreset_rule : str
        One of `calibrant.coreset.RULES`.
    coreset_bits : {8, 4}
        Bits of their input codes, and of what the device adds to them.
    misses : int64[N], optional
        Quantization misses from `calibrant.coreset.MissCounter`, for rules that need them. Without, they are counted
        while a copy of the float network trains on for some epochs, alike for all `bits`.
    classes : tuple of str, optional
        Names; default "0", "1", ...
    standardize : bool
        Whether the device standardizes channels with the training statistics before quantization.
    epochs : int, optional
        Fine-tuning epochs; default by bit-width.
    seed : int
    form, steps
        How the device adapts, see `FlipSettings`.
    scheme : str
        What the form 'sparse' trains, see `calibrant.autodiff.named`.
    validation : (x, y), optional
        Held-out samples for the report; without them accuracies are those of the training samples.
    progress : callable, optional
        Called with (stage, done, total).

    Returns
    -------
    Prepared

    Raises
    ------
    ModelError
        An unsupported op or shape.
    DataError
        Samples or labels that do not fit.
    """
    x = check_window(x, np.shape(x)[1:])
    names = classes or tuple(str(c) for c in range(int(np.max(y, initial=0)) + 1))
    y = check_labels(y, len(x), len(names))
    if (y < 0).any():
        raise DataError(f"training labels: expected a class for every sample, got {int((y < 0).sum())} unlabeled")
    if coreset_bits not in (8, 4):
        raise DataError(f"coreset bits: expected 8 or 4, got {coreset_bits}")
    coresets.check(coreset_rule, y, coreset, misses)
    preprocess = Preprocess.of(x) if standardize else _identity(x.shape[1])
    standardized = preprocess.apply(x)

    if progress:
        progress("export", 0, 1)
    folded = passes.run(frontend.from_torch(model, torch.from_numpy(standardized[:2])))
    if progress:
        progress("export", 1, 1)
    ranges = quantize.observe_ranges(folded, standardized, quantize.percentile(activation_bits))
    annotated = quantize.annotate(folded, ranges, bits, activation_bits)
    net = quantize.FakeQuantNet(annotated)
    quantize.finetune(net, standardized, y, epochs=epochs, seed=seed, progress=progress)
    learned = feedback.learn(net, standardized, y, seed=seed, progress=progress)
    program, constants = plan.lower(quantize.to_integer(net))
    step = training_step(program, constants, scheme) if row(form).needs_training else None
    engine = Engine(program, constants)
    need = coresets.RULES[coreset_rule].needs
    if need == "misses" and misses is None:
        misses = coresets.count_misses(quantize.FakeQuantNet(folded), standardized, y, seed=seed, progress=progress)
    points = coresets.features(standardized) if need == "features" else None
    chosen = coresets.select(coreset_rule, y, coreset, seed, misses, points)
    input_shape = tuple(int(n) for n in x.shape[1:])
    codes = encode(x, program.tensors[program.input], preprocess, input_shape)
    reference, outputs, pooled = training_statistics(engine, codes)
    artifact = Artifact(
        program=program,
        constants=constants,
        preprocess=preprocess,
        feedback=learned,
        coreset=_coreset(codes[chosen], y[chosen], coreset_bits),
        reference=reference,
        classes=names,
        input_shape=input_shape,
        training=step,
        settings=settings(form, steps, bits, weight_size(program, constants)),
    )
    wrong = logits(outputs, program, constants).argmax(axis=1) != y
    artifact = replace(artifact, usual=usual(artifact, engine, wrong, np.delete(pooled, chosen, axis=0)))
    held = validation or (x, y)
    report = {
        "bits": bits,
        "activation_bits": activation_bits,
        "accuracy_float": _float_accuracy(folded, preprocess.apply(held[0]), held[1]),
        "accuracy_quantized": accuracy(artifact, engine, *held),
        "accuracy_samples": len(held[1]),
        "accuracy_held_out": validation is not None,
        "parameters": program.weight_count + program.channel_count,
        "weight_bytes": sum(len(pack(constants.weights[s.weight_slice], s.bits)) for s in program.layers),
        "arena_bytes": program.arena_bytes,
        "feedback_bytes": int(learned.matrix.nbytes),
        "coreset_bytes": _stored_bytes(artifact.coreset),
        "coreset_bits": coreset_bits,
        "coreset_rule": coreset_rule,
        "seed": seed,
        "training_sha256": hashlib.sha256(x.tobytes() + y.tobytes()).hexdigest(),
    }
    return Prepared(replace(artifact, report=report), net, annotated, report)


def training_step(program: Program, constants: Constants, scheme: str) -> Training:
    """The planned training step of a scheme by name; ModelError if the scheme or the program does not allow it."""
    chosen = autodiff.named(scheme, len(program.layers) - 1)
    return plan.schedule(autodiff.differentiate(program, constants, chosen), program)


def accuracy(artifact: Artifact, engine: Engine, x: NDArray[np.float32], y: NDArray[np.int64]) -> float:
    """Share of samples that the engine's current weights classify as `y`."""
    codes = encode(x, artifact.program.tensors[artifact.program.input], artifact.preprocess, artifact.input_shape)
    scores = logits(engine.infer(codes), artifact.program, artifact.constants)
    return float((scores.argmax(axis=1) == y).mean())


def training_statistics(
    engine: Engine, codes: NDArray[np.int8]
) -> tuple[FeatureStatistics, NDArray[np.int32], NDArray[np.int32]]:
    """One forward pass over training samples int8[N, height, width, channels].

    Returns
    -------
    reference : FeatureStatistics
    outputs : int32[N, K]
    pooled : int32[N, channels]
        Pooled inputs of the last layer.
    """
    program = engine.program
    sums = np.zeros((2, program.pooled_count), np.int64)
    outputs, last = [], []
    for start in range(0, len(codes), _BATCH):
        seen = engine.observe(codes[start : start + _BATCH])
        pooled = seen.pooled.astype(np.int64)
        sums += pooled.sum(axis=0), (pooled * pooled).sum(axis=0)
        outputs.append(seen.outputs)
        last.append(seen.pooled[:, program.layers[-1].pooled_slice])
    mean, square = sums / (len(codes) * program.pooled_positions ** np.array([[1], [2]]))
    return FeatureStatistics.of(mean, square - mean**2), np.concatenate(outputs), np.concatenate(last)


def usual(artifact: Artifact, engine: Engine, wrong: NDArray[np.bool_], pooled: NDArray[np.int32]) -> InDistribution:
    """What the drift gate is to expect.

    Parameters
    ----------
    artifact : Artifact
        With its coreset and reference.
    engine : Engine
        With its weights.
    wrong : bool[N]
        Which training samples the network gets wrong.
    pooled : int32[M, channels]
        Pooled inputs of the last layer, of training samples that are not in the coreset.
    """
    error = float(wrong.mean())
    if not len(pooled) or not len(artifact.coreset.y):
        return InDistribution(error)
    features = Features.of(artifact.program, artifact.reference)
    distance, _ = nearest(features(pooled), features.observed(engine.observe(artifact.coreset.x)))
    return InDistribution(error, float(distance.mean()) / DISTANCE_ONE, float(distance.std()) / DISTANCE_ONE)


def _coreset(codes: NDArray[np.int8], y: NDArray[np.int64], bits: int) -> Coreset:
    return Coreset(nibbles.rounded(codes), y, bits=4) if bits == 4 else Coreset(codes, y)


def _stored_bytes(coreset: Coreset) -> int:
    """Bytes of its samples in the artifact."""
    if coreset.bits == 8:
        return int(coreset.x.nbytes)
    held = nibbles.pack(coreset.x)
    return int(held.low.nbytes + held.step.nbytes + held.packed.nbytes)


def _identity(channels: int) -> Preprocess:
    return Preprocess(np.zeros(channels, np.float32), np.ones(channels, np.float32))


def _float_accuracy(folded: Graph, x: NDArray[np.float32], y: NDArray[np.int64]) -> float:
    net = quantize.FakeQuantNet(folded)
    with torch.no_grad():
        scores = [net(torch.from_numpy(x[i : i + _BATCH])).numpy() for i in range(0, len(x), _BATCH)]
    return float((np.concatenate(scores).argmax(axis=1) == y).mean())


def weight_size(program: Program, constants: Constants) -> float:
    """Root mean square, in reals, of that layer's weights which the median weight belongs to, small layers first."""
    sizes = []
    for layer in program.layers:
        codes = constants.weights[layer.weight_slice].reshape(layer.c_out, -1).astype(np.float64)
        reals = codes * constants.scale[layer.channel_slice][:, None]
        sizes.append((float(np.sqrt(np.mean(reals**2))), layer.weight_count))
    sizes.sort()
    before = np.cumsum([count for _, count in sizes])
    return sizes[int(np.searchsorted(before, before[-1] / 2))][0]


def settings(form: str, steps: int | None, bits: int, weight: float = _USUAL_WEIGHT) -> FlipSettings:
    """What a device adapts with by default, by form, weight bits and size of most weights; `steps` instead of the
    form's own. Adam moves large and small weights alike, so small ones ask for a smaller rate."""
    usual = _TWO_BIT_RATE if bits == 2 else FlipSettings.rate
    return defaults(form, float(f"{usual * min(1.0, weight / _USUAL_WEIGHT):.2g}"), steps)
