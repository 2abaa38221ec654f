"""Weights of binary layers as their kernels read them, one bit each: those of all layers in one table in flash."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrant.core.errors import DataError
from calibrant.core.program import SIGN_WORD, Constants, Layer, Program, sign_words

BLOCK = 16  # outputs side by side, CAL_SIGN_BLOCK of c/include/calibrant/binary.h


def refuse(program: Program, updater: str) -> None:
    """For firmware that changes layers.

    Raises
    ------
    DataError
        A layer is binary.
    """
    name = next((layer.name for layer in program.layers if layer.binary), None)
    if name is not None:
        raise DataError(
            f"layer '{name}': expected weights of 2 bits or more for --updater {updater}, got a binary layer; "
            "choose --updater none"
        )


def words(layer: Layer) -> int:
    """Words of a layer in the table; 0 of one that is not binary."""
    if not layer.binary:
        return 0
    return -(-layer.c_out // BLOCK) * layer.kernel_h * layer.kernel_w * sign_words(layer.c_in) * BLOCK


def offset(program: Program, index: int) -> int:
    """Where a layer's words begin."""
    return sum(words(layer) for layer in program.layers[:index])


def table(program: Program, constants: Constants) -> NDArray[np.uint32]:
    """Words of all layers, [block of 16 outputs][tap][word of the depth][16] each."""
    packed = [_packed(layer, constants.weights[layer.weight_slice]) for layer in program.layers if layer.binary]
    return np.concatenate(packed) if packed else np.zeros(0, np.uint32)


def _packed(layer: Layer, codes: NDArray[np.int8]) -> NDArray[np.uint32]:
    depth = sign_words(layer.c_in)
    taps = layer.kernel_h * layer.kernel_w
    bits = np.zeros((-(-layer.c_out // BLOCK) * BLOCK, taps, depth * SIGN_WORD), np.uint32)
    bits[: layer.c_out, :, : layer.c_in] = codes.reshape(layer.c_out, taps, layer.c_in) < 0
    shifts = np.arange(SIGN_WORD, dtype=np.uint32)
    found = (bits.reshape(-1, BLOCK, taps, depth, SIGN_WORD) << shifts).sum(axis=-1, dtype=np.uint32)
    return np.ascontiguousarray(found.transpose(0, 2, 3, 1)).reshape(-1)
