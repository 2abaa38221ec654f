"""One row of the protocol: a network trained under a scheme by a method, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant import data, plan, zoo
from calibrant.autodiff import Scheme, differentiate, extra_memory
from calibrant.bench.harness.workspace import Workspace
from calibrant.bench.sparse import augment, costs
from calibrant.bench.sparse.fit import Codes, Labels, Learner, diverged, fit
from calibrant.bench.sparse.float_learner import RealLearner
from calibrant.bench.sparse.integer_learner import IntegerLearner
from calibrant.bench.sparse.jobs import Cell, Subject
from calibrant.bench.sparse.schemes import METHODS, resolve
from calibrant.core.program import Constants, Program
from calibrant.data.task import codes, subset

FOLDER = "tinyml"  # of the networks, in the data folder


@dataclass(frozen=True)
class Scene:
    """A network with what it is trained and judged on: pixels uint8[N, 3, ...], codes int8[M, size, size, 3]."""

    program: Program
    constants: Constants
    pixels: NDArray[np.uint8]
    y: Labels
    test: Codes
    test_y: Labels

    @property
    def size(self) -> int:
        """Of an input image's side."""
        return self.program.tensors[self.program.input].height


def load(root: Path, about: Subject) -> Scene:
    """Read the network and draw the samples.

    Raises
    ------
    DataError
        If a file is missing or damaged, or there are too few samples.
    """
    task = data.load_task(about.task, root)
    program, constants = network(root, about.model, len(task.classes))
    rows = subset(task.y, about.train, about.seed, "training")
    x, y = task.test_x, task.test_y
    if about.held:
        rest = np.setdiff1d(np.arange(len(task.y)), rows)
        x, y = task.x[rest], task.y[rest]
    held = subset(y, about.test, 0, "test")  # the same for every seed
    size = program.tensors[program.input].height
    return Scene(program, constants, task.x[rows], task.y[rows], codes(x[held], size), y[held])


def network(root: Path, model: str, classes: int) -> tuple[Program, Constants]:
    """A published network with a new classifier, whose weights are zero."""
    return plan.lower(zoo.load_tinyml(root / FOLDER / model, classes))


def train(workspace: Workspace, root: Path, job: Cell) -> dict[str, Any]:
    """Train, judge, and keep the row."""
    seen = load(root, job.subject)
    scheme = resolve(job.scheme, job.subject.model, len(seen.program.layers) - 1)
    learner = _learner(seen, scheme, job.method)
    sight = _sight(learner, seen, job)
    started = time.perf_counter()
    losses = fit(learner, sight, seen.y, job.recipe, job.subject.seed)
    seconds = time.perf_counter() - started
    scores = learner.scores(learner.features(seen.test))
    row = {
        **_settings(job),
        "accuracy": float((scores.argmax(axis=1) == seen.test_y).mean()),
        "losses": [round(loss, 6) if np.isfinite(loss) else None for loss in losses],
        "diverged": diverged(losses, scores.shape[1]),
        "seconds": seconds,
        **_costs(seen.program, seen.constants, scheme, job.method),
    }
    workspace.save_row(asdict(job), row)
    return row


def _learner(seen: Scene, scheme: Scheme, method: str) -> Learner:
    how = METHODS[method]
    if how.real:
        return RealLearner(seen.program, seen.constants, scheme)
    return IntegerLearner(seen.program, seen.constants, scheme, scaling=how.scaling, accumulate=how.accumulate)


def _sight(learner: Learner, seen: Scene, job: Cell) -> Callable[[int], Any]:
    """What the learner sees in an epoch: the same features in every one, or those of new views."""
    if job.augmented:
        return lambda epoch: learner.features(augment.views(seen.pixels, seen.size, job.subject.seed, epoch))
    same = learner.features(codes(seen.pixels, seen.size))
    return lambda epoch: same


def _settings(job: Cell) -> dict[str, Any]:
    about, recipe = job.subject, job.recipe
    return {
        "model": about.model,
        "task": about.task,
        "scheme": job.scheme,
        "method": job.method,
        "seed": about.seed,
        "train": about.train,
        "test": about.test,
        "epochs": recipe.epochs,
        "warmup": recipe.warmup,
        "batch": recipe.batch,
        "rate": recipe.rate,
        "augmented": job.augmented,
    }


def _costs(program: Program, constants: Constants, scheme: Scheme, method: str) -> dict[str, Any]:
    """Of a step on a microcontroller: the whole program, planned for the least memory."""
    how, small = METHODS[method], plan.compact(program)
    training = plan.schedule(differentiate(small, constants, scheme, scaling=how.scaling, head="float32"), small)
    integers = {
        "extra_bytes": extra_memory(program, scheme).total,
        "arena_bytes": training.arena_bytes,
        "inference_arena_bytes": small.arena_bytes,
        "trained_bytes": costs.trained_bytes(training),
        "accumulator_bytes": 4 * training.accumulator_count if how.accumulate else 0,
        "flash_bytes": costs.flash_bytes(program, training),
    }
    return {
        "parameters": training.accumulator_count,
        "macs_forward": costs.forward_macs(program),
        "macs_backward": costs.backward_macs(program, training),
        **(dict.fromkeys(integers) if how.real else integers),
    }
