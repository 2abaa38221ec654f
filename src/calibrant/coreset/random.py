"""Uniform choice: the control every other rule must beat."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def choose_random(y: NDArray[np.int64], size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """`size` indices, uniformly, without repetition."""
    return rng.permutation(len(y))[:size].astype(np.int64)
