"""Choice by quantization misses: the more often a sample was lost, the likelier it is drawn.

Reading R1 of the distribution in QCore (PVLDB 17(11), 2024, section on coreset construction), without its faults: no
sample is drawn twice, and with too few misses the rest is drawn uniformly.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrant.coreset.pool import Pool
from calibrant.coreset.quota import equal_shares, learned_first


def choose_proportional(pool: Pool, size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """`size` indices without repetition, with probability proportional to misses; then those without a miss.

    Samples that were never learned come last of all. With `pool.quotas` every class gets an equal share first, and the
    draw is within classes.
    """
    assert pool.misses is not None  # `select` saw to it
    rows = learned_first(pool.misses, size, rng)
    group = np.unique(pool.y[rows], return_inverse=True)[1] if pool.quotas else np.zeros(len(rows), np.int64)
    shares = equal_shares(np.bincount(group), size, rng)
    members = [rows[group == g] for g in range(len(shares))]
    return np.concatenate([m[_draw(pool.misses[m], n, rng)] for m, n in zip(members, shares, strict=True)])


def _draw(misses: NDArray[np.int64], size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draws one after the other, each proportional to misses among what is left: the same as the order of arrival of
    independent exponential clocks whose rates are the misses (Efraimidis & Spirakis 2006)."""
    clock = rng.exponential(size=len(misses))
    arrival = np.where(misses > 0, clock / np.maximum(misses, 1), np.inf)
    return np.lexsort((clock, arrival))[:size]
