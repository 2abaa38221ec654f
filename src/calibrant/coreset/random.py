"""Uniform choice: the control every other rule must beat."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrant.coreset.pool import Pool


def choose_random(pool: Pool, size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """`size` indices, uniformly, without repetition."""
    return rng.permutation(len(pool.y))[:size].astype(np.int64)
