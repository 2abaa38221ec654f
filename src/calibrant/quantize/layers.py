"""The torch steps of :class:`FakeQuantNet`: one per op, each in a float form and in the form of the integer program.

In the integer form a value is its centered code, (code - zero point), held in float32: sums of products of codes are
exact there below 2^24, so the only differences to the integer program are float32 roundings next to a tie.
"""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from calibrant.core.dtype import weight_range
from calibrant.core.errors import ModelError
from calibrant.core.qparams import QParams
from calibrant.graph.graph import Graph, Node
from calibrant.ops import SCHEMAS, clamp_bounds, clamp_codes
from calibrant.ops.binary import ONE, UNIT, threshold_bias, thresholds
from calibrant.ops.pool import mean_multiplier
from calibrant.ops.schema import RealRule
from calibrant.quantize.straight_through import divide_round, requantize, round_codes, sign

MAX_BIAS = 2.0**31 - 256  # the largest float32 below 2^31 with room for one rounding
Record = dict[str, tuple[Tensor, Tensor]]


class Step(nn.Module):
    """One node: `quantized` computes it on centered codes, `floating` on reals."""

    def __init__(self, node: Node, graph: Graph) -> None:
        super().__init__()
        self.name, self.inputs, self.output = node.name, node.inputs, node.output
        self.clamp = clamp_bounds(node.attrs)
        self.low, self.high, self.raw = -math.inf, math.inf, node.attrs.get("output_bits") == 32
        self.sources: tuple[QParams, ...] = ()
        target = graph.values[node.output].qparams
        if target is None:
            return  # stage `folded`: only the float form exists
        self.sources, self.target = tuple(_qparams(graph, name) for name in node.inputs), target
        if node.attrs.get("output_bits", 8) == 8:
            low, high = clamp_codes(node.attrs, target)
            self.low, self.high = float(low - target.zero_point), float(high - target.zero_point)

    @abstractmethod
    def quantized(self, inputs: list[Tensor], record: Record | None) -> Tensor:
        """Centered codes out of centered codes."""

    @abstractmethod
    def floating(self, inputs: list[Tensor]) -> Tensor:
        """Reals out of reals, fused clamp included."""

    def rescaled(self, x: Tensor, source_scale: float) -> Tensor:
        """Integers at `source_scale` brought to the output's scale, rounded and clamped."""
        return requantize(x, source_scale / self.target.scale, self.low, self.high)

    def clamped(self, x: Tensor) -> Tensor:
        """The fused clamp on reals."""
        low, high = self.clamp
        return x if math.isinf(low) and math.isinf(high) else x.clamp(low, high)


