"""What home looks like, and how far it strays: measured on training samples, blocks of which are left out in turn.

A device meets home at other times than the training samples are of. How far windows of other times are from home is
seen where all samples of some time are left out: means and whitening come of the others.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from calibrant.core.arrays import INTEGERS, array_of
from calibrant.core.errors import DataError
from calibrant.core.program import Program
from calibrant.core.recognition import Recognition
from calibrant.core.rng import generator
from calibrant.policy.contexts import DEVIATIONS
from calibrant.policy.place import Place, apart
from calibrant.policy.signature import Whitening, kinds, statistics

WIDEST = 512  # dimensions: the matrix grows with their square
FOLDS = 8  # parts that are left out in turn
LEAST = 3  # parts that say anything of how parts differ
WINDOWS = (16, 32, 64, 128)  # samples
_BATCH = 256  # samples at a time, which bounds memory and changes no number
DRAWS = 4  # windows of each size from each part
_RIDGE = 0.05  # of correlations: what hardly varies by itself must not rule
_QUIET = 16  # a statistic that varies less than a sixteenth of the liveliest of its kind counts as if it varied so much
_SHIFT, _LEAST_VARIANCE, _LEAST_DEVIATION = 1e-6, 1e-3, 0.05  # of statistics, of signatures, of windows: never nothing

Moments = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]


def check_blocks(blocks: NDArray[np.int64] | None, samples: int) -> NDArray[np.int64] | None:
    """Labels of stretches int64[N]; DataError if they are not one whole number a sample."""
    if blocks is None:
        return None
    given = array_of(blocks, "blocks", INTEGERS)
    if given.shape != (samples,):
        raise DataError(f"blocks: expected {samples} integers, one a sample, got {given.dtype} {list(given.shape)}")
    return given.astype(np.int64)


def folds(y: NDArray[np.int64], blocks: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """Which part int64[N] each sample belongs to: the earlier stretches of each class, later ones, and so on.

    A stretch may be all of one class, and parts must not differ by their classes; so each class's stretches are dealt
    out for themselves, neighbors together. Without `blocks` they are stretches of the given order.

    Examples
    --------
    >>> folds(np.array([0, 0, 0, 0, 1, 1]), np.array([5, 5, 7, 7, 8, 9])).tolist()
    [0, 0, 4, 4, 0, 4]
    >>> folds(np.zeros(16, np.int64), None).tolist()
    [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7]
    """
    part = np.zeros(len(y), np.int64)
    for label in np.unique(y):
        own = np.flatnonzero(y == label)
        stretch = np.arange(own.size) if blocks is None else np.unique(blocks[own], return_inverse=True)[1]
        part[own] = stretch * FOLDS // (int(stretch.max()) + 1)
    return part


def of(
    program: Program,
    codes: NDArray[np.int8],
    last: NDArray[np.int32],
    y: NDArray[np.int64],
    blocks: NDArray[np.int64] | None = None,
) -> Recognition | None:
    """What an artifact of this program knows of home, see :func:`measure`, of samples as `statistics` takes them."""
    starts = range(0, len(codes), _BATCH)
    found = [statistics(program, codes[i : i + _BATCH], last[i : i + _BATCH]) for i in starts]
    return measure(np.concatenate(found), kinds(program), y, blocks)


def measure(
    statistics: NDArray[np.float64],
    kinds: Sequence[slice],
    y: NDArray[np.int64],
    blocks: NDArray[np.int64] | None = None,
) -> Recognition | None:
    """What an artifact knows of home; None where samples are too few to say or have too many dimensions.

    Parameters
    ----------
    statistics : float64[N, D]
        Of training samples, see `policy.signature.statistics`.
    kinds : sequence of slice
        Which of them are alike.
    y : int64[N]
        Classes.
    blocks : int64[N], optional
        Labels of stretches, rising with time: trials, takes, days.
    """
    part, rng = folds(y, blocks), generator(0, "home")
    parts = [rows for p in range(FOLDS) if (rows := np.flatnonzero(part == p)).size >= WINDOWS[0]]
    if len(parts) < LEAST or statistics.shape[1] > WIDEST:
        return None
    found = [_strayed(statistics, kinds, rows, rng) for rows in parts]
    wander, usual, deviation = _fit(np.concatenate(found))
    kept = np.concatenate(
        [_kept(windows, np.concatenate(found[:i] + found[i + 1 :])) for i, windows in enumerate(found)]
    )
    moments = _moments(statistics, kinds)
    variance = _variance(Whitening.by(*moments)(statistics))
    return Recognition(*moments, variance, wander, usual, deviation, float(kept.mean()))


def _moments(statistics: NDArray[np.float64], kinds: Sequence[slice]) -> Moments:
    """Mean, spread and whitening matrix, as an artifact holds them."""
    mean, spread = statistics.mean(axis=0), statistics.std(axis=0)
    for kind in kinds:
        least = max(float(spread[kind].max()) / _QUIET, _SHIFT)
        spread[kind] = np.maximum(spread[kind], least)
    standard = (statistics - mean) / spread
    correlations = standard.T @ standard / len(standard) + _RIDGE * np.eye(len(mean))
    matrix = np.linalg.inv(np.linalg.cholesky(correlations))
    half = np.tril(matrix).astype(np.float16).astype(np.float32)
    return mean.astype(np.float32), spread.astype(np.float32), half


def _variance(signatures: NDArray[np.int16]) -> float:
    """Of signatures around their mean, over samples and dimensions; never nothing."""
    return max(Place.of(signatures).variance, _LEAST_VARIANCE)


def _strayed(
    statistics: NDArray[np.float64], kinds: Sequence[slice], rows: NDArray[np.intp], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Windows of a part by all other samples: float64[windows, 2] of sizes and of mean squares, 1 by chance."""
    others = np.delete(statistics, rows, axis=0)
    whiten = Whitening.by(*_moments(others, kinds))
    variance, home = _variance(whiten(others)), Place.empty(statistics.shape[1])
    signatures, found = whiten(statistics[rows]), list[tuple[float, float]]()
    for size in (n for n in WINDOWS if n <= rows.size):
        for _ in range(DRAWS):
            window = Place.of(signatures[rng.permutation(rows.size)[:size]])
            found.append((size, size * apart(window, home) / variance))
    return np.array(found, np.float64)


def _fit(windows: NDArray[np.float64]) -> tuple[float, float, float]:
    """Wander, and mean and standard deviation of what it leaves to explain."""
    size, square = windows.T
    wander = max(0.0, float(((square - 1) * size).sum() / (size * size).sum()))
    left = square / (1 + wander * size)
    return wander, float(left.mean()), max(float(left.std()), _LEAST_DEVIATION)


def _kept(windows: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which windows are called home by what others say of it."""
    wander, usual, deviation = _fit(others)
    size, square = windows.T
    kept: NDArray[np.bool_] = square / (1 + wander * size) <= usual + DEVIATIONS * deviation
    return kept
