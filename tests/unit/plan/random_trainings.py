"""Trainings made by hand: the backward pass of a program in its natural order, to plan and to check plans with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from calibrant.core.program import Program
from calibrant.core.rng import generator
from calibrant.core.training import Buffer, Slice, Step, Training
from calibrant.plan import accesses, lower
from calibrant.plan.order import predecessors
from calibrant.quantize import to_integer
from random_graphs import random_annotated

GRADIENTS = {"rescale": "concat_grad", "adaptive_avg_pool2d": "avg_pool2d_grad"}


def random_training(seed: int) -> tuple[Training, Program]:
    """A training of a random program: some of its last ops, some of their weights, whole or by channels."""
    rng = generator(seed, "training")
    program, _ = lower(to_integer(random_annotated(seed, classifier=True)[0]))
    start = int(rng.integers(len(program.ops)))
    layers = [
        at for at, op in enumerate(program.ops) if op.layer >= 0 and at >= start and op.inputs[0] != program.input
    ]
    weights = {
        at: int(rng.integers(1, program.layers[program.ops[at].layer].c_in + 1)) for at in layers if rng.random() < 0.5
    }
    return Backward(program, start, weights).training(), program


def shuffled(training: Training, program: Program, seed: int) -> Training:
    """The same steps in a random legal order."""
    before = predecessors(accesses.training(training, program))
    rng, order, done = generator(seed, "shuffle"), [], 0
    while len(order) < len(before):
        ready = [i for i, bits in enumerate(before) if not done >> i & 1 and not bits & ~done]
        order.append(ready[int(rng.integers(len(ready)))])
        done |= 1 << order[-1]
    return replace(training, steps=tuple(training.steps[i] for i in order))


@dataclass
class Backward:
    """Collects buffers and steps; trains biases from op `start` on, and the weights of `weights` (op: channels)."""

    program: Program
    start: int
    weights: Mapping[int, int] = field(default_factory=dict)
    buffers: list[Buffer] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    slices: list[Slice] = field(default_factory=list)
    count: int = 0

    def buffer(self, name: str, height: int, width: int, channels: int, dtype: str) -> int:
        self.buffers.append(Buffer(name, height, width, channels, dtype))
        return len(self.buffers) - 1

    def like(self, name: str, i: int, dtype: str) -> int:
        like = self.buffers[i]
        return self.buffer(name, like.height, like.width, like.channels, dtype)

    def slice(self, layer: int, kind: str, count: int, channels: tuple[int, ...] = ()) -> int:
        self.slices.append(Slice(layer, kind, self.count, count, channels))
        self.count += count
        return len(self.slices) - 1

    def training(self) -> Training:
        program, masks, gathered = self.program, {}, {}
        for t in program.tensors:
            self.buffer(t.name, t.height, t.width, t.channels, "int32" if t.bits == 32 else "int8")
        for at, op in enumerate(program.ops):
            self.steps.append(Step("forward", op.inputs, op.output, op=at))
            if at >= self.start and op.kind != "mean" and program.tensors[op.output].bits == 8:
                masks[at] = self.like(f"mask {at}", op.output, "mask")
                self.steps.append(Step("mask", (op.output,), masks[at], op=at))
            if at in self.weights:
                x = self.buffers[op.inputs[0]]
                if self.weights[at] < x.channels:
                    gathered[at] = self.buffer(f"gathered {at}", x.height, x.width, self.weights[at], "int8")
                    self.steps.append(Step("gather", (op.inputs[0],), gathered[at], op=at))
        gradient = {program.output: self.like("loss", program.output, "float32")}
        self.steps.append(Step("loss", (program.output,), gradient[program.output]))
        for at in range(len(program.ops) - 1, self.start - 1, -1):
            if program.ops[at].output in gradient:
                self.back(at, gradient, masks.get(at), gathered.get(at))
        ones = np.ones(program.channel_count, np.float32)
        return Training(tuple(self.buffers), tuple(self.steps), tuple(self.slices), program.input, program.output,
                        "int8", ones, ones, ones, ones)  # fmt: skip

    def back(self, at: int, gradient: dict[int, int], mask: int | None, gathered: int | None) -> None:
        op = self.program.ops[at]
        g = gradient[op.output]
        if op.kind == "conv2d" or mask is not None:
            self.steps.append(Step("gate", (g,) if mask is None else (g, mask), g, op=at))
        if op.layer >= 0:
            layer = self.program.layers[op.layer]
            self.steps.append(Step("bias_update", (g,), op=at, slice=self.slice(op.layer, "bias", layer.c_out)))
        produced = {o.output for o in self.program.ops[self.start :]}
        for operand, source in enumerate(op.inputs):
            if source in produced:
                attrs = {"operand": operand, "accumulate": int(source in gradient)}
                if source not in gradient:
                    gradient[source] = self.like(f"gradient of {self.buffers[source].name}", source, "float32")
                kind = GRADIENTS.get(op.kind, f"{op.kind}_grad")
                inputs = (source, g) if op.kind == "max_pool2d" else (g,)
                self.steps.append(Step(kind, inputs, gradient[source], op=at, attrs=attrs))
        if at in self.weights:
            layer = self.program.layers[op.layer]
            channels = self.weights[at] if gathered is not None else layer.c_in
            count = layer.weight_count // layer.c_in * channels
            part = self.slice(op.layer, "weight", count, tuple(range(channels)) if gathered is not None else ())
            x = op.inputs[0] if gathered is None else gathered
            self.steps.append(Step("weight_update", (x, g), op=at, slice=part))
