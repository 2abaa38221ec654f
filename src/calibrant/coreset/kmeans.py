"""Choice by diversity: the sample next to the center of each of `size` clusters of the inputs. Knows no labels."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from calibrant.coreset.pool import Pool

SEGMENTS = 8  # per spatial axis: keeps the shape of a signal, drops its samples


def features(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Inputs as vectors for clustering: each spatial axis averaged over at most 8 segments, then flattened.

    Parameters
    ----------
    x : float32[N, C, T], [N, C, H, W] or [N, F]
        Standardized.

    Returns
    -------
    float32[N, C * segments]

    Examples
    --------
    >>> features(np.zeros((3, 2, 125), np.float32)).shape, features(np.zeros((3, 1, 8, 8), np.float32)).shape
    ((3, 16), (3, 64))
    """
    for axis in range(2, x.ndim):
        parts = np.array_split(np.arange(x.shape[axis]), min(SEGMENTS, x.shape[axis]))
        x = np.stack([x.take(part, axis).mean(axis) for part in parts], axis)
    return np.ascontiguousarray(x.reshape(len(x), -1), np.float32)


def choose_kmeans(pool: Pool, size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """`size` indices: the medoid of each cluster; what repeated samples leave open is filled at random."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    assert pool.features is not None  # `select` saw to it
    points = pool.features.astype(np.float64)
    with threadpool_limits(1), warnings.catch_warnings():  # the order of sums must not depend on the machine
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct points than clusters: handled below
        found = KMeans(size, n_init=4, random_state=int(rng.integers(2**31))).fit(points)
    distance = np.square(points - found.cluster_centers_[found.labels_]).sum(axis=1)
    nearest_first = np.lexsort((distance, found.labels_))
    _, first = np.unique(found.labels_[nearest_first], return_index=True)
    medoids = nearest_first[first]
    others = rng.permutation(np.setdiff1d(np.arange(len(points)), medoids))
    return np.concatenate([medoids, others[: size - len(medoids)]])
