"""The numpy reference of a training step: what every implementation computes, and the same in reals.

Rounding on: int8 codes forward, float32 gradients with sums in the agreed order, so results equal the C library's bit
for bit. Rounding off: everything in float64, clamps kept; then quantization-aware scaling makes it gradient descent on
the real-valued network, exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.autodiff import forward
from calibrant.autodiff.backward import GRADIENTS, Real, bias_gradient, weight_gradient
from calibrant.autodiff.forward import Array, Model
from calibrant.autodiff.selection import depthwise
from calibrant.core import fmath
from calibrant.core.dtype import BIAS_LIMIT, weight_range
from calibrant.core.program import Constants, Layer, Program
from calibrant.core.scaling import effective_scale
from calibrant.core.training import Slice, Step, Training


@dataclass(frozen=True)
class Outcome:
    """Of one sample: loss in nats, logits [classes], and the gradient of each slice before scaling, flat."""

    loss: float
    logits: Real
    gradients: tuple[Real, ...]


class Reference:
    """Executes a training one sample at a time and holds the parameters.

    Attributes are the parameters, and can be set: `weights` and `bias` as in Constants (int64 codes, or float64 in
    units of codes), `head_weight` [classes, features] and `head_bias` [classes] of a head of reals, at first what the
    program's head stands for, and `accumulators`.

    Parameters
    ----------
    training : Training
        Planned or not; its steps are run in their order.
    program : Program
    constants : Constants
    rounding : bool
        False: forward, parameters and gradients in float64, without any rounding or saturation of parameters.
    """

    def __init__(self, training: Training, program: Program, constants: Constants, *, rounding: bool = True) -> None:
        self.training, self.program, self.constants, self.rounding = training, program, constants, rounding
        self.dtype: type[np.floating[Any]] = np.float32 if rounding else np.float64
        self.weights: Array = constants.weights.astype(np.int64 if rounding else np.float64)
        self.bias: Array = constants.bias.astype(np.int64 if rounding else np.float64)
        self.accumulators: Real = np.zeros(training.accumulator_count, self.dtype)
        last = program.layers[-1]
        source = next(program.tensors[op.inputs[0]] for op in program.ops if op.layer == len(program.layers) - 1)
        scale: Real = np.asarray(constants.scale[last.channel_slice], self.dtype)
        codes: Real = np.asarray(constants.weights[last.weight_slice].reshape(last.c_out, -1), self.dtype)
        bias: Real = np.asarray(constants.bias[last.channel_slice], self.dtype)
        self.head_weight: Real = codes * scale[:, None]
        self.head_bias: Real = bias * (scale * self.dtype(source.scale))
        self._effective = effective_scale(program, constants)

    def step(self, x: Array, y: int, rate: float, bias_rate: float | None = None) -> Outcome:
        """Forward, backward, and the scaled gradients times `rate` subtracted from the accumulators.

        Parameters
        ----------
        x : int8 or float64 [height, width, channels]
            Input codes.
        y : int
            Class.
        rate : float
            Learning rate, divided by the batch size.
        bias_rate : float, optional
            Of biases, the head's too; default `rate`.
        """
        model = Model(self.program, self.constants, self.weights, self.bias, self._effective, self.rounding)
        rates = self.dtype(rate), self.dtype(rate if bias_rate is None else bias_rate)
        run = _Run(self, model, np.asarray(x, self.weights.dtype), y, rates)
        for step in self.training.steps:
            run.step(step)
        return Outcome(run.loss, run.logits, tuple(run.gradients[i] for i in range(len(self.training.slices))))

    def commit(self, carry: bool = False) -> None:
        """Add the accumulators to the parameters: rounded to even and saturated, or, without rounding, as they are.

        With `carry` the accumulators keep what rounding left; what saturation cut off is dropped.
        """
        for part in self.training.slices:
            own = self.accumulators[part.offset : part.offset + part.count]
            layer = self.program.layers[part.layer]
            if part.kind == "head":
                count = self.head_weight.size
                self.head_weight += own[:count].reshape(self.head_weight.shape)
                self.head_bias += own[count:]
                own[:] = 0
                continue
            values, limit = (
                (self.bias[layer.channel_slice], BIAS_LIMIT)
                if part.kind == "bias"
                else (self.weights[layer.weight_slice], weight_range(layer.bits)[1])
            )
            at = trained_indices(layer, part)
            if not self.rounding:
                values[at] += own
                own[:] = 0
                continue
            change = np.rint(own)
            moved = np.clip(values[at] + change.astype(np.float64), -limit, limit).astype(np.int64)
            kept = (moved == values[at] + change.astype(np.float64)) & carry
            own[:] = np.where(kept, own - change, 0)
            values[at] = moved


def trained_indices(layer: Layer, part: Slice) -> NDArray[np.int64]:
    """Positions of a slice's values among the layer's weights or biases, int64[count]."""
    if part.kind == "bias":
        return np.arange(layer.c_out)
    positions = np.arange(layer.weight_count).reshape(layer.weight_shape)
    if part.channels:
        positions = positions[list(part.channels)] if depthwise(layer) else positions[..., list(part.channels)]
    return positions.ravel()


class _Run:
    """One sample's buffers."""

    def __init__(self, reference: Reference, model: Model, x: Array, y: int, rates: tuple[Any, Any]) -> None:
        self.reference, self.model, self.y, self.rates = reference, model, y, rates
        self.training, self.dtype = reference.training, reference.dtype
        self.values: dict[int, Array] = {self.training.input: x}
        self.gradients: dict[int, Real] = {}
        self.loss, self.logits = 0.0, np.zeros(0, self.dtype)

    def step(self, step: Step) -> None:
        inputs = tuple(self.values[i] for i in step.inputs)
        if step.kind in GRADIENTS:
            op = self.model.program.ops[step.op]
            shape = self.training.buffers[step.output]
            zero = np.zeros((shape.height, shape.width, shape.channels), self.dtype)
            base = self.values[step.output] if step.attrs["accumulate"] else zero
            self.values[step.output] = GRADIENTS[step.kind](self.model, step, op, inputs, base)
        else:
            STEPS[step.kind](self, step, inputs)

    def forward(self, step: Step, inputs: tuple[Array, ...]) -> None:
        self.values[step.output] = forward.run(self.model, self.model.program.ops[step.op], inputs)

    def mask(self, step: Step, inputs: tuple[Array, ...]) -> None:
        attrs = self.model.program.ops[step.op].attrs
        self.values[step.output] = (attrs["clamp_low"] < inputs[0]) & (inputs[0] < attrs["clamp_high"])

    def gather(self, step: Step, inputs: tuple[Array, ...]) -> None:
        x, layer = inputs[0], self.model.program.layers[self.model.program.ops[step.op].layer]
        groups = 1 if depthwise(layer) else layer.groups
        chosen = x.reshape(*x.shape[:2], groups, -1)[..., list(self.training.slices[step.slice].channels)]
        self.values[step.output] = chosen.reshape(*x.shape[:2], -1)

    def dense(self, step: Step, inputs: tuple[Array, ...]) -> None:
        total = np.zeros(len(self.reference.head_bias), self.dtype)
        for i, real in enumerate(self._features(step, inputs[0])):
            total += self.reference.head_weight[:, i] * real
        self.values[step.output] = (self.reference.head_bias + total).reshape(1, 1, -1)

    def _features(self, step: Step, x: Array) -> Real:
        source = self.training.buffers[self.model.program.ops[step.op].inputs[0]]
        features: Real = np.asarray(x - source.zero_point, self.dtype).ravel() * self.dtype(step.factor)
        return features

    def find_loss(self, step: Step, inputs: tuple[Array, ...]) -> None:
        buffer, training = self.training.buffers[step.inputs[0]], self.training
        codes = inputs[0].ravel() - (buffer.zero_point if buffer.dtype == "int8" else 0)
        scale = training.head_scale.astype(self.dtype)
        self.logits = codes.astype(self.dtype) * (scale if training.head == "int8" else self.dtype(1))
        shifted = self.logits - self.logits.max()
        mass = fmath.exp(shifted) if self.dtype is np.float32 else np.exp(shifted)
        total = self.dtype(0)
        for term in mass:
            total = total + term
        log = fmath.log(np.asarray([total])) if self.dtype is np.float32 else np.log([total])
        self.loss = float(log[0] - shifted[self.y])
        error = mass / total - (np.arange(len(mass)) == self.y).astype(self.dtype)
        self.values[step.output] = (error * scale if training.head == "int8" else error).reshape(1, 1, -1)

    def gate(self, step: Step, inputs: tuple[Array, ...]) -> None:
        op = self.model.program.ops[step.op]
        g = inputs[0]
        if op.layer >= 0:
            g = g * self.training.effective[self.model.program.layers[op.layer].channel_slice].astype(self.dtype)
        self.values[step.output] = np.where(inputs[1], g, self.dtype(0)) if len(inputs) > 1 else g

    def bias_update(self, step: Step, inputs: tuple[Array, ...]) -> None:
        self._accumulate(step.slice, bias_gradient(inputs[0]), self.training.bias_scaling)

    def weight_update(self, step: Step, inputs: tuple[Array, ...]) -> None:
        part, op = self.training.slices[step.slice], self.model.program.ops[step.op]
        gradient = weight_gradient(self.model, op, part, inputs[0], inputs[1])
        self._accumulate(step.slice, gradient, self.training.weight_scaling)

    def _accumulate(self, number: int, gradient: Real, scaling: NDArray[np.float32]) -> None:
        part = self.training.slices[number]
        layer = self.model.program.layers[part.layer]
        outputs = trained_indices(layer, part) // (1 if part.kind == "bias" else layer.weight_count // layer.c_out)
        factor = scaling[layer.channel_slice].astype(self.dtype)[outputs]
        self.gradients[number] = gradient
        own = self.reference.accumulators[part.offset : part.offset + part.count]
        own -= (gradient * factor) * self.rates[part.kind == "bias"]

    def dense_grad(self, step: Step, inputs: tuple[Array, ...]) -> None:
        weight, source = self.reference.head_weight, self.training.buffers[step.output]
        total = np.zeros(weight.shape[1], self.dtype)
        for k, g in enumerate(inputs[0].ravel()):
            total += g * weight[k]
        dx = (total * self.dtype(step.factor)).reshape(source.height, source.width, source.channels)
        self.values[step.output] = self.values[step.output] + dx if step.attrs["accumulate"] else dx

    def dense_update(self, step: Step, inputs: tuple[Array, ...]) -> None:
        g, part = inputs[1].ravel(), self.training.slices[step.slice]
        weight_gradient = g[:, None] * self._features(step, inputs[0])
        self.gradients[step.slice] = np.concatenate([weight_gradient.ravel(), g])
        own = self.reference.accumulators[part.offset : part.offset + part.count]
        own[: weight_gradient.size] -= weight_gradient.ravel() * self.rates[0]
        own[weight_gradient.size :] -= g * self.rates[1]


STEPS: Mapping[str, Callable[[_Run, Step, tuple[Array, ...]], None]] = {
    "forward": _Run.forward,
    "mask": _Run.mask,
    "gather": _Run.gather,
    "dense": _Run.dense,
    "loss": _Run.find_loss,
    "gate": _Run.gate,
    "bias_update": _Run.bias_update,
    "weight_update": _Run.weight_update,
    "dense_grad": _Run.dense_grad,
    "dense_update": _Run.dense_update,
}
