"""Multiply-accumulates of ops and of training steps."""

from __future__ import annotations

from calibrant.core.program import Op, Program
from calibrant.core.training import Step, Training


def op_macs(op: Op, program: Program) -> int:
    """Multiply-accumulates of one op: those of convolutions, padding counted; 0 for others.

    Examples
    --------
    >>> from calibrant.core.program import Layer, Tensor
    >>> tensors = Tensor("x", 4, 4, 3, 0.1, 0), Tensor("y", 2, 2, 5, 0.1, 0)
    >>> program = Program(tensors, (), (Layer("conv", 8, 5, 3, 3, 3, 1, 0, 0, 0),), 0, 1, (), 0)
    >>> op_macs(Op("conv2d", (0,), 1, {}, layer=0), program)
    540
    """
    if op.layer < 0:
        return 0
    layer = program.layers[op.layer]
    return program.tensors[op.output].elements * (layer.weight_count // layer.c_out)


def program_macs(program: Program) -> int:
    """Multiply-accumulates of an inference."""
    return sum(op_macs(op, program) for op in program.ops)


def step_macs(step: Step, training: Training, program: Program) -> int:
    """Multiply-accumulates of one step.

    The gradient of a convolution's input costs what the convolution does; an update of its weights as much per trained
    weight and output position; the float32 head a multiplication per weight. Sums of biases, gates and pools count 0.
    """
    if step.kind in ("forward", "conv2d_grad"):
        return op_macs(program.ops[step.op], program)
    if step.kind == "weight_update":
        g = training.buffers[step.inputs[1]]
        return g.height * g.width * training.slices[step.slice].count
    if step.kind in ("dense", "dense_grad"):
        return training.buffers[step.inputs[0]].elements * training.buffers[step.output].elements
    if step.kind == "dense_update":
        return training.buffers[step.inputs[0]].elements * training.buffers[step.inputs[1]].elements
    return 0
