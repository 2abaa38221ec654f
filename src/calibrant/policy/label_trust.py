"""Which labels of a window to believe. Pure functions of what trial parameters, taught by all of them, make of each.

A network that was taught a window for a few steps repeats labels that agree with the rest, and resists those that
contradict it. Labels that it still finds improbable are hard; those that it also does not predict are bad. If more are
hard than the artifact's own errors explain, the bad ones are left out. Where most are resisted, halves of the window
teach and judge each other before any is believed at all.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from calibrant.policy.significance import improbable

TRIAL_STEPS, EXAM_STEPS = 15, 30
HARD, BAD = (
    0.1,
    0.3,
)  # probability that the trial gives a label, below which it is hard; or bad, if not predicted either
LOW = 0.6  # share of labels right after the trial, below which the window is examined
GAIN = 0.25  # of what is missing to all right, that an exam must gain
TOLERATED = 0.05  # share of hard labels in any window
AS_A_WHOLE = 3  # labels of a class, of which enough are bad, are a change of meaning and no noise


def tolerated(training_error: float) -> float:
    """Share of labels that may be wrong, or hard, before a window is screened; the artifact's own error says.

    Examples
    --------
    >>> tolerated(0.0), tolerated(0.1)
    (0.05, 0.22)
    """
    return max(TOLERATED, 2 * training_error + 0.02)


def probabilities(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    """Softmax float64[n, K] of scores float32[n, K]."""
    shifted = scores.astype(np.float64) - scores.max(axis=1, keepdims=True)
    raised = np.exp(shifted)
    share: NDArray[np.float64] = raised / raised.sum(axis=1, keepdims=True)
    return share


def suspicious(
    given: NDArray[np.float64], right: NDArray[np.bool_], y: NDArray[np.int64], exempt: NDArray[np.bool_], limit: float
) -> tuple[NDArray[np.bool_], float]:
    """Labels to leave out, bool[n], and the share that is hard; none are left out if that is within `limit`.

    Parameters
    ----------
    given : float64[n]
        Probability that trial parameters give each label.
    right : bool[n]
        Whether they predict it.
    y : int64[n]
    exempt : bool[n]
        Classes that nothing is known of, and that can contradict nothing.
    limit : float
        See :func:`tolerated`.

    Examples
    --------
    >>> given, y = np.array([0.9, 0.8, 0.02, 0.9]), np.array([0, 1, 0, 1])
    >>> bad, doubt = suspicious(given, given > 0.5, y, np.zeros(4, bool), 0.05)
    >>> bad.tolist(), doubt
    ([False, False, True, False], 0.25)
    """
    hard, bad = (given < HARD) & ~exempt, (given < BAD) & ~right & ~exempt
    doubt = float(hard.mean())
    if doubt > limit:
        for label in np.unique(y):
            own = y == label
            if own.sum() >= AS_A_WHOLE and improbable(
                int(bad[own].sum()), int(own.sum()), min(1.5 * doubt + 0.1, 0.95)
            ):
                bad, hard = bad & ~own, hard & ~own
        doubt = float(hard.mean())
    return (bad if doubt > limit else np.zeros(len(y), np.bool_)), doubt


def credible(before: float, crossed: float, classes: int) -> tuple[bool, float]:
    """Whether labels pass the exam, and the share right that it takes.

    `before` is the share that is right as things stand, `crossed` the share of each half that parameters taught by the
    other half get right.

    Examples
    --------
    >>> credible(0.2, 0.9, 10)[0], credible(0.0, 0.05, 10)[0]
    (True, False)
    """
    start = max(before, 1 / classes)
    needed = start + GAIN * (1 - start)
    return crossed >= needed and math.isfinite(crossed), needed
