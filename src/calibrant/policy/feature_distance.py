"""How far samples lie from the nearest sample that the device remembers, as the last layer sees them.

The pooled inputs of the last layer are a sample's features, in standard deviations over the training samples. Training
samples have a sample of the coreset near them whatever their class, so a window's mean distance hardly depends on its
mix of classes; samples of another domain have none, mostly where the network gets them wrong. This is the distance to
the nearest training sample (Sun et al., "Out-of-Distribution Detection with Deep Nearest Neighbors", ICML 2022) with
the coreset in place of the training data.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibrant.core.program import Program
from calibrant.core.statistics import FeatureStatistics, Observation

DISTANCE_ONE = 1 << 8  # distances are integers, 1/256 of a standard deviation
_FEATURE_ONE = 16  # features likewise, sixteenths
_FEATURE_LIMIT = 1 << 12
_QUIET = 16  # channels that vary less than a sixteenth of the liveliest count as if they varied so much


@dataclass(frozen=True)
class Features:
    """Turns pooled statistics into features: `part` of the statistics, times `scale` float64[channels]."""

    part: slice
    scale: NDArray[np.float64]

    @classmethod
    def of(cls, program: Program, reference: FeatureStatistics) -> Features:
        """Those of a program's last layer."""
        part = program.layers[-1].pooled_slice
        std = reference.std[part].astype(np.float64)
        lively = max(float(std.max()), 1e-6)
        return cls(part, _FEATURE_ONE / (np.maximum(std, lively / _QUIET) * program.pooled_positions[part]))

    def __call__(self, pooled: NDArray[np.int32]) -> NDArray[np.int16]:
        """Features int16[N, channels] of the pooled inputs of the last layer, int32[N, channels]."""
        return np.clip(np.rint(pooled * self.scale), -_FEATURE_LIMIT, _FEATURE_LIMIT).astype(np.int16)

    @property
    def count(self) -> int:
        """Features of a sample."""
        return self.scale.size

    def mean(self, observation: Observation) -> NDArray[np.float64]:
        """Of all samples, in standard deviations, float64[channels]."""
        mean: NDArray[np.float64] = self.observed(observation).mean(axis=0) / _FEATURE_ONE
        return mean

    def observed(self, observation: Observation) -> NDArray[np.int16]:
        """The same from a forward pass."""
        return self(observation.pooled[:, self.part])


def nearest(features: NDArray[np.int16], remembered: NDArray[np.int16]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Distance of each sample to the nearest remembered one, int64[N] in 1/256, and which that is, int64[N].

    A distance is the root of the mean squared difference over channels. Sums of squares and products are whole numbers
    below 2^53, so the matrix product is exact in any order.

    Parameters
    ----------
    features : int16[N, channels]
    remembered : int16[M, channels]
        At least one.

    Examples
    --------
    >>> features = np.array([[16, 0], [0, 48]], np.int16)
    >>> distance, which = nearest(features, np.array([[0, 0], [0, 64]], np.int16))
    >>> (distance / DISTANCE_ONE).round(3).tolist(), which.tolist()
    ([0.707, 0.707], [0, 1])
    """
    x, m = features.astype(np.float64), remembered.astype(np.float64)
    squares = (m * m).sum(axis=1) - 2 * (x @ m.T) + (x * x).sum(axis=1)[:, None]
    which = squares.argmin(axis=1)
    mean = squares[np.arange(len(features)), which] / (features.shape[1] * _FEATURE_ONE**2)
    return np.rint(np.sqrt(mean) * DISTANCE_ONE).astype(np.int64), which.astype(np.int64)
