"""Frozen records that cross stages: what the server lowers to, and what the device's stages hand each other.

Activations on the device are channels-last: one sample is int8[height, width, channels]; a 1-D series has height 1
and width = time. A fully connected layer is a 1x1 convolution on a 1x1 image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from calibrant.core.size import parse_size


@dataclass(frozen=True)
class Tensor:
    """One activation of a program. `bits` 8: int8 codes; 32: raw int32 accumulators (logits only)."""

    name: str
    height: int
    width: int
    channels: int
    scale: float
    zero_point: int
    bits: int = 8
    parent = -1  # class attributes, not fields: a `View` alone sets them, and an artifact holds no views
    row = 0

    @property
    def elements(self) -> int:
        """Values per sample."""
        return self.height * self.width * self.channels

    @property
    def nbytes(self) -> int:
        """Bytes per sample in the arena."""
        return self.elements * self.bits // 8


@dataclass(frozen=True)
class View(Tensor):
    """Rows [row, row + height) of tensor `parent`, in its memory: channels-last, they are contiguous."""

    parent: int = -1
    row: int = 0


@dataclass(frozen=True)
class Op:
    """One step of a program: tensor ids in and out, integer attributes (see `ops.SCHEMAS`), weighted layer or -1."""

    kind: str
    inputs: tuple[int, ...]
    output: int
    attrs: Mapping[str, int]
    layer: int = -1


@dataclass(frozen=True)
class Layer:
    """A weighted layer's place in the flat constant arrays.

    Weights are int8[c_out, kernel_h, kernel_w, c_in / groups] at `weight_offset` in `Constants.weights`; bias,
    multiplier, shift and weight scale are [c_out] at `channel_offset`; its input has `c_in` channels at
    `pooled_offset` of the pooled statistics.
    """

    name: str
    bits: int
    c_out: int
    kernel_h: int
    kernel_w: int
    c_in: int
    groups: int
    weight_offset: int
    channel_offset: int
    pooled_offset: int

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        """[c_out, kernel_h, kernel_w, c_in / groups]."""
        return self.c_out, self.kernel_h, self.kernel_w, self.c_in // self.groups

    @property
    def weight_count(self) -> int:
        """Number of weights."""
        return self.c_out * self.kernel_h * self.kernel_w * (self.c_in // self.groups)

    @property
    def weight_slice(self) -> slice:
        """Where the weights stand in `Constants.weights`."""
        return slice(self.weight_offset, self.weight_offset + self.weight_count)

    @property
    def channel_slice(self) -> slice:
        """Where per-output-channel values stand in bias, multiplier, shift, scale and counts of active positions."""
        return slice(self.channel_offset, self.channel_offset + self.c_out)

    @property
    def pooled_slice(self) -> slice:
        """Where per-input-channel values stand in the pooled statistics."""
        return slice(self.pooled_offset, self.pooled_offset + self.c_in)


@dataclass(frozen=True)
class Program:
    """What the engine executes: tensors, ops in order, layers, and the arena plan.

    `offsets[i]` is the arena offset in bytes of tensor i; ops that need scratch carry `scratch_offset` and
    `scratch_bytes` attributes. The plan was checked by `plan.check`; the engine checks it again.
    """

    tensors: tuple[Tensor, ...]
    ops: tuple[Op, ...]
    layers: tuple[Layer, ...]
    input: int
    output: int
    offsets: tuple[int, ...]
    arena_bytes: int

    @property
    def channel_count(self) -> int:
        """Sum of c_out over layers: the length of bias, multiplier, shift and scale."""
        return sum(layer.c_out for layer in self.layers)

    @property
    def active_slices(self) -> dict[int, slice]:
        """By output tensor of a layer or an addition: where its channels' counts of active positions stand."""
        slices = {op.output: self.layers[op.layer].channel_slice for op in self.ops if op.layer >= 0}
        end = self.channel_count
        for op in self.ops:
            if op.kind == "add":
                slices[op.output] = slice(end, end := end + self.tensors[op.output].channels)
        return slices

    @property
    def active_count(self) -> int:
        """Number of counts of active positions: the layers' output channels, then those of additions in order."""
        return self.channel_count + sum(self.tensors[op.output].channels for op in self.ops if op.kind == "add")

    @property
    def pooled_count(self) -> int:
        """Sum of c_in over layers: the length of the pooled statistics."""
        return sum(layer.c_in for layer in self.layers)

    @property
    def weight_count(self) -> int:
        """Number of weights of all layers."""
        return sum(layer.weight_count for layer in self.layers)

    @property
    def pooled_positions(self) -> NDArray[np.int64]:
        """int64[pooled_count]: over how many positions each pooled statistic is summed."""
        positions = np.zeros(self.pooled_count, np.int64)
        for op in self.ops:
            if op.layer >= 0:
                source = self.tensors[op.inputs[0]]
                positions[self.layers[op.layer].pooled_slice] = source.height * source.width
        return positions


