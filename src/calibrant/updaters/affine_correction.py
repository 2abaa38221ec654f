"""AffineCorrection: one gain and one offset a channel lead pre-activations back to home, without labels or gradients.

A domain changes mean and variance of what a layer computes; multiplier, shift and bias of each output channel undo
that, so that they are those of the training samples again. It is what re-estimating the statistics of batch norms does
(Li et al., "Revisiting Batch Normalization For Practical Domain Adaptation", 2016, section 3: AdaBN), for a network
whose batch norms are folded into integers. Weights stay the artifact's.

Let v be a pre-activation of the artifact's weights on inputs that the corrected layers below give (see
`core.statistics.Moments`), mu and var its moments in a window, mu0 and var0 at home (`Artifact.home`). Then, per
channel of every weighted layer but the last::

    g = sqrt((var0 + EPSILON) / (var + EPSILON)), within 1/GAIN to GAIN
    t = mu0 / g - mu                              so that g * (v + t) has mean mu0
    m'/2^s' = g * m/2^s                           renormalized to 31 bits
    bias' = bias + round(t * 2^s / m)             an offset of v, in units of the accumulator

One layer after the other, each measured after those below it are corrected: with all layers at once every one would
undo what those below have undone already.

Bounds. Lowering proves |acc| < 2^31 for all weights of the width and |bias| up to `BIAS_LIMIT`, where bias' saturates.
Multipliers are below 2^31, whatever g is, so |acc * m'| < 2^62 holds as before. Moments are sums of integers, equal in
every variant of the kernels; what follows from them is float64, one rounding an operation in a fixed order: the same
parameters on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from calibrant.artifact import Artifact
from calibrant.core.dtype import BIAS_LIMIT
from calibrant.core.errors import DataError
from calibrant.core.fixedpoint import MAX_REAL, quantize_multiplier
from calibrant.core.parameters import Parameters
from calibrant.core.program import Constants, Layer, Program
from calibrant.core.statistics import Moments, PreActivations

EPSILON = 1 / 12  # code^2: the variance that rounding to codes alone has; below it nothing is known
GAIN = 8.0
STANDARD_ERRORS = 2.0  # a channel whose mean and mean square are both this near to home stays as it is
STUCK = 1 / 1024  # of home's variance, a deviation of 1/32: below it a channel does not measure anything any more
WINDOW = 8  # samples from which on a window says by itself that a channel is stuck
REMEMBERED = 200  # samples that a memory counts as, at most: a window of W goes W / (W + 200) of the way
REMEMBERED_FROM_HOME = 400  # where classes come in runs, so that no window is broad
SUM_LIMIT = 2**33  # weights times positions: squares are up to 2^30, and their sum must stay below 2^63

Array = NDArray[np.float64]


class MeasurableEngine(Protocol):
    """What the correction needs from the engine."""

    @property
    def parameters(self) -> Parameters: ...

    def load(self, parameters: Parameters) -> None: ...

    def moments(self, x: NDArray[np.int8], layers: tuple[int, ...]) -> Moments: ...


@dataclass(frozen=True)
class AffineMemory:
    """What windows have said of a domain so far; the caller keeps it.

    samples float64[channel_count]: how many the sums count as, at most `limit`; mean and square float64[channel_count]:
    mean pre-activation and mean of squares.
    """

    samples: Array
    mean: Array
    square: Array
    limit: int = REMEMBERED

    def then(self, samples: float, mean: Array, square: Array, channels: NDArray[np.bool_]) -> AffineMemory:
        """With more samples, of some of the channels, cut to the limit."""
        total = self.samples + np.where(channels, samples, 0.0)
        share = np.where(channels, samples / np.maximum(total, 1e-300), 0.0)
        moved = self.mean + share * (mean - self.mean), self.square + share * (square - self.square)
        return AffineMemory(np.minimum(total, self.limit), moved[0], moved[1], self.limit)

    def take(self, channels: slice) -> AffineMemory:
        """Of some of the channels."""
        return AffineMemory(self.samples[channels], self.mean[channels], self.square[channels], self.limit)


class AffineCorrection:
    """Corrects an artifact's network for a domain.

    Parameters
    ----------
    program, constants, home
        From the artifact.

    Examples
    --------
    >>> from calibrant.core.program import Op, Tensor
    >>> from calibrant.engine import Engine
    >>> attrs = dict(kernel_h=1, kernel_w=1, stride_h=1, stride_w=1, dilation_h=1, dilation_w=1, groups=1,
    ...              clamp_low=-128, clamp_high=127, scratch_offset=64, scratch_bytes=130)
    >>> program = Program(
    ...     tensors=(Tensor("x", 1, 1, 1, 1.0, 0), Tensor("h", 1, 1, 1, 1.0, 0), Tensor("y", 1, 1, 1, 1.0, 0, bits=32)),
    ...     ops=(Op("conv2d", (0,), 1, attrs, layer=0), Op("conv2d", (1,), 2, attrs, layer=1)),
    ...     layers=(Layer("h", 8, 1, 1, 1, 1, 1, 0, 0, 0), Layer("y", 8, 1, 1, 1, 1, 1, 1, 1, 1)),
    ...     input=0, output=2, offsets=(0, 1, 4), arena_bytes=194)
    >>> one = np.ones(2, np.int32)
    >>> constants = Constants(np.ones(2, np.int8), 0 * one, 2**30 * one, 30 * one, np.ones(2, np.float32))
    >>> home = PreActivations(*np.float32([[10, 0], [25, 0], [5, 0], [110, 0]]))
    >>> correction, engine = AffineCorrection(program, constants, home), Engine(program, constants)
    >>> x = np.int8([20, 40, 20, 40, 20, 40, 20, 40]).reshape(8, 1, 1, 1)  # twice as much of everything, and 10 more
    >>> corrected, memory = correction.correct(engine, x, correction.from_nothing())
    >>> engine.load(corrected)
    >>> engine.infer(x)[:2].tolist(), corrected.bias.tolist()
    ([[5], [15]], [-10, 0])
    """

    def __init__(self, program: Program, constants: Constants, home: PreActivations) -> None:
        self._program = program
        self._base = Parameters.of(constants)
        self._home = home
        last = len(program.layers) - 1
        corrected = set(program.adaptable) - {last}
        self._order = tuple(op.layer for op in program.ops if op.layer in corrected)

    @classmethod
    def of(cls, artifact: Artifact) -> AffineCorrection:
        """For an artifact.

        Raises
        ------
        DataError
            It does not say what home is, as those of earlier releases.
        """
        if artifact.home is None:
            raise DataError("affine correction: expected an artifact with pre-activations (format 3), got one without; "
                            "prepare the model again")  # fmt: skip
        return cls(artifact.program, artifact.constants, artifact.home)

    def from_nothing(self) -> AffineMemory:
        """A memory of no samples: the first window is followed all the way. For windows of mixed classes."""
        empty = np.zeros(self._program.channel_count)
        return AffineMemory(empty, empty, empty)

    def from_home(self) -> AffineMemory:
        """A memory of home's samples, which windows lead away from slowly. For windows of few classes each."""
        mean, square = self._reference(None)
        return AffineMemory(np.full(len(mean), float(REMEMBERED_FROM_HOME)), mean, square, REMEMBERED_FROM_HOME)

    def correct(
        self,
        engine: MeasurableEngine,
        x: NDArray[np.int8],
        memory: AffineMemory,
        weights: NDArray[np.int64] | None = None,
        mix: Array | None = None,
    ) -> tuple[Parameters, AffineMemory]:
        """The artifact's parameters, corrected for the domain of a window and of those that the memory is of.

        Parameters
        ----------
        engine : MeasurableEngine
            Of the artifact's program. It runs the window (L + 1) / 2 times in all, and ends with the parameters it had.
        x : int8[N, height, width, channels]
            Input codes. Of none, the correction is what the memory says.
        memory : AffineMemory
            See :meth:`from_nothing` and :meth:`from_home`; then what the last call gave.
        weights : int64[N], optional
            How much each sample counts, at least 0; without, all alike.
        mix : float64[classes], optional
            Shares of the classes in window and memory, where the artifact has moments by class: home is then a mixture
            of the same shares. Without, that of the training samples.

        Returns
        -------
        Parameters
            Of the artifact's weights; multipliers, shifts and biases are corrected.
        AffineMemory

        Raises
        ------
        DataError
            Weights that do not fit, or are so large that sums could overflow; a mix without moments by class.
        """
        counts = _checked(weights, len(x), self._program)
        mean, square = self._reference(mix)
        held, bias, multiplier, shift = engine.parameters, *_copies(self._base)
        seen = memory
        try:
            for number in self._order:
                layer = self._program.layers[number]
                if counts.any():
                    engine.load(self._base.replaced(bias=bias, multiplier=multiplier, shift=shift))
                    part, working = _measured(engine.moments(x, (number,)), counts, layer, seen, self._home)
                else:
                    part, working = seen.take(layer.channel_slice), np.ones(layer.c_out, bool)
                seen = _with(seen, layer.channel_slice, part)
                gain, offset = self._affine(layer, part, (mean, square), working)
                self._write(layer, gain, offset, (bias, multiplier, shift))
        finally:
            engine.load(held)
        return self._base.replaced(bias=bias, multiplier=multiplier, shift=shift), seen

    def _reference(self, mix: Array | None) -> tuple[Array, Array]:
        """Mean and mean square at home, float64[channel_count], of a mixture of classes."""
        home = self._home
        if mix is None:
            mean = home.mean.astype(np.float64)
            return mean, home.variance.astype(np.float64) + mean * mean
        if home.class_mean is None or home.class_std is None:
            raise DataError("affine correction: expected an artifact with moments by class for a mix, got one without")
        if mix.shape != home.class_mean.shape[:1] or not (mix >= 0).all() or not abs(mix.sum() - 1) < 1e-6:
            raise DataError(f"mix: expected shares of {len(home.class_mean)} classes, got {mix!r:.60}")
        means, stds = home.class_mean.astype(np.float64), home.class_std.astype(np.float64)
        squares = stds * stds + means * means
        return (mix[:, None] * means).sum(axis=0), (mix[:, None] * squares).sum(axis=0)

    def _affine(
        self, layer: Layer, seen: AffineMemory, reference: tuple[Array, Array], working: NDArray[np.bool_]
    ) -> tuple[Array, Array]:
        """Gain and offset float64[c_out] of a layer: 1 and 0 where a channel stays."""
        part = layer.channel_slice
        home_mean, home_square = (each[part] for each in reference)
        count = np.sqrt(np.maximum(seen.samples, 1e-300))
        near = np.abs(seen.mean - home_mean) * count <= STANDARD_ERRORS * self._home.mean_spread[part]
        near &= np.abs(seen.square - home_square) * count <= STANDARD_ERRORS * self._home.square_spread[part]
        moved = working & ~near & (seen.samples > 0) & (self._base.multiplier[part] > 0)
        usual = np.maximum(home_square - home_mean * home_mean, 0)
        variance = np.maximum(seen.square - seen.mean * seen.mean, 0)
        gain = np.clip(np.sqrt((usual + EPSILON) / (variance + EPSILON)), 1 / GAIN, GAIN)
        return np.where(moved, gain, 1.0), np.where(moved, home_mean / gain - seen.mean, 0.0)

    def _write(self, layer: Layer, gain: Array, offset: Array, into: tuple[NDArray[np.int32], ...]) -> None:
        """Constants of a layer's affine into bias, multiplier and shift int32[channel_count]."""
        bias, multiplier, shift = into
        for number in np.flatnonzero((gain != 1) | (offset != 0)).tolist():
            channel = layer.channel_offset + number
            real = np.ldexp(float(multiplier[channel]), -int(shift[channel]))
            owed = int(np.rint(np.clip(offset[number] / real, -2 * BIAS_LIMIT, 2 * BIAS_LIMIT)))
            bias[channel] = min(max(int(bias[channel]) + owed, -BIAS_LIMIT), BIAS_LIMIT)
            grown = min(float(gain[number] * real), MAX_REAL / 2)
            multiplier[channel], shift[channel] = quantize_multiplier(grown)


