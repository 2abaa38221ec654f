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
machine and in any order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from calibrant.artifact import Artifact
from calibrant.core.dtype import BIAS_LIMIT, weight_range
from calibrant.core.evaluation import Evaluation, Meaning
from calibrant.core.parameters import Parameters
from calibrant.core.rng import generator
from calibrant.core.settings import FlipSettings
from calibrant.updaters.base import AdaptableEngine, Samples, UpdateOutcome, descend
from calibrant.updaters.channel_gradients import propagate, require_rules
from calibrant.updaters.logit_distillation import distillation_error

_MEAN_DECAY, _SQUARE_DECAY = _DECAYS = np.array([0.9, 0.999], np.float32)  # of Adam's two moments
_TINY = np.float32(1e-8)
_ERROR_BITS = 15

Reals = NDArray[np.float32]
Codes = NDArray[Any]


class DitheredAdam:
    """Integer codes on their way: residuals and moments of a flat array of parameters, float32 each.

    Codes are drawn to `origin`; `size` is what one code stands for, `limit` the largest code.
    """

    def __init__(self, codes: Codes, origin: Codes, size: Reals, limit: NDArray[np.int64], residual: Reals) -> None:
        self.codes, self.residual = codes.astype(np.int64), residual
        self._origin, self._size, self._limit = origin.astype(np.int64), size, limit
        self._mean, self._square = np.zeros_like(residual), np.zeros_like(residual)

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


@dataclass
class Momentum:
    """Where a window's steps are: weights and biases on their way, and the powers of both decays so far. These are
    multiplied out step by step, as pow() rounds as it likes."""

    weights: DitheredAdam
    bias: DitheredAdam
    powers: Reals