@dataclass(frozen=True)
class Constants:
    """The flat arrays a program refers to.

    weights int8[weight_count]; bias int32[channel_count] at scale s_x * s_w[o]; multiplier int32[channel_count] and
    shift int32[channel_count] of the requantization; scale float32[channel_count], the weight scales s_w.
    """

    weights: NDArray[np.int8]
    bias: NDArray[np.int32]
    multiplier: NDArray[np.int32]
    shift: NDArray[np.int32]
    scale: NDArray[np.float32]


@dataclass(frozen=True)
class Observation:
    """Forward pass plus pooled statistics of N samples, all integers.

    outputs int32[N, elements of the output tensor]; active int32[N, active_count]: output positions per channel of
    layers and additions that are strictly inside the clamp; pooled int32[N, pooled_count]: sum over positions of
    (input - zero_point).
    """

    outputs: NDArray[np.int32]
    active: NDArray[np.int32]
    pooled: NDArray[np.int32]


@dataclass(frozen=True)
class Feedback:
    """The bit-flipping network: per layer, int8[classes, c_out] columns at the layer's channel_slice.

    matrix int8[classes, channel_count]. Each layer has its own positive scale, but only the direction within a layer
    matters to flips, so scales are kept for reports alone: scale float32[layers].
    """

    matrix: NDArray[np.int8]
    scale: NDArray[np.float32]


@dataclass(frozen=True)
class Coreset:
    """Samples that stand for the training data: x int8[n, height, width, channels] input codes, y int64[n].

    `bits` 4: they are kept, and what a device adds to them, at four bits (`core.nibbles`); x is then rounded already.
    """

    x: NDArray[np.int8]
    y: NDArray[np.int64]
    bits: int = 8


@dataclass(frozen=True)
class Reference:
    """What the training samples looked like inside the network, to tell a drifted window from a usual one.

    mean and std float32[pooled_count]: over training samples, of each input channel's mean code minus zero point,
    `Observation.pooled / Program.pooled_positions`. The artifact keeps half precision, so the values have it already.
    """

    mean: NDArray[np.float32]
    std: NDArray[np.float32]

    @classmethod
    def of(cls, mean: NDArray[np.float64], variance: NDArray[np.float64]) -> Self:
        """Moments float64[pooled_count], rounded to half precision."""
        std = np.sqrt(np.maximum(variance, 0))
        return cls(mean.astype(np.float16).astype(np.float32), std.astype(np.float16).astype(np.float32))


@dataclass(frozen=True)
class Usual:
    """How the model does on its training samples; `policy.gate` compares windows with it.

    `error`: share of them that it gets wrong. `distance` and `spread`: mean and standard deviation of their distance to
    the nearest sample of the coreset, see `policy.nearness`; a spread of 0 says that these are unknown.
    """

    error: float = 0.0
    distance: float = 0.0
    spread: float = 0.0


