"""What a policy said of itself, read again. It trusts nothing; what could not have been said is a damaged state."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from calibrant.core.errors import StateError

_MOST = 2**53  # larger numbers are none that we write


def fields_of(kept: Any, names: tuple[str, ...], where: str) -> dict[str, Any]:
    """An object with exactly these fields.

    Raises
    ------
    StateError
        It is something else.
    """
    if not isinstance(kept, dict) or set(kept) != set(names):
        got = sorted(map(str, kept)) if isinstance(kept, dict) else kept
        raise nonsense(where, f"fields {', '.join(names)}", got)
    return kept


def whole(value: Any, low: int, high: int, where: str) -> int:
    """A whole number in a range; StateError.

    Examples
    --------
    >>> whole(3, 0, 8, "context")
    3
    >>> whole(True, 0, 8, "context")
    Traceback (most recent call last):
    calibrant.core.errors.StateError: context: expected a whole number 0 to 8, got True (state is damaged)
    """
    if type(value) is not int or not low <= value <= min(high, _MOST):
        raise nonsense(where, f"a whole number {low} to {high}", value)
    return value


def text_of(data: bytes) -> str:
    """Bytes as JSON can hold them."""
    return base64.b64encode(data).decode()


def data_of(value: Any, where: str) -> bytes:
    """What :func:`text_of` gave; StateError.

    Examples
    --------
    >>> data_of(text_of(b"sums"), "context")
    b'sums'
    """
    try:
        return base64.b64decode(value, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise nonsense(where, "base64", value) from None


def nonsense(where: str, expected: str, got: object) -> StateError:
    """The error, to be raised."""
    return StateError(f"{where}: expected {expected}, got {got!r:.80} (state is damaged)")
