"""What one window teaches: measure, update, verify, before anything is committed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.core.fmath import LOSS_ONE, cross_entropy
from calibrant.core.logits import logits
from calibrant.core.program import Constants, Program
from calibrant.core.reports import UpdateOutcome
from calibrant.engine import Engine
from calibrant.memory.replay import ReplayBuffer, identities, update_misses
from calibrant.policy.verification import Measured, importance, split, verdict
from calibrant.updaters.base import Updater


@dataclass(frozen=True)
class Attempt:
    """The outcome of learning; the engine holds the weights it speaks of.

    `decision` is what should become of them, 'committed', 'rejected' or 'skipped', and `reason` why.
    `outcome.misses` is int64[window + coreset].
    """

    outcome: UpdateOutcome
    before: Measured
    after: Measured
    decision: str
    reason: str

    def metrics(self) -> dict[str, Any]:
        """Figures for the state's history."""
        measured = self.before.as_metrics("before") | self.after.as_metrics("after")
        return measured | {"steps": self.outcome.steps, "accepted": self.outcome.accepted}

    def update_misses(self, pool: ReplayBuffer, place: slice) -> ReplayBuffer:
        """Some of the samples, with what happened to them here added to their misses; `place` in window + coreset."""
        before, after, lost = self.before.right[place], self.after.right[place], self.outcome.misses[place]
        return replace(pool, misses=update_misses(pool.misses, lost, before, after))

    def measured(self) -> dict[str, Any]:
        """Fields of an `UpdateReport`."""
        before, after = self.before, self.after
        return {
            "updater": self.outcome.updater,
            "steps": self.outcome.steps,
            "accepted": self.outcome.accepted,
            "loss_before": before.loss,
            "loss_after": after.loss,
            "accuracy_before": before.accuracy,
            "accuracy_after": after.accuracy,
            "coreset_accuracy_before": before.coreset_accuracy,
            "coreset_accuracy_after": after.coreset_accuracy,
        }


class Adapter:
    """Teaches an engine from labeled samples, as far as they can be verified.

    Parameters
    ----------
    program, constants
        From the artifact.
    engine : Engine
        Its weights change; whoever does not commit them restores the old.
    updater : Updater
    coreset_drop, holdout : float
        See `artifact.THRESHOLDS`.
    """

    def __init__(
        self,
        program: Program,
        constants: Constants,
        engine: Engine,
        updater: Updater,
        coreset_drop: float,
        holdout: float,
    ) -> None:
        self._program, self._constants, self._engine, self._updater = program, constants, engine, updater
        self._coreset_drop, self._holdout = coreset_drop, holdout

    def teach(self, x: NDArray[np.int8], y: NDArray[np.int64], pool: ReplayBuffer) -> Attempt:
        """Adapt to what is not held back, and judge the result. If it passes verification, the held-back samples may
        teach too, in the last third of the steps; what they teach must pass as well.

        Parameters
        ----------
        x : int8[N, height, width, channels]
        y : int64[N]
            All known.
        pool : ReplayBuffer
            The coreset in force.
        """
        # in order of class and content: the held-back samples spread over the classes, in whatever order a window comes
        order = np.lexsort((identities(x, y), y))
        train, held = (np.sort(order[part]) for part in split(y.size, self._holdout))
        start = self._engine.weights, self._engine.bias
        before = self._measure(x, y, held, pool)
        total = self._updater.settings.steps
        later = total // 3 if held.size else 0
        outcome = self._update(x[train], y[train], pool, total - later)
        outcome = replace(outcome, misses=_spread(outcome.misses, train, y.size))
        after = self._measure(x, y, held, pool)
        fault = verdict(before, after, self._coreset_drop)
        if outcome.flips and later and fault is None:
            verified = self._engine.weights, self._engine.bias
            second = self._update(x, y, pool, later)
            refined = self._measure(x, y, held, pool)
            outcome = replace(outcome, misses=outcome.misses + second.misses)
            if verdict(before, refined, self._coreset_drop) is None:
                steps, accepted = outcome.steps + second.steps, outcome.accepted + second.accepted
                outcome, after = replace(outcome, steps=steps, accepted=accepted), refined
            else:
                self._engine.load(*verified)
        same = np.array_equal(self._engine.weights, start[0]) and np.array_equal(self._engine.bias, start[1])
        if same:
            decision, reason = "skipped", "no step lowered the loss" if outcome.steps else "already learned"
        elif fault is not None:
            decision, reason = "rejected", fault
        else:
            decision = "committed"
            reason = "verified on coreset and held-back samples" if held.size else "verified on coreset"
        return Attempt(outcome, before, after, decision, reason)

    def _update(self, x: NDArray[np.int8], y: NDArray[np.int64], pool: ReplayBuffer, steps: int) -> UpdateOutcome:
        return self._updater.update(
            self._engine,
            np.concatenate([x, pool.x]),
            np.concatenate([y, pool.y]),
            importance(y.size, pool.source, self._updater.balanced),
            steps,
        )

    def _measure(
        self, x: NDArray[np.int8], y: NDArray[np.int64], held: NDArray[np.int64], pool: ReplayBuffer
    ) -> Measured:
        scores = logits(self._engine.infer(np.concatenate([x, pool.x])), self._program, self._constants)
        truth = np.concatenate([y, pool.y])
        right, (loss, _) = scores.argmax(axis=1) == truth, cross_entropy(scores, truth)
        return Measured(
            accuracy=float(right[: y.size].mean()),
            coreset_accuracy=float(right[y.size :].mean()) if len(pool) else None,
            held_loss=loss[held],
            loss=float(loss.mean()) / LOSS_ONE,
            right=right,
        )


def _spread(misses: NDArray[np.int64], train: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Misses of the trained samples and the coreset, with zeros where samples were held back."""
    spread = np.zeros(count + misses.size - train.size, np.int64)
    spread[train], spread[count:] = misses[: train.size], misses[train.size :]
    return spread
