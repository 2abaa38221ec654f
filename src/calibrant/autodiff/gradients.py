"""One gradient rule per op kind: the step that carries the gradient of an op's output to one of its inputs.

Roundings count as the identity (straight-through); clamps are the gate's, before any of these. The rules are those of
Lin et al., NeurIPS 2022, section 3.1, in integer codes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from calibrant.core.errors import ModelError
from calibrant.core.program import Op, Program, Tensor


@dataclass(frozen=True)
class Rule:
    """`step`: kind of the step; `factor` of an operand; `reads_input`: it takes the input's codes too."""

    step: str
    factor: Callable[[Program, Op, int], float] = lambda program, op, operand: 1.0
    reads_input: bool = False


def _rescaled(program: Program, op: Op, operand: int) -> float:
    """Output codes per input code."""
    return program.tensors[op.inputs[operand]].scale / program.tensors[op.output].scale


def _averaged(program: Program, op: Op, operand: int) -> float:
    source = program.tensors[op.inputs[0]]
    return _rescaled(program, op, 0) / (source.height * source.width)


RULES: Mapping[str, Rule] = {
    "conv2d": Rule("conv2d_grad"),
    "add": Rule("add_grad", _rescaled),
    "concat": Rule("concat_grad", _rescaled),
    "rescale": Rule("concat_grad", _rescaled),
    "mean": Rule("mean_grad", _averaged),
    "avg_pool2d": Rule("avg_pool2d_grad"),
    "adaptive_avg_pool2d": Rule("avg_pool2d_grad"),
    "max_pool2d": Rule("max_pool2d_grad", reads_input=True),
}


def rule_of(program: Program, op: Op) -> Rule:
    """The rule of an op on the gradient's way.

    Raises
    ------
    ModelError
        If its kind has none.
    """
    if op.kind not in RULES:
        name = program.tensors[op.output].name
        raise ModelError(f"{op.kind} '{name}': expected an op with a gradient rule, one of {', '.join(RULES)}")
    return RULES[op.kind]


def can_clamp(program: Program, op: Op, producers: Mapping[int, Op]) -> bool:
    """Whether the clamp of an op can change its output; if not, no mask is needed.

    Sums, convolutions and changes of scale can leave the range; averages and maxima of codes stay within the range of
    their inputs, and copied codes are what they were.
    """
    output = program.tensors[op.output]
    if output.bits == 32:
        return False
    sources = [program.tensors[i] for i in op.inputs]
    if op.kind in ("conv2d", "add") or (op.kind != "max_pool2d" and not all(_same_codes(x, output) for x in sources)):
        return True
    ranges = [_range(producers.get(i)) for i in op.inputs]
    low, high = min(low for low, _ in ranges), max(high for _, high in ranges)
    if op.kind in ("avg_pool2d", "mean"):  # padding counts as the zero point; a rounded mean reaches no further
        low, high = min(low, output.zero_point), max(high, output.zero_point)
    return op.attrs["clamp_low"] > low or op.attrs["clamp_high"] < high


def _same_codes(source: Tensor, output: Tensor) -> bool:
    return source.scale == output.scale and source.zero_point == output.zero_point


def _range(producer: Op | None) -> tuple[int, int]:
    """Codes that a tensor can have."""
    return (-128, 127) if producer is None else (producer.attrs["clamp_low"], producer.attrs["clamp_high"])
