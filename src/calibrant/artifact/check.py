"""What must hold between the parts of an artifact, beyond types: ids in range, slices that tile, codes that fit.

The engine proves the arena and the accumulators again when it loads the program; here is what can be said without it.
"""

from __future__ import annotations

import math
import re

import numpy as np

from calibrant.artifact.format import Artifact
from calibrant.core.dtype import LAYER_BITS, is_weight, weight_range
from calibrant.core.errors import ManifestError
from calibrant.core.fixedpoint import MAX_SHIFT
from calibrant.core.limits import LIMITS
from calibrant.core.program import Layer, Program, Tensor
from calibrant.core.settings import RANGES
from calibrant.core.task import tasks
from calibrant.ops import KINDS

OPS = tuple(KINDS)
LAYERS = ("conv2d", "binary_conv2d")  # kinds with a layer


def check_program(program: Program, classes: int, where: str) -> None:
    """Structure of a program with `classes` scores, before any array is sized by it.

    Raises
    ------
    ManifestError
        An id, size, offset or layer slice is out of range or out of order.
    """
    place = f"{where} 'program"
    for i, tensor in enumerate(program.tensors):
        allowed = (8,) if i == program.input else (8, 32) if i == program.output else (1, 8)
        _check_tensor(tensor, allowed, f"{place}/tensors/{i}'")
    count = len(program.tensors)
    for name, value in (("input", program.input), ("output", program.output)):
        _require(0 <= value < count, f"{place}/{name}'", f"a tensor id below {count}", value)
    _require(len(program.offsets) == count, f"{place}/offsets'", f"{count} offsets", len(program.offsets))
    for i, (tensor, offset) in enumerate(zip(program.tensors, program.offsets, strict=True)):
        fits = offset >= 0 and offset + tensor.nbytes <= program.arena_bytes
        _require(fits, f"{place}/offsets/{i}'", f"{tensor.nbytes} bytes inside {program.arena_bytes}", offset)
    output = program.tensors[program.output]
    _require(output.height == output.width == 1, f"{place}/output'", "a vector", (output.height, output.width))
    _require(output.channels == classes, f"{where} 'classes'", f"{output.channels} names", classes)
    _check_layers(program, place)
    _check_ops(program, place)
    _check_cost(program, place)


def _check_tensor(tensor: Tensor, allowed: tuple[int, ...], where: str) -> None:
    for name in ("height", "width", "channels"):
        size = getattr(tensor, name)
        _require(1 <= size < 2**24, f"{where} field {name!r}", "1 to 2^24", size)
    _require(tensor.elements < 2**28, where, "fewer than 2^28 elements", tensor.elements)
    _require(tensor.scale > 0, f"{where} field 'scale'", "a positive scale", tensor.scale)
    _require(-128 <= tensor.zero_point <= 127, f"{where} field 'zero_point'", "-128 to 127", tensor.zero_point)
    _require(tensor.bits in allowed, f"{where} field 'bits'", f"one of {allowed}", tensor.bits)


def _check_layers(program: Program, place: str) -> None:
    weight = channel = pooled = 0
    names: set[str] = set()
    for i, layer in enumerate(program.layers):
        where = f"{place}/layers/{i}'"
        _require(layer.name not in names, f"{where} field 'name'", "a name of its own", repr(layer.name))
        names.add(layer.name)
        _require(layer.bits in LAYER_BITS, f"{where} field 'bits'", f"one of {LAYER_BITS}", layer.bits)
        for name in ("c_out", "kernel_h", "kernel_w", "c_in", "groups"):
            _require(getattr(layer, name) >= 1, f"{where} field {name!r}", "at least 1", getattr(layer, name))
        divides = layer.c_in % layer.groups == 0 and layer.c_out % layer.groups == 0
        _require(divides, f"{where} field 'groups'", f"a divisor of {layer.c_in} and {layer.c_out}", layer.groups)
        starts = (("weight_offset", weight), ("channel_offset", channel), ("pooled_offset", pooled))
        for name, expected in starts:
            _require(getattr(layer, name) == expected, f"{where} field {name!r}", expected, getattr(layer, name))
        weight, channel, pooled = weight + layer.weight_count, channel + layer.c_out, pooled + layer.c_in


