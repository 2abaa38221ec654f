"""Labels that a window gives itself: each sample's nearest class prototype, by the network's own features.

Under a new domain the last layer errs more than the features it reads. Their mean over the samples predicted to be of a
class, each weighted by how probable that is, is the class's prototype in the new domain; the nearest prototype is right
more often than the last layer (Liang et al., "Do We Really Need to Access the Source Data?", ICML 2020). What both say
counts more. Integers throughout, but for single roots and quotients.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

AGREED = 3  # how often a sample counts that the last layer and the prototypes agree on; others count once
_UNIT = 1 << 12  # length of a direction
_MEAN_BITS = 4
_SUM_BITS = 20  # prototypes before they get unit length


def directions(pooled: NDArray[np.int32], positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """Features of samples, of length 4096 each (or 0), int64[N, channels].

    Parameters
    ----------
    pooled : int32[N, channels]
        Pooled inputs of the last layer.
    positions : int64[channels]
        Over how many positions each is summed.
    """
    return _of_unit_length((pooled.astype(np.int64) << _MEAN_BITS) // positions)


def pseudo_labels(features: NDArray[np.int64], mass: NDArray[np.int64]) -> NDArray[np.int64]:
    """The class of the nearest prototype, int64[N]; of equally near ones the lowest.

    Parameters
    ----------
    features : int64[N, channels]
        Directions of a window's samples.
    mass : int64[N, K]
        How probable each class is to the last layer, Q15.

    Examples
    --------
    >>> features = np.array([[4096, 0], [4095, 90], [0, 4096], [700, 4036]])
    >>> unsure = np.array([[30000, 2768], [9000, 23768], [2768, 30000], [8000, 24768]])
    >>> pseudo_labels(features, unsure).tolist()
    [0, 0, 1, 1]
    """
    sums = mass.T @ features
    excess = max(0, int(np.abs(sums).max(initial=0)).bit_length() - _SUM_BITS)
    prototypes = _of_unit_length(sums >> excess)
    similarity: NDArray[np.int64] = features @ prototypes.T
    similarity[:, ~prototypes.any(axis=1)] = np.iinfo(np.int64).min
    nearest: NDArray[np.int64] = similarity.argmax(axis=1)
    return nearest


def _of_unit_length(vectors: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows scaled to length 4096; |v| < 2^20 and at most 2^20 channels keep the squares below 2^63."""
    length = np.sqrt((vectors * vectors).sum(axis=1, keepdims=True).astype(np.float64))
    unit: NDArray[np.int64] = np.rint(vectors * np.float64(_UNIT) / np.maximum(length, 1.0)).astype(np.int64)
    return unit
