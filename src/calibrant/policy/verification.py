"""What the updater may learn from, and whether its weights may replace the old: pure functions of measurements."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibrant.core.evaluation import Evaluation
from calibrant.core.fmath import LOSS_ONE
from calibrant.policy.significance import improbable, risen

IMPORTANCE_LIMIT = 64  # keeps the updater's integers small
HOLDOUT_MINIMUM = 40  # with fewer labels every one is used to learn: five held back would tell nothing


@dataclass(frozen=True)
class Measured:
    """How one set of weights does: accuracy on window and coreset, loss of each held-back sample (Q16 nats), mean loss
    in nats over window and coreset, and which samples it gets right, window first."""

    accuracy: float | None
    coreset_accuracy: float | None
    held_loss: NDArray[np.int64]
    loss: float
    right: NDArray[np.bool_]

    @classmethod
    def of(cls, evaluation: Evaluation, window: int, held: NDArray[np.int64]) -> Measured:
        """From an evaluation of `window` samples and then the coreset; `held` int64[...] are those held back."""
        right, loss = evaluation.right, evaluation.loss
        return cls(
            accuracy=float(right[:window].mean()) if window else None,
            coreset_accuracy=float(right[window:].mean()) if len(right) > window else None,
            held_loss=loss[held],
            loss=float(loss.mean()) / LOSS_ONE,
            right=right,
        )

    def as_metrics(self, suffix: str) -> dict[str, float | None]:
        """Fractions for the state's history."""
        return {f"accuracy_{suffix}": self.accuracy, f"coreset_accuracy_{suffix}": self.coreset_accuracy}


def split(count: int, fraction: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices to learn from and indices to hold back, spread evenly over 0..count-1.

    Nothing is held back from fewer than 40 samples.

    Examples
    --------
    >>> train, held = split(40, 0.1)
    >>> held.tolist(), train.size
    ([5, 15, 25, 35], 36)
    """
    kept = round(count * fraction) if count >= HOLDOUT_MINIMUM else 0
    held = (2 * np.arange(kept, dtype=np.int64) + 1) * count // (2 * max(kept, 1))
    return np.setdiff1d(np.arange(count, dtype=np.int64), held), held


def importance(window: int, source: NDArray[np.bool_], balanced: bool) -> NDArray[np.int64]:
    """How often each sample counts, window first, then the coreset.

    Once each; or, `balanced`, the artifact's samples, True in `source`, together about as much as all of the stream,
    the window and what the coreset kept of earlier ones, so that the origin is not outvoted.

    Examples
    --------
    >>> importance(8, np.array([True, True]), True).tolist(), importance(1, np.array([True, True]), True).tolist()
    ([1, 1, 1, 1, 1, 1, 1, 1, 4, 4], [1, 1, 1])
    >>> importance(3, np.array([True, False]), True).tolist()
    [1, 1, 1, 4, 1]
    """
    if not balanced:
        return np.ones(window + source.size, np.int64)
    origin = int(np.count_nonzero(source))
    weight = min(max(1, round((window + source.size - origin) / max(origin, 1))), IMPORTANCE_LIMIT)
    return np.concatenate([np.ones(window, np.int64), np.where(source, weight, 1)])


def home_lost(own: NDArray[np.bool_], right: NDArray[np.bool_], drop: float) -> str | None:
    """Why new weights have forgotten where the artifact came from, None if they have not.

    Small losses add up where each window is compared with the one before; these are counted from the artifact. A few
    samples more than allowed may be chance, and are let pass.

    Parameters
    ----------
    own, right : bool[k]
        Which of the artifact's samples the artifact and the new weights have right.
    drop : float
        Share of them that may be lost.

    Examples
    --------
    >>> home_lost(np.ones(20, bool), np.arange(20) > 1, 0.1) is None
    True
    >>> home_lost(np.ones(20, bool), np.arange(20) > 4, 0.1)
    "5 of the artifact's 20 samples lost, allowed are 10 %"
    """
    lost = int(own.sum()) - int(right.sum())
    if lost > drop * own.size + 1e-9 and improbable(lost, own.size, drop):
        return f"{lost} of the artifact's {own.size} samples lost, allowed are {100 * drop:g} %"
    return None


def verdict(before: Measured, after: Measured, coreset_drop: float) -> str | None:
    """Why new weights do not pass, None if they do.

    The coreset may lose `coreset_drop` of its accuracy. The loss of held-back samples may not rise significantly: a
    dozen samples cannot tell a little worse from chance, so the paired difference must be beyond chance
    (`significance.risen`).

    Examples
    --------
    >>> def measured(*losses):
    ...     return Measured(1.0, 1.0, np.array(losses, np.int64) << 16, 0.0, np.ones(0, bool))
    >>> verdict(measured(1, 1, 2, 1), measured(1, 0, 3, 1), 0.1) is None
    True
    >>> verdict(measured(1, 1, 2, 1), measured(2, 3, 3, 2), 0.1)
    'held-back loss rose from 1.250 to 2.500 on 4 samples'
    """
    if before.coreset_accuracy is not None and after.coreset_accuracy is not None:
        drop = before.coreset_accuracy - after.coreset_accuracy
        if drop > coreset_drop + 1e-9:  # fractions of a count: 0.1 must let 2 of 20 pass
            return (
                f"coreset accuracy fell from {before.coreset_accuracy:.3f} to {after.coreset_accuracy:.3f}, "
                f"allowed {coreset_drop:g}"
            )
    rises = [int(rise) for rise in after.held_loss - before.held_loss]
    if risen(rises):
        means = [int(m.held_loss.sum()) / (LOSS_ONE * len(rises)) for m in (before, after)]
        return f"held-back loss rose from {means[0]:.3f} to {means[1]:.3f} on {len(rises)} samples"
    return None
