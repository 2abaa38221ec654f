"""Reverse-mode differentiation at compile time: forward, pruned backward and update as one list of steps."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from calibrant.autodiff import schemes
from calibrant.autodiff.gradients import can_clamp, rule_of
from calibrant.autodiff.schemes import Scheme
from calibrant.autodiff.selection import depthwise, select, selectable
from calibrant.core.errors import ModelError, check_known
from calibrant.core.program import Constants, Op, Program
from calibrant.core.scaling import effective_scale, head_scale, quantization_aware_scaling
from calibrant.core.training import Buffer, Slice, Step, Training

HEADS = ("int8", "float32")


def differentiate(
    program: Program, constants: Constants, scheme: Scheme, *, scaling: bool = True, head: str = "int8"
) -> Training:
    """The training step of a program under a scheme, in natural order and without offsets.

    Forward steps come in the program's order, each followed by what backward will need of it (mask, trained input
    channels); then the loss; then, from the last op to the first, gate, bias update, gradients of the inputs, and last
    the weight update, because the gradient is that of the old weights. A tensor with several readers gets the sum of
    their gradients. Nothing is computed below the deepest trained parameter, nothing saved where no gradient passes.

    Parameters
    ----------
    program : Program
        Its last layer is the head, its output the logits, one a class.
    constants : Constants
        Weights decide which channels a share of a layer means; scales become multipliers.
    scheme : Scheme
    scaling : bool
        Quantization-aware scaling; False is plain gradient descent on codes.
    head : {'int8', 'float32'}
        Whether the last layer is trained as it is or replaced by a layer of reals.

    Returns
    -------
    Training

    Raises
    ------
    ModelError
        If the scheme does not fit the program, an op on the gradient's way has no rule or is computed in stripes, the
        output is no vector of logits, or the head cannot be one of reals.

    References
    ----------
    J. Lin et al., "On-Device Training Under 256KB Memory", NeurIPS 2022, sections 3.1 to 3.3.
    """
    check_known("head", head, HEADS, ModelError)
    return _Differentiation(program, constants, scheme, head).result(constants, scaling)


class _Differentiation:
    """The lists under construction; `gradient` holds the buffer of each tensor's gradient, once there is one."""

    def __init__(self, program: Program, constants: Constants, scheme: Scheme, head: str) -> None:
        self.program, self.real_head = program, head == "float32"
        signs = next((tensor.name for tensor in program.tensors if tensor.bits == 1), None)
        if signs is not None:
            raise ModelError(f"tensor '{signs}': expected codes, got signs, which no training step passes")
        self.buffers = [
            Buffer(t.name, t.height, t.width, t.channels, "int8" if t.bits == 8 else "int32", t.scale, t.zero_point)
            for t in program.tensors
        ]
        self.steps: list[Step] = []
        self.gradient: dict[int, int] = {}
        self.kept: dict[int, int] = {}  # op -> buffer of its gathered input
        self.masks: dict[int, int] = {}  # op -> buffer of its mask
        self.producers = {op.output: op for op in program.ops}
        self.head_op = self._find_head()
        self.slices = tuple(self._slice(constants, scheme))
        self.trained = {(part.layer, part.kind): i for i, part in enumerate(self.slices)}
        self.path = self._find_path()
        self.logits = program.output

    def result(self, constants: Constants, scaling: bool) -> Training:
        for at, op in enumerate(self.program.ops):
            self._forward(at, op)
        output = self.program.tensors[self.program.output]
        self.gradient[self.program.output] = self._buffer(f"grad({output.name})", output.channels)
        self._emit("loss", (self.logits,), self.gradient[self.program.output])
        for at in sorted(self.path, reverse=True):
            self._backward(at, self.program.ops[at])
        ones = np.ones(self.program.channel_count, np.float32)
        multipliers = quantization_aware_scaling(self.program, constants) if scaling else (ones, ones.copy())
        return Training(
            buffers=tuple(self.buffers),
            steps=tuple(self.steps),
            slices=self.slices,
            input=self.program.input,
            logits=self.logits,
            head="float32" if self.real_head else "int8",
            effective=effective_scale(self.program, constants).astype(np.float32),
            weight_scaling=multipliers[0],
            bias_scaling=multipliers[1],
            head_scale=np.ones(output.channels, np.float32) if self.real_head else head_scale(self.program, constants),
        )

    def _find_head(self) -> int:
        """The op of the last layer, if the program ends as training needs it."""
        program, last = self.program, len(self.program.layers) - 1
        output = program.tensors[program.output]
        if (output.height, output.width) != (1, 1):
            found = f"{output.height}x{output.width}x{output.channels}"
            raise ModelError(f"output '{output.name}': expected a vector of logits, got a map of {found}")
        found_ops = [at for at, op in enumerate(program.ops) if op.layer == last >= 0]
        if len(found_ops) != 1:
            raise ModelError(f"program: expected a last layer that one op computes, got {len(found_ops)} ops")
        op, layer = program.ops[found_ops[0]], program.layers[last]
        source = program.tensors[op.inputs[0]]
        whole = (layer.kernel_h, layer.kernel_w, layer.groups) == (source.height, source.width, 1)
        if self.real_head and (op.output != program.output or not whole or op.attrs["pad_top"] or op.attrs["pad_left"]):
            raise ModelError(f"layer '{layer.name}': expected a fully connected output for a head of float32")
        return found_ops[0]

    def _slice(self, constants: Constants, scheme: Scheme) -> Iterator[Slice]:
        backbone, offset = len(self.program.layers) - 1, 0
        codes_head = scheme.head and not self.real_head
        schemes.check(scheme, backbone)
        for i, layer in enumerate(self.program.layers):
            if i in scheme.weights or (i == backbone and codes_head):
                part = scheme.weights.get(i, 1.0)
                channels = select(layer, constants.weights[layer.weight_slice], part)
                count = layer.weight_count // selectable(layer) * (len(channels) or selectable(layer))
                yield Slice(i, "weight", offset, count, channels)
                offset += count
            if codes_head if i == backbone else scheme.trains_bias(i, backbone):
                yield Slice(i, "bias", offset, layer.c_out)
                offset += layer.c_out
        if scheme.head and self.real_head:
            yield Slice(backbone, "head", offset, self.program.layers[-1].weight_count + self.program.layers[-1].c_out)

    def _find_path(self) -> frozenset[int]:
        """Ops that the gradient reaches and that have something trained at or below them."""
        program, layers = self.program, {part.layer for part in self.slices}
        self.needed: set[int] = set()  # tensors whose gradient leads to something trained
        for op in program.ops:
            if op.layer in layers or self.needed & set(op.inputs):
                parent = program.tensors[op.output].parent
                self.needed |= {op.output} if parent < 0 else {op.output, parent}
        path, reached = set(), {program.output}
        for at in range(len(program.ops) - 1, -1, -1):
            op = program.ops[at]
            if op.output in reached and op.output in self.needed:
                path.add(at)
                reached |= self.needed & set(op.inputs)
                if self.needed & set(op.inputs):
                    rule_of(program, op)
        striped = {tensor.parent for tensor in program.tensors}
        for i in reached:
            if program.tensors[i].parent >= 0 or i in striped:
                name = program.tensors[i].name
                raise ModelError(f"tensor '{name}': expected no gradient to a tensor that is computed in stripes")
        unreached = layers - {program.ops[at].layer for at in path}
        if unreached:
            name = program.layers[min(unreached)].name
            raise ModelError(f"layer '{name}': cannot be trained: no gradient reaches it from the output")
        return frozenset(path)

    def _forward(self, at: int, op: Op) -> None:
        source, output = self.program.tensors[op.inputs[0]], self.program.tensors[op.output]
        if at == self.head_op and self.real_head:
            self.logits = self._buffer("logits", output.channels)
            self._emit("dense", (op.inputs[0],), self.logits, op=at, factor=source.scale)
            return
        self._emit("forward", op.inputs, op.output, op=at)
        if at not in self.path:
            return
        if can_clamp(self.program, op, self.producers):
            size = output.height, output.width
            self.masks[at] = self._buffer(f"mask({output.name})", output.channels, size, "mask")
            self._emit("mask", (op.output,), self.masks[at], op=at)
        part = self.trained.get((op.layer, "weight"), -1)
        if part >= 0 and self.slices[part].channels:
            layer = self.program.layers[op.layer]
            channels = len(self.slices[part].channels) * (1 if depthwise(layer) else layer.groups)
            self.buffers.append(Buffer(f"kept({source.name})", source.height, source.width, channels, "int8",
                                       source.scale, source.zero_point))  # fmt: skip
            self.kept[at] = len(self.buffers) - 1
            self._emit("gather", (op.inputs[0],), self.kept[at], op=at, slice_=part)

    def _backward(self, at: int, op: Op) -> None:
        gradient, source = self.gradient[op.output], op.inputs[0]
        if at == self.head_op and self.real_head:
            scale = self.program.tensors[source].scale
            if source in self.needed:
                self._flow("dense_grad", (gradient,), at, op, 0, scale)
            if (op.layer, "head") in self.trained:
                part = self.trained[op.layer, "head"]
                self._emit("dense_update", (source, gradient), op=at, slice_=part, factor=scale)
            return
        gated = (gradient, self.masks[at]) if at in self.masks else (gradient,)
        if at in self.masks or (op.layer >= 0 and self.program.tensors[op.output].bits == 8):
            self._emit("gate", gated, gradient, op=at)
        if (op.layer, "bias") in self.trained:
            self._emit("bias_update", (gradient,), op=at, slice_=self.trained[op.layer, "bias"])
        for operand, tensor in enumerate(op.inputs):
            if tensor in self.needed:
                rule = rule_of(self.program, op)
                inputs = (tensor, gradient) if rule.reads_input else (gradient,)
                factor = rule.factor(self.program.tensors[tensor], self.program.tensors[op.output])
                self._flow(rule.step, inputs, at, op, operand, factor)
        if (op.layer, "weight") in self.trained:
            kept = self.kept.get(at, source)
            self._emit("weight_update", (kept, gradient), op=at, slice_=self.trained[op.layer, "weight"])

    def _flow(self, kind: str, inputs: tuple[int, ...], at: int, op: Op, operand: int, factor: float) -> None:
        """The gradient of one operand, into its buffer or added to what other readers of the tensor gave."""
        tensor = op.inputs[operand]
        attrs = {"operand": operand, "accumulate": int(tensor in self.gradient)}
        if tensor not in self.gradient:
            t = self.program.tensors[tensor]
            self.gradient[tensor] = self._buffer(f"grad({t.name})", t.channels, (t.height, t.width))
        self._emit(kind, inputs, self.gradient[tensor], op=at, factor=factor, attrs=attrs)

    def _buffer(self, name: str, channels: int, size: tuple[int, int] = (1, 1), dtype: str = "float32") -> int:
        self.buffers.append(Buffer(name, *size, channels, dtype))
        return len(self.buffers) - 1

    def _emit(
        self,
        kind: str,
        inputs: tuple[int, ...],
        output: int = -1,
        *,
        op: int = -1,
        slice_: int = -1,
        factor: float = 1.0,
        attrs: dict[str, int] | None = None,
    ) -> None:
        self.steps.append(Step(kind, inputs, output, op, slice_, factor, attrs or {}))
