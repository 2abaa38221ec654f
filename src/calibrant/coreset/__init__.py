"""Which training samples travel with the model. One rule a file; `RULES` lists them."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibrant.core.arrays import INTEGERS, array_of
from calibrant.core.errors import DataError, check_known
from calibrant.core.rng import generator
from calibrant.coreset.balanced import choose_balanced
from calibrant.coreset.histogram import choose_histogram
from calibrant.coreset.kmeans import choose_kmeans, features
from calibrant.coreset.pool import Pool
from calibrant.coreset.proportional import choose_proportional
from calibrant.coreset.random import choose_random

if TYPE_CHECKING:
    from calibrant.coreset.misses import MissCounter
    from calibrant.coreset.relearning import count_misses

# Imported on first use: counting needs a network and torch, choosing needs neither.
_LAZY = {"MissCounter": "calibrant.coreset.misses", "count_misses": "calibrant.coreset.relearning"}

__all__ = ["RULES", "MissCounter", "Pool", "Rule", "check", "count_misses", "features", "select"]


class Rule(NamedTuple):
    """How to choose, and which field of the pool it `needs` beside labels: "misses", "features" or "" for none."""

    choose: Callable[[Pool, int, np.random.Generator], NDArray[np.int64]]
    needs: str = ""


RULES: dict[str, Rule] = {
    "random": Rule(choose_random),
    "balanced": Rule(choose_balanced),
    "misses": Rule(choose_proportional, "misses"),
    "histogram": Rule(choose_histogram, "misses"),
    "kmeans": Rule(choose_kmeans, "features"),
}


def check(rule: str, y: NDArray[np.int64], size: int, misses: NDArray[np.int64] | None = None) -> None:
    """Refuse a choice that `select` would refuse, before long work.

    Raises
    ------
    DataError
        Unknown rule, impossible size, or misses that are not one whole number a training sample.
    """
    check_known("coreset rule", rule, RULES)
    if not 1 <= size <= len(y):
        raise DataError(f"coreset size: expected 1 to {len(y)} (the training samples), got {size}")
    if misses is not None and (shape := array_of(misses, "misses", INTEGERS).shape) != (len(y),):
        raise DataError(f"misses: expected integers of shape ({len(y)},), got shape {shape}")


def select(
    rule: str,
    y: NDArray[np.int64],
    size: int,
    seed: int,
    misses: NDArray[np.int64] | None = None,
    features: NDArray[np.float32] | None = None,
    quotas: bool = True,
) -> NDArray[np.int64]:
    """Indices of the coreset, sorted, without repetition.

    Parameters
    ----------
    rule : {'random', 'balanced', 'misses', 'histogram', 'kmeans'}
    y : int64[N]
        Training labels.
    size : int
        1 <= size <= N.
    seed : int
    misses : int64[N], optional
        From :meth:`MissCounter.misses`; needed by 'misses' and 'histogram'. Negative: never learned, chosen last.
    features : float32[N, F], optional
        From :func:`features`; needed by 'kmeans'.
    quotas : bool
        Whether 'misses' and 'histogram' give every class an equal share.

    Raises
    ------
    DataError
        Unknown rule, impossible size, or without what the rule needs.

    Examples
    --------
    >>> y = np.repeat(np.arange(3), 10)
    >>> np.bincount(y[select("balanced", y, 6, seed=0)]).tolist()
    [2, 2, 2]
    >>> select("misses", y, 3, seed=0, misses=np.where(np.arange(30) % 10 == 4, 2, 0)).tolist()
    [4, 14, 24]
    """
    check(rule, y, size, misses)
    for name, given in (("misses", misses), ("features", features)):
        if given is None and RULES[rule].needs == name:
            raise DataError(f"coreset rule '{rule}': expected {name} of the training samples, got none")
    if features is not None and len(features) != len(y):
        raise DataError(f"coreset features: expected {len(y)} rows, one a training sample, got {len(features)}")
    pool = Pool(y, misses, features, quotas)
    return np.sort(RULES[rule].choose(pool, size, generator(seed, "coreset")))


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'calibrant.coreset' has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)
