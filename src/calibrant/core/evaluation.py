"""What one forward pass said of samples under one set of parameters. It travels, so that nobody has to ask again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from calibrant.core.logits import logits
from calibrant.core.parameters import Parameters
from calibrant.core.program import Constants, Program
from calibrant.core.statistics import Observation
from calibrant.core.task import UNLABELED, Task


@dataclass(frozen=True)
class Meaning:
    """What it takes to read a network's outputs: its program and constants, and its task."""

    program: Program
    constants: Constants
    task: Task

    @property
    def labels(self) -> int:
        """How many different labels there are, see `Task.labels`."""
        return self.task.labels(self.program.tensors[self.program.output].elements)

    def scores(self, outputs: NDArray[np.int32]) -> NDArray[np.float32]:
        """Scores float32[N, K] of raw outputs int32[N, K]."""
        return logits(outputs, self.program, self.constants)


@dataclass(frozen=True)
class Evaluation:
    """Statistics, scores and how wrong they are, of N samples under `parameters`.

    loss int64[N] in Q16 nats, error int64[N, K] in Q15 and right bool[N] are 0 and False where a sample has no label.
    """

    parameters: Parameters
    observation: Observation
    scores: NDArray[np.float32]
    loss: NDArray[np.int64]
    error: NDArray[np.int64]
    right: NDArray[np.bool_]

    @classmethod
    def of(cls, parameters: Parameters, observation: Observation, y: NDArray[np.int64], meaning: Meaning) -> Self:
        """Read a forward pass under `parameters` of samples with labels int64[N], -1 where unknown."""
        scores, known = meaning.scores(observation.outputs), y != UNLABELED
        loss, error = meaning.task.loss(scores, np.where(known, y, 0))
        right = meaning.task.right(scores, y) & known
        return cls(parameters, observation, scores, np.where(known, loss, 0), error * known[:, None], right)

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, rows: NDArray[Any] | slice) -> Self:
        """Of some of the samples."""
        return replace(
            self,
            observation=self.observation.take(rows),
            scores=self.scores[rows],
            loss=self.loss[rows],
            error=self.error[rows],
            right=self.right[rows],
        )

    def then(self, other: Self) -> Self:
        """With other samples after these, under the same parameters."""
        return replace(
            self,
            observation=self.observation.then(other.observation),
            scores=np.concatenate([self.scores, other.scores]),
            loss=np.concatenate([self.loss, other.loss]),
            error=np.concatenate([self.error, other.error]),
            right=np.concatenate([self.right, other.right]),
        )