@dataclass(frozen=True)
class Preprocess:
    """Input standardization per channel, (x - mean) / std, before quantization; float32[channels] each.

    Examples
    --------
    >>> x = np.array([[[1.0, 3.0], [5.0, 5.0]]], np.float32)
    >>> Preprocess.of(x).apply(x).tolist()
    [[[-1.0, 1.0], [0.0, 0.0]]]
    """

    mean: NDArray[np.float32]
    std: NDArray[np.float32]

    @classmethod
    def of(cls, x: NDArray[np.float32]) -> Self:
        """The statistics of samples [N, channels, ...]; a constant channel deviates by 1."""
        axes = (0, *range(2, x.ndim))
        std = x.std(axis=axes, dtype=np.float64)
        return cls(x.mean(axis=axes, dtype=np.float64).astype(np.float32), np.where(std > 0, std, 1).astype(np.float32))

    def apply(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Standardized samples, float32 of the shape of `x`."""
        shape = (-1, *(1,) * (x.ndim - 2))
        standardized: NDArray[np.float32] = (x - self.mean.reshape(shape)) / self.std.reshape(shape)
        return standardized


@dataclass(frozen=True)
class FlipSettings:
    """How the updater works; see docs/flow.md.

    `form` is 'accumulated'; or, guarded step by step, 'pooled' or 'taps', with hardly any memory of its own, or
    'blocks', with none to speak of; or 'sparse', which runs the artifact's training step. At most `steps` steps a
    window (sparse: passes over the samples), fewer once the mean loss is at `loss_goal` nats; `bias` moves biases too.
    Accumulated: a step moves a weight by about `rate`, in reals, and by `decay` of its way back to the artifact's.
    Sparse: `rate` times the gradient, in reals. Guarded: the first moves `fraction` of each layer's weights, none more
    than `fraction_max`; blocks start from `fraction_max`, of one block.
    """

    form: str = "accumulated"
    steps: int = 40
    rate: float = 1e-3
    decay: float = 0.003
    fraction: float = 0.002
    fraction_max: float = 0.1
    loss_goal: float = 0.005
    bias: bool = True


@dataclass(frozen=True, init=False)
class Budget:
    """Limits in bytes, None for unlimited: `ram` for arena, weights, coreset and window; `storage` for the state.

    Examples
    --------
    >>> Budget(ram="2MB")
    Budget(ram=2000000, storage=None)
    """

    ram: int | None
    storage: int | None

    def __init__(self, ram: int | str | None = None, storage: int | str | None = None) -> None:
        object.__setattr__(self, "ram", None if ram is None else parse_size(ram))
        object.__setattr__(self, "storage", None if storage is None else parse_size(storage))


@dataclass(frozen=True)
class Delta:
    """Sparse difference between two versions: flat indices and integer changes of weights and bias."""

    weight_index: NDArray[np.uint32]
    weight_change: NDArray[np.int16]
    bias_index: NDArray[np.uint32]
    bias_change: NDArray[np.int64]


@dataclass(frozen=True)
class UpdateOutcome:
    """What an updater did to the engine's weights on one window, before verification.

    `steps` tried, `accepted` kept, mean loss on window + coreset before and after, `flips` = weights that now differ.
    `misses` int64[N]: how often a candidate got a sample wrong that the weights it came from got right.
    """

    updater: str
    steps: int
    accepted: int
    loss_before: float
    loss_after: float
    flips: int
    misses: NDArray[np.int64]


@dataclass(frozen=True)
class UpdateReport:
    """What `Session.observe` returns.

    `decision` is 'committed', 'rejected' (verification failed, weights restored; or earlier ones turned out to do
    better and are in force again) or 'skipped' (nothing to learn from).
    Accuracies are fractions in 0..1, None where no labels exist.
    """

    version: int
    decision: str
    reason: str
    samples: int
    labels: int
    milliseconds: float
    updater: str = "none"
    flips: int = 0
    steps: int = 0
    accepted: int = 0
    loss_before: float | None = None
    loss_after: float | None = None
    accuracy_before: float | None = None
    accuracy_after: float | None = None
    coreset_accuracy_before: float | None = None
    coreset_accuracy_after: float | None = None

    def summary(self) -> str:
        """One line for a log."""
        accuracy = ""
        if self.accuracy_before is not None and self.accuracy_after is not None:
            accuracy = f", accuracy {self.accuracy_before:.3f} -> {self.accuracy_after:.3f}"
        return (
            f"version {self.version} {self.decision} ({self.reason}): {self.flips} flips, {self.labels} of "
            f"{self.samples} labeled{accuracy}, {self.milliseconds:.0f} ms"
        )


@dataclass(frozen=True)
class Version:
    """One row of the state's history."""

    number: int
    parent: int | None
    created: str
    updater: str
    decision: str
    flips: int
    weights_sha256: str
    metrics: Mapping[str, Any] = field(default_factory=dict)
