"""What earlier weights said of samples that are learned from again, so that new ones do not drift away from it.

Source: Buzzega et al., "Dark experience for general continual learning" (NeurIPS 2020): logits are kept beside the
samples, and their squared distance joins the loss. A label says only which class is right; logits say how sure the
weights were, of every class. Of the artifact's samples the artifact's own logits count, of the stream's those of the
update that first had them.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from calibrant.core.fmath import ERROR_ONE

_WEIGHT = np.float32(1.0)  # weight of the mean squared distance of logits, halved, beside the cross-entropy in nats


class RememberedLogits:
    """Logits float32[K] by sample.

    Examples
    --------
    >>> x, memory = np.zeros((1, 1, 1, 1), np.int8), RememberedLogits(2)
    >>> memory.add(x, np.array([[2.0, -1.0]], np.float32))
    >>> distillation_error(np.array([[1.0, 0.0]], np.float32), memory.of(x)).tolist()
    [[-16384, 16384]]
    """

    def __init__(self, classes: int) -> None:
        self._logits: dict[bytes, NDArray[np.float32]] = {}
        self._unknown = np.full(classes, np.nan, np.float32)

    def add(self, x: NDArray[np.int8], logits: NDArray[np.float32]) -> None:
        """Remember logits float32[N, K] of samples int8[N, ...] that are not remembered yet."""
        for key, row in zip(_keys(x), logits, strict=True):
            self._logits.setdefault(key, row)

    def keep(self, x: NDArray[np.int8]) -> None:
        """Forget all other samples."""
        self._logits = {key: self._logits[key] for key in _keys(x) if key in self._logits}

    def of(self, x: NDArray[np.int8]) -> NDArray[np.float32]:
        """Logits float32[N, K], NaN of samples that are not remembered."""
        return np.stack([self._logits.get(key, self._unknown) for key in _keys(x)])


def distillation_error(logits: NDArray[np.float32], then: NDArray[np.float32]) -> NDArray[np.int64]:
    """What the distance adds to the output error, Q15 int64[N, K]; 0 where `then` is not known."""
    distance = np.where(np.isnan(then), np.float32(0), logits - then) * (_WEIGHT / np.float32(logits.shape[1]))
    error: NDArray[np.int64] = np.rint(np.clip(distance, -1, 1) * np.float32(ERROR_ONE)).astype(np.int64)
    return error


def _keys(x: NDArray[np.int8]) -> list[bytes]:
    """Eight bytes that stand for a sample's codes."""
    return [hashlib.blake2b(codes.tobytes(), digest_size=8).digest() for codes in x]
