"""One row: a head through all experiences, asked about all classes seen after each, and taught one by few samples."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.bench.cwr import network
from calibrant.bench.cwr.jobs import Cell
from calibrant.bench.cwr.methods import METHODS, Subject
from calibrant.bench.cwr.scene import Scene
from calibrant.bench.harness.workspace import Workspace
from calibrant.core.rng import generator
from calibrant.heads import Lesson

FEW = (1, 5, 20)  # samples that a class is learned from


def learn(workspace: Workspace, root: Path, job: Cell) -> dict[str, Any]:
    """Go through the experiences, and keep the row."""
    seen, found = network.load(root, job.preparation), workspace.features(asdict(job.preparation))
    train, test = found["train"], found["test"]
    sample = {"raw": int(np.prod(seen.x.shape[1:])), "latent": train.shape[1]}
    subject = Subject.of(job, sample)
    accuracy, parts, facts, seconds = list[float](), list[list[float]](), list[dict[str, Any]](), 0.0
    few: dict[str, dict[str, float]] = {}
    for i in range(len(seen.sizes)):
        if i == 0 and METHODS[job.method].coreset:
            lesson = Lesson(found["coreset"], found["coreset_y"].astype(np.int64), seen.classes)
        else:
            lesson = _lesson(seen, train, np.flatnonzero(np.isin(seen.y, seen.experience(i))))
        began = time.perf_counter()
        subject = subject.learn(lesson)
        seconds += time.perf_counter() - began
        facts.append(subject.facts())
        right = _right(subject, seen, test)
        accuracy.append(float(right[seen.test_y < sum(seen.sizes[: i + 1])].mean()))
        parts.append([float(right[np.isin(seen.test_y, seen.experience(k))].mean()) for k in range(i + 1)])
        if i == 0:
            few = taught(subject, seen, train, test, job.preparation.seed)
    how = job.training
    row = {
        **{name: getattr(job.preparation, name) for name in ("dataset", "network", "seed", "bits")},
        "method": job.method,
        "label": job.label,
        "forward": how.forward_bits if how and job.method == "cwr" else None,
        "backward": how.backward_bits if how and job.method == "cwr" else None,
        "rounding": how.rounding if how and job.method == "cwr" else None,
        "rate": how.rate if how else None,
        "epochs": how.epochs if how else None,
        "replay": job.replay,
        "memory": job.memory,
        "sizes": list(seen.sizes),
        "accuracy": accuracy,
        "accuracy_experience": parts,
        "forgetting": forgetting(parts),
        "few": few,
        "lost": [fact["lost"] for fact in facts],
        "head_bits": [fact["bits"] for fact in facts],
        "predicted_lost": [fact["predicted_lost"] for fact in facts],
        "remembered": subject.remembered.count,
        "bytes": subject.learner.nbytes,
        "seconds": seconds,
    }
    workspace.save_row(asdict(job), row)
    return row


def forgetting(parts: list[list[float]]) -> float:
    """Mean over all experiences but the last of the best accuracy on its classes so far, less that at the end.

    Source: Chaudhry et al. 2018, arXiv 1801.10112, section 3.

    Examples
    --------
    >>> round(forgetting([[0.9], [0.7, 0.8], [0.6, 0.8, 1.0]]), 3)
    0.15
    """
    last = parts[-1]
    return float(np.mean([max(row[k] for row in parts[k:]) - last[k] for k in range(len(last) - 1)]))


def taught(
    subject: Subject, seen: Scene, train: NDArray[np.int32], test: NDArray[np.int32], seed: int
) -> dict[str, dict[str, float]]:
    """Each later class alone, taught by few samples after the first experience: by their number, recall of it (mean and
    worst over classes), and the mean of points that the first classes lose."""
    first, found = seen.test_y < seen.sizes[0], dict[str, dict[str, float]]()
    before = float(_right(subject, seen, test)[first].mean())
    for count in FEW:
        recalls, losses = list[float](), list[float]()
        for c in range(seen.sizes[0], len(seen.classes)):
            own = np.flatnonzero(seen.y == c)
            rows = generator(seed, f"few {c}").permutation(own)[:count]
            right = _right(subject.learn(_lesson(seen, train, rows)), seen, test)
            recalls.append(float(right[seen.test_y == c].mean()))
            losses.append(before - float(right[first].mean()))
        found[str(count)] = {
            "recall": float(np.mean(recalls)),
            "worst": float(np.min(recalls)),
            "lost": float(np.mean(losses)),
        }
    return found


def _lesson(seen: Scene, train: NDArray[np.int32], rows: NDArray[np.intp]) -> Lesson:
    blocks = None if seen.blocks is None else seen.blocks[rows]
    return Lesson(train[rows], seen.y[rows], seen.classes, blocks)


def _right(subject: Subject, seen: Scene, test: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Which test samples get their class."""
    known = np.array([seen.classes.index(name) for name in subject.learner.classes], np.int64)
    right: NDArray[np.bool_] = known[subject.learner.predict(test)] == seen.test_y
    return right
