"""One row: a stream through one method, every window scored before anything is learned from it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from calibrant.bench import adaptation
from calibrant.bench.harness.workspace import Workspace
from calibrant.bench.qcore.labels import Labeler
from calibrant.bench.reports import scores
from calibrant.bench.stream import network, scene, synthetic
from calibrant.bench.stream.families import FAMILIES, SYNTHETIC
from calibrant.bench.stream.jobs import Cell
from calibrant.bench.stream.scene import Samples, Scene

GATED = frozenset(adaptation.UPDATERS) - adaptation.ON_SERVER - {"none"}  # methods that have a gate
BATCH = 10  # samples a call, where home is asked about at the end: as few as a user may have


def stream(workspace: Workspace, root: Path | None, job: Cell) -> dict[str, Any]:
    """Stream the case through the method, and keep the row."""
    seen = load(root, job)
    hits = list[NDArray[np.bool_]]()
    with adaptation.UPDATERS[job.method](_deployed(workspace, job, seen)) as subject:
        labeler = Labeler(subject, job.labels, "chance", job.delay, job.preparation.seed)
        before = source_accuracies(subject, seen.test)
        for window in seen.windows:
            hits.append(subject.predict(window.x) == window.y)
            labeler.show(window.x, window.given)
        after = source_accuracies(subject, seen.test)
        final = None if seen.final is None else scores.accuracy(subject.predict(seen.final[0]), seen.final[1])
    places = np.array([window.place for window in seen.windows])
    per_window = np.array([hit.mean() for hit in hits])
    row = {
        "family": job.case.family,
        "case": job.case.name,
        "chosen": job.case.chosen,
        "method": job.method,
        "labels": job.labels,
        "order": job.order,
        "gate": ("on" if job.gate else "off") if job.method in GATED else None,
        "delay": job.delay,
        "seed": job.preparation.seed,
        "bits": job.preparation.bits,
        "windows": len(hits),
        "accuracy": float(np.concatenate(hits).mean()),
        "accuracy_window": per_window.tolist(),
        "accuracy_place": [float(per_window[places == at].mean()) for at in np.unique(places)],
        "accuracy_final": final,
        "source_before": before["shuffled"],
        "source_shuffled": after["shuffled"],
        "source_runs_before": before["runs"],
        "source_runs": after["runs"],
        "labels_used": labeler.used,
        "untouched": labeler.untouched,
        "decisions": dict(Counter(labeler.decisions)),
        "alerts": dict(Counter(labeler.alerts)),
        "seconds_per_window": labeler.seconds / len(hits),
    }
    workspace.save_row(asdict(job), row)
    return row


def load(root: Path | None, job: Cell) -> Scene:
    """What the case shows."""
    if job.case.family == SYNTHETIC:
        number = job.case.source[0]
        return synthetic.scene(number, synthetic.WAYS.get(job.case.name) or synthetic.places(number))
    assert root is not None
    return scene.load(root, FAMILIES[job.case.family], job.case, job.order, job.preparation.seed)


def source_accuracies(subject: adaptation.Adaptation, test: Samples) -> dict[str, float]:
    """Accuracy on home's test, in batches of `BATCH`: classes shuffled, and in runs of one class."""
    x, y = test
    orders = {"shuffled": np.random.default_rng(0).permutation(len(y)), "runs": np.argsort(y, kind="stable")}
    return {name: scores.accuracy(_predicted(subject, x[rows]), y[rows]) for name, rows in orders.items()}


def _predicted(subject: adaptation.Adaptation, x: NDArray[np.float32]) -> NDArray[np.int64]:
    return np.concatenate([subject.predict(x[i : i + BATCH]) for i in range(0, len(x), BATCH)])


def _deployed(workspace: Workspace, job: Cell, seen: Scene) -> adaptation.Deployed:
    about = job.preparation
    settings = asdict(about)
    dataset = about.family if about.family == SYNTHETIC else FAMILIES[about.family].dataset
    return adaptation.Deployed(
        workspace.artifact_path(settings),
        load_net=partial(workspace.load_net, settings),
        load_float=partial(_float_net, workspace, job, seen),
        load_source=lambda: seen.train[0],
        dataset=dataset,
        network="" if about.family == SYNTHETIC else FAMILIES[about.family].network,
        bits=about.bits,
        steps=adaptation.steps_of(job.method, None),
        seed=about.seed,
        gate=job.gate,
    )


def _float_net(workspace: Workspace, job: Cell, seen: Scene) -> nn.Module:
    net = network.untrained(job.preparation, seen.train[0].shape[1:], len(seen.classes))
    return workspace.load_module(asdict(job.preparation), net)
