"""What a training step costs: multiply-accumulates, bytes in flash, bytes that change."""

from __future__ import annotations

from calibrant.core.program import Op, Program
from calibrant.core.training import Training


def forward_macs(program: Program) -> int:
    """Multiply-accumulates of one inference."""
    return sum(_macs(program, op) for op in program.ops if op.layer >= 0)


def backward_macs(program: Program, training: Training) -> int:
    """Multiply-accumulates after the loss: gradients of inputs, and of trained weights."""
    total = 0
    for step in training.steps:
        if step.kind in ("conv2d_grad", "dense_grad"):
            total += _macs(program, program.ops[step.op])
        elif step.kind in ("weight_update", "dense_update"):
            target = program.tensors[program.ops[step.op].output]
            total += target.height * target.width * training.slices[step.slice].count
    return total


def flash_bytes(program: Program, training: Training) -> int:
    """Constants: weights, and four bytes each of bias, multiplier and shift; of trained layers also the scale of their
    gradient and of their updates; of a float32 head four bytes a parameter. Code is not in it."""
    head = program.layers[-1]
    real = training.head == "float32"
    weights = program.weight_count + (3 * head.weight_count if real else 0)
    gated = {program.ops[step.op].layer for step in training.steps if step.kind == "gate"} - {-1}
    scales = sum(program.layers[layer].c_out for layer in gated)
    scales += sum(program.layers[part.layer].c_out for part in training.slices if part.kind != "head")
    return weights + 12 * program.channel_count + 4 * scales


def trained_bytes(training: Training) -> int:
    """Bytes of what training changes: weights one each, biases and a float32 head four."""
    return sum(part.count * (1 if part.kind == "weight" else 4) for part in training.slices)


def _macs(program: Program, op: Op) -> int:
    target = program.tensors[op.output]
    return target.height * target.width * program.layers[op.layer].weight_count
