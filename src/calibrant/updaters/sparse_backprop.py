"""The sparse updater: back-propagation, pruned at compile time to few layers, straight into the integer weights.

Source: Lin et al., "On-Device Training Under 256KB Memory" (NeurIPS 2022), with rounding, saturation and what rounding
leaves over carried on, which the published code lacks. What is trained, in which order and in which memory was decided
on the server (`autodiff`, `plan.schedule`) and travels with the artifact; the engine runs it.
"""

from __future__ import annotations

import hashlib
from typing import Self

import numpy as np
from numpy.typing import NDArray

from calibrant.artifact import Artifact
from calibrant.core.errors import DataError
from calibrant.core.evaluation import Evaluation, Meaning
from calibrant.core.rng import generator
from calibrant.core.settings import FlipSettings
from calibrant.core.task import CLASSES
from calibrant.core.training import Training
from calibrant.engine import Engine, Trainer
from calibrant.updaters.base import AdaptableEngine, Samples, UpdateOutcome, descend

BATCH = 8  # samples a step


class SparseBackprop:
    """Trains what the artifact's training step trains, in passes over the samples, a batch of 8 a step.

    Batches are drawn by a generator from the samples in order of their content, so the same samples give the same
    weights in whatever order they come. Passes end early at the loss goal; an update that did not lower the loss is
    undone. What rounding left over is carried from step to step, not from window to window.

    Parameters
    ----------
    meaning : Meaning
        Program, constants and task of the artifact.
    training : Training
        The artifact's step.
    settings : FlipSettings
        `steps` passes at `rate`, in the units of real weights; `loss_goal`.

    Examples
    --------
    >>> import inspect
    >>> list(inspect.signature(SparseBackprop.update).parameters)
    ['self', 'engine', 'samples', 'start', 'steps', 'state']
    """

    def __init__(self, meaning: Meaning, training: Training, settings: FlipSettings) -> None:
        self.meaning, self.training, self.settings = meaning, training, settings
        self._trainer: Trainer | None = None

    @classmethod
    def of(cls, artifact: Artifact, settings: FlipSettings) -> Self:
        """For an artifact of classes with a training step, whose loss is that of classes; DataError for another."""
        if artifact.task != CLASSES:
            raise DataError(f"updater sparse: expected an artifact of task {CLASSES!r}, got {artifact.task!r}")
        if artifact.training is None:
            raise DataError("updater sparse: the artifact has no training step; prepare it with --form sparse")
        return cls(artifact.meaning, artifact.training, settings)

    @property
    def name(self) -> str:
        """'sparse'."""
        return "sparse"

    @property
    def balanced(self) -> bool:
        """True: nothing else keeps the origin."""
        return True

    @property
    def distills(self) -> bool:
        """False."""
        return False

    @staticmethod
    def resident_bytes(artifact: Artifact, capacity: int) -> int:
        """The arena of its step, accumulators and scales."""
        step = artifact.training
        if step is None:
            return 0
        scales = 12 * artifact.program.channel_count + step.head_scale.nbytes
        return step.arena_bytes + 4 * step.accumulator_count + scales

    @staticmethod
    def learning_bytes(artifact: Artifact) -> int:
        """Nothing more."""
        return 0

    def update(
        self, engine: AdaptableEngine, samples: Samples, start: Evaluation, steps: int, state: None = None
    ) -> UpdateOutcome:
        """Make up to `steps` passes. See `base.Updater`."""
        trainer, lesson = self._prepared(engine), samples.lesson
        order = _by_content(lesson.x, lesson.y)
        order = np.repeat(order, lesson.importance[order])
        draws = generator(0, "sparse")

        def make_pass(_: Evaluation) -> None:
            shuffled = draws.permutation(order)
            for first in range(0, len(shuffled), BATCH):
                rows = shuffled[first : first + BATCH]
                trainer.step(lesson.x[rows], lesson.y[rows], self.settings.rate)

        goal = self.settings.loss_goal
        return descend(self.name, engine, samples, start, make_pass, self.meaning, steps, goal)

    def _prepared(self, engine: AdaptableEngine) -> Trainer:
        """The trainer of this engine, with nothing carried over."""
        if not isinstance(engine, Engine):
            raise DataError(f"sparse updater: expected the C engine, got {type(engine).__name__}")
        if self._trainer is None or self._trainer.engine is not engine:
            self._trainer = Trainer(engine, self.training)
        self._trainer.accumulators = np.zeros(self.training.accumulator_count, np.float32)
        return self._trainer


def _by_content(x: NDArray[np.int8], y: NDArray[np.int64]) -> NDArray[np.int64]:
    """Indices of the samples in an order that does not depend on the order in which they stand."""
    keys = [hashlib.blake2b(codes.tobytes(), digest_size=16).digest() for codes in x]
    return np.array(sorted(range(len(y)), key=lambda i: (int(y[i]), keys[i])), np.int64)
