"""Frozen records of a training step: forward, pruned backward and in-place update as one flat list over one arena.

A step names ops of a `Program` for geometry, weights and clamps; everything else that it needs stands here. Gradients
are float32 with respect to integer codes (Lin et al., NeurIPS 2022, section 3): activations int8[height, width,
channels], one sample at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

BUFFER_DTYPES = ("int8", "int32", "float32", "mask")  # mask: 1 bit an element, least significant bit first
STEP_KINDS = (
    "forward",  # run Program.ops[op]
    "mask",  # which elements of op's 8-bit output are strictly inside its clamp
    "gather",  # keep the input channels that a slice trains
    "dense",  # the float32 head: logits[k] = bias[k] + sum_i weight[k, i] * (x[i] - zero point) * scale
    "loss",  # softmax cross-entropy: gradient of the logits, in units of what computed them
    "gate",  # in place: times the effective scale of op's layer (conv2d), zero where the mask is 0
    "bias_update",  # bias -= rate * bias_scaling * sum of g over positions
    "weight_update",  # weight -= rate * weight_scaling * sum over positions of g times (x - zero point)
    "dense_update",  # float32 head: weight and bias
    "conv2d_grad",  # gradient of the input: transposed convolution with the int8 weights
    "dense_grad",
    "add_grad",  # of one operand: times factor
    "concat_grad",  # of one operand: its channels, times factor; rescale too
    "mean_grad",  # times factor, to every position
    "avg_pool2d_grad",
    "max_pool2d_grad",  # to the first largest code of each window
)


@dataclass(frozen=True)
class Buffer:
    """Arena memory of one sample. `scale` and `zero_point` are those of int8 codes."""

    name: str
    height: int
    width: int
    channels: int
    dtype: str
    scale: float = 1.0
    zero_point: int = 0

    @property
    def elements(self) -> int:
        """Values."""
        return self.height * self.width * self.channels

    @property
    def nbytes(self) -> int:
        """Bytes in the arena."""
        if self.dtype == "mask":
            return -(-self.elements // 8)
        return self.elements * (1 if self.dtype == "int8" else 4)


@dataclass(frozen=True)
class Slice:
    """Parameters that are trained: `kind` 'weight' or 'bias' of a layer of the program, or 'head' (weight and bias).

    `channels` of a weight slice, ascending: the input channels within a group that are trained, of a depthwise layer
    its output channels; all where it is empty. Its values lie at `offset` of the accumulators, in the order of the
    layer's weights [c_out, kernel_h, kernel_w, channel] (depthwise [channel, kernel_h, kernel_w]); bias [c_out]; head
    [classes, features] then [classes].
    """

    layer: int
    kind: str
    offset: int
    count: int
    channels: tuple[int, ...] = ()


@dataclass(frozen=True)
class Step:
    """One step; ids count `Training.buffers`, `op` the program's ops, `slice` the trained slices.

    `output` is -1 for updates. `attrs`: `accumulate` 1 adds to the output instead of replacing it (a second consumer's
    gradient); `operand` which input of the op the gradient is of; `in_place` 1: a depthwise gradient of stride 1 in its
    input's memory; `scratch_offset`, `scratch_bytes` of forward steps and of those.
    Inputs: forward as the op's; mask (y); gather (x); dense (x); loss (logits); gate (g, mask) or (g), output g;
    bias_update (g); weight_update (x, g), x gathered where the slice has channels; dense_update (x, g);
    conv2d_grad, dense_grad, add_grad, concat_grad, mean_grad, avg_pool2d_grad (g); max_pool2d_grad (x, g).
    """

    kind: str
    inputs: tuple[int, ...]
    output: int = -1
    op: int = -1
    slice: int = -1
    factor: float = 1.0
    attrs: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Training:
    """A training step over a program: what memory it uses, what it does in order, what it trains.

    The first buffers are the program's tensors, one for one and by the same ids; masks and gradients follow. `input`
    and `logits` are buffer ids; `offsets` and `arena_bytes` are empty and 0 before planning. float32[channel_count]
    each: `effective` s_x * s_w / s_y (1 for a layer with raw 32-bit output), and the quantization-aware
    scaling `weight_scaling` 1 / s_w^2 and `bias_scaling` 1 / (s_w * s_x)^2, all ones for plain SGD. `head` is 'int8',
    the program's last layer, or 'float32'; `head_scale` float32[classes] turns integer outputs into logits.
    """

    buffers: tuple[Buffer, ...]
    steps: tuple[Step, ...]
    slices: tuple[Slice, ...]
    input: int
    logits: int
    head: str
    effective: NDArray[np.float32]
    weight_scaling: NDArray[np.float32]
    bias_scaling: NDArray[np.float32]
    head_scale: NDArray[np.float32]
    offsets: tuple[int, ...] = ()
    arena_bytes: int = 0

    @property
    def accumulator_count(self) -> int:
        """Trained parameters: the length of the accumulators."""
        return sum(part.count for part in self.slices)
