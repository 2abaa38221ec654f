"""Quantization parameters: how integer codes stand for real numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.core.dtype import activation_range

_NOTHING = 1e-8  # scale of a value that is always 0
_TINY = 1e-30  # products of two scales are still float32 numbers


@dataclass(frozen=True)
class QParams:
    """Affine per-tensor quantization: real = scale * (code - zero_point), code in [qmin, qmax].

    Examples
    --------
    >>> q = QParams(scale=0.5, zero_point=-128)
    >>> q.quantize(np.array([0.0, 1.26, 1e9], np.float32)).tolist()
    [-128, -125, 127]
    """

    scale: float
    zero_point: int
    qmin: int = -128
    qmax: int = 127

    @staticmethod
    def from_range(lo: float, hi: float, bits: int = 8) -> QParams:
        """Parameters that cover [lo, hi] and represent 0 exactly (LiteRT 8-bit specification)."""
        lo, hi = min(lo, 0.0), max(hi, 0.0)
        qmin, qmax = activation_range(bits)
        scale = float(np.float32(max((hi - lo) / (qmax - qmin), _TINY) if hi > lo else _NOTHING))
        zero_point = int(np.clip(round(qmin - lo / scale), qmin, qmax))
        return QParams(scale, zero_point, qmin, qmax)

    def quantize(self, x: NDArray[Any]) -> NDArray[np.int8]:
        """Codes of real values, rounded half to even, saturated. NaN is the caller's to refuse."""
        codes = np.rint(x / np.float32(self.scale)) + self.zero_point
        saturated: NDArray[np.int8] = np.clip(codes, self.qmin, self.qmax).astype(np.int8)
        return saturated

    def dequantize(self, codes: NDArray[Any]) -> NDArray[np.float32]:
        """Real values of codes."""
        return ((codes.astype(np.int32) - self.zero_point) * np.float32(self.scale)).astype(np.float32)
