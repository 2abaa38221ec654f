"""Sparse differences between two sets of parameters: made, applied, joined, and packed into bytes and back."""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.core.errors import StateError
from calibrant.core.parameters import FLIPPED, KINDS, Kind, Parameters

_COUNT = struct.Struct("<I")
_INDEX = np.dtype("<u4")
_MAX_PAYLOAD = 2**31  # a delta cannot be larger; stops a damaged file from asking for all memory


@dataclass(frozen=True)
class Change:
    """Of one array: uint32[n] ascending flat indices, and what is added there, integers[n]."""

    index: NDArray[np.uint32]
    change: NDArray[Any]


@dataclass(frozen=True)
class Delta:
    """Sparse difference between two versions: a change of every kind of parameters, by name."""

    changes: Mapping[str, Change]

    @property
    def flips(self) -> int:
        """Weights that it moves."""
        return int(self.changes[FLIPPED].index.size)


def difference(old: Parameters, new: Parameters) -> Delta:
    """What turns the old parameters into the new; each array as long as its namesake.

    Examples
    --------
    >>> old = Parameters(**{kind.name: np.zeros(3, kind.dtype) for kind in KINDS})
    >>> difference(old, old.replaced(weights=np.int8([0, 1, -6]))).changes["weights"].change.tolist()
    [1, -6]
    """
    return Delta({kind.name: _changed(old[kind.name], new[kind.name], kind) for kind in KINDS})


def apply(delta: Delta, parameters: Parameters) -> Parameters:
    """Parameters with a delta added.

    Raises
    ------
    StateError
        An index or a result is out of range: the delta is damaged or belongs to another model.
    """
    return Parameters(**{k.name: _added(parameters[k.name], delta.changes[k.name], k.name) for k in KINDS})


def join(deltas: Sequence[Delta]) -> Delta:
    """One delta that does what several do one after the other."""
    return Delta({kind.name: _summed([delta.changes[kind.name] for delta in deltas], kind) for kind in KINDS})


def negative(delta: Delta) -> Delta:
    """The delta that undoes another."""
    return Delta({name: Change(each.index, -each.change) for name, each in delta.changes.items()})


def pack(delta: Delta) -> bytes:
    """zlib over counts, gaps between indices, and changes: gaps of sorted indices are small and compress well."""
    counts = b"".join(_COUNT.pack(delta.changes[kind.name].index.size) for kind in KINDS)
    body = b"".join(
        _gaps(delta.changes[kind.name].index).astype(_INDEX).tobytes()
        + delta.changes[kind.name].change.astype(kind.change).tobytes()
        for kind in KINDS
    )
    return zlib.compress(counts + body, 6)


def unpack(data: bytes, where: str) -> Delta:
    """Inverse of :func:`pack`; kinds that the release did not know which packed it are unchanged.

    Raises
    ------
    StateError
        The bytes are not a packed delta; starts with `where`.
    """
    counts, body = _read(data, where)
    position, changes = 0, {kind.name: _summed([], kind) for kind in KINDS}
    for count, kind in zip(counts, KINDS, strict=False):
        gaps = np.frombuffer(body, _INDEX, count, position)
        position += gaps.nbytes
        change = np.frombuffer(body, kind.change, count, position)
        position += change.nbytes
        changes[kind.name] = Change(_ungaps(gaps, where), change.astype(kind.change.newbyteorder("=")))
    return Delta(changes)


def _read(data: bytes, where: str) -> tuple[list[int], bytes]:
    """Counts of the kinds that a payload speaks of, and what follows them.

    How many kinds these are, the length says: each takes a count and its changes, so no two numbers of kinds give the
    same. Never is more inflated than the counts ask for.
    """
    unpacker = zlib.decompressobj()
    try:
        text = unpacker.decompress(data, _COUNT.size * len(KINDS))
        counts = [count for (count,) in _COUNT.iter_unpack(text[: len(text) // _COUNT.size * _COUNT.size])]
        lengths = [n for n in _lengths(counts) if n < _MAX_PAYLOAD]
        rest = max([*lengths, 0]) + 1 - len(text)
        text += unpacker.decompress(unpacker.unconsumed_tail, rest) if rest > 0 else b""
    except zlib.error:
        raise StateError(f"{where}: expected a compressed delta, got damaged bytes") from None
    if len(text) not in lengths or not unpacker.eof or unpacker.unused_data:
        raise StateError(f"{where}: expected a delta of one of {lengths} bytes, got {len(text)}")
    kinds = lengths.index(len(text)) + 1
    return counts[:kinds], text[_COUNT.size * kinds :]


def _lengths(counts: Sequence[int]) -> list[int]:
    """Bytes of a payload by how many kinds it speaks of: ascending."""
    sizes = (count * (_INDEX.itemsize + kind.change.itemsize) for count, kind in zip(counts, KINDS, strict=False))
    return [total + _COUNT.size * (i + 1) for i, total in enumerate(itertools.accumulate(sizes))]


def _changed(old: NDArray[Any], new: NDArray[Any], kind: Kind) -> Change:
    index = np.flatnonzero(new != old)
    wide = kind.change.newbyteorder("=")
    return Change(index.astype(np.uint32), new[index].astype(wide) - old[index].astype(wide))


def _added(values: NDArray[Any], change: Change, what: str) -> NDArray[Any]:
    index = change.index
    if index.size and int(index[-1]) >= values.size:  # indices ascend
        raise StateError(f"delta: expected {what} indices below {values.size}, got {int(index[-1])}")
    moved, limits = values[index].astype(np.int64) + change.change, np.iinfo(values.dtype)
    if moved.size and not limits.min <= int(moved.min()) <= int(moved.max()) <= limits.max:
        raise StateError(f"delta: expected {what} values of {values.dtype}, got {int(moved.min())}..{int(moved.max())}")
    result = values.copy()
    result[index] = moved.astype(values.dtype)
    return result


def _summed(parts: Sequence[Change], kind: Kind) -> Change:
    wide = kind.change.newbyteorder("=")
    if not parts:
        return Change(np.zeros(0, np.uint32), np.zeros(0, wide))
    index, place = np.unique(np.concatenate([part.index for part in parts]), return_inverse=True)
    change = np.zeros(index.size, np.int64)
    np.add.at(change, place, np.concatenate([part.change for part in parts]).astype(np.int64))
    kept = change != 0
    return Change(index[kept].astype(np.uint32), change[kept].astype(wide))


def _gaps(index: NDArray[np.uint32]) -> NDArray[np.uint32]:
    return np.diff(index, prepend=np.zeros(1, np.uint32))


def _ungaps(gaps: NDArray[np.uint32], where: str) -> NDArray[np.uint32]:
    index = np.cumsum(gaps, dtype=np.uint64)
    if index.size and (int(index[-1]) >= 2**32 or (gaps[1:] == 0).any()):
        raise StateError(f"{where}: expected ascending indices, got others")
    return index.astype(np.uint32)
