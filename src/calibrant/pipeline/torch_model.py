"""The server's composition: a torch model and its training data go in, an artifact comes out, one call a stage."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from calibrant import coreset as coresets
from calibrant import feedback, frontend, passes, plan, quantize
from calibrant.artifact import Artifact
from calibrant.core import nibbles
from calibrant.core.arrays import INTEGERS, array_of
from calibrant.core.dtype import pack
from calibrant.core.errors import DataError, ModelError
from calibrant.core.program import Constants, Program
from calibrant.core.progress import Progress
from calibrant.core.statistics import Coreset, Feedback, Preprocess
from calibrant.coreset.relearning import count_misses
from calibrant.engine import Engine
from calibrant.graph.graph import Graph
from calibrant.pipeline import float_training, parts
from calibrant.pipeline.parts import Samples
from calibrant.pipeline.verdict import verdict
from calibrant.updaters import form

Labeled = tuple[NDArray[np.float32], NDArray[np.int64]]


@dataclass(frozen=True)
class Prepared:
    """What `prepare` returns: the artifact, and what a researcher wants beside it.

    `net` is the fine-tuned fake-quantized torch module, `graph` its annotated graph, `report` plain JSON values.
    """

    artifact: Artifact
    net: quantize.FakeQuantNet
    graph: Graph
    report: dict[str, Any]


@dataclass(frozen=True)
class Options:
    """The keywords of `prepare`, as they are there; only there they have defaults."""

    bits: int
    activation_bits: int
    coreset: int
    coreset_rule: str
    coreset_bits: int
    misses: NDArray[np.int64] | None
    classes: tuple[str, ...] | None
    standardize: bool | None
    epochs: int | None
    seed: int
    form: str
    scheme: str
    steps: int | None
    blocks: NDArray[np.int64] | None
    validation: Labeled | None
    progress: Progress | None


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
    standardize: bool | None = None,
    epochs: int | None = None,
    seed: int = 0,
    form: str = "accumulated",
    scheme: str = "last-2",
    steps: int | None = None,
    blocks: NDArray[np.int64] | None = None,
    validation: Labeled | None = None,
    progress: Progress | None = None,
) -> Prepared:
    """Quantize a trained model, choose its coreset, learn its feedback, plan its memory.

    Parameters
    ----------
    model : torch.nn.Module or torch.export.ExportedProgram
        A trained classifier of [N, C, T], [N, C, H, W] or [N, F].
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
    standardize : bool, optional
        Whether the device standardizes channels with the training statistics before quantization, as in the network's
        training. By default float accuracy is measured both ways, and samples stay as they are where that is better.
    epochs : int, optional
        Fine-tuning epochs; default by bit-width.
    seed : int
    form, steps
        How the device adapts, see `FlipSettings`.
    scheme : str
        What the form 'sparse' trains, see `calibrant.autodiff.named`.
    blocks : int64[N], optional
        Which stretch of time each sample is of, rising with time: trials, takes, days. From stretches that are left out
        a device learns how far home strays. Without, they are stretches of each class's samples in the given order;
        where these cut a recording in two, home looks steadier than it is, and its later windows cause false alarms.
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
    options = Options(
        bits=bits,
        activation_bits=activation_bits,
        coreset=coreset,
        coreset_rule=coreset_rule,
        coreset_bits=coreset_bits,
        misses=misses,
        classes=classes,
        standardize=standardize,
        epochs=epochs,
        seed=seed,
        form=form,
        scheme=scheme,
        steps=steps,
        blocks=blocks,
        validation=validation,
        progress=progress,
    )
    samples = _samples(x, y, options)
    if options.coreset_bits not in (8, 4):
        raise DataError(f"coreset bits: expected 8 or 4, got {options.coreset_bits}")
    coresets.check(options.coreset_rule, samples.y, options.coreset, options.misses)
    folded = _folded(model, samples.x[:2], options)
    _check_classes(folded, samples)
    preprocess = _preprocess(folded, samples, options)
    standardized = preprocess.apply(samples.x)
    annotated, net = _quantized(folded, standardized, samples.y, options)
    learned = feedback.learn(net, standardized, samples.y, seed=options.seed, progress=options.progress)
    program, constants = plan.lower(quantize.to_integer(net))
    extras = _extras(program, constants, learned, options)
    engine = Engine(program, constants)
    counted = _misses(folded, standardized, samples.y, options)
    chosen = parts.choose(options.coreset_rule, samples, preprocess, options.coreset, options.seed, counted)
    artifact = parts.compose(engine, constants, samples, chosen, preprocess, extras)
    report = _report(artifact, engine, samples, folded, options)
    seen = preprocess.apply((options.validation or (samples.x,))[0])
    if lost := verdict(net, seen, report["accuracy_float"], report["accuracy_quantized"]):
        report["verdict"] = lost
    return Prepared(replace(artifact, report=report), net, annotated, report)


def check(
    model: torch.nn.Module | torch.export.ExportedProgram,
    x: NDArray[np.float32],
    y: NDArray[np.int64],
    classes: tuple[str, ...] | None = None,
) -> None:
    """Refuse before long work, such as training, what `prepare` would refuse of a model and its data; raises as it."""
    names = _names(y, classes)
    samples = Samples.of(x, y, names)
    _check_classes(passes.run(frontend.from_torch(model, torch.from_numpy(samples.x[:2]))), samples)


def _samples(x: NDArray[np.float32], y: NDArray[np.int64], options: Options) -> Samples:
    return Samples.of(x, y, _names(y, options.classes), options.blocks)