class Weighted(Step):
    """conv2d and linear: latent float weights and bias are parameters; codes and accumulators are integers."""

    weight_scale: Tensor
    bias_scale: Tensor

    def __init__(self, node: Node, graph: Graph) -> None:
        super().__init__(node, graph)
        a = node.attrs
        self.linear = node.op in ("linear", "binary_linear")
        self.weight = nn.Parameter(torch.tensor(node.params["weight"], dtype=torch.float32))
        self.bias = nn.Parameter(torch.tensor(node.params["bias"], dtype=torch.float32))
        if not self.linear:
            self.stride, self.dilation = (a["stride_h"], a["stride_w"]), (a["dilation_h"], a["dilation_w"])
            self.groups, self.pads = int(a.get("groups", 1)), _pads(node)
        if self.sources:
            self.bits = int(a["weight_bits"])
            self.limit = float(weight_range(self.bits)[1])
            scale = torch.tensor(node.params["weight_scale"], dtype=torch.float32)
            self.register_buffer("weight_scale", scale, persistent=False)
            self.register_buffer("bias_scale", scale * self.sources[0].scale, persistent=False)

    def weight_codes(self) -> Tensor:
        """Integer weights as float32, with straight-through gradient to the latent weights."""
        return round_codes(self.weight / per_channel(self.weight_scale, self.weight, 0), self.limit)

    def bias_codes(self) -> Tensor:
        """Integer biases as float32, with straight-through gradient to the latent biases."""
        return round_codes(self.bias / self.bias_scale, MAX_BIAS)

    def pre_activation(self, x: Tensor, codes: bool) -> Tensor:
        """The real-valued output before clamp and rounding, from centered codes or from reals."""
        if not codes:
            return self._multiply(x, self.weight, self.bias)
        acc = self._multiply(x, self.weight_codes(), self.bias_codes())
        return acc * per_channel(self.bias_scale, acc, 1)

    def quantized(self, inputs: list[Tensor], record: Record | None) -> Tensor:
        z = self.pre_activation(inputs[0], codes=True)
        if record is not None and z.requires_grad:
            z.retain_grad()
        y = z if self.raw else self.rescaled(z, 1.0)
        if record is not None:
            active = torch.ones_like(z, dtype=torch.bool) if self.raw else (y > self.low) & (y < self.high)
            record[self.name] = z, active
        return y

    def floating(self, inputs: list[Tensor]) -> Tensor:
        return self.clamped(self.pre_activation(inputs[0], codes=False))

    def _multiply(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        if self.linear:
            return F.linear(x, weight, bias)
        top, bottom, left, right = self.pads
        if top == bottom and left == right:
            return F.conv2d(x, weight, bias, self.stride, (top, left), self.dilation, self.groups)
        return F.conv2d(F.pad(x, (left, right, top, bottom)), weight, bias, self.stride, 0, self.dilation, self.groups)


class Signs(Step):
    """sign: -1 and 1; the gradient passes where the real value is at most 1 in size."""

    def floating(self, inputs: list[Tensor]) -> Tensor:
        return sign(inputs[0], 1.0)

    def quantized(self, inputs: list[Tensor], record: Record | None) -> Tensor:
        return sign(inputs[0], 1.0 / self.sources[0].scale)


class Binary(Weighted):
    """binary_conv2d and binary_linear: signs keep what training gave them, biases and what comes before learn on.

    Where the output is signs, the bias is the threshold that decides them; its gradient is that of the real bias.
    """

    def __init__(self, node: Node, graph: Graph) -> None:
        super().__init__(node, graph)
        self.weight.requires_grad_(False)
        self.bit = node.attrs.get("output_bits") == 1

    def weight_codes(self) -> Tensor:
        return torch.where(self.weight < 0, -1.0, 1.0)

    def bias_codes(self) -> Tensor:
        if not self.bit:
            return super().bias_codes()
        gain = self.weight.detach().abs().flatten(1)[:, 0].double().numpy()
        depth = self.weight[0].numel()
        _, threshold = thresholds(depth, gain, self.bias.detach().double().numpy())
        codes = torch.from_numpy(threshold_bias(depth, threshold)).to(self.bias.dtype)
        real = self.bias / self.bias_scale
        return codes + (real - real.detach())

    def quantized(self, inputs: list[Tensor], record: Record | None) -> Tensor:
        if not self.bit:
            return super().quantized(inputs, record)
        z = self.pre_activation(inputs[0], codes=True)
        if record is not None:
            if z.requires_grad:
                z.retain_grad()
            record[self.name] = z, torch.ones_like(z, dtype=torch.bool)
        return sign(z, 1.0)

    def floating(self, inputs: list[Tensor]) -> Tensor:
        y = super().floating(inputs)
        return sign(y, 1.0) if self.bit else y

    def pre_activation(self, x: Tensor, codes: bool) -> Tensor:
        if not codes:
            return super().pre_activation(x, codes)
        products = self._multiply(x, self.weight_codes(), torch.zeros_like(self.bias))
        acc = UNIT * products + per_channel(self.bias_codes(), products, 1)
        return acc * per_channel(self.bias_scale, acc, 1)

    def _multiply(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        if self.linear:
            return F.linear(x, weight, bias)
        top, bottom, left, right = self.pads
        padded = F.pad(x, (left, right, top, bottom), value=ONE)
        return F.conv2d(padded, weight, bias, self.stride, 0, self.dilation)


class MaxPool(Step):
    """max_pool2d; padded positions never win. Like all pools it needs no clamp: it stays in its input's range."""

    def __init__(self, node: Node, graph: Graph) -> None:
        super().__init__(node, graph)
        a = node.attrs
        self.kernel, self.stride = (a["kernel_h"], a["kernel_w"]), (a["stride_h"], a["stride_w"])
        self.dilation, self.pads = (a["dilation_h"], a["dilation_w"]), _pads(node)

    def floating(self, inputs: list[Tensor]) -> Tensor:
        return self._pool(inputs[0])

    def quantized(self, inputs: list[Tensor], record: Record | None) -> Tensor:
        return self._pool(inputs[0])

    def _pool(self, x: Tensor) -> Tensor:
        top, bottom, left, right = self.pads
        if any(self.pads):
            x = F.pad(x, (left, right, top, bottom), value=-math.inf)
        return F.max_pool2d(x, self.kernel, self.stride, 0, self.dilation)


class AvgPool(Step):
    """avg_pool2d: the sum over a window divided by its real positions, or by the kernel's when padding counts."""

    count: Tensor

    def __init__(self, node: Node, graph: Graph) -> None:
        super().__init__(node, graph)
        a = node.attrs
        self.kernel, self.stride = (a["kernel_h"], a["kernel_w"]), (a["stride_h"], a["stride_w"])
        self.pads = _pads(node)
        ones = self._sum(torch.ones(1, 1, *graph.values[node.inputs[0]].shape[1:]))
        count = torch.full_like(ones, math.prod(self.kernel)) if a["count_include_pad"] else ones
        self.register_buffer("count", count, persistent=False)

    def floating(self, inputs: list[Tensor]) -> Tensor:
        return self._sum(inputs[0]) / self.count

    def quantized(self, inputs: list[Tensor], record: Record | None) -> Tensor:
        return divide_round(self._sum(inputs[0]), self.count)

    def _sum(self, x: Tensor) -> Tensor:
        top, bottom, left, right = self.pads
        if any(self.pads):
            x = F.pad(x, (left, right, top, bottom))
        return F.avg_pool2d(x, self.kernel, self.stride, divisor_override=1)


class AdaptiveAvgPool(Step):
    """adaptive_avg_pool2d: torch's windows; its quotient of an exact sum is right at ties, so rounding it is exact."""

    def __init__(self, node: Node, graph: Graph) -> None:
        super().__init__(node, graph)
        self.size = node.attrs["output_h"], node.attrs["output_w"]
        self.register_buffer("one", torch.ones(()), persistent=False)

    def floating(self, inputs: list[Tensor]) -> Tensor:
        return F.adaptive_avg_pool2d(inputs[0], self.size)

    def quantized(self, inputs: list[Tensor], record: Record | None) -> Tensor:
        return divide_round(F.adaptive_avg_pool2d(inputs[0], self.size), self.get_buffer("one"))


class Mean(Step):
    """Mean over height and width, requantized."""

    def floating(self, inputs: list[Tensor]) -> Tensor:
        return inputs[0].mean(dim=(2, 3))

    def quantized(self, inputs: list[Tensor], record: Record | None) -> Tensor:
        x = inputs[0]
        multiplier, shift = mean_multiplier(self.sources[0].scale, self.target.scale, x.shape[2] * x.shape[3])
        # With equal scales, ties are common and fall as the integer multiplier was rounded: float64 follows it, and
        # costs nothing on a vector.
        total = x.sum(dim=(2, 3)).double()
        return requantize(total, math.ldexp(multiplier, -shift), self.low, self.high).float()


class Add(Step):
    """Sum of two values, rounded once."""

    def floating(self, inputs: list[Tensor]) -> Tensor:
        return self.clamped(inputs[0] + inputs[1])

    def quantized(self, inputs: list[Tensor], record: Record | None) -> Tensor:
        first, second = self.sources[0].scale, self.sources[1].scale
        return self.rescaled(torch.add(inputs[0], inputs[1], alpha=second / first), first)


class Concat(Step):
    """Concatenation over channels (or features), each input rescaled; with one input, a stand-alone clamp."""

    def floating(self, inputs: list[Tensor]) -> Tensor:
        return self.clamped(torch.cat(inputs, dim=1))

    def quantized(self, inputs: list[Tensor], record: Record | None) -> Tensor:
        parts = [self.rescaled(x, source.scale) for x, source in zip(inputs, self.sources, strict=True)]
        return torch.cat(parts, dim=1)


class Flatten(Step):
    """[channels, height, width] to a vector."""

    def floating(self, inputs: list[Tensor]) -> Tensor:
        return inputs[0].flatten(1)

    def quantized(self, inputs: list[Tensor], record: Record | None) -> Tensor:
        return inputs[0].flatten(1)


class Elementwise(Step):
    """An op that works position by position, by the rule of its row: on reals, so codes are scaled before and after."""

    def __init__(self, node: Node, graph: Graph, rule: RealRule) -> None:
        super().__init__(node, graph)
        self.attrs, self.rule = node.attrs, rule

    def floating(self, inputs: list[Tensor]) -> Tensor:
        return self.clamped(self._real(inputs))

    def quantized(self, inputs: list[Tensor], record: Record | None) -> Tensor:
        return self.rescaled(
            self._real([x * source.scale for x, source in zip(inputs, self.sources, strict=True)]), 1.0
        )

    def _real(self, inputs: list[Tensor]) -> Tensor:
        y: Tensor = self.rule(self.attrs, tuple(inputs))
        return y


# by the name that rows of `ops` give under `quantization`
STEPS: dict[str, type[Step]] = {
    "weighted": Weighted,
    "binary": Binary,
    "sign": Signs,
    "max_pool2d": MaxPool,
    "avg_pool2d": AvgPool,
    "adaptive_avg_pool2d": AdaptiveAvgPool,
    "mean": Mean,
    "sum": Add,
    "join": Concat,
    "flatten": Flatten,
}


def step(node: Node, graph: Graph) -> Step:
    """The step of a node.

    Raises
    ------
    ModelError
        If the row of its op has no quantization rule: it cannot occur from stage ``folded`` on.
    """
    rule = SCHEMAS[node.op].quantization
    if rule is None:
        known = sorted(name for name, row in SCHEMAS.items() if row.quantization is not None)
        raise ModelError(f"{node.op} '{node.name}': expected an op with a quantization rule, one of {', '.join(known)}")
    return STEPS[rule](node, graph) if isinstance(rule, str) else Elementwise(node, graph, rule)


def per_channel(values: Tensor, like: Tensor, axis: int) -> Tensor:
    """`values` [c] shaped to broadcast along `axis` of `like`."""
    return values.view((-1,) + (1,) * (like.ndim - axis - 1))


def _qparams(graph: Graph, name: str) -> QParams:
    qparams = graph.values[name].qparams
    if qparams is None:
        raise ModelError(f"value '{name}': expected quantization parameters at stage '{graph.stage}', got none")
    return qparams


def _pads(node: Node) -> tuple[int, int, int, int]:
    a = node.attrs
    return a["pad_top"], a["pad_bottom"], a["pad_left"], a["pad_right"]
