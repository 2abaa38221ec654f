"""`calibrant prepare`: a torch model and its data become one artifact."""

from __future__ import annotations

import json as text
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.text import Text

from calibrant.cli import windows
from calibrant.cli.console import emit, err, fraction, out, plain, progress, size, table, visible
from calibrant.cli.options import Json, Seed, integers, words
from calibrant.core.arrays import INTEGERS, array_of
from calibrant.core.dtype import WEIGHT_BITS
from calibrant.core.errors import ArtifactError, DataError, ModelError, SignatureError, check_known
from calibrant.core.files import write_text
from calibrant.core.progress import Progress
from calibrant.core.rng import generator
from calibrant.core.statistics import Preprocess
from calibrant.core.task import check_labels
from calibrant.core.window import check_window

if TYPE_CHECKING:
    from torch import nn
    from torch.export import ExportedProgram

    from calibrant.pipeline.torch_model import Prepared


INTEGER_SUFFIX = ".npz"

Labeled = tuple[NDArray[np.float32], NDArray[np.int64]]


def prepare(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="file.py:function that returns a torch module, a saved .pt2 program, or a published int8 .npz.",
        ),
    ],
    data: Annotated[
        str,
        typer.Option(
            "--data", metavar="DATA", help="npz with x, y (and classes, blocks), or file.py:function -> (x, y)."
        ),
    ],
    target: Annotated[Path, typer.Option("--out", "-o", metavar="FILE.cal", help="The artifact to write.")],
    bits: Annotated[int, typer.Option("--bits", help="Weight bits: 2, 4 or 8.")] = 4,
    activation_bits: Annotated[
        str, typer.Option("--activation-bits", metavar="N|same", help="2 to 8, or `same` as the weights.")
    ] = "8",
    compare: Annotated[
        str, typer.Option("--compare", metavar="2,8", help="Report these widths too; each is prepared in full.")
    ] = "",
    coreset: Annotated[int, typer.Option("--coreset", min=1, help="Training samples the device keeps.")] = 20,
    coreset_rule: Annotated[
        str,
        typer.Option("--coreset-rule", help="How they are chosen: balanced, random, misses, histogram or kmeans."),
    ] = "balanced",
    coreset_bits: Annotated[
        int, typer.Option("--coreset-bits", help="Bits of their values: 8, or 4 for half the bytes.")
    ] = 8,
    train: Annotated[
        int,
        typer.Option("--train", min=0, metavar="EPOCHS", help="First train the float model; 0 takes it as trained."),
    ] = 0,
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=0, help="Fine-tuning of the quantized model.", show_default="chosen")
    ] = None,
    standardize: Annotated[
        bool | None,
        typer.Option(
            "--standardize/--raw",
            help="Standardize channels on the device, as the model was trained, or not.",
            show_default="what float does better with; standardize with --train",
        ),
    ] = None,
    validation: Annotated[
        float, typer.Option("--validation", min=0.0, max=0.9, help="Share of the data held out to measure accuracy.")
    ] = 0.2,
    classes: Annotated[str, typer.Option("--classes", metavar="A,B,C", help="Names of the classes.")] = "",
    sign: Annotated[
        Path | None, typer.Option("--sign", metavar="KEY", help="Sign with this secret key of `calibrant keygen`.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE.json", help="Also write the report as JSON.")
    ] = None,
    form: Annotated[
        str,
        typer.Option(
            "--form",
            help="How the device adapts: flips, accumulated or, with less memory, pooled, taps, blocks; or sparse.",
        ),
    ] = "accumulated",
    scheme: Annotated[
        str,
        typer.Option("--scheme", help="What --form sparse trains: classifier, bias, bias-K, last-K, full."),
    ] = "last-2",
    strict: Annotated[
        bool, typer.Option("--strict", help="Write nothing if integers lose more than 2 points of accuracy.")
    ] = False,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Quantize a model, choose its coreset, learn its feedback and write one artifact for devices.

    `blocks` numbers the recordings, takes or trials that samples are of: left out in turn, they say how far home
    strays, and so how well the device will know it again. Without, stretches of the given order do.

    MODEL counts as trained unless --train is given. --validation takes its share of every class at random; neighboring
    windows of one recording then stand on both sides, so judge on recordings the model has not seen.

    A published int8 network (NAME.npz with NAME.json; pixels 0 to 1 of its size) gets a new head and is trained on the
    device: --scheme says what of it, as above or NETWORK:BUDGET.

    FILE.py:FUNCTION is code and runs, as `python FILE.py` would; .pt2, npz and artifact files never run anything.

    Example: calibrant prepare model.py:build --data train.npz --bits 4 -o har.cal
    """
    from calibrant import artifact
    from calibrant import coreset as coresets
    from calibrant.frontend import source
    from calibrant.pipeline import torch_model

    if model.endswith(INTEGER_SUFFIX):
        _adopt(Path(model), data, target, scheme, coreset, coreset_rule, classes, sign, seed, json)
        return
    widths = _widths(bits, compare)
    _check_choices(coreset_rule, coreset_bits, form)
    _check_files(target, report, sign)
    names, x, y, blocks = _samples(data, classes, seed)
    rows, others = _divide(y, validation, seed)
    fit, held = (x[rows], y[rows]), (x[others], y[others]) if len(others) else None
    coresets.check(coreset_rule, fit[1], coreset)
    taken = source.load(model, seed)
    scale = True if standardize is None and train else standardize
    if train:
        torch_model.check(taken, *fit, names)
    misses = None
    with progress() as show:
        if train:
            counted = coresets.RULES[coreset_rule].needs == "misses"
            taken, misses = _trained(taken, fit, train, bool(scale), seed, counted, show)
        made = {
            width: torch_model.prepare(
                taken,
                *fit,
                bits=width,
                activation_bits=_activation_bits(activation_bits, width),
                coreset=coreset,
                coreset_rule=coreset_rule,
                coreset_bits=coreset_bits,
                misses=misses,
                classes=names,
                standardize=scale,
                epochs=epochs,
                seed=seed,
                form=form,
                scheme=scheme,
                blocks=None if blocks is None else blocks[rows],
                validation=held,
                progress=_labeled(show, f"{width} bits"),
            )
            for width in widths
        }
    verdict = made[bits].report.get("verdict")
    if verdict is not None and strict:
        raise ModelError(f"--strict: {verdict}")
    artifact.write(target, made[bits].artifact, sign=sign)
    facts = {
        "artifact": str(target),
        "bytes": target.stat().st_size,
        "standardized": bool((made[bits].artifact.preprocess.std != 1).any()),
        "arena_bytes": made[bits].artifact.program.arena_bytes,
        "signed": sign is not None,
        "bits": {str(width): prepared.report for width, prepared in made.items()},
    }
    if report is not None:
        write_text(report, text.dumps(plain(facts), indent=2) + "\n")
    if json:
        emit(facts)
    else:
        _show(target, made, bits)
    if verdict is not None:
        err.print(Text(visible(verdict), "bold red"))


def _adopt(
    model: Path,
    data: str,
    target: Path,
    scheme: str,
    coreset: int,
    coreset_rule: str,
    classes: str,
    sign: Path | None,
    seed: int,
    json: bool,
) -> None:
    """A network of integers needs no quantization: coreset and training step are all that is added."""
    from calibrant import artifact, zoo
    from calibrant.pipeline.integer_model import prepare_integer

    _check_files(target, None, sign)
    names, x, y, blocks = _samples(data, classes, seed)
    half = np.full(x.shape[1], 0.5, np.float32)
    made = prepare_integer(
        zoo.load_tinyml(model, classes=len(names)),
        x,
        y,
        preprocess=Preprocess(half, half),
        scheme=scheme,
        coreset=coreset,
        coreset_rule=coreset_rule,
        classes=names,
        blocks=blocks,
        seed=seed,
    )
    artifact.write(target, made, sign=sign)
    step = made.training
    facts = {
        "artifact": str(target),
        "bytes": target.stat().st_size,
        "arena_bytes": made.program.arena_bytes,
        "training_arena_bytes": step.arena_bytes if step else 0,
        "trained_parameters": step.accumulator_count if step else 0,
    }
    if json:
        emit(facts)
        return
    rows = table("what", "value", title=str(target), left=1)
    for name, value in facts.items():
        rows.add_row(name.replace("_", " "), f"{value:,}" if isinstance(value, int) else str(value))
    out.print(rows)


def _widths(bits: int, compare: str) -> list[int]:
    widths = list(dict.fromkeys([bits, *integers(compare, "--compare")]))
    if any(width not in WEIGHT_BITS for width in widths):
        allowed, given = (", ".join(map(str, some)) for some in (WEIGHT_BITS, widths))
        raise ModelError(f"weight bits: expected some of {allowed}, got {given}")
    return widths


def _check_choices(coreset_rule: str, coreset_bits: int, form: str) -> None:
    """What would only be found wrong after the long work."""
    from calibrant.coreset import RULES
    from calibrant.updaters import FORMS

    for option, given, allowed in (
        ("--coreset-rule", coreset_rule, tuple(RULES)),
        ("--coreset-bits", str(coreset_bits), ("8", "4")),
        ("--form", form, tuple(FORMS)),
    ):
        check_known(option, given, allowed, ModelError)


def _check_files(target: Path, report: Path | None, sign: Path | None) -> None:
    for path in (target, report):
        if path is not None and not path.parent.is_dir():
            raise ArtifactError(f"{path}: expected an existing folder to write to, got no folder {path.parent}")
    if sign is not None and not sign.is_file():
        raise SignatureError(f"{sign}: expected a secret key of `calibrant keygen`, got no such file")


def _activation_bits(given: str, weight_bits: int) -> int:
    if given == "same":
        return weight_bits
    if not given.isdigit() or not 2 <= int(given) <= 8:
        raise ModelError(f"--activation-bits: expected 2 to 8 or 'same', got '{given}'")
    return int(given)


def _samples(
    reference: str, classes: str, seed: int
) -> tuple[tuple[str, ...], NDArray[np.float32], NDArray[np.int64], NDArray[np.int64] | None]:
    """Class names, x, y and blocks of DATA, checked: finite numbers, every label a class."""
    from calibrant.pipeline.recognition import check_blocks

    samples = _returned(reference, seed) if ".py:" in reference else windows.read(Path(reference))
    if samples.y is None:
        raise DataError(f"{reference}: expected labels 'y' beside 'x', got none")
    names = words(classes) or samples.classes
    x = check_window(samples.x, samples.x.shape[1:])
    count = len(names) if names is not None else int(np.max(samples.y, initial=0)) + 1
    y = check_labels(samples.y, len(x), count)
    if (y < 0).any():
        raise DataError(f"{reference}: expected a label for every sample, got {int((y < 0).sum())} without one")
    return names or tuple(str(i) for i in range(count)), x, y, check_blocks(samples.blocks, len(x))


def _returned(reference: str, seed: int) -> windows.Samples:
    from calibrant.frontend import source

    returned = source.call(reference, seed)
    if not isinstance(returned, tuple) or len(returned) not in (2, 3):
        raise DataError(f"{reference}: expected (x, y) or (x, y, classes), got {type(returned).__name__}")
    x, y = array_of(returned[0], f"{reference}: x"), array_of(returned[1], f"{reference}: y", INTEGERS)
    return windows.Samples(x, y, windows.names_of(returned[2], reference) if len(returned) == 3 else None)


def _divide(y: NDArray[np.int64], share: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of samples to learn from, and `share` of every class that is held out."""
    order = generator(seed, "validation").permutation(len(y))
    held = [order[y[order] == label][: round(share * int((y == label).sum()))] for label in np.unique(y)]
    others = np.sort(np.concatenate(held)) if held else np.zeros(0, np.int64)
    return np.setdiff1d(np.arange(len(y)), others), others


