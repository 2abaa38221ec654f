"""One of K classes: the largest score wins, the loss is softmax cross-entropy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from calibrant.core.fmath import ERROR_ONE, cross_entropy


class Classification:
    """A label is a class, 0 to K - 1. Of equal scores the lowest class wins."""

    @property
    def guesses(self) -> bool:
        """True."""
        return True

    def labels(self, outputs: int) -> int:
        """As many as outputs."""
        return outputs

    def words(self, label: int, names: Sequence[str]) -> str:
        """The name of the class."""
        return names[label]

    def decode(self, scores: NDArray[np.float32]) -> NDArray[np.int64]:
        """Classes int64[N]."""
        classes: NDArray[np.int64] = scores.argmax(axis=1).astype(np.int64)
        return classes

    def probabilities(self, scores: NDArray[np.float32]) -> NDArray[np.int64]:
        """Softmax, Q15 int64[N, K].

        Examples
        --------
        >>> Classification().probabilities(np.zeros((1, 4), np.float32)).tolist()
        [[8192, 8192, 8192, 8192]]
        """
        predicted = self.decode(scores)
        _, mass = cross_entropy(scores, predicted)
        mass[np.arange(len(scores)), predicted] += ERROR_ONE  # the error is the probability less one there
        return mass

    def loss(self, scores: NDArray[np.float32], y: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Cross-entropy and softmax less the label, see `core.fmath.cross_entropy`."""
        return cross_entropy(scores, y)

    def right(self, scores: NDArray[np.float32], y: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Where the class is the label."""
        right: NDArray[np.bool_] = self.decode(scores) == y
        return right


TASK = Classification()
