"""C text of constant data: arrays, records, exact floats."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

C_TYPES: Mapping[str, str] = {
    "int8": "int8_t",
    "uint8": "uint8_t",
    "int16": "int16_t",
    "uint16": "uint16_t",
    "int32": "int32_t",
    "uint32": "uint32_t",
    "int64": "int64_t",
    "float32": "float",
}
_WIDTH = 118


def array(name: str, values: NDArray[Any]) -> str:
    """Definition of a constant array.

    Examples
    --------
    >>> print(array("scale", np.float32([0.5, 3])))
    const float scale[2] = {
        0x1.0000000000000p-1f, 0x1.8000000000000p+1f,
    };
    """
    flat = values.reshape(-1)
    words = (f"{float(v).hex()}f" for v in flat) if flat.dtype == np.float32 else map(str, flat.tolist())
    return f"const {C_TYPES[flat.dtype.name]} {name}[{flat.size}] = {{\n{_wrapped(words)}}};\n"


def number(value: float) -> str:
    """A float32 constant, exact."""
    return f"{float(np.float32(value)).hex()}f"


def record(fields: Mapping[str, object]) -> str:
    """A braced initializer; fields that are 0 are left out.

    Examples
    --------
    >>> record({"height": 1, "zero_point": 0, "layer": -1})
    '{.height = 1, .layer = -1}'
    """
    return "{" + ", ".join(f".{name} = {value}" for name, value in fields.items() if value != 0) + "}"


def records(kind: str, name: str, rows: Iterable[str]) -> str:
    """Definition of a constant array of records, a row a line."""
    held = list(rows)
    lines = "".join(f"    {row},\n" for row in held)
    return f"const {kind} {name}[{len(held)}] = {{\n{lines}}};\n"


def _wrapped(words: Iterable[str]) -> str:
    lines, line = [], "   "
    for word in words:
        if len(line) + len(word) + 2 > _WIDTH:
            lines.append(line)
            line = "   "
        line += f" {word},"
    return "\n".join([*lines, line]) + "\n"
