"""What samples look like: statistics of a forward pass, and what the server keeps of the training data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from calibrant.core.fixedpoint import requantize

PRE_ACTIVATIONS = (-(2**15), 2**15 - 1)  # to which `Moments` saturate


@dataclass(frozen=True)
class Observation:
    """Forward pass plus pooled statistics of N samples, all integers.

    outputs int32[N, elements of the output tensor]; active int32[N, active_count]: output positions per channel of
    layers and additions that are strictly inside the clamp; pooled int32[N, pooled_count]: sum over positions of
    (input - zero_point).
    """

    outputs: NDArray[np.int32]
    active: NDArray[np.int32]
    pooled: NDArray[np.int32]

    def take(self, rows: NDArray[Any] | slice) -> Self:
        """Of some of the samples."""
        return type(self)(self.outputs[rows], self.active[rows], self.pooled[rows])

    def then(self, other: Self) -> Self:
        """With other samples after these."""
        parts = zip(vars(self).values(), vars(other).values(), strict=True)
        return type(self)(*(np.concatenate(pair) for pair in parts))


@dataclass(frozen=True)
class Moments:
    """Pre-activations of N samples, summed over positions, all integers.

    A pre-activation is what a layer's accumulator is after requantization, before zero point and clamp, saturated to 16
    bits. total and square int64[N, channel_count]: sums of values, below 2^38 for the 2^23 positions that a tensor may
    have, and of their squares, below 2^53. positions int64[channel_count]: how many there are of each channel; all are
    0 of layers that were not measured.
    """

    total: NDArray[np.int64]
    square: NDArray[np.int64]
    positions: NDArray[np.int64]


def moments_of(
    sums: NDArray[np.int64], multiplier: NDArray[np.int32], shift: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Total and square, int64[N, c] each, of a layer's accumulators int64[N, positions, c]: the specification.

    Parameters
    ----------
    sums : int64[N, positions, c]
        Below 2^31.
    multiplier, shift : int32[c]

    Examples
    --------
    >>> [each.tolist() for each in moments_of(np.array([[[3], [-9]]]), np.int32([1]), np.int32([1]))]
    [[[-3]], [[29]]]
    """
    v = np.clip(requantize(sums, multiplier, shift), *PRE_ACTIVATIONS)
    return v.sum(axis=1), (v * v).sum(axis=1)


@dataclass(frozen=True)
class PreActivations:
    """What the training samples' pre-activations were, see `Moments`: where affine correction leads back to.

    All float32[channel_count], 0 for the channels of layers that have none: mean and variance over samples and
    positions; mean_spread and square_spread, standard deviations over samples of a sample's mean and mean square.
    class_mean and class_std float32[classes, channel_count], of each class alone, where the artifact keeps them: at
    half precision, so the values have it already.
    """

    mean: NDArray[np.float32]
    variance: NDArray[np.float32]
    mean_spread: NDArray[np.float32]
    square_spread: NDArray[np.float32]
    class_mean: NDArray[np.float32] | None = None
    class_std: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Feedback:
    """The bit-flipping network: per layer, int8[classes, c_out] columns at the layer's channel_slice.

    matrix int8[classes, channel_count]. Each layer has its own positive scale, but only the direction within a layer
    matters to flips, so scales are kept for reports alone: scale float32[layers].
    """

    matrix: NDArray[np.int8]
    scale: NDArray[np.float32]


@dataclass(frozen=True)
class Coreset:
    """Samples that stand for the training data: x int8[n, height, width, channels] input codes, y int64[n].

    `bits` 4: they are kept, and what a device adds to them, at four bits (`core.nibbles`); x is then rounded already.
    """

    x: NDArray[np.int8]
    y: NDArray[np.int64]
    bits: int = 8


@dataclass(frozen=True)
class FeatureStatistics:
    """What the training samples looked like inside the network, to tell a drifted window from a usual one.

    mean and std float32[pooled_count]: over training samples, of each input channel's mean code minus zero point,
    `Observation.pooled / Program.pooled_positions`. The artifact keeps half precision, so the values have it already.
    """

    mean: NDArray[np.float32]
    std: NDArray[np.float32]

    @classmethod
    def of(cls, mean: NDArray[np.float64], variance: NDArray[np.float64]) -> Self:
        """Moments float64[pooled_count], rounded to half precision."""
        std = np.sqrt(np.maximum(variance, 0))
        return cls(mean.astype(np.float16).astype(np.float32), std.astype(np.float16).astype(np.float32))


@dataclass(frozen=True)
class InDistribution:
    """How the model does on its training samples; `policy.drift_gate` compares windows with it.

    `error`: share of them that it gets wrong. `distance` and `spread`: mean and standard deviation of their distance to
    the nearest sample of the coreset, see `policy.feature_distance`; a spread of 0 says that these are unknown.
    """

    error: float = 0.0
    distance: float = 0.0
    spread: float = 0.0


@dataclass(frozen=True)
class Preprocess:
    """Input standardization per channel, (x - mean) / std, before quantization; float32[channels] each.

    Examples
    --------
    >>> x = np.array([[[1.0, 3.0], [5.0, 5.0]]], np.float32)
    >>> Preprocess.of(x).apply(x).tolist()
    [[[-1.0, 1.0], [0.0, 0.0]]]
    """

    mean: NDArray[np.float32]
    std: NDArray[np.float32]

    @classmethod
    def of(cls, x: NDArray[np.float32]) -> Self:
        """The statistics of samples [N, channels, ...]; a constant channel deviates by 1."""
        axes = (0, *range(2, x.ndim))
        std = x.std(axis=axes, dtype=np.float64)
        return cls(x.mean(axis=axes, dtype=np.float64).astype(np.float32), np.where(std > 0, std, 1).astype(np.float32))

    def apply(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Standardized samples, float32 of the shape of `x`."""
        shape = (-1, *(1,) * (x.ndim - 2))
        standardized: NDArray[np.float32] = (x - self.mean.reshape(shape)) / self.std.reshape(shape)
        return standardized
