"""What every head comes to: one linear layer of whole numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from calibrant.core.errors import DataError
from calibrant.core.fixedpoint import divide_round
from calibrant.heads.lesson import check_features

WEIGHT_BITS = 24  # of weights made of class means, sign aside


def product(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.int64]:
    """a @ b of whole numbers, exactly. All partial sums stay below 2^53, so float64 holds them in any order."""
    return (a.astype(np.float64) @ b.astype(np.float64)).astype(np.int64)


@dataclass(frozen=True)
class Classifier:
    """Scores x @ weights^T + bias, int64[N, K]; the largest is the answer, the first of equal ones.

    weights int64[K, D] below 2^31; bias int64[K].

    Examples
    --------
    >>> Classifier(np.array([[1, 0], [0, 1]]), np.array([0, 3])).predict(np.array([[5, 1], [2, 2]], np.int32)).tolist()
    [0, 1]
    """

    weights: NDArray[np.int64]
    bias: NDArray[np.int64]

    @classmethod
    def nearest(cls, directions: NDArray[np.float64], sums: NDArray[np.int64], counts: NDArray[np.int64]) -> Self:
        """Which class mean is nearest under a metric A: weights A m, bias -m A m / 2.

        Parameters
        ----------
        directions : float64[K, D]
            A m; rounded to `WEIGHT_BITS`, all at one scale.
        sums, counts : int64[K, D], int64[K]
            Of each class, m = sums / counts. The bias is their product with the rounded weights, so no rounding of
            weights moves a class mean towards another class. Below 2^62: 2^24 * 255 * counts * D, with counts * D at
            most 2^30 (`means.VALUES_LIMIT`).
        """
        largest = float(np.abs(directions).max(initial=0.0))
        exponent = WEIGHT_BITS - int(np.frexp(largest)[1])
        weights = np.rint(np.ldexp(directions, exponent)).astype(np.int64)
        return cls(weights, -divide_round((weights * sums).sum(axis=1), 2 * counts))

    def scores(self, x: NDArray[np.int32]) -> NDArray[np.int64]:
        """Scores int64[N, K] of features int32[N, D].

        Raises
        ------
        DataError
            They are no features, or of another length, or there is no class to answer with.
        """
        check_features(x)
        if not len(self.weights):
            raise DataError("head: expected a class to answer with, got none")
        if x.shape[1] != self.weights.shape[1]:
            raise DataError(f"features: expected length {self.weights.shape[1]}, got {x.shape[1]}")
        return product(x, self.weights.T) + self.bias

    def predict(self, x: NDArray[np.int32]) -> NDArray[np.int64]:
        """Index of the best class, int64[N]; raises like :meth:`scores`."""
        best: NDArray[np.int64] = self.scores(x).argmax(axis=1).astype(np.int64)
        return best
