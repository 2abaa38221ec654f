"""A program cut in two where one tensor is all that crosses: what a scheme leaves frozen, and what it trains.

The frozen part gives a sample the same codes in every epoch, so they are computed once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from calibrant.autodiff import Scheme
from calibrant.core.program import Constants, Layer, Op, Program

Part = tuple[Program, Constants]


@dataclass(frozen=True)
class Split:
    """What a scheme leaves frozen (None: nothing), the part that learns, and the scheme in that part's numbers."""

    frozen: Part | None
    own: Part
    scheme: Scheme


def split(program: Program, constants: Constants, scheme: Scheme) -> Split:
    """Cut off what a scheme leaves frozen; the rest learns exactly as it would in one piece."""
    backbone = len(program.layers) - 1
    biases = backbone if scheme.biases is None else scheme.biases
    at = position(program, min([backbone - biases, *scheme.weights]))
    if at == 0:
        return Split(None, (program, constants), scheme)
    frozen, own = cut(program, constants, at)
    gone = len(frozen[0].layers)
    moved = Scheme(biases, {layer - gone: part for layer, part in scheme.weights.items()}, scheme.head)
    return Split(frozen, own, moved)


def position(program: Program, layer: int) -> int:
    """The last op at or before that of `layer` before which one tensor alone is alive; 0 cuts nothing off."""
    first = next(at for at, op in enumerate(program.ops) if op.layer == layer)
    return max(at for at in range(first + 1) if len(_alive(program, at)) == 1)


def cut(program: Program, constants: Constants, at: int) -> tuple[Part, Part]:
    """The ops before `at` and those from there on, each as a program with its constants.

    Layers and tensors of the second are numbered anew, in the old order. The arena's offsets stay, so both plans hold.

    Raises
    ------
    ValueError
        If several tensors cross.
    """
    alive = _alive(program, at)
    if len(alive) != 1:
        raise ValueError(f"cut before op {at}: expected one tensor to cross, got {len(alive)}")
    return (
        _part(program, constants, program.ops[:at], program.input, alive[0]),
        _part(program, constants, program.ops[at:], alive[0], program.output),
    )


def _alive(program: Program, at: int) -> list[int]:
    """Tensors made before op `at` and read from there on."""
    made = {program.input} | {op.output for op in program.ops[:at]}
    return sorted(made & {tensor for op in program.ops[at:] for tensor in op.inputs})


def _part(program: Program, constants: Constants, ops: Sequence[Op], source: int, output: int) -> Part:
    kept = sorted({source, *(op.output for op in ops)})
    ids = {old: new for new, old in enumerate(kept)}
    old_layers = [program.layers[op.layer] for op in sorted(ops, key=lambda op: op.layer) if op.layer >= 0]
    layers, numbers = _packed(old_layers), {id(old): new for new, old in enumerate(old_layers)}
    moved = tuple(
        replace(
            op,
            inputs=tuple(ids[tensor] for tensor in op.inputs),
            output=ids[op.output],
            layer=numbers[id(program.layers[op.layer])] if op.layer >= 0 else -1,
        )
        for op in ops
    )
    part = Program(
        tuple(program.tensors[tensor] for tensor in kept),
        moved,
        layers,
        ids[source],
        ids[output],
        tuple(program.offsets[tensor] for tensor in kept),
        program.arena_bytes,
    )
    channels = [range(*layer.channel_slice.indices(program.channel_count)) for layer in old_layers]
    rows = np.array([channel for own in channels for channel in own], np.int64)
    weights = [constants.weights[layer.weight_slice] for layer in old_layers]
    held = Constants(
        np.concatenate([*weights, np.zeros(0, np.int8)]),
        constants.bias[rows],
        constants.multiplier[rows],
        constants.shift[rows],
        constants.scale[rows],
    )
    return part, held


def _packed(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """Layers one after the other in the flat arrays."""
    packed: list[Layer] = []
    weight = channel = pooled = 0
    for layer in layers:
        packed.append(replace(layer, weight_offset=weight, channel_offset=channel, pooled_offset=pooled))
        weight, channel, pooled = weight + layer.weight_count, channel + layer.c_out, pooled + layer.c_in
    return tuple(packed)
