"""Choice by the histogram of quantization misses: easy and hard samples as frequent as in the data.

Reading R2 of the distribution in QCore (PVLDB 17(11), 2024, section on coreset construction).
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from calibrant.coreset.pool import Pool
from calibrant.coreset.quota import equal_shares, largest_remainder, learned_first

Table = NDArray[np.int64]


def choose_histogram(pool: Pool, size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """`size` indices whose histogram of misses is the data's, by largest remainder; at random within a bin.

    Samples that were never learned are no part of the histogram and come last of all. With `pool.quotas` every class
    gets an equal share; where that contradicts the histogram, the share wins and the nearest bin is taken.
    """
    assert pool.misses is not None  # `select` saw to it
    rows = learned_first(pool.misses, size, rng)
    values, level = np.unique(np.maximum(pool.misses[rows], 0), return_inverse=True)
    group = np.unique(pool.y[rows], return_inverse=True)[1] if pool.quotas else np.zeros(len(rows), np.int64)
    held = np.zeros((int(group.max()) + 1, len(values)), np.int64)
    np.add.at(held, (group, level), 1)
    seats = _allot(
        held, equal_shares(held.sum(axis=1), size, rng), largest_remainder(held.sum(axis=0), size), values, rng
    )
    cells = zip(*np.nonzero(seats), strict=True)
    return np.concatenate([rng.permutation(rows[(group == g) & (level == v)])[: seats[g, v]] for g, v in cells])


def _allot(held: Table, shares: Table, bins: Table, values: Table, rng: np.random.Generator) -> Table:
    """Seats int64[K, V] with row sums `shares`, nowhere above `held`, and column sums `bins` as far as possible.

    A maximum flow from groups to bins, one seat at a time; a group prefers bins at random, in proportion to what it
    holds there.
    """
    seats, open_bins = np.zeros_like(held), bins.copy()
    preference = np.argsort(rng.exponential(size=held.shape) / np.maximum(held, 1e-9), axis=1)
    for group in rng.permutation(np.repeat(np.arange(len(held)), shares)):
        if not _seat(group, seats, held, open_bins, preference):
            # No rearrangement reaches an open bin: take the bin with the most similar count of misses.
            free = np.flatnonzero(seats[group] < held[group])
            wanted = values[open_bins > 0]
            nearest = free[np.abs(values[free][:, None] - wanted).min(axis=1).argmin()]
            seats[group, nearest] += 1
            lent = np.flatnonzero(open_bins > 0)[np.abs(values[nearest] - wanted).argmin()]
            open_bins[lent] -= 1
    return seats


def _seat(group: int, seats: Table, held: Table, open_bins: Table, preference: Table) -> bool:
    """Give one more seat to `group`, moving seats of others between bins where that opens one; False if none does."""
    reached_from: dict[int, tuple[int, int | None]] = {}  # bin -> (group that would move in, bin it moves out of)
    waiting: deque[tuple[int, int | None]] = deque([(group, None)])
    while waiting:
        mover, origin = waiting.popleft()
        for to in preference[mover]:
            if to in reached_from or seats[mover, to] >= held[mover, to]:
                continue
            reached_from[int(to)] = mover, origin
            if open_bins[to] > 0:
                open_bins[to] -= 1
                end: int | None = int(to)
                while end is not None:
                    mover, origin = reached_from[end]
                    seats[mover, end] += 1
                    if origin is not None:
                        seats[mover, origin] -= 1
                    end = origin
                return True
            waiting.extend((int(other), int(to)) for other in np.flatnonzero(seats[:, to]))
    return False
