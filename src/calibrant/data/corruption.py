"""What a camera does to pictures as it ages: its lens blurs, its sensor fades, tints, glares and grows noisy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.float32]

SEVERITIES = (0, 1, 2, 3, 4, 5)


def blur(x: Images, sigma: float) -> Images:
    """Gaussian blur of float32[..., h, w], standard deviation in pixels, edges repeated; 0 changes nothing."""
    if sigma == 0:
        return x
    radius = int(np.ceil(3 * sigma))
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    taps /= taps.sum()
    for axis in (-2, -1):
        pad = [(0, 0)] * x.ndim
        pad[axis] = (radius, radius)
        padded = np.moveaxis(np.pad(x.astype(np.float64), pad, mode="edge"), axis, -1)
        # Tap after tap: always in this order, and without a copy of the input per tap.
        total = np.zeros(np.moveaxis(x, axis, -1).shape)
        for i, tap in enumerate(taps):
            total += tap * padded[..., i : i + x.shape[axis]]
        x = np.moveaxis(total, -1, axis).astype(np.float32)
    return x


def fade(x: Images, contrast: float) -> Images:
    """Contrast about mid-gray; 1 changes nothing."""
    return np.asarray(0.5 + np.float32(contrast) * (x - 0.5), np.float32)


def tint(x: Images, offsets: tuple[float, ...]) -> Images:
    """An offset per channel of float32[N, channels, h, w]: brightness, or a color cast where they differ."""
    return np.asarray(x + np.array(offsets, np.float32)[:, None, None], np.float32)


def grain(x: Images, sigma: float, rng: np.random.Generator) -> Images:
    """Gaussian noise of this standard deviation on every value; 0 changes nothing."""
    return np.asarray(x + np.float32(sigma) * rng.standard_normal(x.shape, np.float32), np.float32)


@dataclass(frozen=True)
class Ageing:
    """A mixture of corruptions, applied in this order: blur, contrast, tint, noise; then values saturate at 8 bits.

    `blur_sigma` in pixels, `tint_offsets` per channel and `noise_sigma` in values of 0..1.
    """

    blur_sigma: float = 0.0
    contrast: float = 1.0
    tint_offsets: tuple[float, ...] = (0.0, 0.0, 0.0)
    noise_sigma: float = 0.0

    @staticmethod
    def of(severity: int) -> Ageing:
        """The mixture of a severity 0 (none) to 5; every part grows in equal steps.

        Examples
        --------
        >>> Ageing.of(0) == Ageing(), Ageing.of(4).blur_sigma
        (True, 0.6)
        """
        return Ageing(
            blur_sigma=round(0.15 * severity, 3),
            contrast=round(1 - 0.1 * severity, 3),
            tint_offsets=tuple(round(offset * severity, 3) for offset in (0.04, 0.01, -0.03)),
            noise_sigma=round(0.006 * severity, 3),
        )

    def apply(self, x: Images, rng: np.random.Generator) -> Images:
        """Pictures float32[N, 3, h, w] in 0..1, multiples of 1/255, of clean ones."""
        seen = tint(fade(blur(x, self.blur_sigma), self.contrast), self.tint_offsets)
        return np.asarray(np.rint(255 * np.clip(grain(seen, self.noise_sigma, rng), 0, 1)) / 255, np.float32)