def _trained(
    model: nn.Module | ExportedProgram,
    fit: Labeled,
    epochs: int,
    standardize: bool,
    seed: int,
    counted: bool,
    show: Progress,
) -> tuple[nn.Module, NDArray[np.int64] | None]:
    """The trained network and, if they are to be counted and there was more than one epoch, its quantization misses."""
    from calibrant.coreset import MissCounter
    from calibrant.frontend import source
    from calibrant.pipeline import float_training

    net = source.trainable(model)
    x, y = fit
    if standardize:
        x = Preprocess.of(x).apply(x)
    counter = MissCounter(x, y) if counted and epochs > 1 else None
    after_epoch = counter.after_epoch if counter else None
    settings = float_training.TrainingSettings(epochs=epochs)
    trained = float_training.train(net, x, y, settings, seed=seed, after_epoch=after_epoch, progress=show)
    return trained, counter.misses() if counter else None


def _labeled(show: Progress, prefix: str) -> Progress:
    return lambda stage, done, total: show(f"{prefix}: {stage}", done, total)


def _show(target: Path, made: dict[int, Prepared], bits: int) -> None:
    chosen = made[bits].report
    where = "held-out" if chosen["accuracy_held_out"] else "training"
    rows = table("weights", "accuracy", "weight bytes", "arena", title=f"{chosen['accuracy_samples']} {where} samples")
    rows.add_row("float", fraction(chosen["accuracy_float"]), f"{4 * chosen['parameters']:,}", "")
    for width, prepared in made.items():
        facts = prepared.report
        cells = (fraction(facts["accuracy_quantized"]), f"{facts['weight_bytes']:,}", f"{facts['arena_bytes']:,}")
        rows.add_row(f"{width} bits", *cells)
    out.print(rows)
    out.print(f"wrote {target}: {size(target.stat().st_size)}, {bits}-bit weights, `calibrant inspect` shows more")
    taken = "standardized by" if (made[bits].artifact.preprocess.std != 1).any() else "taken as they are, not by"
    out.print(f"samples are {taken} mean and deviation of each channel, as float accuracy was measured")