def _check_ops(program: Program, place: str) -> None:
    known, used = {program.input}, set()
    for i, op in enumerate(program.ops):
        where = f"{place}/ops/{i}'"
        _require(op.kind in OPS, f"{where} field 'kind'", f"one of {', '.join(OPS)}", repr(op.kind))
        for tensor in op.inputs:
            _require(tensor in known, f"{where} field 'inputs'", "tensors computed before", tensor)
        fresh = 0 <= op.output < len(program.tensors) and op.output not in known
        _require(fresh, f"{where} field 'output'", "a tensor not computed before", op.output)
        known.add(op.output)
        if op.kind in LAYERS:
            fresh = 0 <= op.layer < len(program.layers) and op.layer not in used
            _require(fresh, f"{where} field 'layer'", "a layer of its own", op.layer)
            used.add(op.layer)
            layer, source = program.layers[op.layer], program.tensors[op.inputs[0]]
            kind = LAYERS[layer.binary]
            _require(op.kind == kind, f"{where} field 'kind'", f"{kind} of {layer.bits}-bit weights", op.kind)
            _require(layer.c_in == source.channels, where, f"{layer.c_in} input channels", source.channels)
            channels = program.tensors[op.output].channels
            _require(layer.c_out == channels, where, f"{layer.c_out} output channels", channels)
        else:
            _require(op.layer == -1, f"{where} field 'layer'", -1, op.layer)
    _require(len(known) == len(program.tensors), f"{place}'", f"{len(program.tensors)} tensors computed", len(known))
    _require(len(used) == len(program.layers), f"{place}'", f"{len(program.layers)} layers used", len(used))
    wide = program.tensors[program.output].bits == 32
    last_kind = program.ops[-1].kind if program.ops and program.ops[-1].output == program.output else None
    _require(not wide or last_kind in LAYERS, f"{place}/output'", "a 32-bit output from a layer", last_kind)


