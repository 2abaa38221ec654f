"""The protocol's networks and artifacts: trained on the sources of a case, prepared with a user's defaults."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

from torch import nn

from calibrant import data, zoo
from calibrant.bench.harness.workspace import Workspace
from calibrant.bench.qcore.network import BATCH
from calibrant.bench.recipes import Recipe, recipe
from calibrant.bench.stream import scene, synthetic
from calibrant.bench.stream.cases import Case
from calibrant.bench.stream.families import FAMILIES, SYNTHETIC
from calibrant.bench.stream.jobs import Preparation
from calibrant.core.statistics import Preprocess
from calibrant.pipeline import float_training, torch_model


def prepare(workspace: Workspace, root: Path | None, job: Preparation) -> None:
    """Train and quantize; the artifact, the float network and the fake-quantized one go into the workspace."""
    if job.family == SYNTHETIC:
        net, train = synthetic.trained(0)
        source, how = scene.Source(train, synthetic.tone(300, 3), synthetic.NAMES), Recipe()
    else:
        assert root is not None
        source = scene.training(root, FAMILIES[job.family], _case(job))
        x, y = source.train
        how = recipe(FAMILIES[job.family].dataset)
        settings = float_training.TrainingSettings(
            epochs=-(-how.steps // max(1, len(y) // BATCH)),
            batch=BATCH,
            rate=how.rate,
            shift=how.shift,
            mirror=how.mirror,
        )
        start = untrained(job, x.shape[1:], len(source.classes))
        net = float_training.train(start, Preprocess.of(x).apply(x), y, settings, seed=job.seed)
    workspace.save_module(asdict(job), net)
    prepared = torch_model.prepare(
        net,
        *source.train,
        bits=job.bits,
        classes=source.classes,
        epochs=how.finetune.get(job.bits),
        seed=job.seed,
        blocks=source.blocks,
        validation=source.test,
    )
    workspace.save_prepared(asdict(job), prepared.artifact, prepared.net)


def untrained(job: Preparation, shape: tuple[int, ...], classes: int) -> nn.Module:
    """The network before training."""
    if job.family == SYNTHETIC:
        return synthetic.network()
    return zoo.build(FAMILIES[job.family].network, shape[0], tuple(shape[1:]), classes, job.seed)


def digest(root: Path, case: Case) -> str:
    """SHA-256 of the data that a case's network is trained on."""
    dataset = FAMILIES[case.family].dataset
    return "+".join(data.digest(dataset, root, n)[:16] for n in case.source)


def stream_digest(root: Path, case: Case) -> str:
    """SHA-256 of the data that a case's stream consists of."""
    dataset = FAMILIES[case.family].dataset
    numbers = sorted({n for leg in case.legs for n in (leg.subject, leg.until) if n is not None})
    return "+".join(data.digest(dataset, root, n)[:16] for n in numbers)


def _case(job: Preparation) -> Case:
    """Any case with these sources."""
    empty = Case(job.family, "", job.source, ())
    return replace(empty, home=job.home, known=job.known)
