"""Sizes as people write them."""

from __future__ import annotations

import re

from calibrant.core.errors import DataError


def parse_size(size: int | str) -> int:
    """Bytes of a size such as 812, 256KB, 2MB, 1GiB (K, M, G: powers of 1000; with an i: of 1024).

    Raises
    ------
    DataError
        Not a size.

    Examples
    --------
    >>> parse_size(812), parse_size("2MB"), parse_size("256 KiB")
    (812, 2000000, 262144)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:([kmg])(i?))?b?", str(size).strip().lower())
    if match is None:
        raise DataError(f"size: expected bytes or a size such as 256KB, 2MB or 1GiB, got {size!r}")
    number, unit, binary = match.groups()
    return int(float(number) * (1024 if binary else 1000) ** ("kmg".index(unit) + 1 if unit else 0))
