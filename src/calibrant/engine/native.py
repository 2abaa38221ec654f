"""Records and arrays as the C module takes them: int32 rows in the order of its field names, contiguous buffers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.core.errors import PlanError


def encode(values: Mapping[str, Any], names: Sequence[str], where: str) -> list[int]:
    """Values by name as a row of 32-bit integers; PlanError that starts with `where` for what is none."""
    for name in names:
        value = values[name]
        if not isinstance(value, int | np.integer) or not -(2**31) <= value < 2**31:
            raise PlanError(f"{where}: {name} must be a 32-bit integer, got {value!r}")
    return [int(values[name]) for name in names]


def table(rows: list[list[int]], width: int) -> NDArray[np.int32]:
    """Rows as int32[n, width], also where there are none."""
    return np.array(rows, np.int32).reshape(len(rows), width)


def array(value: NDArray[Any], dtype: type[np.generic], shape: tuple[int, ...], what: str) -> NDArray[Any]:
    """A contiguous array of that dtype and shape, of any length where the shape says -1, or PlanError."""
    fits = isinstance(value, np.ndarray) and value.dtype == dtype and value.ndim == len(shape)
    if not fits or any(want not in (-1, got) for got, want in zip(value.shape, shape, strict=True)):
        sides = ", ".join("n" if side < 0 else str(side) for side in shape)
        raise PlanError(f"{what}: expected {np.dtype(dtype).name}[{sides}], got {_described(value)}")
    return np.ascontiguousarray(value)


def _described(value: Any) -> str:
    return f"{value.dtype.name}{list(value.shape)}" if isinstance(value, np.ndarray) else type(value).__name__
