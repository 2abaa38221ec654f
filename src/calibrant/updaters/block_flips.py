"""The block updater: guarded flips, a small block of weights at a time, with hardly any memory beside the weights.

Calibrant's own (docs/flow.md, section 7): the gradient of `updaters.guarded_flips` of one block only, summed while the
samples run and used at once, without momentum. A microcontroller holds a sum an entry of the block and a bit a weight
of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import gcd

import numpy as np

from calibrant.core.errors import DataError
from calibrant.core.evaluation import Evaluation, Meaning
from calibrant.core.parameters import Parameters
from calibrant.core.program import Program
from calibrant.core.settings import FlipSettings
from calibrant.core.statistics import Feedback
from calibrant.updaters.base import AdaptableEngine, Samples, UpdateOutcome, evaluate, outcome
from calibrant.updaters.guarded_flips import FIRST_STEP_BITS, MEAN_BITS, GuardedFlips, flip, round_shift, shift_bias


@dataclass(frozen=True)
class Block:
    """Output channels `rows` and input channels of a group `columns` of a layer, with all their taps."""

    layer: int
    rows: slice
    columns: slice


def blocks(program: Program, entries: int) -> tuple[Block, ...]:
    """All blocks of at most `entries` pairs of output and input channel, layer by layer; binary ones have none."""
    found = []
    for number in program.adaptable:
        layer = program.layers[number]
        depth = layer.c_in // layer.groups
        height, width = max(1, entries // depth), min(depth, entries)
        for row in range(0, layer.c_out, height):
            for column in range(0, depth, width):
                rows, columns = min(row + height, layer.c_out), min(column + width, depth)
                found.append(Block(number, slice(row, rows), slice(column, columns)))
    return tuple(found)


def stride(count: int) -> int:
    """How many blocks a step goes on: the first number from the golden section on that meets all of them in turn.

    Examples
    --------
    >>> stride(1), stride(10), stride(407)
    (1, 7, 251)
    """
    step = max(1, count * 618 // 1000)
    while gcd(step, count) > 1:
        step += 1
    return step


class BlockFlips(GuardedFlips):
    """As `GuardedFlips`, but a step proposes flips in one block of weights.

    A step moves the fraction of the block's weights with the largest ``|G| * scale``, `settings.fraction_max` at first;
    refusals halve the step, then the fraction, down to `settings.fraction`. Blocks follow each other all over the
    network, beginning where the loss says, so that there is no state between updates. Small blocks want more steps and
    a larger `fraction_max` than all layers at once do.

    Parameters
    ----------
    meaning, feedback
        See `GuardedFlips`.
    settings : FlipSettings
        Of form 'blocks'; 'pooled' means the same here.
    entries : int
        Pairs of output and input channel in a block, at most.

    Raises
    ------
    DataError
        `entries` is less than 1.
    """

    def __init__(self, meaning: Meaning, feedback: Feedback, settings: FlipSettings, entries: int = 64) -> None:
        super().__init__(meaning, feedback, settings)
        if entries < 1:
            raise DataError(f"flip blocks: expected at least 1 entry a block, got {entries}")
        self._blocks = blocks(self.program, entries)
        self._stride = stride(len(self._blocks))

    @property
    def name(self) -> str:
        """'flip-blocks'."""
        return "flip-blocks"

    def update(
        self, engine: AdaptableEngine, samples: Samples, start: Evaluation, steps: int, state: None = None
    ) -> UpdateOutcome:
        """Run up to `steps` steps; see `base.Updater`."""
        current, loss = start, samples.loss(start)
        first = loss
        moves = [2 ** max(0, layer.bits - FIRST_STEP_BITS) for layer in self.program.layers]
        fraction = self.settings.fraction_max
        tried = accepted = 0
        misses = np.zeros(len(samples.y), np.int64)
        while self._blocks and tried < steps and loss > self.settings.loss_goal * samples.mass:
            block = self._blocks[(first + tried * self._stride) % len(self._blocks)]
            tried += 1
            engine.load(self._candidate(samples.of(current), samples.lesson, block, moves[block.layer], fraction))
            candidate = evaluate(engine, samples, self.meaning)
            misses += samples.lost(current, candidate)
            if samples.loss(candidate) < loss:
                current, loss, accepted = candidate, samples.loss(candidate), accepted + 1
                fraction = min(1.2 * fraction, self.settings.fraction_max)
            elif max(moves) > 1:
                moves = [max(1, move // 2) for move in moves]
            else:
                fraction = max(fraction / 2, self.settings.fraction)
        engine.load(current.parameters)
        return outcome(self.name, samples, (start, current), (tried, accepted), misses)

    def _candidate(self, state: Evaluation, samples: Samples, block: Block, move: int, fraction: float) -> Parameters:
        """A candidate: the state's weights and biases, moved in one block."""
        layer, rows = self.program.layers[block.layer], block.rows
        channels = slice(layer.channel_offset + rows.start, layer.channel_offset + rows.stop)
        out, source = self._outputs[block.layer], self._inputs[block.layer]
        signal = self._signal(state.error)[:, channels] * samples.importance[:, None]
        active = (state.observation.active[:, channels].astype(np.int64) << 8) // (out.height * out.width)
        weighted = round_shift(signal * active, 8)  # |.| < 2^21
        pooled = state.observation.pooled[:, layer.pooled_slice].astype(np.int64)
        mean = (pooled << MEAN_BITS) // (source.height * source.width)
        depth = layer.c_in // layer.groups
        group = np.arange(rows.start, rows.stop) // (layer.c_out // layer.groups)
        inputs = group[:, None] * depth + np.arange(block.columns.start, block.columns.stop)
        slope = np.einsum("no,noi->oi", weighted, mean[:, inputs])  # |.| <= N * 2^21 * 2^12
        scale = self.constants.scale[channels]
        weights, bias = state.parameters.weights.copy(), state.parameters.bias.copy()
        codes = weights[layer.weight_slice].reshape(layer.weight_shape)[rows, :, :, block.columns]
        piece = replace(layer, c_out=codes.shape[0], c_in=codes.shape[3], groups=1)
        codes[:] = flip(piece, codes.reshape(-1), slope[:, None, None, :], scale, move, fraction).reshape(codes.shape)
        if self.settings.bias and block.columns.start == 0:
            unit = max(1, int(np.abs(mean).sum()) // (mean.size << MEAN_BITS))
            bias[channels] = shift_bias(bias[channels], weighted.sum(axis=0), scale, move * unit, fraction)
        return state.parameters.replaced(weights=weights, bias=bias)
