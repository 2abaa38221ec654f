"""What the engine executes: frozen records that the server lowers a graph to.

Activations on the device are channels-last: one sample is int8[height, width, channels]; a 1-D series has height 1
and width = time. A fully connected layer is a 1x1 convolution on a 1x1 image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SIGN_WORD = 32  # signs in a word


def sign_words(channels: int) -> int:
    """32-bit words that the signs of one position take.

    Examples
    --------
    >>> sign_words(32), sign_words(33)
    (1, 2)
    """
    return -(-channels // SIGN_WORD)


@dataclass(frozen=True)
class Tensor:
    """One activation of a program.

    `bits` 8: int8 codes; 32: raw int32 accumulators (logits only); 1: signs, one bit a channel, set for -1, each
    position's channels in 32-bit words of its own, whose surplus bits are 0.
    """

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
    def row_bytes(self) -> int:
        """Bytes of one row of positions."""
        position = 4 * sign_words(self.channels) if self.bits == 1 else self.channels * self.bits // 8
        return self.width * position

    @property
    def nbytes(self) -> int:
        """Bytes per sample in the arena."""
        return self.height * self.row_bytes


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
    """A weighted layer's place in the flat constant arrays. `bits` are those of its weights; 1: a binary layer.

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
    def binary(self) -> bool:
        """Whether weights and inputs are signs: today's updaters leave such a layer as it is."""
        return self.bits == 1

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
    def adaptable(self) -> tuple[int, ...]:
        """Numbers of the layers that updaters may change: all but binary ones."""
        return tuple(number for number, layer in enumerate(self.layers) if not layer.binary)

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
