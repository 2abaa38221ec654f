"""Which step carries a gradient past an op, and which ops need a mask first: the rows of `ops`, asked of a program."""

from __future__ import annotations

from collections.abc import Mapping

from calibrant.core.errors import ModelError
from calibrant.core.program import Op, Program
from calibrant.ops import KINDS, Gradient


def rule_of(program: Program, op: Op) -> Gradient:
    """The rule of an op on the gradient's way.

    Raises
    ------
    ModelError
        If its kind has none.
    """
    kind = KINDS.get(op.kind)
    if kind is None or kind.gradient is None:
        known = ", ".join(name for name, each in KINDS.items() if each.gradient is not None)
        name = program.tensors[op.output].name
        raise ModelError(f"{op.kind} '{name}': expected an op with a gradient rule, one of {known}")
    return kind.gradient


def can_clamp(program: Program, op: Op, producers: Mapping[int, Op]) -> bool:
    """Whether the clamp of an op can change its output; if not, no mask is needed."""
    output = program.tensors[op.output]
    if output.bits == 32:
        return False
    if op.kind not in KINDS:
        return True
    sources = tuple(program.tensors[i] for i in op.inputs)
    low, high = KINDS[op.kind].reach(sources, output, tuple(_range(producers.get(i)) for i in op.inputs))
    return op.attrs["clamp_low"] > low or op.attrs["clamp_high"] < high


def _range(producer: Op | None) -> tuple[int, int]:
    """Codes that a tensor can have."""
    return (-128, 127) if producer is None else (producer.attrs["clamp_low"], producer.attrs["clamp_high"])
