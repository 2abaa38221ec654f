"""Short values for long things, the same on every machine."""

from __future__ import annotations

import hashlib

import numpy as np

DIGITS = 16


def of_bytes(raw: bytes) -> str:
    """The first digits of their SHA-256."""
    return hashlib.sha256(raw).hexdigest()[:DIGITS]


def of_array(values: np.ndarray) -> str:
    """Of the numbers in order, whatever byte order the machine has."""
    return of_bytes(np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<")).tobytes())


def number(value: float | int | str | None) -> str:
    """Exactly: the shortest text that reads back as the same number."""
    return "none" if value is None else str(value) if isinstance(value, str) else repr(value)