def _check_cost(program: Program, place: str) -> None:
    """What a sample costs does not depend on the file's size alone."""
    most = LIMITS["arena"].most
    _require(program.arena_bytes <= most, f"{place}/arena_bytes'", f"at most {most:,}", f"{program.arena_bytes:,}")
    layers = {op.layer: program.tensors[op.output].elements for op in program.ops if op.layer >= 0}
    macs = sum(n * (program.layers[i].weight_count // program.layers[i].c_out) for i, n in layers.items())
    most = LIMITS["macs"].most
    _require(macs <= most, f"{place}'", f"at most {most:,} multiply-accumulates a sample", f"{macs:,}")


def check_artifact(artifact: Artifact, name: str) -> None:
    """Values of the arrays, and how the parts fit together; shapes and types are known to be right.

    Raises
    ------
    ManifestError
        Names the section at fault.
    """
    program, constants, place = artifact.program, artifact.constants, f"{name}: section"
    output = program.tensors[program.output]
    fits = input_dims(artifact.input_shape) == _dims(program.tensors[program.input])
    _require(fits, f"{place} 'input_shape'", f"{_dims(program.tensors[program.input])}", artifact.input_shape)
    wide_layer = program.ops[-1].layer if output.bits == 32 else -1
    for i, layer in enumerate(program.layers):
        _check_layer_values(artifact, layer, i == wide_layer, place)
    _require(bool(np.all(np.isfinite(constants.scale) & (constants.scale > 0))), f"{place} 'scale'", "positive", "not")
    preprocess, feedback, coreset = artifact.preprocess, artifact.feedback, artifact.coreset
    _require(bool(np.isfinite(preprocess.mean).all()), f"{place} 'preprocess/mean'", "finite values", "not")
    good = np.isfinite(preprocess.std) & (preprocess.std > 0)
    _require(bool(good.all()), f"{place} 'preprocess/std'", "positive values", "not")
    good = np.isfinite(feedback.scale) & (feedback.scale >= 0)
    _require(bool(good.all()), f"{place} 'feedback/scale'", "values of at least 0", "not")
    _require(bool(np.isfinite(artifact.reference.mean).all()), f"{place} 'reference/mean'", "finite values", "not")
    good = np.isfinite(artifact.reference.std) & (artifact.reference.std >= 0)
    _require(bool(good.all()), f"{place} 'reference/std'", "values of at least 0", "not")
    for key, value in vars(artifact.home).items() if artifact.home is not None else ():
        if value is not None:
            signed = key in ("mean", "class_mean")
            _require(bool(np.isfinite(value).all()), f"{place} 'home/{key}'", "finite values", "not")
            _require(signed or bool((value >= 0).all()), f"{place} 'home/{key}'", "values of at least 0", "not")
    known = tasks()
    _require(artifact.task in known, f"{place} 'task'", f"one of {', '.join(known)}", repr(artifact.task)[:40])
    labels = artifact.meaning.labels
    good = (coreset.y >= 0) & (coreset.y < labels)
    _require(bool(good.all()), f"{place} 'coreset/y'", f"labels 0 to {labels - 1}", "others")
    _check_settings(artifact, place)


def _check_layer_values(artifact: Artifact, layer: Layer, wide: bool, place: str) -> None:
    low, high = weight_range(layer.bits)
    inside = is_weight(artifact.constants.weights[layer.weight_slice], layer.bits)
    _require(inside, f"{place} 'weights/{layer.name}'", f"codes {low} to {high}", "others")
    if wide:
        return
    multiplier = artifact.constants.multiplier[layer.channel_slice]
    _require(bool(np.all(multiplier >= 0)), f"{place} 'multiplier' of {layer.name!r}", "values of at least 0", "others")
    shift = artifact.constants.shift[layer.channel_slice]
    inside = bool(np.all((shift >= 1) & (shift <= MAX_SHIFT)))
    _require(inside, f"{place} 'shift' of {layer.name!r}", f"1 to {MAX_SHIFT}", "others")


def _check_settings(artifact: Artifact, place: str) -> None:
    usual = artifact.usual
    _require(0 <= usual.error <= 1, f"{place} 'usual' field 'error'", "0 to 1", usual.error)
    for name in ("distance", "spread"):
        value = getattr(usual, name)
        _require(0 <= value < 2**16, f"{place} 'usual' field {name!r}", "0 to 2^16", value)
    settings = artifact.settings
    named = re.fullmatch("[a-z][a-z0-9_]{0,30}", settings.form)  # whether it is known is for the updaters to say
    _require(named is not None, f"{place} 'settings' field 'form'", "a name in small letters", repr(settings.form)[:40])
    for name, (low, high) in RANGES.items():
        value = getattr(settings, name)
        inside = math.isfinite(value) and low <= value <= high
        _require(inside, f"{place} 'settings' field {name!r}", f"{low:g} to {high:g}", value)
    for key, value in artifact.thresholds.items():
        _require(math.isfinite(value) and 0 <= value <= 1, f"{place} 'thresholds' field {key!r}", "0 to 1", value)


def input_dims(input_shape: tuple[int, ...]) -> tuple[int, int, int] | None:
    """Channels-last (height, width, channels) of a window shape, None if it is not 1 to 3 positive sizes.

    Examples
    --------
    >>> input_dims((45, 125)), input_dims((1, 8, 8)), input_dims((6,))
    ((1, 125, 45), (8, 8, 1), (1, 1, 6))
    """
    if not 1 <= len(input_shape) <= 3:
        return None
    channels, *rest = input_shape
    height, width = (1, 1, *rest)[-2:]
    return height, width, channels


def _dims(tensor: Tensor) -> tuple[int, int, int]:
    return tensor.height, tensor.width, tensor.channels


def _require(holds: bool, where: str, expected: object, got: object) -> None:
    if not holds:
        raise ManifestError(f"{where}: expected {expected}, got {got}")
