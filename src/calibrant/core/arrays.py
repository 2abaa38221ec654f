"""The one door for arrays that callers hand in: read as they are meant, or refused by name."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.core.errors import DataError

NUMBERS = "iuf"
INTEGERS = "iu"
_WORDS = {NUMBERS: "floats or integers", INTEGERS: "integers"}


def array_of(value: Any, what: str, kinds: str = NUMBERS) -> NDArray[Any]:
    """An array-like as a plain array of numbers; `what` opens the message.

    Parameters
    ----------
    value : array-like
        Nested lists, arrays, tensors, tables: all that numpy makes an array of.
    what : str
    kinds : str
        Kinds of dtypes that are welcome: `NUMBERS` or `INTEGERS`.

    Raises
    ------
    DataError
        Ragged rows, objects, text, complex numbers, dates, truth values, records, masked elements, or what raises when
        it is read.

    Examples
    --------
    >>> array_of([[1, 2], [3, 4]], "window").shape
    (2, 2)
    >>> array_of([[1, 2], [3]], "window")
    Traceback (most recent call last):
    calibrant.core.errors.DataError: window: expected an array of numbers, got list (rows of different lengths?)
    """
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        masked = int(np.ma.getmaskarray(value).sum())
        raise DataError(f"{what}: expected a number everywhere, got {masked} masked elements")
    try:
        array = np.asarray(value)
    except Exception as error:  # somebody else's object may raise anything when it is asked for its numbers
        rows = isinstance(value, list | tuple) and isinstance(error, ValueError)
        reason = "rows of different lengths?" if rows else " ".join(f"{type(error).__name__}: {error}".split())[:120]
        raise DataError(f"{what}: expected an array of numbers, got {type(value).__name__} ({reason})") from None
    if array.dtype.kind not in kinds:
        raise DataError(f"{what}: expected {_WORDS[kinds]}, got dtype {array.dtype!s:.80}")
    return array
