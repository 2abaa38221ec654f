"""Depthwise gradients that overwrite the gradient they are made of: the largest pair of buffers becomes one."""

from __future__ import annotations

from dataclasses import replace

from calibrant.core.program import Program
from calibrant.core.training import Step, Training

BLOCK = 8  # channels that the kernel copies to its scratch at once


def share(training: Training, program: Program) -> Training:
    """The training with the attribute `in_place` on every gradient that may take its input's memory.

    Each channel of a depthwise gradient depends on that channel alone, and at stride 1 both maps have one size. So a
    kernel that copies `BLOCK` channels of the input to scratch (float32[height, width, BLOCK], `scratch_bytes`) and
    then computes these channels from the copy may write where it read; every sum keeps its order. Not where the output
    adds to another gradient, nor where a later step (an update of the layer's weights) reads the input.

    References
    ----------
    Lin et al., "On-Device Training Under 256KB Memory", NeurIPS 2022: its generator runs this step in place.
    """
    last = {i: at for at, step in enumerate(training.steps) for i in step.inputs}
    steps = []
    for at, step in enumerate(training.steps):
        if step.kind == "conv2d_grad" and last[step.inputs[0]] == at and _fits(step, training, program):
            x = training.buffers[step.inputs[0]]
            nbytes = 4 * x.height * x.width * min(x.channels, BLOCK)
            step = replace(step, attrs={**step.attrs, "in_place": 1, "scratch_offset": 0, "scratch_bytes": nbytes})
        steps.append(step)
    return replace(training, steps=tuple(steps))


def _fits(step: Step, training: Training, program: Program) -> bool:
    op = program.ops[step.op]
    layer, (x, y) = program.layers[op.layer], (training.buffers[i] for i in (step.inputs[0], step.output))
    alike = (x.height, x.width, x.channels, x.dtype) == (y.height, y.width, y.channels, y.dtype)
    depthwise = layer.groups == layer.c_in == layer.c_out
    strides = op.attrs["stride_h"], op.attrs["stride_w"]
    return alike and depthwise and strides == (1, 1) and not step.attrs.get("accumulate", 0)
