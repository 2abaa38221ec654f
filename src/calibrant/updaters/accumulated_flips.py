"""The default flip updater: small moves add up beside each integer weight, and flip it when they amount to a code.

Guarded flips (`updaters.guarded_flips`) move few weights by whole codes, which is coarse. Here every weight has a
residual, the part of a code that it was moved by and that has not flipped it yet. Each step adds a fraction of a code
in the direction that lowers the loss, as Adam would (Kingma and Ba, 2015); a residual beyond half a code flips the
weight. Residuals start dithered, evenly spread over a code, so that at once as many weights flip as the moves call for;
started at zero, none would flip until all do. Weights and residuals are drawn towards the artifact's own weights, which
keeps what was learned on the server, and outputs towards what they were (`updaters.logit_distillation`).

The signals come from channel sums (`updaters.channel_gradients`), the gradient from one more forward sweep
(`Engine.taps`): no map is stored. Sums are integers. Moments and residuals are float32 and only ever meet values of
their own weight, in operations that IEEE 754 rounds alike everywhere, so the same samples give the same flips on every
machine and in any order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from calibrant.core.dtype import BIAS_LIMIT, weight_range
from calibrant.core.logits import logits
from calibrant.core.program import Constants, Program
from calibrant.core.reports import UpdateOutcome
from calibrant.core.rng import generator
from calibrant.core.settings import FlipSettings
from calibrant.core.statistics import Coreset
from calibrant.updaters.base import AdaptableEngine, Evaluation, Samples, descend
from calibrant.updaters.channel_gradients import propagate
from calibrant.updaters.logit_distillation import RememberedLogits, distillation_error

_MEAN_DECAY, _SQUARE_DECAY = _DECAYS = np.array([0.9, 0.999], np.float32)  # of Adam's two moments
_TINY = np.float32(1e-8)
_ERROR_BITS = 15

Reals = NDArray[np.float32]


class DitheredAdam:
    """Integer codes on their way: residuals and moments of a flat array of parameters, float32 each.

    `size` is what one code stands for, `limit` the largest code.
    """

    def __init__(self, codes: NDArray[np.int64], size: Reals, limit: NDArray[np.int64], residual: Reals) -> None:
        self.codes, self.residual = codes, residual
        self._origin, self._size, self._limit = codes, size, limit
        self._mean, self._square = np.zeros_like(residual), np.zeros_like(residual)

    def start(self, codes: NDArray[np.int64], origin: NDArray[np.int64]) -> None:
        """Where the codes are now, and where they are drawn to."""
        self.codes, self._origin = codes, origin

    def step(self, slope: Reals, rate: float, decay: float, corrections: Reals) -> None:
        """Move against the slope by about `rate`, in reals, and towards the origin by `decay` of the way."""
        self._mean = _MEAN_DECAY * self._mean + (1 - _MEAN_DECAY) * slope
        self._square = _SQUARE_DECAY * self._square + (1 - _SQUARE_DECAY) * (slope * slope)
        slowed = np.sqrt(self._square / corrections[1]) + _TINY
        moved = self.residual - np.float32(rate) * (self._mean / corrections[0]) / slowed / self._size
        if decay:
            moved -= np.float32(decay) * ((self.codes - self._origin).astype(np.float32) + self.residual)
        whole = np.rint(moved)
        codes = np.clip(self.codes + whole.astype(np.int64), -self._limit, self._limit)
        # at the end of the range a residual waits at half a code, so that the first move back counts
        self.residual = np.clip(moved - (codes - self.codes).astype(np.float32), np.float32(-0.5), np.float32(0.5))
        self.codes = codes


class AccumulatedFlips:
    """Adapts the integer weights of an engine to labeled samples, step after step, without a guard in between.

    Residuals, moments and remembered outputs last from window to window. They begin anew when the engine's weights are
    not those that the last update left: after a rejected window, a rollback, another session. An update whose last
    loss is not below its first restores the weights.

    Parameters
    ----------
    program, constants
        From the artifact; its weights are what residuals are drawn to.
    coreset : Coreset
        From the artifact; what its weights say of these samples is remembered.
    settings : FlipSettings

    Examples
    --------
    >>> import inspect
    >>> list(inspect.signature(AccumulatedFlips.update).parameters)
    ['self', 'engine', 'x', 'y', 'importance', 'steps']
    """

    def __init__(self, program: Program, constants: Constants, coreset: Coreset, settings: FlipSettings) -> None:
        self.program, self.constants, self.coreset, self.settings = program, constants, coreset, settings
        ops = sorted((op for op in program.ops if op.layer >= 0), key=lambda op: op.layer)
        self._sources = [program.tensors[op.inputs[0]] for op in ops]
        self._positions = [program.tensors[op.output].height * program.tensors[op.output].width for op in ops]
        self._clamped = [program.tensors[op.output].bits != 32 for op in ops]
        self._weights, self._bias = self._dithered()
        self._memory: RememberedLogits | None = None
        self._powers = np.ones(2, np.float32)  # of both decays, multiplied out step by step: pow() rounds as it likes

    @property
    def name(self) -> str:
        """'flip'."""
        return "flip"

    @property
    def balanced(self) -> bool:
        """False: the pull towards the artifact's weights keeps the origin."""
        return False

    def update(
        self,
        engine: AdaptableEngine,
        x: NDArray[np.int8],
        y: NDArray[np.int64],
        importance: NDArray[np.int64],
        steps: int,
    ) -> UpdateOutcome:
        """Run `steps` steps, fewer once the mean loss is at `settings.loss_goal`. See `updaters.base.Updater`."""
        samples = Samples(x, y, importance)
        self._resume(engine)
        memory = self._remembered(engine)
        then = memory.of(x)
        last, result = descend(
            self.name,
            engine,
            samples,
            evaluate=lambda: self._evaluate(engine, samples),
            step=lambda state: self._step(engine, state, samples, then),
            steps=steps,
            goal=self.settings.loss_goal,
        )
        memory.add(x, self._logits(last))
        memory.keep(np.concatenate([x, self.coreset.x]))
        return result

    def _evaluate(self, engine: AdaptableEngine, samples: Samples) -> Evaluation:
        return Evaluation.of(engine, engine.weights, engine.bias, samples, self.program, self.constants)

    def _resume(self, engine: AdaptableEngine) -> None:
        """Go on where the last update ended, or begin anew from what the engine holds."""
        weights, bias = engine.weights.astype(np.int64), engine.bias.astype(np.int64)
        if np.array_equal(weights, self._weights.codes) and np.array_equal(bias, self._bias.codes):
            return
        self._weights, self._bias = self._dithered()
        self._memory, self._powers = None, np.ones(2, np.float32)
        self._weights.start(weights, self.constants.weights.astype(np.int64))
        self._bias.start(bias, self.constants.bias.astype(np.int64))

    def _remembered(self, engine: AdaptableEngine) -> RememberedLogits:
        """What is remembered; of the artifact's samples at first, whatever weights are in force."""
        if self._memory is None:
            weights, bias = engine.weights, engine.bias
            engine.load(self.constants.weights, self.constants.bias)
            outputs = engine.observe(self.coreset.x).outputs
            engine.load(weights, bias)
            self._memory = RememberedLogits(outputs.shape[1])
            self._memory.add(self.coreset.x, logits(outputs, self.program, self.constants))
        return self._memory

    def _logits(self, state: Evaluation) -> Reals:
        return logits(state.observation.outputs, self.program, self.constants)

    def _dithered(self) -> tuple[DitheredAdam, DitheredAdam]:
        weights, bias = self.constants.weights.astype(np.int64), self.constants.bias.astype(np.int64)
        size, limit = np.empty(weights.size, np.float32), np.empty(weights.size, np.int64)
        step = np.empty(bias.size, np.float32)
        for layer, source in zip(self.program.layers, self._sources, strict=True):
            scale = self.constants.scale[layer.channel_slice]
            size[layer.weight_slice] = np.repeat(scale, layer.weight_count // layer.c_out)
            limit[layer.weight_slice] = weight_range(layer.bits)[1]
            step[layer.channel_slice] = scale * np.float32(source.scale)
        dither = generator(0, "dither").random(weights.size, np.float32) - np.float32(0.5)
        ends = np.full(bias.size, BIAS_LIMIT, np.int64)
        return DitheredAdam(weights, size, limit, dither), DitheredAdam(
            bias, step, ends, np.zeros(bias.size, np.float32)
        )

    def _step(self, engine: AdaptableEngine, state: Evaluation, samples: Samples, then: Reals) -> None:
        error = state.error + distillation_error(self._logits(state), then)
        slopes = self._slopes(engine, replace(state, error=error), samples)
        self._powers = self._powers * _DECAYS
        corrections = 1 - self._powers
        rate = self.settings.rate
        self._weights.step(slopes[0], rate, self.settings.decay, corrections)
        if self.settings.bias:
            self._bias.step(slopes[1], rate, 0.0, corrections)
        engine.load(self._weights.codes.astype(np.int8), self._bias.codes.astype(np.int32))

    def _slopes(self, engine: AdaptableEngine, state: Evaluation, samples: Samples) -> tuple[Reals, Reals]:
        """Gradients of the mean loss by the real values of weights and biases."""
        error = state.error * samples.importance[:, None]
        signals = propagate(self.program, self.constants, state.weights, state.observation, error)
        spread = np.concatenate([signal.mantissa for signal in signals], axis=1).astype(np.int32)
        taps = engine.taps(samples.x, spread)
        weights, bias = np.empty(taps.size, np.float32), np.empty(spread.shape[1], np.float32)
        mass = float(int(samples.importance.sum()) << _ERROR_BITS)
        for number, layer in enumerate(self.program.layers):
            # signals are sums over the map: what one position has of them, in reals
            unit = np.ldexp(1.0, signals[number].exponent) / (mass * self._positions[number])
            summed = taps[layer.weight_slice].astype(np.float64)
            weights[layer.weight_slice] = summed * (unit * self._sources[number].scale)
            active = state.observation.active[:, layer.channel_slice].astype(np.int64)
            counts = active if self._clamped[number] else np.int64(self._positions[number])
            bias[layer.channel_slice] = (spread[:, layer.channel_slice] * counts).sum(axis=0) * unit
        return weights, bias
