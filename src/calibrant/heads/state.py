"""A head as arrays and a little JSON: what a version keeps of it. Reading trusts nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.core.errors import StateError

FORMAT = 1


@dataclass(frozen=True)
class State:
    """`kind` is the head's key in `heads.HEADS`; `about` plain JSON values; arrays of fixed types, by name."""

    kind: str
    arrays: Mapping[str, NDArray[Any]]
    about: Mapping[str, Any]
    format: int = field(default=FORMAT)

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return sum(array.nbytes for array in self.arrays.values())

    def check(self, kind: str, names: tuple[str, ...]) -> None:
        """Raise StateError unless it is of this kind and format and has exactly these arrays."""
        if self.kind != kind or self.format != FORMAT:
            raise StateError(f"head: expected {kind} of format {FORMAT}, got {self.kind!r:.40} of {self.format!r:.40}")
        if set(self.arrays) != set(names):
            raise StateError(f"head {kind}: expected arrays {', '.join(names)}, got {', '.join(sorted(self.arrays))}")

    def array(self, name: str, dtype: Any, shape: tuple[int, ...]) -> NDArray[Any]:
        """One array; a side of -1 may have any length; StateError if it is of another type or shape."""
        found = self.arrays[name]
        fits = len(found.shape) == len(shape) and all(w in (-1, g) for w, g in zip(shape, found.shape, strict=True))
        if found.dtype != dtype or not fits:
            wanted = f"{np.dtype(dtype)} {list(shape)}"
            raise StateError(f"head {self.kind}: expected {name} {wanted}, got {found.dtype} {list(found.shape)}")
        return found

    def classes(self) -> tuple[str, ...]:
        """Names of classes, all different; StateError."""
        found = self.about.get("classes")
        named = isinstance(found, (list, tuple)) and all(isinstance(name, str) and name for name in found)
        if not named or len(set(found or ())) != len(found or ()):
            raise StateError(f"head {self.kind}: expected different names of classes, got {found!r:.80}")
        return tuple(found or ())

    def whole(self, name: str, low: int, high: int) -> int:
        """A whole number in a range; StateError."""
        found = self.about.get(name)
        if type(found) is not int or not low <= found <= high:
            raise StateError(f"head {self.kind}: expected {name} a whole number {low} to {high}, got {found!r:.80}")
        return found
