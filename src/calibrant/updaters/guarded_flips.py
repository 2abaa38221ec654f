"""The flip updater: propose flips from the output error, try them, keep what lowers the loss. No back-propagation.

Source: QCore (PVLDB 17(11), 2024) for the idea, weights moved by small integer steps that a learned network predicts
from forward-pass quantities; the form here is Calibrant's own (docs/flow.md, section 7). Everything that decides is an
integer: errors in Q15, pooled statistics, feedback codes, sums in 64 bits. The only float operations are softmax
(`core.fmath`) and single products used for ranking, so a microcontroller can follow bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from calibrant.artifact import Artifact
from calibrant.core.dtype import BIAS_LIMIT, weight_range
from calibrant.core.errors import DataError
from calibrant.core.evaluation import Evaluation, Meaning
from calibrant.core.parameters import Parameters
from calibrant.core.program import Layer
from calibrant.core.settings import FlipSettings
from calibrant.core.statistics import Feedback
from calibrant.updaters.base import AdaptableEngine, Samples, UpdateOutcome, evaluate, outcome

MEAN_BITS = 4  # pooled input means carry 4 fraction bits: |mean| <= 255 -> 2^12
_SIGNAL_SHIFT = 8  # Q15 error x int8 feedback over K classes, |sum| < 2 * 2^15 * 2^7 = 2^23 -> 2^15
FIRST_STEP_BITS = 4  # the first step is 2^(bits - 4) codes, never less than 1
_LARGE_STEP_GAIN = 5.0  # where it is larger than 1, more weights move at first: 0.01 instead of 0.002
_PEAK_BITS = 20


@dataclass(frozen=True)
class _Gradient:
    """Estimated gradients, integers with a scale of their own per layer.

    weights: per layer int64 broadcastable to its weight shape; bias int64[channel_count]; unit: per layer the mean
    input code, which is what one flip moves a pre-activation by and so the natural step of the bias.
    """

    weights: list[NDArray[np.int64]]
    bias: NDArray[np.int64]
    unit: list[int]

    def after(self, earlier: _Gradient) -> _Gradient:
        """With momentum: this gradient plus three quarters of what went before; |.| < 2^22."""
        weights = [new + old - (old >> 2) for new, old in zip(self.weights, earlier.weights, strict=True)]
        return _Gradient(weights, self.bias + earlier.bias - (earlier.bias >> 2), self.unit)


def round_shift(x: NDArray[np.int64], bits: int) -> NDArray[np.int64]:
    """x / 2^bits, to nearest, half up."""
    return (x + (1 << (bits - 1))) >> bits


class GuardedFlips:
    """Adapts the integer weights of an engine to labeled samples.

    Per layer, the estimated gradient is ``pooled``: ``G[o, i] = sum_n (e_n B)[o] c[n, o] a[n, i]``, the same for every
    kernel tap, or ``taps``: resolved by tap with one more forward sweep. The fraction of weights with the largest
    ``|G| * scale``, with momentum over the kept steps, that can still move against the gradient is moved by the
    current step. A candidate is kept if its loss on the samples is lower; otherwise the step is halved and, at one
    code, the fraction; when one weight a layer is still refused, layers go one at a time, last first. The update ends
    early once the mean loss reaches `settings.loss_goal`: what is learned already moves nothing.

    Parameters
    ----------
    meaning : Meaning
        Program, constants and task of the artifact.
    feedback : Feedback
        From the artifact.
    settings : FlipSettings

    Examples
    --------
    >>> import inspect
    >>> list(inspect.signature(GuardedFlips.update).parameters)
    ['self', 'engine', 'samples', 'start', 'steps', 'state']
    """

    def __init__(self, meaning: Meaning, feedback: Feedback, settings: FlipSettings) -> None:
        if settings.form not in ("pooled", "taps", "blocks"):
            raise DataError(f"flip form: expected 'pooled', 'taps' or 'blocks', got {settings.form!r}")
        self.meaning, self.settings = meaning, settings
        program = self.program = meaning.program
        self.constants = meaning.constants
        self._matrix = feedback.matrix.astype(np.int64)
        self._last = next((op.layer for op in program.ops if op.output == program.output), -1)
        self._largest_layer = max((program.layers[i].weight_count for i in program.adaptable), default=0)
        self._outputs = {op.layer: program.tensors[op.output] for op in program.ops if op.layer >= 0}
        self._inputs = {op.layer: program.tensors[op.inputs[0]] for op in program.ops if op.layer >= 0}

    @classmethod
    def of(cls, artifact: Artifact, settings: FlipSettings) -> Self:
        """For an artifact; any will do."""
        return cls(artifact.meaning, artifact.feedback, settings)

    @property
    def name(self) -> str:
        """'flip-pooled' or 'flip-taps'."""
        return f"flip-{self.settings.form}"

    @property
    def balanced(self) -> bool:
        """True."""
        return True

    @property
    def distills(self) -> bool:
        """False."""
        return False

    @staticmethod
    def resident_bytes(artifact: Artifact, capacity: int) -> int:
        """Nothing."""
        return 0

    @staticmethod
    def learning_bytes(artifact: Artifact) -> int:
        """Nothing beyond what evaluations and candidates take."""
        return 0

    def update(
        self, engine: AdaptableEngine, samples: Samples, start: Evaluation, steps: int, state: None = None
    ) -> UpdateOutcome:
        """Run up to `steps` steps; the engine ends with the best parameters found. See `base.Updater`."""
        current, loss = start, samples.loss(start)
        moves = [2 ** max(0, layer.bits - FIRST_STEP_BITS) for layer in self.program.layers]  # codes per flip
        fraction = self.settings.fraction * (_LARGE_STEP_GAIN if max(moves) > 1 else 1.0)
        tried = accepted = 0
        misses = np.zeros(len(samples.y), np.int64)
        scope = everywhere = self.program.adaptable  # layers that the next candidate changes
        gradient = self._gradient(engine, current, samples)
        while everywhere and tried < steps and loss > self.settings.loss_goal * samples.mass:
            tried += 1
            engine.load(self._propose(current.parameters, gradient, moves, fraction, scope))
            candidate = evaluate(engine, samples, self.meaning)
            misses += samples.lost(current, candidate)
            if samples.loss(candidate) < loss:
                current, loss, accepted = candidate, samples.loss(candidate), accepted + 1
                fraction = min(1.2 * fraction, self.settings.fraction_max)
                gradient = self._gradient(engine, current, samples).after(gradient)
            elif max(moves) > 1:
                moves = [max(1, move // 2) for move in moves]
            elif scope == everywhere and fraction * self._largest_layer >= 1:
                fraction /= 2
            elif scope == everywhere:
                scope, fraction = everywhere[-1:], self.settings.fraction
            elif scope == everywhere[:1]:  # a full round of refusals
                scope, fraction = everywhere[-1:], fraction / 2
            else:
                scope = (everywhere[everywhere.index(scope[0]) - 1],)
        engine.load(current.parameters)
        return outcome(self.name, samples, (start, current), (tried, accepted), misses)

    def _signal(self, error: NDArray[np.int64]) -> NDArray[np.int64]:
        """(e_n B)[o] for all layers, int64[N, channel_count], below 2^15; the last layer's error is `error` itself."""
        signal = round_shift(np.einsum("nk,ko->no", error, self._matrix), _SIGNAL_SHIFT)
        if self._last >= 0:
            signal[:, self.program.layers[self._last].channel_slice] = error
        return signal

    def _gradient(self, engine: AdaptableEngine, evaluation: Evaluation, everything: Samples) -> _Gradient:
        state, samples = everything.of(evaluation), everything.lesson
        signal = self._signal(state.error) * samples.importance[:, None]  # |.| < 2^21
        active = np.empty_like(signal)  # Q8 fraction of active positions
        means = []
        for number, layer in enumerate(self.program.layers):
            out, source = self._outputs[number], self._inputs[number]
            count = state.observation.active[:, layer.channel_slice].astype(np.int64)
            active[:, layer.channel_slice] = (count << 8) // (out.height * out.width)
            pooled = state.observation.pooled[:, layer.pooled_slice].astype(np.int64)
            means.append((pooled << MEAN_BITS) // (source.height * source.width))
        weighted = round_shift(signal * active, 8)
        bias = weighted.sum(axis=0)
        for layer in self.program.layers:
            bias[layer.channel_slice] = _normalized(bias[layer.channel_slice])
        if self.settings.form == "taps":
            flat = engine.taps(samples.x, signal.astype(np.int32))
            slopes = [flat[layer.weight_slice].reshape(layer.weight_shape) for layer in self.program.layers]
        else:
            slopes = [
                _outer(layer, weighted[:, layer.channel_slice], mean)
                for layer, mean in zip(self.program.layers, means, strict=True)
            ]
        units = [max(1, int(np.abs(mean).sum()) // (mean.size << MEAN_BITS)) for mean in means]
        return _Gradient([_normalized(slope) for slope in slopes], bias, units)

    def _propose(
        self,
        parameters: Parameters,
        gradient: _Gradient,
        moves: list[int],
        fraction: float,
        scope: tuple[int, ...],
    ) -> Parameters:
        weights, bias = parameters.weights.copy(), parameters.bias.copy()
        for number in scope:
            layer, slope, move = self.program.layers[number], gradient.weights[number], moves[number]
            scale = self.constants.scale[layer.channel_slice]
            weights[layer.weight_slice] = flip(layer, weights[layer.weight_slice], slope, scale, move, fraction)
            if self.settings.bias:
                bias[layer.channel_slice] = shift_bias(
                    bias[layer.channel_slice],
                    gradient.bias[layer.channel_slice],
                    scale,
                    move * gradient.unit[number],
                    fraction,
                )
        return parameters.replaced(weights=weights, bias=bias)


def _normalized(slope: NDArray[np.int64]) -> NDArray[np.int64]:
    """Scaled by a power of two so that the largest magnitude is in [2^19, 2^20]: gradients of several steps compare."""
    excess = int(np.abs(slope).max(initial=0)).bit_length() - _PEAK_BITS
    return round_shift(slope, excess) if excess > 0 else slope << -excess


def _outer(layer: Layer, signal: NDArray[np.int64], mean: NDArray[np.int64]) -> NDArray[np.int64]:
    """sum_n signal[n, o] * mean[n, i], int64[c_out, 1, 1, c_in / groups]; |.| <= N * 2^21 * 2^12."""
    groups, per_group = layer.groups, layer.c_in // layer.groups
    left, right = signal.reshape(len(signal), groups, -1), mean.reshape(len(mean), groups, per_group)
    outer: NDArray[np.int64] = np.einsum("ngo,ngi->goi", left, right)
    return outer.reshape(layer.c_out, 1, 1, per_group)


def flip(
    layer: Layer,
    weights: NDArray[np.int8],
    slope: NDArray[np.int64],
    scale: NDArray[np.float32],
    step: int,
    fraction: float,
) -> NDArray[np.int8]:
    """Move the `fraction` of weights with the largest |slope| * scale that can move by `step` codes, saturating."""
    low, high = weight_range(layer.bits)
    codes = weights.reshape(layer.weight_shape).astype(np.int16)
    movable = np.where(slope > 0, codes > low, codes < high) & (slope != 0)
    score = np.where(movable, np.abs(slope) * scale.astype(np.float64)[:, None, None, None], 0.0).reshape(-1)
    count = min(max(1, round(fraction * score.size)), int(np.count_nonzero(movable)))
    if count == 0:
        return weights
    threshold = np.partition(score, score.size - count)[score.size - count]
    chosen = score > threshold
    ties = np.flatnonzero(score == threshold)[: count - int(np.count_nonzero(chosen))]  # lowest index first
    chosen[ties] = True
    direction = np.broadcast_to(np.sign(slope), layer.weight_shape).reshape(-1).astype(np.int16)
    moved = codes.reshape(-1) - np.where(chosen, direction * step, 0)
    flipped: NDArray[np.int8] = np.clip(moved, low, high).astype(np.int8)
    return flipped


def shift_bias(
    bias: NDArray[np.int32], slope: NDArray[np.int64], scale: NDArray[np.float32], step: int, fraction: float
) -> NDArray[np.int32]:
    """Move the biases with the largest |slope| * scale by `step`, at least one, saturating at the int32 proof."""
    count = max(1, round(fraction * len(bias)))
    order = np.argsort(-(np.abs(slope) * scale.astype(np.float64)), kind="stable")[:count]
    moved = bias.astype(np.int64)
    moved[order] -= np.sign(slope[order]) * step
    return np.clip(moved, -BIAS_LIMIT, BIAS_LIMIT).astype(np.int32)
