"""Records to JSON and back. Reading trusts nothing: every field's presence and type is checked and named when wrong."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from calibrant.artifact.fields import (
    SCALARS,
    fields_of,
    integers_of,
    kind_of,
    list_of,
    numbers_of,
    record_of,
    scalar_of,
)
from calibrant.artifact.format import Artifact
from calibrant.artifact.recognition import recognition_json
from calibrant.artifact.training import training_json
from calibrant.core.errors import ManifestError
from calibrant.core.program import Layer, Op, Program, Tensor
from calibrant.core.settings import FlipSettings
from calibrant.core.statistics import InDistribution
from calibrant.core.task import CLASSES

_MAX_OPERANDS = 8


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
    training = artifact.training
    trained = {} if training is None else {"training": training_json(training, artifact.program, artifact.constants)}
    named = {} if artifact.task == CLASSES else {"task": artifact.task}
    return (
        trained
        | named
        | recognition_json(artifact.recognition)
        | {
            "program": program_json(artifact.program),
            "classes": list(artifact.classes),
            "input_shape": [int(n) for n in artifact.input_shape],
            "usual": _plain(artifact.usual),
            "settings": _plain(artifact.settings),
            "thresholds": numbers_of({k: float(v) for k, v in artifact.thresholds.items()}, "section 'thresholds'"),
            "report": json.loads(json.dumps(artifact.report, allow_nan=False)),
        }
    )


def _plain(record: Tensor | Layer | InDistribution | FlipSettings) -> dict[str, Any]:
    """A flat record as JSON; numpy scalars become Python's."""
    return {f.name: SCALARS[str(f.type)](getattr(record, f.name)) for f in dataclasses.fields(record)}


def program_of(value: Any, where: str) -> Program:
    """A program from JSON; structure only, `check.check_program` judges its meaning."""
    keys = ("tensors", "ops", "layers", "input", "output", "offsets", "arena_bytes")
    fields = fields_of(value, keys, f"{where} 'program'")
    place = f"{where} 'program"
    return Program(
        tensors=tuple(
            record_of(Tensor, v, f"{place}/tensors/{i}'") for i, v in enumerate(list_of(fields, "tensors", place))
        ),
        ops=tuple(_op_of(v, f"{place}/ops/{i}'") for i, v in enumerate(list_of(fields, "ops", place))),
        layers=tuple(
            record_of(Layer, v, f"{place}/layers/{i}'") for i, v in enumerate(list_of(fields, "layers", place))
        ),
        input=scalar_of("int", fields["input"], f"{place}/input'"),
        output=scalar_of("int", fields["output"], f"{place}/output'"),
        offsets=tuple(
            scalar_of("int", v, f"{place}/offsets/{i}'") for i, v in enumerate(list_of(fields, "offsets", place))
        ),
        arena_bytes=scalar_of("int", fields["arena_bytes"], f"{place}/arena_bytes'"),
    )


def usual_of(value: Any, where: str) -> InDistribution:
    """What is usual from JSON."""
    return record_of(InDistribution, value, f"{where} 'usual'")


def settings_of(value: Any, where: str) -> FlipSettings:
    """Flip settings from JSON."""
    return record_of(FlipSettings, value, f"{where} 'settings'")


def _op_of(value: Any, where: str) -> Op:
    fields = fields_of(value, ("kind", "inputs", "output", "attrs", "layer"), where)
    inputs, attrs = integers_of(fields["inputs"], f"{where} field 'inputs'"), fields["attrs"]
    if not 1 <= len(inputs) <= _MAX_OPERANDS:
        raise ManifestError(f"{where}: expected 1 to {_MAX_OPERANDS} inputs, got {len(inputs)}")
    if not isinstance(attrs, dict):
        raise ManifestError(f"{where} field 'attrs': expected an object, got {kind_of(attrs)}")
    return Op(
        kind=scalar_of("str", fields["kind"], f"{where} field 'kind'"),
        inputs=inputs,
        output=scalar_of("int", fields["output"], f"{where} field 'output'"),
        attrs={k: scalar_of("int", v, f"{where} attribute {k!r:.60}") for k, v in attrs.items()},
        layer=scalar_of("int", fields["layer"], f"{where} field 'layer'"),
    )
