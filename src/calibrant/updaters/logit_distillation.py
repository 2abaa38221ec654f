"""What earlier parameters said of samples that are learned from again, so that new ones do not drift away from it.

Source: Buzzega et al., "Dark experience for general continual learning" (NeurIPS 2020): logits are kept beside the
samples, and their squared distance joins the loss. A label says only which class is right; logits say how sure the
parameters were, of every class. Of the artifact's samples the artifact's own logits count, of the stream's those of the
version that first learned them: they lie with the sample (`memory.replay`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrant.core.fmath import ERROR_ONE

_WEIGHT = np.float32(1.0)  # of the mean squared distance of logits, halved, beside the cross-entropy in nats


def distillation_error(scores: NDArray[np.float32], remembered: NDArray[np.float32]) -> NDArray[np.int64]:
    """What the distance of scores [N, K] adds to the error signal, Q15 int64[N, K]; 0 where none are remembered (NaN).

    Examples
    --------
    >>> then = np.array([[2.0, -1.0], [np.nan, np.nan]], np.float32)
    >>> distillation_error(np.array([[1.0, 0.0], [1.0, 0.0]], np.float32), then).tolist()
    [[-16384, 16384], [0, 0]]
    """
    weight = _WEIGHT / np.float32(scores.shape[1])
    distance = np.where(np.isnan(remembered), np.float32(0), scores - remembered) * weight
    error: NDArray[np.int64] = np.rint(np.clip(distance, -1, 1) * np.float32(ERROR_ONE)).astype(np.int64)
    return error
