"""Samples at four bits: each channel of a sample on a grid of 16 levels of its own, all in integers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEVELS = 16
_SHORT = 16  # with fewer positions a grid a channel would cost more than it saves: the sample has one for all
_HIGHEST = 127


@dataclass(frozen=True)
class Nibbles:
    """N samples: code = low + step * level, two levels a byte, the even place in the low half.

    low int8[N, blocks] and step uint8[N, blocks] (see :func:`blocks`); packed uint8[N, ceil(elements / 2)], levels in
    the order of the sample's elements.
    """

    low: NDArray[np.int8]
    step: NDArray[np.uint8]
    packed: NDArray[np.uint8]


def blocks(height: int, width: int, channels: int) -> int:
    """How many grids a sample has: one a channel, or one where channels are shorter than 16 positions.

    Examples
    --------
    >>> blocks(1, 125, 45), blocks(1, 1, 6)
    (45, 1)
    """
    return channels if height * width >= _SHORT else 1


def pack(x: NDArray[np.int8]) -> Nibbles:
    """Samples int8[N, height, width, channels] at four bits; exact for what :func:`rounded` gives.

    A grid starts at the block's lowest code. Its step is the largest that all codes lie on if 16 levels then suffice,
    so that packing again changes nothing, else the smallest with which they do.

    Examples
    --------
    >>> x = np.arange(0, 48, 3, dtype=np.int8).reshape(1, 1, 16, 1)
    >>> held = pack(x)
    >>> held.low.tolist(), held.step.tolist(), held.packed[0, :2].tolist()
    ([[0]], [[3]], [16, 50])
    """
    grids = blocks(*x.shape[1:])
    count = x.shape[1] * x.shape[2] * x.shape[3]
    codes = x.astype(np.int16).reshape(len(x), count // grids, grids)
    low = codes.min(axis=1)
    above = codes - low[:, None]
    span, common = above.max(axis=1), np.gcd.reduce(above, axis=1)
    needed = -(-span // (LEVELS - 1))
    step = np.maximum(np.where(common >= needed, common, needed), 1)
    levels = np.minimum((above + (step // 2)[:, None]) // step[:, None], ((_HIGHEST - low) // step)[:, None])
    flat = np.zeros((len(x), count + count % 2), np.uint8)
    flat[:, :count] = levels.reshape(len(x), count)
    packed = flat[:, 0::2] | (flat[:, 1::2] << 4)
    return Nibbles(low.astype(np.int8), step.astype(np.uint8), packed)


def unpack(held: Nibbles, shape: tuple[int, int, int]) -> NDArray[np.int16]:
    """Codes int16[N, *shape] of samples of height, width, channels; outside -128..127 only if `held` is damaged.

    Examples
    --------
    >>> x = np.array([-128, -128, 3, 127], np.int8).reshape(1, 1, 4, 1)
    >>> unpack(pack(x), (1, 4, 1)).reshape(-1).tolist()
    [-128, -128, 8, 127]
    """
    count = shape[0] * shape[1] * shape[2]
    levels = np.stack([held.packed & 15, held.packed >> 4], axis=2).reshape(len(held.packed), 2 * held.packed.shape[1])
    grids = blocks(*shape)
    above = levels[:, :count].astype(np.int16).reshape(len(levels), count // grids, grids) * held.step[:, None]
    codes: NDArray[np.int16] = (above + held.low[:, None]).astype(np.int16).reshape(len(levels), *shape)
    return codes


def rounded(x: NDArray[np.int8]) -> NDArray[np.int8]:
    """Samples int8[N, height, width, channels] as four bits keep them: at most half a step off, near 127 less than one.

    Examples
    --------
    >>> x = np.array([0, 1, 20, 90], np.int8).reshape(1, 1, 1, 4)
    >>> rounded(x).reshape(-1).tolist()
    [0, 0, 18, 90]
    """
    kept: NDArray[np.int8] = unpack(pack(x), (x.shape[1], x.shape[2], x.shape[3])).astype(np.int8)
    return kept
