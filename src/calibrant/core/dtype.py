"""Integer ranges of low-bit weights and activations, and sub-byte packing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrant.core.errors import ModelError

WEIGHT_BITS = (2, 4, 8)  # of layers that quantization makes; `--bits` is one of them
LAYER_BITS = (1, *WEIGHT_BITS)  # 1: a binary layer, as its model has it
BIAS_LIMIT = 2**30 - 1  # |bias|; with sum |w| * |x - z| < 2^30 no int32 accumulator can overflow


def weight_range(bits: int) -> tuple[int, int]:
    """Inclusive range of symmetric weight codes; those of one bit are -1 and 1, never 0.

    Examples
    --------
    >>> weight_range(1), weight_range(2), weight_range(4), weight_range(8)
    ((-1, 1), (-1, 1), (-7, 7), (-127, 127))
    """
    if bits not in LAYER_BITS:
        raise ModelError(f"weight bits: expected one of {LAYER_BITS}, got {bits}")
    hi = max(1, 2 ** (bits - 1) - 1)
    return -hi, hi


def is_weight(codes: NDArray[np.int8], bits: int) -> bool:
    """Whether all codes are weights of this width.

    Examples
    --------
    >>> is_weight(np.array([-1, 1], np.int8), 1), is_weight(np.array([-1, 0], np.int8), 1)
    (True, False)
    """
    low, high = weight_range(bits)
    return bool(np.all((codes >= low) & (codes <= high)) and (bits > 1 or np.all(codes != 0)))


def activation_range(bits: int) -> tuple[int, int]:
    """Inclusive range of activation codes in their int8 container.

    Examples
    --------
    >>> activation_range(8), activation_range(4)
    ((-128, 127), (-8, 7))
    """
    if not 2 <= bits <= 8:
        raise ModelError(f"activation bits: expected 2 to 8, got {bits}")
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


def pack(codes: NDArray[np.int8], bits: int) -> NDArray[np.uint8]:
    """Pack signed codes into bytes, lowest bits first.

    Parameters
    ----------
    codes : int8[n]
        Two's complement codes that fit in `bits`; of one bit, -1 and 1, of which -1 is the set bit.
    bits : {1, 2, 4, 8}

    Returns
    -------
    uint8[ceil(n * bits / 8)]

    Examples
    --------
    >>> pack(np.array([1, -1, 7, -7, 3], np.int8), 4).tolist()
    [241, 151, 3]
    """
    per_byte = 8 // bits
    flat: NDArray[np.uint8] = np.ascontiguousarray(codes, np.int8).reshape(-1).view(np.uint8)
    flat = (flat >> 7 if bits == 1 else flat & (2**bits - 1)).astype(np.uint8)
    padded = np.zeros(-(-flat.size // per_byte) * per_byte, np.uint8)
    padded[: flat.size] = flat
    lanes = padded.reshape(-1, per_byte) << (np.arange(per_byte, dtype=np.uint8) * bits)
    packed: NDArray[np.uint8] = np.bitwise_or.reduce(lanes, axis=1).astype(np.uint8)
    return packed


def unpack(packed: NDArray[np.uint8], bits: int, count: int) -> NDArray[np.int8]:
    """Inverse of :func:`pack`: the first `count` codes, sign-extended.

    Examples
    --------
    >>> unpack(np.array([241, 151, 3], np.uint8), 4, 5).tolist()
    [1, -1, 7, -7, 3]
    """
    per_byte = 8 // bits
    lanes = packed.reshape(-1, 1) >> (np.arange(per_byte, dtype=np.uint8) * bits)
    codes = (lanes.reshape(-1)[:count] & (2**bits - 1)).astype(np.int16)
    signed = 1 - 2 * codes if bits == 1 else np.where(codes >= 2 ** (bits - 1), codes - 2**bits, codes)
    narrow: NDArray[np.int8] = signed.astype(np.int8)
    return narrow