class AccumulatedFlips:
    """Adapts the integer weights of an engine to labeled samples, step after step, without a guard in between.

    Residuals and moments last as long as a window and begin anew with the next one, so that a version needs no more
    than its parameters, and a session that is opened again goes on as one that was not. An update whose last loss is
    not below its first restores the parameters.

    Parameters
    ----------
    meaning : Meaning
        Program, constants and task of the artifact; residuals are drawn to its weights.
    settings : FlipSettings

    Examples
    --------
    >>> import inspect
    >>> list(inspect.signature(AccumulatedFlips.update).parameters)
    ['self', 'engine', 'samples', 'start', 'steps', 'state']
    """

    def __init__(self, meaning: Meaning, settings: FlipSettings) -> None:
        self.meaning, self.settings = meaning, settings
        self.program, self.constants = meaning.program, meaning.constants
        ops = sorted((op for op in self.program.ops if op.layer >= 0), key=lambda op: op.layer)
        tensors = self.program.tensors
        self._sources = [tensors[op.inputs[0]] for op in ops]
        self._positions = [tensors[op.output].height * tensors[op.output].width for op in ops]
        self._clamped = [tensors[op.output].bits != 32 for op in ops]

    @classmethod
    def of(cls, artifact: Artifact, settings: FlipSettings) -> Self:
        """For an artifact; DataError where one of its ops has no propagation rule."""
        require_rules(artifact.program)
        return cls(artifact.meaning, settings)

    @property
    def name(self) -> str:
        """'flip'."""
        return "flip"

    @property
    def balanced(self) -> bool:
        """False: the pull towards the artifact's weights keeps the origin."""
        return False

    @property
    def distills(self) -> bool:
        """True."""
        return True

    @staticmethod
    def resident_bytes(artifact: Artifact, capacity: int) -> int:
        """Scores float32[K] remembered of the samples of both coresets, the artifact's and the device's."""
        return (len(artifact.coreset.y) + capacity) * 4 * artifact.program.tensors[artifact.program.output].elements

    @staticmethod
    def learning_bytes(artifact: Artifact) -> int:
        """Residuals and moments, three float32 a parameter."""
        return 12 * (artifact.program.weight_count + artifact.program.channel_count)

    def update(
        self,
        engine: AdaptableEngine,
        samples: Samples,
        start: Evaluation,
        steps: int,
        state: Momentum | None = None,
    ) -> UpdateOutcome:
        """Run `steps` steps, fewer once the mean loss is at `settings.loss_goal`. See `base.Updater`."""
        momentum = self._begin(start.parameters) if state is None else state
        result = descend(
            self.name,
            engine,
            samples,
            start,
            lambda current: self._step(engine, current, samples, momentum),
            self.meaning,
            steps,
            self.settings.loss_goal,
        )
        return replace(result, state=momentum)

    def _begin(self, parameters: Parameters) -> Momentum:
        weights, bias, own = parameters.weights, parameters.bias, Parameters.of(self.constants)
        size, limit = np.empty(weights.size, np.float32), np.empty(weights.size, np.int64)
        step = np.empty(bias.size, np.float32)
        for layer, source in zip(self.program.layers, self._sources, strict=True):
            scale = self.constants.scale[layer.channel_slice]
            size[layer.weight_slice] = np.repeat(scale, layer.weight_count // layer.c_out)
            limit[layer.weight_slice] = weight_range(layer.bits)[1]
            step[layer.channel_slice] = scale * np.float32(source.scale)
        dither = generator(0, "dither").random(weights.size, np.float32) - np.float32(0.5)
        ends, none = np.full(bias.size, BIAS_LIMIT, np.int64), np.zeros(bias.size, np.float32)
        return Momentum(
            DitheredAdam(weights, own.weights, size, limit, dither),
            DitheredAdam(bias, own.bias, step, ends, none),
            np.ones(2, np.float32),
        )

    def _step(self, engine: AdaptableEngine, current: Evaluation, samples: Samples, momentum: Momentum) -> None:
        lesson, seen = samples.lesson, samples.of(current)
        if lesson.remembered is not None:
            seen = replace(seen, error=seen.error + distillation_error(seen.scores, lesson.remembered))
        slopes = self._slopes(engine, seen, lesson)
        momentum.powers = momentum.powers * _DECAYS
        corrections = 1 - momentum.powers
        rate = self.settings.rate
        momentum.weights.step(slopes[0], rate, self.settings.decay, corrections)
        if self.settings.bias:
            momentum.bias.step(slopes[1], rate, 0.0, corrections)
        weights, bias = momentum.weights.codes.astype(np.int8), momentum.bias.codes.astype(np.int32)
        engine.load(current.parameters.replaced(weights=weights, bias=bias))

    def _slopes(self, engine: AdaptableEngine, state: Evaluation, samples: Samples) -> tuple[Reals, Reals]:
        """Gradients of the mean loss by the real values of weights and biases."""
        error = state.error * samples.importance[:, None]
        signals = propagate(self.program, self.constants, state.parameters.weights, state.observation, error)
        spread = np.concatenate([signal.mantissa for signal in signals], axis=1).astype(np.int32)
        taps = engine.taps(samples.x, spread)
        weights, bias = np.zeros(taps.size, np.float32), np.zeros(spread.shape[1], np.float32)
        mass = float(int(samples.importance.sum()) << _ERROR_BITS)
        for number in self.program.adaptable:  # without a gradient, signs and their thresholds stay
            layer = self.program.layers[number]
            # signals are sums over the map: what one position has of them, in reals
            unit = np.ldexp(1.0, signals[number].exponent) / (mass * self._positions[number])
            summed = taps[layer.weight_slice].astype(np.float64)
            weights[layer.weight_slice] = summed * (unit * self._sources[number].scale)
            active = state.observation.active[:, layer.channel_slice].astype(np.int64)
            counts = active if self._clamped[number] else np.int64(self._positions[number])
            bias[layer.channel_slice] = (spread[:, layer.channel_slice] * counts).sum(axis=0) * unit
        return weights, bias
