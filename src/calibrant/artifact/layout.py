"""The container: safetensors layout, parsed with our own bounds checks before a byte of it is believed.

8 bytes little-endian header length, a JSON header (section name -> dtype, shape, data_offsets; free strings under
``__metadata__``), then the buffers, which must tile the rest of the file: no hole, no overlap, nothing after the end.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from calibrant.core.errors import LayoutError, ManifestError, TruncatedError

LENGTH_BYTES = 8
MAX_HEADER = 100_000_000  # the safetensors library's own limit
DTYPES: Mapping[str, np.dtype[Any]] = {
    "U8": np.dtype("u1"),
    "I8": np.dtype("i1"),
    "I32": np.dtype("<i4"),
    "I64": np.dtype("<i8"),
    "F16": np.dtype("<f2"),
    "F32": np.dtype("<f4"),
}


@dataclass(frozen=True)
class Section:
    """One tensor's place: bytes [begin, end) of the data part."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class Layout:
    """A parsed header: sections by name, the strings of ``__metadata__``, where the data part starts."""

    sections: Mapping[str, Section]
    metadata: Mapping[str, str]
    start: int

    def data(self, raw: bytes, name: str) -> bytes:
        """The bytes of one section."""
        section = self.sections[name]
        return raw[self.start + section.begin : self.start + section.end]


def parse(raw: bytes, name: str) -> Layout:
    """Check the container and give its layout; `name` opens every message.

    Raises
    ------
    TruncatedError
        The file ends inside the length, the header, or a section.
    LayoutError
        Overlap, hole, trailing bytes, a section whose bytes do not fit its shape.
    ManifestError
        The header is not the JSON it should be.
    """
    if len(raw) < LENGTH_BYTES:
        raise TruncatedError(f"{name}: section 'header length' has {len(raw)} bytes, expected {LENGTH_BYTES}")
    length = int.from_bytes(raw[:LENGTH_BYTES], "little")
    if length > MAX_HEADER:
        raise LayoutError(f"{name}: section 'header' claims {length:,} bytes, expected at most {MAX_HEADER:,}")
    start = LENGTH_BYTES + length
    if len(raw) < start:
        raise TruncatedError(
            f"{name}: section 'header' has {len(raw) - LENGTH_BYTES:,} bytes, its length says {length:,} "
            "(truncated download?)"
        )
    header = load_json(raw[LENGTH_BYTES:start], f"{name}: section 'header'")
    if not isinstance(header, dict):
        raise ManifestError(f"{name}: section 'header': expected a JSON object, got {type(header).__name__}")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise ManifestError(f"{name}: section '__metadata__': expected an object of strings")
    sections = [_section(name, key, value) for key, value in header.items()]
    _check_tiling(name, sections, len(raw) - start)
    return Layout({s.name: s for s in sections}, metadata, start)


def load_json(data: bytes | str, where: str) -> Any:
    """JSON without duplicate keys or non-numbers; anything else is a ManifestError that starts with `where`."""
    try:
        text = data if isinstance(data, str) else data.decode("utf-8")
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise ManifestError(f"{where}: expected UTF-8, got byte 0x{error.object[error.start]:02x}") from None
    except (ValueError, RecursionError) as error:  # JSONDecodeError, our hooks, integers of thousands of digits
        raise ManifestError(f"{where}: expected JSON, got {_short(error)}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"key {next(k for k in keys if keys.count(k) > 1)!r} twice")
    return result


def _refuse_constant(constant: str) -> float:
    raise ValueError(f"the constant {constant}")


def _short(error: Exception) -> str:
    return str(error).splitlines()[0][:120]


def _section(name: str, key: str, value: Any) -> Section:
    where = f"{name}: section {key!r}"
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise ManifestError(f"{where}: expected an object with dtype, shape and data_offsets")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ManifestError(f"{where}: expected a dtype of {', '.join(DTYPES)}, got {dtype!r:.40}")
    if not _counts(shape) or len(shape) > 4:
        raise ManifestError(f"{where}: expected a shape of at most 4 non-negative integers, got {shape!r:.60}")
    if not _counts(offsets) or len(offsets) != 2:
        raise ManifestError(f"{where}: expected two non-negative data_offsets, got {offsets!r:.60}")
    begin, end = offsets
    size = math.prod(shape) * DTYPES[dtype].itemsize
    if end - begin != size:
        raise LayoutError(
            f"{where}: offsets [{begin}, {end}) hold {end - begin:,} bytes, expected {size:,} for {dtype}{shape}"
        )
    return Section(key, dtype, tuple(shape), begin, end)


def _counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(v) is int and v >= 0 for v in value)


def _check_tiling(name: str, sections: list[Section], available: int) -> None:
    position = 0
    ordered = sorted(sections, key=lambda s: (s.begin, s.end))
    for section in ordered:
        if section.begin != position:
            fault = "a hole before it" if section.begin > position else "overlaps its neighbor"
            raise LayoutError(
                f"{name}: section {section.name!r} starts at {section.begin:,}, expected {position:,} ({fault})"
            )
        position = section.end
    for section in ordered:
        if section.end > available:
            raise TruncatedError(
                f"{name}: section {section.name!r} has {max(0, available - section.begin):,} bytes, "
                f"manifest says {section.end - section.begin:,} (truncated download?)"
            )
    if position != available:
        raise LayoutError(f"{name}: section 'data': expected {position:,} bytes, got {available:,} (trailing bytes)")
