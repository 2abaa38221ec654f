"""Which training samples travel with the model. One rule a file; `RULES` lists them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from calibrant.core.errors import DataError
from calibrant.core.rng import generator
from calibrant.coreset.balanced import choose_balanced
from calibrant.coreset.random import choose_random

Rule = Callable[[NDArray[np.int64], int, np.random.Generator], NDArray[np.int64]]

RULES: dict[str, Rule] = {"random": choose_random, "balanced": choose_balanced}


def select(rule: str, y: NDArray[np.int64], size: int, seed: int) -> NDArray[np.int64]:
    """Indices of the coreset, sorted, without repetition.

    Parameters
    ----------
    rule : {'random', 'balanced'}
    y : int64[N]
        Training labels.
    size : int
        1 <= size <= N.
    seed : int

    Raises
    ------
    DataError
        Unknown rule or impossible size.

    Examples
    --------
    >>> y = np.repeat(np.arange(3), 10)
    >>> np.bincount(y[select("balanced", y, 6, seed=0)]).tolist()
    [2, 2, 2]
    """
    if rule not in RULES:
        raise DataError(f"coreset rule: expected one of {', '.join(RULES)}, got {rule!r}")
    if not 1 <= size <= len(y):
        raise DataError(f"coreset size: expected 1 to {len(y)} (the training samples), got {size}")
    return np.sort(RULES[rule](y, size, generator(seed, "coreset")))
