"""The steps of a planned training as records: where trained parameters lie, and what each step works on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from calibrant import _engine
from calibrant.core.program import Program
from calibrant.core.training import Step, Training
from calibrant.export import tables
from calibrant.export.records import Placed, Values, bound, of_layer

_NO_OP = ("logits", "head")


@dataclass(frozen=True)
class Storage:
    """Where the parameters that adapt lie in RAM: layer -> offset in the trained weights, and in the trained biases."""

    weights: Mapping[int, int]
    biases: Mapping[int, int]
    weight_count: int
    bias_count: int

    @classmethod
    def of(cls, training: Training, program: Program) -> Storage:
        """Whole layers, even if a share of their channels is trained: kernels read a layer from one place."""
        offsets: dict[str, dict[int, int]] = {"weight": {}, "bias": {}}
        ends = {"weight": 0, "bias": 0}
        for part in sorted(training.slices, key=lambda part: (part.layer, part.kind)):
            layer = program.layers[part.layer]
            offsets[part.kind][part.layer] = ends[part.kind]
            ends[part.kind] += layer.weight_count if part.kind == "weight" else layer.c_out
        return cls(offsets["weight"], offsets["bias"], ends["weight"], ends["bias"])

    def expressions(self, program: Program) -> Placed:
        """C expressions of the weights and biases of every layer, in RAM or in flash."""
        found = {}
        for i, layer in enumerate(program.layers):
            weights = f"(int8_t *)(calibrant_weights + {layer.weight_offset})"
            bias = f"(int32_t *)(calibrant_bias + {layer.channel_offset})"
            if i in self.weights:
                weights = f"calibrant_trained_weights + {self.weights[i]}"
            if i in self.biases:
                bias = f"calibrant_trained_bias + {self.biases[i]}"
            found[i] = {"weights": weights, "bias": bias}
        return found


@dataclass(frozen=True)
class StepRecords:
    """`cal_training_args` of a training's steps and of what ends a batch; `accumulating` where there are batches."""

    program: Program
    training: Training
    storage: Storage
    accumulating: bool

    def backward(self) -> list[str]:
        """Of every step but forward ones, in order."""
        steps = (step for step in self.training.steps if step.kind != "forward")
        return [tables.record(bound("cal_training_args", self._of_step(step))) for step in steps]

    def commits(self) -> list[str]:
        """Of every slice, in order."""
        values = ({"layer": self._layer(part.layer), "slice": self._slice(i)}
                  for i, part in enumerate(self.training.slices))  # fmt: skip
        return [tables.record(bound("cal_training_args", each) | {"carry": 1}) for each in values]

    @cached_property
    def first_channels(self) -> dict[str, int]:
        """From which channel on each array of multipliers is needed; those that are not are left out."""
        program, training = self.program, self.training
        layers: dict[str, list[int]] = {f"{part.kind}_scaling": [] for part in training.slices}
        for part in training.slices:
            layers[f"{part.kind}_scaling"].append(part.layer)
        gated = [program.ops[step.op].layer for step in training.steps if step.kind == "gate"]
        layers |= {"effective": [i for i in gated if i >= 0]} if max(gated, default=-1) >= 0 else {}
        return {what: min(program.layers[i].channel_offset for i in found) for what, found in layers.items()}

    def _of_step(self, step: Step) -> Values:
        """Values of what a step has, as c/engine/binding.c finds it."""
        ops, trains = _engine.STEPS[step.kind]
        factor, accumulate = tables.number(step.factor), step.attrs.get("accumulate", 0)
        values: dict[str, Mapping[str, object]] = {"step": {"factor": factor, "accumulate": accumulate}}
        values |= self._buffers(step)
        layer = -1 if ops in _NO_OP else self.program.ops[step.op].layer
        if ops in _NO_OP:
            values["head"] = self._head()
        else:
            values["op"] = self._op(step)
        if layer >= 0:
            values["layer"] = self._layer(layer)
        if layer >= 0 and step.kind == "gate":
            values["gate"] = {"effective": self._multipliers("effective", layer)}
        if trains != "none":
            values["slice"] = self._slice(step.slice)
        if step.attrs.get("in_place", 0):
            values["in_place"] = {"scratch": f"(float *)(calibrant_arena + {step.attrs['scratch_offset']})"}
        return values

    def _op(self, step: Step) -> dict[str, object]:
        op, operand = self.program.ops[step.op], step.attrs.get("operand", 0)
        return {
            "op": f"&calibrant_ops[{step.op}]",
            "input": f"&calibrant_tensors[{op.inputs[operand]}]",
            "output": f"&calibrant_tensors[{op.output}]",
            "first_channel": sum(self.program.tensors[i].channels for i in op.inputs[:operand]),
        }

    def _layer(self, layer: int) -> dict[str, object]:
        return of_layer(self.program, layer, self.storage.expressions(self.program))

    def _slice(self, index: int) -> dict[str, object]:
        part = self.training.slices[index]
        before = sum(len(other.channels) for other in self.training.slices[:index])
        return {
            "channel_count": len(part.channels),
            "scaling": self._multipliers(f"{part.kind}_scaling", part.layer),
            "channels": f"calibrant_channels + {before}" if part.channels else 0,
            "accumulators": f"calibrant_accumulators + {part.offset}" if self.accumulating else 0,
        }

    def _head(self) -> dict[str, object]:
        """Of a head of integers; firmware has no other."""
        classes = len(self.training.head_scale)
        head = {"classes": classes, "features": 0, "head_scale": "calibrant_score_scale"}
        return {**head, "head_weight": 0, "head_bias": 0}

    def _buffers(self, step: Step) -> Values:
        """By what a kernel calls them: dtypes tell them apart, and of two inputs the gradient is the float32 one."""
        training = self.training
        first, last = step.inputs[0], step.inputs[-1]
        dtypes = [buffer.dtype for buffer in training.buffers]
        g = last if dtypes[last] == "float32" else first
        x = {"dtype": f"CAL_DTYPE_{dtypes[first]}", "zero_point": training.buffers[first].zero_point}
        values: dict[str, Mapping[str, object]] = {"x": {"x": self._memory(first), **x}}
        values["g"] = {"g": f"(const float *)({self._memory(g)})"}
        for i in (last, step.output):
            if i >= 0 and dtypes[i] == "mask":
                values["mask"] = {"mask": self._memory(i)}
        if step.output >= 0 and dtypes[step.output] == "int8":
            values["gathered"] = {"gathered": f"(int8_t *)({self._memory(step.output)})"}
        if step.output >= 0 and dtypes[step.output] == "float32":
            values["dx"] = {"dx": f"(float *)({self._memory(step.output)})"}
        return values

    def _memory(self, buffer: int) -> str:
        return f"calibrant_arena + {self.training.offsets[buffer]}"

    def _multipliers(self, what: str, layer: int) -> str:
        """A layer's part of an array of multipliers."""
        return f"calibrant_{what} + {self.program.layers[layer].channel_offset - self.first_channels[what]}"
