"""What weights give on labeled samples: the common ground of the updaters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from calibrant.core.fmath import LOSS_ONE, cross_entropy
from calibrant.core.logits import logits
from calibrant.core.program import Constants, Program
from calibrant.core.reports import UpdateOutcome
from calibrant.core.settings import FlipSettings
from calibrant.core.statistics import Observation


class AdaptableEngine(Protocol):
    """What an updater needs from the engine."""

    @property
    def weights(self) -> NDArray[np.int8]: ...

    @property
    def bias(self) -> NDArray[np.int32]: ...

    def load(self, weights: NDArray[np.int8], bias: NDArray[np.int32]) -> None: ...

    def observe(self, x: NDArray[np.int8]) -> Observation: ...

    def taps(self, x: NDArray[np.int8], signal: NDArray[np.int32]) -> NDArray[np.int64]: ...


class Updater(Protocol):
    """What adapts an engine's integer weights to labeled samples."""

    @property
    def name(self) -> str:
        """As histories and reports have it."""

    @property
    def settings(self) -> FlipSettings:
        """As given."""

    @property
    def balanced(self) -> bool:
        """Whether the artifact's samples must weigh as much as the stream's, lest the origin be outvoted."""

    def update(
        self,
        engine: AdaptableEngine,
        x: NDArray[np.int8],
        y: NDArray[np.int64],
        importance: NDArray[np.int64],
        steps: int,
    ) -> UpdateOutcome:
        """Run up to `steps` steps; the engine ends with the parameters that the outcome speaks of.

        Parameters
        ----------
        engine : Engine
            Changed in place. An exception leaves it in an intermediate state: the caller restores it.
        x : int8[N, height, width, channels]
            Input codes of window and coreset together.
        y : int64[N]
            True classes, all known.
        importance : int64[N]
            How often each sample counts, 1 to 64.
        steps : int
            Candidates to try.
        """


@dataclass(frozen=True)
class Samples:
    """What an update learns from: codes int8[N, ...], classes int64[N], and how often each counts, int64[N]."""

    x: NDArray[np.int8]
    y: NDArray[np.int64]
    importance: NDArray[np.int64]

    @property
    def mass(self) -> int:
        """What a mean loss of one nat adds up to: the unit of `Evaluation.loss` over all samples."""
        return LOSS_ONE * int(self.importance.sum())


@dataclass(frozen=True)
class Evaluation:
    """Parameters with what they give on the samples: statistics, loss in Q16 nats times importance, output error in
    Q15 int64[N, K], and which samples they get right."""

    weights: NDArray[np.int8]
    bias: NDArray[np.int32]
    observation: Observation
    loss: int
    error: NDArray[np.int64]
    right: NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        engine: AdaptableEngine,
        weights: NDArray[np.int8],
        bias: NDArray[np.int32],
        samples: Samples,
        program: Program,
        constants: Constants,
    ) -> Evaluation:
        """Evaluate parameters that the engine holds already."""
        observation = engine.observe(samples.x)
        scores = logits(observation.outputs, program, constants)
        loss, error = cross_entropy(scores, samples.y)
        right = scores.argmax(axis=1) == samples.y
        return cls(weights, bias, observation, int(loss @ samples.importance), error, right)


def descend(
    updater: str,
    engine: AdaptableEngine,
    samples: Samples,
    evaluate: Callable[[], Evaluation],
    step: Callable[[Evaluation], None],
    steps: int,
    goal: float,
) -> tuple[Evaluation, UpdateOutcome]:
    """Step up to `steps` times, until the mean loss is at `goal` nats; where it did not fall, all is undone.

    Parameters
    ----------
    updater : str
        Name for the outcome.
    engine, samples
        As for `Updater.update`.
    evaluate : callable
        What the engine's parameters give.
    step : callable
        Changes the engine's parameters; is told what they gave.
    steps, goal

    Returns
    -------
    Evaluation, UpdateOutcome
        What the engine ends with. A step counts as accepted if the loss fell in it.
    """
    first = current = evaluate()
    tried = accepted = 0
    misses = np.zeros(len(samples.y), np.int64)
    while tried < steps and current.loss > goal * samples.mass:
        tried += 1
        step(current)
        following = evaluate()
        accepted += following.loss < current.loss
        misses += current.right & ~following.right
        current = following
    if tried and current.loss >= first.loss:
        engine.load(first.weights, first.bias)
        current, accepted = first, 0
    return current, outcome(updater, samples, (first, current), (tried, accepted), misses)


def outcome(
    updater: str,
    samples: Samples,
    ends: tuple[Evaluation, Evaluation],
    steps: tuple[int, int],
    misses: NDArray[np.int64],
) -> UpdateOutcome:
    """What an updater says of its work: `ends` are the states before and after, `steps` the tried and the accepted."""
    first, last = ends
    tried, accepted = steps
    flips = int(np.count_nonzero(last.weights != first.weights))
    before, after = first.loss / samples.mass, last.loss / samples.mass
    return UpdateOutcome(updater, tried, accepted, before, after, flips, misses)
