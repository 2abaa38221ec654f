"""Perturbations that make a well-trained model err, so that there are errors to learn feedback from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def perturb(x: NDArray[np.float32], rng: np.random.Generator, strength: float = 1.0) -> NDArray[np.float32]:
    """Per-channel gain and offset plus noise, as a moved or aged sensor would cause.

    Parameters
    ----------
    x : float32[N, C, ...]
        Standardized samples (unit variance per channel).
    rng : numpy Generator
    strength : float
        1: log-gain deviation 0.3, offset deviation 0.5, noise deviation 0.2, in units of the channel's deviation.
    """
    channel = (*x.shape[:2], *([1] * (x.ndim - 2)))
    gain = np.exp(rng.normal(0, 0.3 * strength, channel))
    offset = rng.normal(0, 0.5 * strength, channel)
    noise = rng.normal(0, 0.2 * strength, x.shape)
    return (x * gain + offset + noise).astype(np.float32)
