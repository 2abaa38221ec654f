"""Records to JSON and back. Reading trusts nothing: every field's presence and type is checked and named when wrong."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any, TypeVar

from calibrant.artifact.format import Artifact
from calibrant.core.errors import ManifestError
from calibrant.core.records import FlipSettings, Layer, Op, Program, Tensor, Usual

T = TypeVar("T")
_INT_LIMIT = 2**31  # every number of a program fits the C engine's int32
_MAX_OPERANDS = 8
_SCALARS: Mapping[str, type] = {"str": str, "int": int, "float": float, "bool": bool}


def canonical(value: Any) -> str:
    """The one JSON text of a value: sorted keys, no spaces, ASCII, no NaN. What hashes and signatures cover."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def program_json(program: Program) -> dict[str, Any]:
    """A program as JSON objects."""
    return {
        "tensors": [_plain(tensor) for tensor in program.tensors],
        "ops": [
            {
                "kind": op.kind,
                "inputs": [int(i) for i in op.inputs],
                "output": int(op.output),
                "attrs": {k: int(v) for k, v in op.attrs.items()},
                "layer": int(op.layer),
            }
            for op in program.ops
        ],
        "layers": [_plain(layer) for layer in program.layers],
        "input": int(program.input),
        "output": int(program.output),
        "offsets": [int(offset) for offset in program.offsets],
        "arena_bytes": int(program.arena_bytes),
    }


def describe(artifact: Artifact) -> dict[str, Any]:
    """Everything of an artifact that is not a tensor; ValueError or TypeError if the report is not JSON."""
    return {
        "program": program_json(artifact.program),
        "classes": list(artifact.classes),
        "input_shape": [int(n) for n in artifact.input_shape],
        "usual": _plain(artifact.usual),
        "settings": _plain(artifact.settings),
        "thresholds": numbers_of({k: float(v) for k, v in artifact.thresholds.items()}, "section 'thresholds'"),
        "report": json.loads(json.dumps(artifact.report, allow_nan=False)),
    }


def _plain(record: Tensor | Layer | Usual | FlipSettings) -> dict[str, Any]:
    """A flat record as JSON; numpy scalars become Python's."""
    return {f.name: _SCALARS[str(f.type)](getattr(record, f.name)) for f in dataclasses.fields(record)}


def program_of(value: Any, where: str) -> Program:
    """A program from JSON; structure only, `check.check_program` judges its meaning."""
    keys = ("tensors", "ops", "layers", "input", "output", "offsets", "arena_bytes")
    fields = fields_of(value, keys, f"{where} 'program'")
    place = f"{where} 'program"
    return Program(
        tensors=tuple(
            record_of(Tensor, v, f"{place}/tensors/{i}'") for i, v in enumerate(_list(fields, "tensors", place))
        ),
        ops=tuple(_op_of(v, f"{place}/ops/{i}'") for i, v in enumerate(_list(fields, "ops", place))),
        layers=tuple(record_of(Layer, v, f"{place}/layers/{i}'") for i, v in enumerate(_list(fields, "layers", place))),
        input=_scalar("int", fields["input"], f"{place}/input'"),
        output=_scalar("int", fields["output"], f"{place}/output'"),
        offsets=tuple(
            _scalar("int", v, f"{place}/offsets/{i}'") for i, v in enumerate(_list(fields, "offsets", place))
        ),
        arena_bytes=_scalar("int", fields["arena_bytes"], f"{place}/arena_bytes'"),
    )


def usual_of(value: Any, where: str) -> Usual:
    """What is usual from JSON."""
    return record_of(Usual, value, f"{where} 'usual'")


def settings_of(value: Any, where: str) -> FlipSettings:
    """Flip settings from JSON."""
    return record_of(FlipSettings, value, f"{where} 'settings'")


