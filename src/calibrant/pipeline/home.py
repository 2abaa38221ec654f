"""What an artifact says of its training samples' pre-activations: the home that affine correction leads back to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from calibrant.core.dtype import pack
from calibrant.core.program import Program
from calibrant.core.statistics import PreActivations
from calibrant.engine import Engine

BATCH = 256  # samples a forward pass, whose sums are below 256 * 2^53 = 2^61
CLASS_SHARE = 4  # moments by class are kept where they take at most a quarter of the bytes of the weights

Array = NDArray[np.float64]


def pre_activations(
    engine: Engine, codes: NDArray[np.int8], y: NDArray[np.int64], classes: int, batch: int = BATCH
) -> PreActivations:
    """One forward pass over training samples, under the engine's parameters.

    Parameters
    ----------
    engine : Engine
    codes : int8[N, height, width, channels]
        At least one.
    y : int64[N]
        Their classes, 0 to `classes` - 1.
    classes : int
        A class that no sample has is told as all samples are.
    batch : int
        Samples at a time, at most 256.

    Returns
    -------
    PreActivations
        Of all layers but the last and binary ones, whose moments are 0; by class where `cheap` says so.
    """
    channels = engine.program.channel_count
    sums = np.zeros((classes, 2, channels), object)  # Python's integers: no number of samples is too many
    spread = np.zeros((2, 2, channels))  # of mean and mean square: sum over samples, and sum of squares
    positions = np.ones(channels, np.int64)
    for start in range(0, len(codes), batch):
        seen, own = engine.moments(codes[start : start + batch]), y[start : start + batch]
        positions = np.maximum(seen.positions, 1)
        for label in np.unique(own):
            sums[label] += [each[own == label].sum(axis=0) for each in (seen.total, seen.square)]
        each = np.stack([seen.total, seen.square]) / positions
        spread += np.stack([each.sum(axis=1), (each * each).sum(axis=1)])
    deviation = np.sqrt(np.maximum(spread[1] - spread[0] ** 2 / len(codes), 0) / len(codes)).astype(np.float32)
    mean, variance = _moments(sums.sum(axis=0), len(codes) * positions)
    home = PreActivations(mean.astype(np.float32), variance.astype(np.float32), deviation[0], deviation[1])
    if not cheap(engine.program, classes):
        return home
    counts = np.bincount(y, minlength=classes)
    rows = [_moments(sums[k], counts[k] * positions) if counts[k] else (mean, variance) for k in range(classes)]
    by_class = np.array([(mean, np.sqrt(variance)) for mean, variance in rows]).astype(np.float16).astype(np.float32)
    return replace(home, class_mean=by_class[:, 0].copy(), class_std=by_class[:, 1].copy())


def cheap(program: Program, classes: int) -> bool:
    """Whether mean and standard deviation of every class, two bytes each, are little beside the weights."""
    weights = sum(len(pack(np.zeros(layer.weight_count, np.int8), layer.bits)) for layer in program.layers)
    return CLASS_SHARE * 4 * classes * program.channel_count <= weights


def _moments(sums: NDArray[np.object_], count: NDArray[np.int64]) -> tuple[Array, Array]:
    """Mean and variance float64[channels] of sums and sums of squares [2, channels] over `count` values."""
    mean, square = (each / count.astype(object) for each in sums)
    return mean.astype(np.float64), np.maximum((square - mean * mean).astype(np.float64), 0)
