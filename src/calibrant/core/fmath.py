"""Softmax and cross-entropy that give the same bits on every machine.

exp and log are our own polynomials in float32 with a fixed order of operations (IEEE add, multiply, divide only; the C
side compiles with contraction off), and everything that is summed is first rounded to integers, so that the order of
summation cannot matter.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ERROR_ONE = 1 << 15  # output errors are Q15: probability 1 is 32768
LOSS_ONE = 1 << 16  # losses are Q16 nats
_MASS_ONE = np.float32(1 << 24)  # exp(0) as an integer; K classes sum to at most K * 2^24
_LOG2E = np.float32(1.4426950408889634)
_LN2_HIGH = np.float32(0.693359375)  # few bits: k * _LN2_HIGH is exact for |k| < 2^10
_LN2_LOW = np.float32(-2.1219444005469057e-4)
_EXP = tuple(np.float32(c) for c in (1 / 720, 1 / 120, 1 / 24, 1 / 6, 0.5, 1.0, 1.0))
_LOG = tuple(np.float32(c) for c in (1 / 9, 1 / 7, 1 / 5, 1 / 3, 1.0))
_EXP_LOW = np.float32(-80.0)  # exp(-80) is 0 in Q24
_SQRT_HALF = np.float32(0.70710678)


def exp(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """exp(x) for x <= 0, within 3 ulp; values below -80 count as -80.

    Examples
    --------
    >>> float(abs(exp(np.float32([-1.5]))[0] - np.exp(-1.5))) < 1e-7
    True
    """
    x = np.maximum(x, _EXP_LOW)
    k = np.rint(x * _LOG2E)
    r = (x - k * _LN2_HIGH) - k * _LN2_LOW
    p = np.full_like(r, _EXP[0])
    for c in _EXP[1:]:
        p = p * r + c
    power: NDArray[np.float32] = ((k.astype(np.int32) + 127) << 23).view(np.float32)
    result: NDArray[np.float32] = p * power
    return result


def log(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """log(x) for normal x > 0, within a few ulp (absolute 1e-7 near 1).

    Examples
    --------
    >>> float(abs(log(np.float32([19.0]))[0] - np.log(19.0))) < 1e-6
    True
    """
    mantissa, exponent = np.frexp(x)
    low = mantissa < _SQRT_HALF
    mantissa = np.where(low, mantissa * np.float32(2), mantissa)
    k = (exponent - low).astype(np.float32)
    s = (mantissa - np.float32(1)) / (mantissa + np.float32(1))
    q = s * s
    p = np.full_like(s, _LOG[0])
    for c in _LOG[1:]:
        p = p * q + c
    result: NDArray[np.float32] = (k * _LN2_LOW + np.float32(2) * s * p) + k * _LN2_HIGH
    return result


def cross_entropy(logits: NDArray[np.float32], y: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Loss per sample and the output error softmax - onehot, both integers.

    Parameters
    ----------
    logits : float32[N, K]
    y : int64[N]
        Class indices in 0..K-1.

    Returns
    -------
    loss : int64[N]
        Cross-entropy in Q16 nats.
    error : int64[N, K]
        Q15; a row sums to 0 up to rounding.

    Examples
    --------
    >>> loss, error = cross_entropy(np.zeros((1, 4), np.float32), np.array([2]))
    >>> error.tolist(), round(float(loss[0]) / LOSS_ONE, 4)
    ([[8192, 8192, -24576, 8192]], 1.3863)
    """
    rows = np.arange(len(y))
    shifted = logits - logits.max(axis=1, keepdims=True)
    mass = np.rint(exp(shifted) * _MASS_ONE).astype(np.int64)
    total = mass.sum(axis=1, keepdims=True)
    error = (mass * ERROR_ONE + total // 2) // total
    error[rows, y] -= ERROR_ONE
    nats = log(total[:, 0].astype(np.float32) / _MASS_ONE) - shifted[rows, y]
    loss = np.rint(np.minimum(nats, np.float32(2**14)) * np.float32(LOSS_ONE)).astype(np.int64)
    return loss, error