def scales(constants: Constants, parameters: Parameters) -> NDArray[np.float32]:
    """Weight scales float32[channel_count] as updaters are to see them: a channel's gain is a gain of its weights.

    Parameters
    ----------
    constants : Constants
        The artifact's.
    parameters : Parameters
        With multipliers and shifts as a correction left them.

    Examples
    --------
    >>> one = np.ones(1, np.int32)
    >>> constants = Constants(np.ones(1, np.int8), one, 2**30 * one, 31 * one, np.ones(1, np.float32))
    >>> scales(constants, Parameters.of(constants).replaced(shift=30 * one)).tolist()
    [2.0]
    """
    known = constants.multiplier > 0
    own = np.where(known, np.ldexp(constants.multiplier.astype(np.float64), -constants.shift), 1.0)
    now = np.where(known, np.ldexp(parameters.multiplier.astype(np.float64), -parameters.shift), 1.0)
    grown: NDArray[np.float32] = (constants.scale * (now / own)).astype(np.float32)
    return grown


def _checked(weights: NDArray[np.int64] | None, samples: int, program: Program) -> NDArray[np.int64]:
    counts = np.ones(samples, np.int64) if weights is None else weights
    if counts.shape != (samples,) or counts.dtype != np.int64 or (counts < 0).any():
        raise DataError(f"weights: expected int64[{samples}] of at least 0, got {counts.dtype}{list(counts.shape)}")
    largest = max(program.tensors[op.output].height * program.tensors[op.output].width for op in program.ops)
    total = sum(counts.tolist())
    if total * largest >= SUM_LIMIT:
        raise DataError(f"weights: expected a sum below {SUM_LIMIT // largest:,}, got {total:,}")
    return counts


