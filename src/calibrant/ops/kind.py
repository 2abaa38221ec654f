"""An op as a program has it: the rules by which it is lowered, computed, differentiated, propagated and striped.

Rules get values, never a stage's objects. Where a rule may be missing, the stage that needs it refuses the op by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from calibrant.core.program import Tensor
from calibrant.core.qparams import QParams
from calibrant.ops.schema import Attrs, Shape

Codes = NDArray[Any]
Integers = Mapping[str, int]
Signal = NDArray[np.float64]
Range = tuple[float, float]

LoweringRule = Callable[[Attrs, tuple[Shape, ...], tuple[QParams, ...], QParams], dict[str, int]]
ForwardRule = Callable[[Integers, tuple[Codes, ...], tuple[Tensor, ...], Tensor, bool], Codes]
PropagationRule = Callable[[Signal, tuple[int, ...], "Signal | None"], tuple[Signal, ...]]
ReachRule = Callable[[tuple[Tensor, ...], Tensor, tuple[Range, ...]], Range]


def unscaled(source: Tensor, output: Tensor) -> float:
    """Factor of a gradient whose step knows all that it needs."""
    return 1.0


def rescaled(source: Tensor, output: Tensor) -> float:
    """Output codes per input code."""
    return source.scale / output.scale


def anywhere(sources: tuple[Tensor, ...], output: Tensor, ranges: tuple[Range, ...]) -> Range:
    """Reach of an op that can leave the range of its inputs."""
    return -math.inf, math.inf


def within(sources: tuple[Tensor, ...], output: Tensor, ranges: tuple[Range, ...]) -> Range:
    """Reach of an op whose outputs are codes of its inputs."""
    return min(low for low, _ in ranges), max(high for _, high in ranges)


def within_same_codes(sources: tuple[Tensor, ...], output: Tensor, ranges: tuple[Range, ...]) -> Range:
    """Reach of an op that copies or averages codes where scales and zero points agree, and requantizes where not."""
    same = all(x.scale == output.scale and x.zero_point == output.zero_point for x in sources)
    return within(sources, output, ranges) if same else anywhere(sources, output, ranges)


def within_or_zero_point(sources: tuple[Tensor, ...], output: Tensor, ranges: tuple[Range, ...]) -> Range:
    """The same of averages: padding counts as the zero point, and a rounded mean reaches no further."""
    low, high = within_same_codes(sources, output, ranges)
    return min(low, output.zero_point), max(high, output.zero_point)


def passed_on(signal: Signal, channels: tuple[int, ...], kernel: Signal | None) -> tuple[Signal, ...]:
    """Propagation by handing the signal to every input as it is.

    Examples
    --------
    >>> [part.tolist() for part in passed_on(np.array([[3.0, -1.0]]), (2, 2), None)]
    [[[3.0, -1.0]], [[3.0, -1.0]]]
    """
    return (signal,) * len(channels)


@dataclass(frozen=True)
class Gradient:
    """How a training step carries the gradient of an op's output to one of its inputs.

    Roundings count as the identity (straight-through); clamps are the gate's, before any of these. The rules are those
    of Lin et al., NeurIPS 2022, section 3.1, in integer codes. `step` is one of `core.training.STEP_KINDS`, `factor`
    the operand's, and `reads_input` says that the step takes the input's codes too.
    """

    step: str
    factor: Callable[[Tensor, Tensor], float] = unscaled
    reads_input: bool = False


@dataclass(frozen=True)
class OpKind:
    """One kind of op in a program, under the name that its row in c/include/calibrant/ops.def has.

    `lowering`: (attributes of the node, input shapes, input and output qparams) to the integer attributes of the op.

    `forward`: (integer attributes, inputs [height, width, channels] in codes, their tensors, the output's, whether
    values are rounded) to output steps from its zero point, not yet clamped: int64, or float64 without any rounding.
    None for layers, which `autodiff.forward` computes with the weights of the moment.

    `gradient`: None makes training refuse the op where a gradient has to pass it.

    `propagation`: (signal [N, channels], channels of each input, the kernel summed over its taps [groups, c_out/groups,
    c_in/groups] of a layer) to a signal per input. Signals are dL/d(real value) summed over the positions of the map,
    integers below 2^15 with an exponent that the caller keeps; without a kernel a rule may move and negate them, not
    scale them. None makes updates that propagate refuse the op.

    `reach`: (input tensors, output tensor, input codes' ranges) to the range of output codes before the clamp. Where
    the clamp cannot change anything, training needs no mask.

    `rows`: which input rows an output row reads: those of its "window", the "same", or None, all: such an op is not
    computed in stripes.
    """

    name: str
    lowering: LoweringRule
    forward: ForwardRule | None = None
    gradient: Gradient | None = None
    propagation: PropagationRule | None = None
    reach: ReachRule = anywhere
    rows: Literal["window", "same"] | None = None
