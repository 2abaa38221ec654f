"""Class-balanced choice: rounds over the classes in random order, one unused sample of each until full."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrant.coreset.pool import Pool


def choose_balanced(pool: Pool, size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """`size` indices; class counts differ by at most one as long as classes have samples left."""
    remaining = [list(rng.permutation(np.flatnonzero(pool.y == c))) for c in np.unique(pool.y)]
    chosen: list[int] = []
    while len(chosen) < size:
        for c in rng.permutation(len(remaining)):
            if remaining[c] and len(chosen) < size:
                chosen.append(int(remaining[c].pop()))
    return np.array(chosen, np.int64)
