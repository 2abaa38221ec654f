"""What a version consists of: the named arrays that an updater may change. One row of `KINDS` is one kind of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from calibrant.core.errors import PlanError
from calibrant.core.program import Constants, Program


@dataclass(frozen=True)
class Kind:
    """One kind of parameters: its field of `Constants`, its dtype (integers), and what there is one of it for."""

    name: str
    dtype: type[np.signedinteger[Any]]
    each: str  # "weight" or "channel", of every layer

    def count(self, program: Program) -> int:
        """How many a program has."""
        return program.weight_count if self.each == "weight" else program.channel_count

    @property
    def stored(self) -> np.dtype[Any]:
        """The dtype in bytes that leave the machine: little-endian."""
        return np.dtype(self.dtype).newbyteorder("<")

    @property
    def change(self) -> np.dtype[Any]:
        """The smallest dtype that holds any difference of two values, little-endian."""
        return np.dtype(f"<i{2 * np.dtype(self.dtype).itemsize}")


# In order of age, new ones last: states of earlier releases say nothing of kinds that came later, see
# `Parameters.named` and `memory.delta.unpack`.
KINDS = (
    Kind("weights", np.int8, "weight"),
    Kind("bias", np.int32, "channel"),
    Kind("multiplier", np.int32, "channel"),  # with shift: the gain of a channel, see `updaters.affine_correction`
    Kind("shift", np.int32, "channel"),
)
FLIPPED = KINDS[0].name  # whose changes reports count


class Parameters(Mapping[str, NDArray[Any]]):
    """Arrays by the names of `KINDS`, flat, layer after layer. They never change: equal content stays equal.

    Parameters
    ----------
    **arrays : array
        One of every kind. An array that can be written to is copied.

    Raises
    ------
    PlanError
        A kind is missing or unknown, or an array is not flat or of another dtype.

    Examples
    --------
    >>> first = Parameters(**{kind.name: np.zeros(1, kind.dtype) for kind in KINDS})
    >>> second = first.replaced(bias=np.int32([8]))
    >>> first == second, second.bias.tolist()
    (False, [8])
    """

    def __init__(self, **arrays: NDArray[Any]) -> None:
        missing, unknown = {k.name for k in KINDS} - set(arrays), set(arrays) - {k.name for k in KINDS}
        if missing or unknown:
            raise PlanError(f"parameters: expected {', '.join(k.name for k in KINDS)}, got {', '.join(arrays)}")
        self._arrays = {kind.name: _frozen(arrays[kind.name], kind) for kind in KINDS}

    @classmethod
    def of(cls, constants: Constants) -> Self:
        """Those that an artifact comes with."""
        return cls(**{kind.name: getattr(constants, kind.name) for kind in KINDS})

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Parameters):
            return NotImplemented
        return self is other or all(np.array_equal(self[name], other[name]) for name in self)

    __hash__ = None  # type: ignore[assignment]

    @property
    def weights(self) -> NDArray[np.int8]:
        """int8[weight_count]."""
        return self._arrays["weights"]

    @property
    def bias(self) -> NDArray[np.int32]:
        """int32[channel_count]."""
        return self._arrays["bias"]

    @property
    def multiplier(self) -> NDArray[np.int32]:
        """int32[channel_count], of the requantization."""
        return self._arrays["multiplier"]

    @property
    def shift(self) -> NDArray[np.int32]:
        """int32[channel_count], of the requantization."""
        return self._arrays["shift"]

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in self.values())

    @property
    def sha256(self) -> str:
        """SHA-256 of all arrays in the order of `KINDS`, little-endian: what histories name them by."""
        return self._digests[-1]

    def named(self, sha256: str) -> bool:
        """Whether histories name them so. Releases that knew fewer kinds hashed those, the first of today's."""
        return sha256 in self._digests

    @cached_property
    def _digests(self) -> tuple[str, ...]:
        """Of the first kind, of the first two, and so on to all."""
        digest, found = hashlib.sha256(), []
        for kind in KINDS:
            digest.update(self[kind.name].astype(kind.stored, copy=False).tobytes())
            found.append(digest.hexdigest())
        return tuple(found)

    def replaced(self, **arrays: NDArray[Any]) -> Self:
        """The same but for some arrays."""
        return type(self)(**{**self._arrays, **arrays})


def _frozen(array: NDArray[Any], kind: Kind) -> NDArray[Any]:
    if not isinstance(array, np.ndarray) or array.ndim != 1 or array.dtype != kind.dtype:
        got = f"{array.dtype}{list(array.shape)}" if isinstance(array, np.ndarray) else type(array).__name__
        raise PlanError(f"{kind.name}: expected {np.dtype(kind.dtype).name}[n], got {got}")
    if array.flags.writeable:
        array = array.copy()
        array.setflags(write=False)
    return array