def _names(y: NDArray[np.int64], classes: tuple[str, ...] | None) -> tuple[str, ...]:
    """As given, or numbers."""
    labels = array_of(y, "labels", INTEGERS)
    names = classes or tuple(str(c) for c in range(int(labels.max(initial=0)) + 1))
    odd = [name for name in names if not (isinstance(name, str) and name and name.isprintable())]
    if odd:
        raise DataError(f"classes: expected printable names, got {odd[0]!r:.80}")
    return names


def _check_classes(folded: Graph, samples: Samples) -> None:
    """The model has one output a class; says what to do where it has not."""
    shape, names, largest = folded.values[folded.output].shape, len(samples.classes), int(samples.y.max())
    if len(shape) != 1:
        raise ModelError(f"model: expected outputs [N, classes], got [N, {', '.join(map(str, shape))}]")
    (outputs,) = shape
    if names == outputs:
        return
    if samples.y.min() == 1 and largest == outputs:
        remedy = "labels count from 1: subtract 1"
    elif largest >= outputs:
        remedy = f"give the model {names} outputs, or leave out the samples of further classes"
    else:
        named = f"name all {outputs} classes (--classes A,B,C), also those without samples"
        remedy = f"{named}, or give the model {names} outputs"
    found = f"got {names} (labels to {largest})"
    raise DataError(f"classes: expected {outputs}, one an output of the model, {found}; {remedy}")


def _preprocess(folded: Graph, samples: Samples, options: Options) -> Preprocess:
    """As asked; in doubt, what the float network is more often right with. A network that is trained on standardized
    samples is mostly wrong on raw ones, and the other way round.
    """
    standard, raw = Preprocess.of(samples.x), _identity(samples.x.shape[1])
    if options.standardize is not None:
        return standard if options.standardize else raw
    net = quantize.FakeQuantNet(folded)
    right = [float_training.accuracy(net, each.apply(samples.x), samples.y) for each in (standard, raw)]
    return raw if right[1] > right[0] else standard


def _folded(
    model: torch.nn.Module | torch.export.ExportedProgram, example: NDArray[np.float32], options: Options
) -> Graph:
    """The float network as a graph that is ready to be quantized."""
    if options.progress:
        options.progress("export", 0, 1)
    folded = passes.run(frontend.from_torch(model, torch.from_numpy(example)))
    if options.progress:
        options.progress("export", 1, 1)
    return folded


def _quantized(
    folded: Graph, x: NDArray[np.float32], y: NDArray[np.int64], options: Options
) -> tuple[Graph, quantize.FakeQuantNet]:
    """The annotated graph, and the network of it, fine-tuned."""
    ranges = quantize.observe_ranges(folded, x, quantize.percentile(options.activation_bits))
    annotated = quantize.annotate(folded, ranges, options.bits, options.activation_bits)
    net = quantize.FakeQuantNet(annotated)
    quantize.finetune(net, x, y, epochs=options.epochs, seed=options.seed, progress=options.progress)
    return annotated, net


def _extras(program: Program, constants: Constants, learned: Feedback, options: Options) -> parts.Extras:
    weight = parts.weight_size(program, constants)
    return parts.Extras(
        feedback=learned,
        settings=parts.usual_settings(options.form, options.steps, options.bits, weight),
        training=parts.training_step(program, constants, options.scheme) if form(options.form).needs_training else None,
        coreset_bits=options.coreset_bits,
    )


def _misses(folded: Graph, x: NDArray[np.float32], y: NDArray[np.int64], options: Options) -> NDArray[np.int64] | None:
    """Those that were given; counted where the rule needs some and none were."""
    if options.misses is not None or coresets.RULES[options.coreset_rule].needs != "misses":
        return options.misses
    return count_misses(quantize.FakeQuantNet(folded), x, y, seed=options.seed, progress=options.progress)


def _report(artifact: Artifact, engine: Engine, samples: Samples, folded: Graph, options: Options) -> dict[str, Any]:
    program = artifact.program
    x, y = options.validation or (samples.x, samples.y)
    return {
        "bits": options.bits,
        "activation_bits": options.activation_bits,
        "accuracy_float": float_training.accuracy(quantize.FakeQuantNet(folded), artifact.preprocess.apply(x), y),
        "accuracy_quantized": parts.accuracy(artifact, engine, x, y),
        "accuracy_samples": len(y),
        "accuracy_held_out": options.validation is not None,
        "parameters": program.weight_count + program.channel_count,
        "weight_bytes": sum(len(pack(artifact.constants.weights[s.weight_slice], s.bits)) for s in program.layers),
        "arena_bytes": program.arena_bytes,
        "feedback_bytes": int(artifact.feedback.matrix.nbytes),
        "coreset_bytes": _stored_bytes(artifact.coreset),
        "coreset_bits": options.coreset_bits,
        "coreset_rule": options.coreset_rule,
        "seed": options.seed,
        "training_sha256": samples.sha256,
    }


def _stored_bytes(coreset: Coreset) -> int:
    """Bytes of its samples in the artifact."""
    if coreset.bits == 8:
        return int(coreset.x.nbytes)
    held = nibbles.pack(coreset.x)
    return int(held.low.nbytes + held.step.nbytes + held.packed.nbytes)


def _identity(channels: int) -> Preprocess:
    return Preprocess(np.zeros(channels, np.float32), np.ones(channels, np.float32))
