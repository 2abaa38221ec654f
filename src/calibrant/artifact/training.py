"""A training step to JSON and back. The program's tensors are its first buffers and its scales follow from the
constants, so neither is stored; the engine judges what the steps do before it runs any."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from calibrant.artifact.fields import fields_of, integers_of, list_of, record_of, scalar_of
from calibrant.core.errors import ManifestError
from calibrant.core.program import Constants, Program
from calibrant.core.scaling import effective_scale, head_scale, quantization_aware_scaling
from calibrant.core.training import BUFFER_DTYPES, STEP_KINDS, Buffer, Slice, Step, Training

_KEYS = ("buffers", "offsets", "steps", "slices", "scaled", "arena_bytes")
_ATTRS = ("accumulate", "operand", "in_place", "scratch_offset", "scratch_bytes")
_SLICES = ("weight", "bias")


def training_json(training: Training, program: Program, constants: Constants) -> dict[str, Any]:
    """A planned training step with an int8 head as JSON.

    Raises
    ------
    ManifestError
        If it is not planned over this program, has a head of reals, or other scales than the format can say.
    """
    place, shared = "section 'training'", len(program.tensors)
    if training.buffers[:shared] != _shared(program) or len(training.offsets) != len(training.buffers):
        raise ManifestError(f"{place}: expected a planned step over the artifact's program, got another")
    scaled = not bool(np.all(training.weight_scaling == 1) and np.all(training.bias_scaling == 1))
    value = {
        "buffers": [asdict(buffer) for buffer in training.buffers[shared:]],
        "offsets": [int(offset) for offset in training.offsets],
        "steps": [asdict(step) | {"inputs": list(step.inputs), "attrs": dict(step.attrs)} for step in training.steps],
        "slices": [asdict(part) | {"channels": list(part.channels)} for part in training.slices],
        "scaled": scaled,
        "arena_bytes": int(training.arena_bytes),
    }
    again = training_of(value, program, constants, "section")
    names = ("effective", "weight_scaling", "bias_scaling", "head_scale")
    same = all(np.array_equal(getattr(training, name), getattr(again, name)) for name in names)
    if not same or (training.head, training.input, training.logits) != (again.head, again.input, again.logits):
        raise ManifestError(f"{place}: expected an int8 head and the scales of the artifact's constants, got others")
    return value


def training_of(value: Any, program: Program, constants: Constants, where: str) -> Training:
    """A training step from JSON; structure only, the engine judges its meaning."""
    place = f"{where} 'training"
    fields = fields_of(value, _KEYS, f"{place}'")
    scaled = scalar_of("bool", fields["scaled"], f"{place}/scaled'")
    ones = np.ones(program.channel_count, np.float32)
    scaling = quantization_aware_scaling(program, constants) if scaled else (ones, ones.copy())
    own = [record_of(Buffer, v, f"{place}/buffers/{i}'") for i, v in enumerate(list_of(fields, "buffers", place))]
    for i, buffer in enumerate(own):
        _require_one_of(buffer.dtype, BUFFER_DTYPES, f"{place}/buffers/{i}' field 'dtype'")
    return Training(
        buffers=(*_shared(program), *own),
        steps=tuple(_step_of(v, f"{place}/steps/{i}'") for i, v in enumerate(list_of(fields, "steps", place))),
        slices=tuple(_slice_of(v, f"{place}/slices/{i}'") for i, v in enumerate(list_of(fields, "slices", place))),
        input=program.input,
        logits=program.output,
        head="int8",
        effective=effective_scale(program, constants).astype(np.float32),
        weight_scaling=scaling[0],
        bias_scaling=scaling[1],
        head_scale=head_scale(program, constants),
        offsets=integers_of(fields["offsets"], f"{place}/offsets'"),
        arena_bytes=scalar_of("int", fields["arena_bytes"], f"{place}/arena_bytes'"),
    )


def _shared(program: Program) -> tuple[Buffer, ...]:
    """The program's tensors as buffers."""
    return tuple(
        Buffer(t.name, t.height, t.width, t.channels, "int8" if t.bits == 8 else "int32", t.scale, t.zero_point)
        for t in program.tensors
    )


def _step_of(value: Any, where: str) -> Step:
    fields = fields_of(value, ("kind", "inputs", "output", "op", "slice", "factor", "attrs"), where)
    return Step(
        kind=_require_one_of(
            scalar_of("str", fields["kind"], f"{where} field 'kind'"), STEP_KINDS, f"{where} field 'kind'"
        ),
        inputs=integers_of(fields["inputs"], f"{where} field 'inputs'"),
        output=scalar_of("int", fields["output"], f"{where} field 'output'"),
        op=scalar_of("int", fields["op"], f"{where} field 'op'"),
        slice=scalar_of("int", fields["slice"], f"{where} field 'slice'"),
        factor=scalar_of("float", fields["factor"], f"{where} field 'factor'"),
        attrs=_attrs_of(fields["attrs"], f"{where} field 'attrs'"),
    )


def _attrs_of(value: Any, where: str) -> Mapping[str, int]:
    present = [name for name in _ATTRS if isinstance(value, dict) and name in value]
    fields = fields_of(value, tuple(present), where)
    return {name: scalar_of("int", number, f"{where} {name!r}") for name, number in fields.items()}


def _slice_of(value: Any, where: str) -> Slice:
    fields = fields_of(value, ("layer", "kind", "offset", "count", "channels"), where)
    return Slice(
        layer=scalar_of("int", fields["layer"], f"{where} field 'layer'"),
        kind=_require_one_of(
            scalar_of("str", fields["kind"], f"{where} field 'kind'"), _SLICES, f"{where} field 'kind'"
        ),
        offset=scalar_of("int", fields["offset"], f"{where} field 'offset'"),
        count=scalar_of("int", fields["count"], f"{where} field 'count'"),
        channels=integers_of(fields["channels"], f"{where} field 'channels'"),
    )


def _require_one_of(value: str, allowed: tuple[str, ...], where: str) -> str:
    if value not in allowed:
        raise ManifestError(f"{where}: expected one of {', '.join(allowed)}, got {value!r:.40}")
    return value
