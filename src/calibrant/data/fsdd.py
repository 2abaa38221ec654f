"""Free Spoken Digit Dataset: ten digits by six speakers at 8 kHz, as log energies of 24 mel bands in 32 frames."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calibrant.core.errors import DataError
from calibrant.data import archive
from calibrant.data.domain import Domain

SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
FILES = tuple(f"{speaker}.npz" for speaker in SPEAKERS)
CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TEST_TAKES = 5  # of 50: the data set's own split
RATE, SPAN, BANDS, FRAMES = 8000, 256, 24, 32  # hertz; samples a frame of 32 ms; features of a clip


def load(files: tuple[Path, ...], number: int, name: str) -> Domain:
    """Read one speaker, 1 to 6 in the order of their names: x float32[N, 24, 32]; `segment` is the take.

    A clip's frames lie evenly over it, so that slow speech and fast come to the same number.
    """
    path = files[number - 1]
    arrays = archive.read(path, ("audio", "offset", "y", "take"))
    audio, offset, y, take = (arrays[key] for key in ("audio", "offset", "y", "take"))
    fits = audio.ndim == offset.ndim == 1 and y.shape == take.shape == (len(offset) - 1,)
    if not fits or offset[0] != 0 or offset[-1] != len(audio) or (np.diff(offset) < 1).any():
        raise DataError(
            f"{path}: expected audio [A], offset [N + 1] rising from 0 to A, y [N], take [N], "
            f"got {audio.shape}, {offset.shape}, {y.shape} and {take.shape}"
        )
    bank = mel_bank()
    clips = [features(audio[a:b].astype(np.float64), bank) for a, b in pairwise(offset)]
    segment = take.astype(np.int64)
    return Domain(np.stack(clips), y.astype(np.int64), segment, segment < TEST_TAKES, CLASSES, name)


def features(clip: NDArray[np.float64], bank: NDArray[np.float64]) -> NDArray[np.float32]:
    """Log energies float32[24, 32] of a clip of at least one sample; `bank` as of :func:`mel_bank`.

    Examples
    --------
    >>> features(np.sin(np.arange(4000.0)), mel_bank()).shape
    (24, 32)
    """
    padded = np.pad(clip / 2**15, (0, max(0, SPAN - len(clip))))
    starts = np.linspace(0, len(padded) - SPAN, FRAMES).round().astype(np.int64)
    frames = padded[starts[:, None] + np.arange(SPAN)] * np.hanning(SPAN)
    power = np.abs(np.fft.rfft(frames, axis=1)) ** 2
    return np.log(power @ bank.T + 1e-6).T.astype(np.float32)


def mel_bank() -> NDArray[np.float64]:
    """Triangles float64[24, 129] over the bins of a frame's spectrum, evenly spaced in mel from 60 Hz to 4 kHz."""
    low, high = (2595 * np.log10(1 + hertz / 700) for hertz in (60, RATE / 2))
    edges = 700 * (10 ** (np.linspace(low, high, BANDS + 2) / 2595) - 1)
    bins = np.fft.rfftfreq(SPAN, 1 / RATE)
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    bank: NDArray[np.float64] = np.maximum(0.0, np.minimum(rising, falling))
    return bank