def fields_of(value: Any, keys: tuple[str, ...], where: str) -> dict[str, Any]:
    """A JSON object with exactly these keys."""
    if not isinstance(value, dict):
        raise ManifestError(f"{where}: expected an object, got {_kind(value)}")
    missing, unknown = sorted(set(keys) - set(value)), sorted(set(value) - set(keys))
    if missing:
        raise ManifestError(f"{where}: field {missing[0]!r} is missing")
    if unknown:
        raise ManifestError(f"{where}: unknown field {unknown[0]!r:.60}")
    return value


def strings_of(value: Any, where: str) -> tuple[str, ...]:
    """A JSON list of names."""
    if not isinstance(value, list):
        raise ManifestError(f"{where}: expected a list, got {_kind(value)}")
    return tuple(_scalar("str", v, where) for v in value)


def integers_of(value: Any, where: str) -> tuple[int, ...]:
    """A JSON list of integers."""
    if not isinstance(value, list):
        raise ManifestError(f"{where}: expected a list, got {_kind(value)}")
    return tuple(_scalar("int", v, where) for v in value)


def numbers_of(value: Any, where: str) -> dict[str, float]:
    """A JSON object of finite numbers."""
    if not isinstance(value, dict):
        raise ManifestError(f"{where}: expected an object, got {_kind(value)}")
    return {_scalar("str", k, where): _scalar("float", v, f"{where} {k!r:.60}") for k, v in value.items()}


def record_of(cls: type[T], value: Any, where: str) -> T:
    """A flat dataclass of scalars from a JSON object with exactly its fields."""
    declared = {f.name: str(f.type) for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    fields = fields_of(value, tuple(declared), where)
    return cls(**{name: _scalar(kind, fields[name], f"{where} field {name!r}") for name, kind in declared.items()})


def _op_of(value: Any, where: str) -> Op:
    fields = fields_of(value, ("kind", "inputs", "output", "attrs", "layer"), where)
    inputs, attrs = integers_of(fields["inputs"], f"{where} field 'inputs'"), fields["attrs"]
    if not 1 <= len(inputs) <= _MAX_OPERANDS:
        raise ManifestError(f"{where}: expected 1 to {_MAX_OPERANDS} inputs, got {len(inputs)}")
    if not isinstance(attrs, dict):
        raise ManifestError(f"{where} field 'attrs': expected an object, got {_kind(attrs)}")
    return Op(
        kind=_scalar("str", fields["kind"], f"{where} field 'kind'"),
        inputs=inputs,
        output=_scalar("int", fields["output"], f"{where} field 'output'"),
        attrs={k: _scalar("int", v, f"{where} attribute {k!r:.60}") for k, v in attrs.items()},
        layer=_scalar("int", fields["layer"], f"{where} field 'layer'"),
    )


def _list(fields: Mapping[str, Any], key: str, where: str) -> list[Any]:
    value = fields[key]
    if not isinstance(value, list):
        raise ManifestError(f"{where}/{key}': expected a list, got {_kind(value)}")
    return value


def _scalar(kind: str, value: Any, where: str) -> Any:
    """A value of one of the types that fields have; integers count as floats, booleans never as integers."""
    if kind == "float" and type(value) in (int, float):
        number = float(value) if abs(value) < 1e308 else math.inf
        if not math.isfinite(number):
            raise ManifestError(f"{where}: expected a finite number, got {value!r:.60}")
        return number
    if type(value) is not _SCALARS[kind]:
        raise ManifestError(f"{where}: expected {kind}, got {_kind(value)}")
    if isinstance(value, str):
        if not (value and value.isprintable()):
            raise ManifestError(f"{where}: expected a printable name, got {value!r:.60}")
    elif isinstance(value, int) and not -_INT_LIMIT <= value < _INT_LIMIT:
        raise ManifestError(f"{where}: expected a 32-bit integer, got {value!r:.60}")
    return value


def _kind(value: Any) -> str:
    return "null" if value is None else f"{type(value).__name__} {value!r:.40}"
