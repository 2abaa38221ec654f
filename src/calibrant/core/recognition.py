"""What home, the domain that a model was trained on, looks like: to know it again, and other domains from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

KEPT = 0.9  # share of its own left-out blocks that a recognizer must know again to be worth listening to


@dataclass(frozen=True)
class Recognition:
    """How samples become signatures (`policy.signature`), and how far windows of home stray (`policy.contexts`).

    mean and spread float32[D]: of the statistics of training samples, quiet ones counted as livelier than they are.
    matrix float32[D, D], lower triangular, of half precision: makes them as good as uncorrelated. `variance`: of the
    numbers that come of it, over training samples and dimensions.

    The rest is said by blocks of training samples that were left out, each with means and matrix of the others. The
    mean square of the mean of n samples, which is 1 / n by chance alone, was 1 / n + `wander`; its ratio to that had
    the mean `usual` and the standard deviation `deviation`. `kept`: share of their windows that the others would have
    called home.
    """

    mean: NDArray[np.float32]
    spread: NDArray[np.float32]
    matrix: NDArray[np.float32]
    variance: float
    wander: float
    usual: float
    deviation: float
    kept: float

    @property
    def recognizes(self) -> bool:
        """Whether contexts can be told apart; where home itself is not known again, they are better left alone."""
        return self.kept >= KEPT
