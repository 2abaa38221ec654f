"""BiasCorrection: biases follow what a new domain does to the mean of each pre-activation, without labels.

A domain often shifts the inputs of a layer as a whole, and with them every pre-activation. Its mean over a layer's
positions is known from the pooled statistics, `bias + sum_i W[o, i] mean_i` with W summed over the kernel's taps
(padding aside), so a forward pass says how far each channel is from what it was on the training samples, and the bias
takes part of the way back. This is what re-estimating batch-norm means does (Li et al., "Revisiting Batch Normalization
For Practical Domain Adaptation", 2016), for a network whose batch norms are folded into integers.

All layers move at once, by a small share; that the later ones see changed inputs next time is corrected then. Where
nothing has drifted the biases return to those of the artifact. All sums are of integers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrant.core.dtype import BIAS_LIMIT
from calibrant.core.fixedpoint import divide_round
from calibrant.core.program import Constants, Layer, Program
from calibrant.core.statistics import FeatureStatistics

INERTIA = 273  # samples that the biases in force count as: a window of 91 goes a quarter of the way
OUTLIER = 4.0  # standard deviations: a channel farther off is taken to be so far, so a dead sensor cannot rule
_MEAN_ONE = 256  # mean codes are integers, in 1/256


class BiasCorrection:
    """Moves biases towards the training samples' mean pre-activations.

    Parameters
    ----------
    program, constants, reference
        From the artifact.
    """

    def __init__(self, program: Program, constants: Constants, reference: FeatureStatistics) -> None:
        self._layers = program.layers
        self._positions = program.pooled_positions
        self._constants = constants
        self._mean = np.rint(reference.mean.astype(np.float64) * _MEAN_ONE)
        self._std = reference.std.astype(np.float64) * _MEAN_ONE

    def shift(self, pooled: NDArray[np.int64], count: int) -> NDArray[np.int64]:
        """How far the mean inputs are from the training samples', in 1/256 code, int64[pooled_count].

        What chance explains, a standard error of the mean of `count` samples, is no shift.

        Parameters
        ----------
        pooled : int64[pooled_count]
            `Observation.pooled`, summed over samples.
        count : int
            Samples, at least 1.
        """
        far = pooled * _MEAN_ONE / (self._positions * count) - self._mean
        limit = OUTLIER * self._std
        seen = np.where(np.abs(far) > self._std / np.sqrt(np.float64(count)), np.clip(far, -limit, limit), 0.0)
        shift: NDArray[np.int64] = np.rint(seen).astype(np.int64)
        return shift

    def bias(
        self, weights: NDArray[np.int8], bias: NDArray[np.int32], pooled: NDArray[np.int64], count: int
    ) -> NDArray[np.int32]:
        """Biases int32[channel_count] for a domain that gave these statistics.

        Parameters
        ----------
        weights, bias : int8[weight_count], int32[channel_count]
            In force when the statistics were taken.
        pooled, count
            As for :meth:`shift`. With `count` samples they go ``count / (count + INERTIA)`` of the way.
        """
        shift, mean = self.shift(pooled, count), self._mean.astype(np.int64)
        moved = bias.astype(np.int64)
        for layer in self._layers:
            part = layer.channel_slice
            now, then = _tap_sums(layer, weights), _tap_sums(layer, self._constants.weights)
            owed = (self._constants.bias[part].astype(np.int64) - moved[part]) * _MEAN_ONE
            owed += _products(layer, then - now, mean[layer.pooled_slice])
            owed -= _products(layer, now, shift[layer.pooled_slice])
            moved[part] += divide_round(owed * count, _MEAN_ONE * (count + INERTIA))
        return np.clip(moved, -BIAS_LIMIT, BIAS_LIMIT).astype(np.int32)


def _tap_sums(layer: Layer, weights: NDArray[np.int8]) -> NDArray[np.int64]:
    """Weights summed over the kernel's taps, int64[c_out, c_in / groups]."""
    taps = weights[layer.weight_slice].reshape(layer.weight_shape)
    sums: NDArray[np.int64] = taps.sum(axis=(1, 2), dtype=np.int64)
    return sums


def _products(layer: Layer, sums: NDArray[np.int64], inputs: NDArray[np.int64]) -> NDArray[np.int64]:
    """sum_i sums[o, i] * inputs[i] over the inputs of o's group, int64[c_out]."""
    grouped = sums.reshape(layer.groups, -1, sums.shape[1])
    product: NDArray[np.int64] = np.einsum("goi,gi->go", grouped, inputs.reshape(layer.groups, -1))
    return product.reshape(layer.c_out)
