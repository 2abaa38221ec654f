"""The sparse updater: back-propagation, pruned at compile time to few layers, straight into the integer weights.

Source: Lin et al., "On-Device Training Under 256KB Memory" (NeurIPS 2022), with rounding, saturation and what rounding
leaves over carried on, which the published code lacks. What is trained, in which order and in which memory was decided
on the server (`autodiff`, `plan.schedule`) and travels with the artifact; the engine runs it.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from calibrant.core.errors import DataError
from calibrant.core.program import Constants, Program
from calibrant.core.reports import UpdateOutcome
from calibrant.core.rng import generator
from calibrant.core.settings import FlipSettings
from calibrant.core.training import Training
from calibrant.engine import Engine, Trainer
from calibrant.updaters.base import AdaptableEngine, Evaluation, Samples, descend

BATCH = 8  # samples a step


class SparseBackprop:
    """Trains what the artifact's training step trains, in passes over the samples, a batch of 8 a step.

    Batches are drawn by a generator from the samples in order of their content, so the same samples give the same
    weights in whatever order they come. Passes end early at the loss goal; an update that did not lower the loss is
    undone. What rounding left over is carried from step to step, not from window to window.

    Parameters
    ----------
    program, constants, training
        From the artifact.
    settings : FlipSettings
        `steps` passes at `rate`, in the units of real weights; `loss_goal`.

    Examples
    --------
    >>> import inspect
    >>> list(inspect.signature(SparseBackprop.update).parameters)
    ['self', 'engine', 'x', 'y', 'importance', 'steps']
    """

    def __init__(self, program: Program, constants: Constants, training: Training, settings: FlipSettings) -> None:
        self.program, self.constants, self.training, self.settings = program, constants, training, settings
        self._trainer: Trainer | None = None

    @property
    def name(self) -> str:
        """'sparse'."""
        return "sparse"

    @property
    def balanced(self) -> bool:
        """True: nothing else keeps the origin."""
        return True

    def update(
        self,
        engine: AdaptableEngine,
        x: NDArray[np.int8],
        y: NDArray[np.int64],
        importance: NDArray[np.int64],
        steps: int,
    ) -> UpdateOutcome:
        """Make up to `steps` passes. See `updaters.base.Updater`."""
        trainer, samples = self._prepared(engine), Samples(x, y, importance)
        order = _by_content(x, y)
        order = np.repeat(order, importance[order])
        draws = generator(0, "sparse")

        def make_pass(_: Evaluation) -> None:
            shuffled = draws.permutation(order)
            for start in range(0, len(shuffled), BATCH):
                rows = shuffled[start : start + BATCH]
                trainer.step(x[rows], y[rows], self.settings.rate)

        _, result = descend(
            self.name,
            engine,
            samples,
            evaluate=lambda: self._evaluate(engine, samples),
            step=make_pass,
            steps=steps,
            goal=self.settings.loss_goal,
        )
        return result

    def _prepared(self, engine: AdaptableEngine) -> Trainer:
        """The trainer of this engine, with nothing carried over."""
        if not isinstance(engine, Engine):
            raise DataError(f"sparse updater: expected the C engine, got {type(engine).__name__}")
        if self._trainer is None or self._trainer.engine is not engine:
            self._trainer = Trainer(engine, self.training)
        self._trainer.accumulators = np.zeros(self.training.accumulator_count, np.float32)
        return self._trainer

    def _evaluate(self, engine: AdaptableEngine, samples: Samples) -> Evaluation:
        return Evaluation.of(engine, engine.weights, engine.bias, samples, self.program, self.constants)


def _by_content(x: NDArray[np.int8], y: NDArray[np.int64]) -> NDArray[np.int64]:
    """Indices of the samples in an order that does not depend on the order in which they stand."""
    keys = [hashlib.blake2b(codes.tobytes(), digest_size=16).digest() for codes in x]
    return np.array(sorted(range(len(y)), key=lambda i: (int(y[i]), keys[i])), np.int64)
