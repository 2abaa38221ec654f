"""The block updater: guarded flips, a small block of weights at a time, with hardly any memory beside the weights.

Calibrant's own (docs/flow.md, section 7): the gradient of `updaters.guarded_flips` of one block only, summed while the
samples run and used at once, without momentum. A microcontroller holds a sum an entry of the block and a bit a weight
of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import gcd

import numpy as np
from numpy.typing import NDArray

from calibrant.core.errors import DataError
from calibrant.core.program import Constants, Program
from calibrant.core.reports import UpdateOutcome
from calibrant.core.settings import FlipSettings
from calibrant.core.statistics import Feedback
from calibrant.updaters.base import AdaptableEngine, Evaluation, Samples, outcome
from calibrant.updaters.guarded_flips import FIRST_STEP_BITS, MEAN_BITS, GuardedFlips, flip, round_shift, shift_bias


@dataclass(frozen=True)
class Block:
    """Output channels `rows` and input channels of a group `columns` of a layer, with all their taps."""

    layer: int
    rows: slice
    columns: slice


def blocks(program: Program, entries: int) -> tuple[Block, ...]:
    """All blocks of at most `entries` pairs of output and input channel, layer by layer."""
    found = []
    for number, layer in enumerate(program.layers):
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
    program, constants, feedback
        From the artifact.
    settings : FlipSettings
        Of form 'blocks'; 'pooled' means the same here.
    entries : int
        Pairs of output and input channel in a block, at most.

    Raises
    ------
    DataError
        `entries` is less than 1.
    """

    def __init__(
        self, program: Program, constants: Constants, feedback: Feedback, settings: FlipSettings, entries: int = 64
    ) -> None:
        super().__init__(program, constants, feedback, settings)
        if entries < 1:
            raise DataError(f"flip blocks: expected at least 1 entry a block, got {entries}")
        self._blocks = blocks(program, entries)
        self._stride = stride(len(self._blocks))

    @property
    def name(self) -> str:
        """'flip-blocks'."""
        return "flip-blocks"

    def update(
        self,
        engine: AdaptableEngine,
        x: NDArray[np.int8],
        y: NDArray[np.int64],
        importance: NDArray[np.int64],
        steps: int,
    ) -> UpdateOutcome:
        """Run up to `steps` steps; see `updaters.base.Updater`."""
        samples = Samples(x, y, importance)
        first = current = self._evaluate(engine, engine.weights, engine.bias, samples)
        moves = [2 ** max(0, layer.bits - FIRST_STEP_BITS) for layer in self.program.layers]
        fraction = self.settings.fraction_max
        tried = accepted = 0
        misses = np.zeros(len(y), np.int64)
        while tried < steps and current.loss > self.settings.loss_goal * samples.mass:
            block = self._blocks[(first.loss + tried * self._stride) % len(self._blocks)]
            tried += 1
            weights, bias = self._candidate(current, samples, block, moves[block.layer], fraction)
            engine.load(weights, bias)
            candidate = self._evaluate(engine, weights, bias, samples)
            misses += current.right & ~candidate.right
            if candidate.loss < current.loss:
                current, accepted = candidate, accepted + 1
                fraction = min(1.2 * fraction, self.settings.fraction_max)
            elif max(moves) > 1:
                moves = [max(1, move // 2) for move in moves]
            else:
                fraction = max(fraction / 2, self.settings.fraction)
        engine.load(current.weights, current.bias)
        return outcome(self.name, samples, (first, current), (tried, accepted), misses)

    def _candidate(
        self, state: Evaluation, samples: Samples, block: Block, move: int, fraction: float
    ) -> tuple[NDArray[np.int8], NDArray[np.int32]]:
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
        weights, bias = state.weights.copy(), state.bias.copy()
        codes = weights[layer.weight_slice].reshape(layer.weight_shape)[rows, :, :, block.columns]
        piece = replace(layer, c_out=codes.shape[0], c_in=codes.shape[3], groups=1)
        codes[:] = flip(piece, codes.reshape(-1), slope[:, None, None, :], scale, move, fraction).reshape(codes.shape)
        if self.settings.bias and block.columns.start == 0:
            unit = max(1, int(np.abs(mean).sum()) // (mean.size << MEAN_BITS))
            bias[channels] = shift_bias(bias[channels], weighted.sum(axis=0), scale, move * unit, fraction)
        return weights, bias
