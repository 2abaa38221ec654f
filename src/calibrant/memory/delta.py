"""Sparse differences between two sets of parameters: made, applied, joined, and packed into bytes and back."""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.core.errors import StateError

_HEADER = struct.Struct("<II")  # number of weights, number of biases
_BYTES_PER_WEIGHT, _BYTES_PER_BIAS = 4 + 2, 4 + 8
_MAX_PAYLOAD = 2**31  # a delta cannot be larger; stops a damaged file from asking for all memory


@dataclass(frozen=True)
class Delta:
    """Sparse difference between two versions: flat indices and integer changes of weights and bias."""

    weight_index: NDArray[np.uint32]
    weight_change: NDArray[np.int16]
    bias_index: NDArray[np.uint32]
    bias_change: NDArray[np.int64]


def difference(
    old_weights: NDArray[np.int8], old_bias: NDArray[np.int32], weights: NDArray[np.int8], bias: NDArray[np.int32]
) -> Delta:
    """What turns the old parameters into the new; all flat and of equal length.

    Examples
    --------
    >>> zero = np.zeros(2, np.int32)
    >>> difference(np.int8([1, 2, 3]), zero, np.int8([1, 3, -3]), zero).weight_change.tolist()
    [1, -6]
    """
    weight_index = np.flatnonzero(weights != old_weights)
    bias_index = np.flatnonzero(bias != old_bias)
    return Delta(
        weight_index.astype(np.uint32),
        weights[weight_index].astype(np.int16) - old_weights[weight_index],
        bias_index.astype(np.uint32),
        bias[bias_index].astype(np.int64) - old_bias[bias_index],
    )


def apply(
    delta: Delta, weights: NDArray[np.int8], bias: NDArray[np.int32]
) -> tuple[NDArray[np.int8], NDArray[np.int32]]:
    """New arrays with a delta added.

    Raises
    ------
    StateError
        An index or a result is out of range: the delta is damaged or belongs to another model.
    """
    return (
        _added(weights, delta.weight_index, delta.weight_change, "weight"),
        _added(bias, delta.bias_index, delta.bias_change, "bias"),
    )


def join(deltas: Sequence[Delta]) -> Delta:
    """One delta that does what several do one after the other."""
    weight_index, weight_change = _summed([(d.weight_index, d.weight_change) for d in deltas])
    bias_index, bias_change = _summed([(d.bias_index, d.bias_change) for d in deltas])
    return Delta(weight_index, weight_change.astype(np.int16), bias_index, bias_change)


def negative(delta: Delta) -> Delta:
    """The delta that undoes another."""
    return Delta(delta.weight_index, -delta.weight_change, delta.bias_index, -delta.bias_change)


def pack(delta: Delta) -> bytes:
    """zlib over counts, gaps between indices, and changes: gaps of sorted indices are small and compress well."""
    parts = (
        _gaps(delta.weight_index).astype("<u4"),
        delta.weight_change.astype("<i2"),
        _gaps(delta.bias_index).astype("<u4"),
        delta.bias_change.astype("<i8"),
    )
    raw = _HEADER.pack(delta.weight_index.size, delta.bias_index.size) + b"".join(p.tobytes() for p in parts)
    return zlib.compress(raw, 6)


def unpack(data: bytes, where: str) -> Delta:
    """Inverse of :func:`pack`.

    Raises
    ------
    StateError
        The bytes are not a packed delta; starts with `where`.
    """
    unpacker = zlib.decompressobj()
    try:
        head = unpacker.decompress(data, _HEADER.size)
        weights, biases = _HEADER.unpack(head) if len(head) == _HEADER.size else (0, -1)
        size = weights * _BYTES_PER_WEIGHT + biases * _BYTES_PER_BIAS
        body = unpacker.decompress(unpacker.unconsumed_tail, size + 1) if 0 <= size < _MAX_PAYLOAD else b""
    except zlib.error:
        raise StateError(f"{where}: expected a compressed delta, got damaged bytes") from None
    if biases < 0 or len(body) != size or not unpacker.eof or unpacker.unused_data:
        raise StateError(f"{where}: expected a delta of {weights} weights, got {len(body)} bytes")
    position, arrays = 0, []
    for dtype, count in (("<u4", weights), ("<i2", weights), ("<u4", biases), ("<i8", biases)):
        arrays.append(np.frombuffer(body, dtype, count, position))
        position += count * np.dtype(dtype).itemsize
    return Delta(
        _ungaps(arrays[0], where), arrays[1].astype(np.int16), _ungaps(arrays[2], where), arrays[3].astype(np.int64)
    )


def weights_sha256(weights: NDArray[np.int8], bias: NDArray[np.int32]) -> str:
    """SHA-256 of the parameters: weight bytes, then bias as little-endian int32."""
    digest = hashlib.sha256(np.ascontiguousarray(weights, np.int8).tobytes())
    digest.update(np.ascontiguousarray(bias, "<i4").tobytes())
    return digest.hexdigest()


def _added(values: NDArray[Any], index: NDArray[np.uint32], change: NDArray[Any], what: str) -> NDArray[Any]:
    if index.size and int(index[-1]) >= values.size:  # indices ascend
        raise StateError(f"delta: expected {what} indices below {values.size}, got {int(index[-1])}")
    moved, limits = values[index].astype(np.int64) + change, np.iinfo(values.dtype)
    if moved.size and not limits.min <= int(moved.min()) <= int(moved.max()) <= limits.max:
        raise StateError(f"delta: expected {what} values of {values.dtype}, got {int(moved.min())}..{int(moved.max())}")
    result = values.copy()
    result[index] = moved.astype(values.dtype)
    return result


def _summed(parts: list[tuple[NDArray[np.uint32], NDArray[Any]]]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    if not parts:
        return np.zeros(0, np.uint32), np.zeros(0, np.int64)
    index, place = np.unique(np.concatenate([p[0] for p in parts]), return_inverse=True)
    change = np.zeros(index.size, np.int64)
    np.add.at(change, place, np.concatenate([p[1] for p in parts]).astype(np.int64))
    kept = change != 0
    return index[kept], change[kept]


def _gaps(index: NDArray[np.uint32]) -> NDArray[np.uint32]:
    return np.diff(index, prepend=np.zeros(1, np.uint32))


def _ungaps(gaps: NDArray[np.uint32], where: str) -> NDArray[np.uint32]:
    index = np.cumsum(gaps, dtype=np.uint64)
    if index.size and (int(index[-1]) >= 2**32 or (gaps[1:] == 0).any()):
        raise StateError(f"{where}: expected ascending indices, got others")
    return index.astype(np.uint32)
