"""Untrusted JSON values to typed ones: every field's presence and type is checked and named when wrong."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, TypeVar

from calibrant.core.errors import ManifestError

T = TypeVar("T")
_INT_LIMIT = 2**31  # every number of a program fits the C engine's int32
SCALARS: Mapping[str, type] = {"str": str, "int": int, "float": float, "bool": bool}


def fields_of(value: Any, keys: tuple[str, ...], where: str) -> dict[str, Any]:
    """A JSON object with exactly these keys."""
    if not isinstance(value, dict):
        raise ManifestError(f"{where}: expected an object, got {kind_of(value)}")
    missing, unknown = sorted(set(keys) - set(value)), sorted(set(value) - set(keys))
    if missing:
        raise ManifestError(f"{where}: field {missing[0]!r} is missing")
    if unknown:
        raise ManifestError(f"{where}: unknown field {unknown[0]!r:.60}")
    return value


def strings_of(value: Any, where: str) -> tuple[str, ...]:
    """A JSON list of names."""
    if not isinstance(value, list):
        raise ManifestError(f"{where}: expected a list, got {kind_of(value)}")
    return tuple(scalar_of("str", v, where) for v in value)


def integers_of(value: Any, where: str) -> tuple[int, ...]:
    """A JSON list of integers."""
    if not isinstance(value, list):
        raise ManifestError(f"{where}: expected a list, got {kind_of(value)}")
    return tuple(scalar_of("int", v, where) for v in value)


def numbers_of(value: Any, where: str) -> dict[str, float]:
    """A JSON object of finite numbers."""
    if not isinstance(value, dict):
        raise ManifestError(f"{where}: expected an object, got {kind_of(value)}")
    return {scalar_of("str", k, where): scalar_of("float", v, f"{where} {k!r:.60}") for k, v in value.items()}


def record_of(cls: type[T], value: Any, where: str) -> T:
    """A flat dataclass of scalars from a JSON object with exactly its fields."""
    declared = {f.name: str(f.type) for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    fields = fields_of(value, tuple(declared), where)
    return cls(**{name: scalar_of(kind, fields[name], f"{where} field {name!r}") for name, kind in declared.items()})


def list_of(fields: Mapping[str, Any], key: str, where: str) -> list[Any]:
    """The list in a field of an object."""
    value = fields[key]
    if not isinstance(value, list):
        raise ManifestError(f"{where}/{key}': expected a list, got {kind_of(value)}")
    return value


def scalar_of(kind: str, value: Any, where: str) -> Any:
    """A value of one of the types that fields have; integers count as floats, booleans never as integers."""
    if kind == "float" and type(value) in (int, float):
        number = float(value) if abs(value) < 1e308 else math.inf
        if not math.isfinite(number):
            raise ManifestError(f"{where}: expected a finite number, got {value!r:.60}")
        return number
    if type(value) is not SCALARS[kind]:
        raise ManifestError(f"{where}: expected {kind}, got {kind_of(value)}")
    if isinstance(value, str):
        if not (value and value.isprintable()):
            raise ManifestError(f"{where}: expected a printable name, got {value!r:.60}")
    elif isinstance(value, int) and not -_INT_LIMIT <= value < _INT_LIMIT:
        raise ManifestError(f"{where}: expected a 32-bit integer, got {value!r:.60}")
    return value


def kind_of(value: Any) -> str:
    """What a value is, for a message."""
    return "null" if value is None else f"{type(value).__name__} {value!r:.40}"
