"""What a sample looks like whatever the weights have become: numbers that tell where it is from, not what it is of.

Means and log standard deviations of the input channels, and the mean inputs of the last layer by the artifact's own
weights; whitened by the training samples, so that what varies together at home counts once. Inputs alone do not tell
wearers of one sensor apart, and the last layer's alone miss what the network learned to ignore.

Signatures are whole numbers, the same on every machine: sums of codes are, the logarithm is our own (`core.fmath`),
standardized numbers and the whitening matrix are rounded to fixed point, and their product stays below 2^53, so that
it is exact in any order of summation.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import numpy as np
from numpy.typing import NDArray

from calibrant.core import fmath
from calibrant.core.program import Program
from calibrant.core.recognition import Recognition
from calibrant.core.statistics import Observation

ONE = 1 << 8  # signatures are in 1/256 of what whitening makes a standard deviation
_FARTHEST = 16 * ONE  # before whitening; what is farther is no farther
LIMIT = (1 << 15) - 1  # what is farther is no farther
_MATRIX_ONE = 1 << 12
_NOISE = 12  # a code rounds with a variance of 1/12: less than that is no variation


def statistics(program: Program, codes: NDArray[np.int8], last: NDArray[np.int32]) -> NDArray[np.float64]:
    """What signatures are made of, float64[N, D], the same on every machine.

    Parameters
    ----------
    program : Program
    codes : int8[N, height, width, channels]
        Input codes.
    last : int32[N, c_in]
        Of the same samples the pooled inputs of the last layer (`Observation.pooled`), by the artifact's own weights.

    Returns
    -------
    float64[N, D]
        Mean code of each input channel; half the logarithm of twelve times its variance plus one, unless the input is
        a vector, whose channels do not vary; mean code of each input channel of the last layer.
    """
    flat = codes.reshape(len(codes), -1, codes.shape[-1]).astype(np.int32)
    positions, sums = flat.shape[1], flat.sum(axis=1, dtype=np.int64)
    means = last / program.pooled_positions[program.layers[-1].pooled_slice]
    if positions == 1:
        return np.concatenate([sums.astype(np.float64), means], axis=1)
    scatter = positions * (flat * flat).sum(axis=1, dtype=np.int64) - sums * sums  # positions^2 times the variance
    varied = 1 + _NOISE * scatter / positions**2
    spread = fmath.log(varied.astype(np.float32)).astype(np.float64) / 2
    return np.concatenate([sums / positions, spread, means], axis=1)


def kinds(program: Program) -> tuple[slice, ...]:
    """Which of the statistics are alike: channels' means, their spreads, the last layer's inputs."""
    tensor = program.tensors[program.input]
    channels, last = tensor.channels, program.layers[-1].c_in
    count = 1 if tensor.height * tensor.width == 1 else 2
    ends = [*range(0, count * channels + 1, channels), count * channels + last]
    return tuple(slice(a, b) for a, b in pairwise(ends))


@dataclass(frozen=True)
class Whitening:
    """Turns statistics into signatures.

    Parameters
    ----------
    mean, spread : float64[D]
    matrix : float64[D, D]
        Whole numbers, transposed.

    Examples
    --------
    >>> whiten = Whitening.by(np.zeros(2, np.float32), np.ones(2, np.float32), np.eye(2, dtype=np.float32))
    >>> whiten(np.array([[0.5, -20.0]])).tolist()
    [[128, -4096]]
    """

    mean: NDArray[np.float64]
    spread: NDArray[np.float64]
    matrix: NDArray[np.float64]

    @classmethod
    def of(cls, recognition: Recognition) -> Self:
        """That of an artifact."""
        return cls.by(recognition.mean, recognition.spread, recognition.matrix)

    @classmethod
    def by(cls, mean: NDArray[np.float32], spread: NDArray[np.float32], matrix: NDArray[np.float32]) -> Self:
        """By the arrays of a `Recognition`."""
        whole = np.rint(matrix.astype(np.float64).T * _MATRIX_ONE)
        return cls(mean.astype(np.float64), spread.astype(np.float64), whole)

    def __call__(self, statistics: NDArray[np.float64]) -> NDArray[np.int16]:
        """Signatures int16[N, D] of what :func:`statistics` gives."""
        standard = np.clip(np.rint((statistics - self.mean) / self.spread * ONE), -_FARTHEST, _FARTHEST)
        white = np.rint(standard @ self.matrix / _MATRIX_ONE)
        return np.clip(white, -LIMIT, LIMIT).astype(np.int16)


@dataclass(frozen=True)
class Signatures:
    """Gives samples their signatures, by an artifact's program and what it knows home by."""

    program: Program
    whiten: Whitening

    @classmethod
    def of(cls, program: Program, recognition: Recognition) -> Self:
        """Those of an artifact."""
        return cls(program, Whitening.of(recognition))

    def __call__(self, codes: NDArray[np.int8], observation: Observation) -> NDArray[np.int16]:
        """Signatures int16[N, D] of input codes int8[N, height, width, channels].

        `observation` is what the artifact's own weights said of them: others would move the samples.
        """
        last = observation.pooled[:, self.program.layers[-1].pooled_slice]
        return self.whiten(statistics(self.program, codes, last))
