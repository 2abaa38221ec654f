"""The protocol's float networks: trained on the source, and the quantization misses counted on the way."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from calibrant import coreset, data, zoo
from calibrant.bench.harness.workspace import Workspace
from calibrant.bench.qcore.jobs import EARLIER, Counting, Training
from calibrant.bench.recipes import recipe
from calibrant.core.statistics import Preprocess
from calibrant.pipeline import float_training

BATCH = 64


def train(workspace: Workspace, root: Path, job: Training | Counting) -> None:
    """Train the source's float network into the workspace; where asked for, count and keep misses too."""
    about = job.training if isinstance(job, Counting) else job
    domain = data.load(about.dataset, root, about.source)
    rows, _ = source_rows(about, domain)
    x, y = Preprocess.of(domain.x[rows]).apply(domain.x[rows]), domain.y[rows]
    counter = coreset.MissCounter(x, y) if isinstance(job, Counting) else None
    how = recipe(about.dataset)
    settings = float_training.TrainingSettings(
        epochs=-(-about.steps // max(1, len(rows) // BATCH)),
        batch=BATCH,
        rate=how.rate,
        shift=how.shift,
        mirror=how.mirror,
    )
    net = float_training.train(
        build(about, domain),
        x,
        y,
        settings,
        seed=about.seed,
        after_epoch=counter.after_epoch if counter else None,
    )
    if counter:
        workspace.save_misses(asdict(job), counter.misses())
    workspace.save_module(asdict(about), net)


def build(job: Training, domain: data.Domain) -> nn.Module:
    """The network before training."""
    _, channels, *shape = domain.x.shape
    return zoo.build(job.network, channels, tuple(shape), len(domain.classes), job.seed)


def source_rows(job: Training, domain: data.Domain) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of the source that train and that test."""
    rows, held = data.split(domain, job.split, job.seed)
    return (halves(domain, rows, job.split)[0] if job.part == EARLIER else rows), held


def halves(domain: data.Domain, rows: NDArray[np.int64], split: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows cut in two: for segments, the earlier half of each class's and the later half, else as they come.

    A class with a single segment is earlier as a whole.
    """
    if split != "segment":
        return rows[: len(rows) // 2], rows[len(rows) // 2 :]
    later = np.zeros(len(rows), np.bool_)
    for label in np.unique(domain.y[rows]):
        own = domain.y[rows] == label
        segments = np.unique(domain.segment[rows][own])
        later |= own & np.isin(domain.segment[rows], segments[(len(segments) + 1) // 2 :])
    return rows[~later], rows[later]
