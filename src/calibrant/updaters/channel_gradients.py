"""Error signals of all layers from channel sums alone.

The gradient of the loss, summed over the positions of a map, is a number per sample and channel, and such sums travel
backwards through a network by simple rules, one in each row of `ops`: a convolution maps them with its kernel summed
over the taps (exactly, but for borders); a pool of any kind, a mean and a rescaling leave them as they are, an addition
hands them to both of its inputs, a concatenation splits them; the clamp of a layer or an addition keeps the share of
positions that are active. An op whose row has no rule is refused by name before anything is adapted.

So the signal of every layer follows from the output error, the weights and the counts of active positions that a
forward pass gives anyway: nothing of a map is stored, and the sweep costs about as much as running the network on one
position. It is what the learned feedback estimates without a sweep.

Values are integers held in float64, below 2^15, with a power of two per tensor: every product and sum below 2^53 is
exact, in whatever order a library adds, so the signals are the same on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibrant.core.errors import DataError
from calibrant.core.program import Constants, Layer, Op, Program
from calibrant.core.statistics import Observation
from calibrant.ops import KINDS
from calibrant.ops.kind import PropagationRule

_BITS = 15  # of a mantissa; a sum over 2^12 channels of products with _WEIGHT_BITS-bit weights stays below 2^42
_WEIGHT_BITS = 15
_SHARE_BITS = 8  # of the share of active positions


@dataclass(frozen=True)
class BlockFloat:
    """mantissa float64[N, channels], integers of at most 15 bits; the value is mantissa * 2**exponent."""

    mantissa: NDArray[np.float64]
    exponent: int

    @classmethod
    def of(cls, values: NDArray[np.float64], exponent: int, bits: int = _BITS) -> BlockFloat:
        """Integers of any size, rounded to `bits` bits by a power of two.

        Examples
        --------
        >>> BlockFloat.of(np.array([[2.0**20, 3.0]]), 0)
        BlockFloat(mantissa=array([[16384.,     0.]]), exponent=6)
        """
        excess = int(np.frexp(np.abs(values).max(initial=0.0))[1]) - bits
        return cls(np.rint(np.ldexp(values, -excess)), exponent + excess)

    def plus(self, other: BlockFloat | None) -> BlockFloat:
        """The sum, at the larger exponent first."""
        if other is None:
            return self
        low = max(self.exponent, other.exponent) - _BITS  # what lies below is lost to either's rounding anyway
        parts = [np.rint(np.ldexp(s.mantissa, s.exponent - low)) for s in (self, other)]
        return BlockFloat.of(parts[0] + parts[1], low)


def propagate(
    program: Program,
    constants: Constants,
    weights: NDArray[np.int8],
    observation: Observation,
    error: NDArray[np.int64],
) -> tuple[BlockFloat, ...]:
    """dL/dy of every layer's output y, summed over its positions, before its clamp.

    Parameters
    ----------
    program, constants
        Of the artifact; `constants.scale` turns weight codes into reals.
    weights : int8[weight_count]
        In force.
    observation : Observation
        Of the same weights.
    error : int64[N, classes]
        dL/dlogits in any unit, |.| < 2^31.

    Returns
    -------
    tuple of BlockFloat
        [N, c_out] per layer, in units of `error` times the real value of the layer's output.

    Raises
    ------
    DataError
        As `require_rules`.
    """
    slices = program.active_slices
    pending: dict[int, BlockFloat] = {program.output: BlockFloat.of(error.astype(np.float64), 0)}
    signals: dict[int, BlockFloat] = {}
    for op in reversed(program.ops):
        output = program.tensors[op.output]
        arrived = pending.pop(op.output, BlockFloat(np.zeros((len(error), output.channels)), 0))
        if op.layer >= 0:
            signals[op.layer] = arrived
            if op.inputs[0] == program.input:
                continue
        if op.output in slices and output.bits != 32:  # raw accumulators have no clamp
            arrived = _clamped(arrived, observation.active[:, slices[op.output]], output.height * output.width)
        parts = _parts(program, op, weights, constants.scale, arrived)
        for tensor, part in zip(op.inputs, parts, strict=True):
            pending[tensor] = part.plus(pending.get(tensor))
    return tuple(signals[number] for number in range(len(program.layers)))


def require_rules(program: Program) -> None:
    """Refuse a program with an op that no signal can pass.

    Raises
    ------
    DataError
        Names the op. Forms that do not propagate may still adapt the program.
    """
    for op in program.ops:
        _rule(program, op)


def _rule(program: Program, op: Op) -> PropagationRule:
    rule = KINDS[op.kind].propagation if op.kind in KINDS else None
    if rule is None:
        known = ", ".join(name for name, kind in KINDS.items() if kind.propagation is not None)
        name = program.tensors[op.output].name
        raise DataError(f"{op.kind} '{name}': expected an op with a propagation rule, one of {known}")
    return rule


def _clamped(signal: BlockFloat, active: NDArray[np.int32], positions: int) -> BlockFloat:
    share = (active.astype(np.int64) << _SHARE_BITS) // positions
    return BlockFloat.of(signal.mantissa * share, signal.exponent - _SHARE_BITS)


def _parts(
    program: Program, op: Op, weights: NDArray[np.int8], scale: NDArray[np.float32], signal: BlockFloat
) -> list[BlockFloat]:
    """What each input of an op gets, by the rule of its row."""
    rule, channels = _rule(program, op), tuple(program.tensors[tensor].channels for tensor in op.inputs)
    if op.layer < 0:
        return [BlockFloat(part, signal.exponent) for part in rule(signal.mantissa, channels, None)]
    kernel, exponent = _kernel(program.layers[op.layer], weights, scale)
    return [BlockFloat.of(part, signal.exponent + exponent) for part in rule(signal.mantissa, channels, kernel)]


def _kernel(layer: Layer, weights: NDArray[np.int8], scale: NDArray[np.float32]) -> tuple[NDArray[np.float64], int]:
    """Weights summed over the taps, integers of 15 bits [groups, c_out / groups, c_in / groups] and their exponent."""
    kernel = weights[layer.weight_slice].reshape(layer.weight_shape)
    taps = kernel.sum(axis=(1, 2), dtype=np.int64) * scale[layer.channel_slice].astype(np.float64)[:, None]
    excess = int(np.frexp(np.abs(taps).max(initial=0.0))[1]) - _WEIGHT_BITS
    return np.rint(np.ldexp(taps, -excess)).reshape(layer.groups, -1, layer.c_in // layer.groups), excess