def _copies(parameters: Parameters) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    return parameters.bias.copy(), parameters.multiplier.copy(), parameters.shift.copy()


def _measured(
    moments: Moments, counts: NDArray[np.int64], layer: Layer, memory: AffineMemory, home: PreActivations
) -> tuple[AffineMemory, NDArray[np.bool_]]:
    """What memory and window say of a layer together, and which of its channels work, bool[c_out]; what the others
    gave is forgotten."""
    part, before = layer.channel_slice, memory.take(layer.channel_slice)
    values = float(int(counts.sum()) * int(moments.positions[layer.channel_offset]))
    mean, square = (counts @ each[:, part] / values for each in (moments.total, moments.square))
    samples = float(counts.sum()) ** 2 / float((counts.astype(np.float64) ** 2).sum())  # as many that count alike
    every = np.ones(layer.c_out, bool)
    together = before.then(samples, mean, square, every)
    judged = (mean, square) if samples >= WINDOW else (together.mean, together.square)
    usual, variance = home.variance[part].astype(np.float64), judged[1] - judged[0] * judged[0]
    working = (usual <= EPSILON) | (variance > STUCK * usual)
    return before.then(samples, mean, square, working), working


def _with(memory: AffineMemory, channels: slice, part: AffineMemory) -> AffineMemory:
    """A memory with some of its channels replaced."""
    samples, mean, square = memory.samples.copy(), memory.mean.copy(), memory.square.copy()
    samples[channels], mean[channels], square[channels] = part.samples, part.mean, part.square
    return AffineMemory(samples, mean, square, memory.limit)
