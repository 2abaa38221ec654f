"""Integer graphs in torch: reals in float64 whose values are those of the codes and whose gradients pass roundings.

It knows nothing of programs, gradient rules or training steps: parameters are real, torch differentiates.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from calibrant.graph import interp
from calibrant.graph.graph import Graph, Node
from calibrant.ops import clamp_codes


class Twin:
    """A graph of stage ``integer`` in reals; `params` are its weights and biases as torch leaves.

    With `rounding` the value of every tensor is that of its codes; without, only clamps remain.
    """

    def __init__(self, graph: Graph, rounding: bool = True) -> None:
        self.graph, self.rounding = graph, rounding
        self.params: dict[str, Tensor] = {}
        for node in graph.weighted():
            scale = node.params["weight_scale"].astype(np.float64)
            weight = node.params["weight"] * scale.reshape(-1, *[1] * (node.params["weight"].ndim - 1))
            bias = node.params["bias"] * scale * graph.values[node.inputs[0]].qparams.scale
            self.params[f"{node.name}.weight"] = torch.tensor(weight, requires_grad=True)
            self.params[f"{node.name}.bias"] = torch.tensor(bias, requires_grad=True)

    def logits(self, codes: np.ndarray) -> Tensor:
        """Real outputs [N, K] of input codes int8 [N, C, H, W]; without rounding any reals in units of codes."""
        found = interp.evaluate(self.graph, codes) if self.rounding else {}
        q = self.graph.values[self.graph.input].qparams
        values = {self.graph.input: (torch.tensor(codes, dtype=torch.float64) - q.zero_point) * q.scale}
        for node in self.graph.nodes:
            values[node.output] = self._quantized(node, self._real(node, values), found)
        return values[self.graph.output].flatten(1)

    def _quantized(self, node: Node, y: Tensor, found: Mapping[str, np.ndarray]) -> Tensor:
        if node.attrs.get("output_bits") == 32 or node.op == "flatten":
            return y
        q = self.graph.values[node.output].qparams
        low, high = clamp_codes(node.attrs, q)
        if not self.rounding:
            return y.clamp((low - q.zero_point) * q.scale, (high - q.zero_point) * q.scale)
        codes = found[node.output].astype(np.int64)
        inside = (codes > low) & (codes < high)
        if not self._can_clamp(node):
            inside[:] = True
        value = torch.tensor((codes - q.zero_point) * q.scale)
        passing = y * torch.tensor(inside)
        return passing + (value - passing).detach()

    def _can_clamp(self, node: Node) -> bool:
        """Averages, maxima and copies of codes cannot leave the range that these had."""
        q = self.graph.values[node.output].qparams
        same = all(self.graph.values[name].qparams == q for name in node.inputs)
        if node.op in ("max_pool2d", "avg_pool2d", "adaptive_avg_pool2d") or (node.op == "mean" and same):
            return False
        if node.op not in ("concat", "clamp") or not same:
            return True
        bounds = [self._bounds(name) for name in node.inputs]
        low, high = clamp_codes(node.attrs, q)
        return min(b[0] for b in bounds) < low or max(b[1] for b in bounds) > high

    def _bounds(self, name: str) -> tuple[int, int]:
        node = self.graph.producer(name)
        if node is None:
            return -128, 127
        return clamp_codes(node.attrs, self.graph.values[name].qparams)

    def _real(self, node: Node, values: Mapping[str, Tensor]) -> Tensor:
        x, attrs = values[node.inputs[0]], node.attrs
        if node.op in ("conv2d", "linear"):
            weight, bias = self.params[f"{node.name}.weight"], self.params[f"{node.name}.bias"]
            if node.op == "linear":
                return F.linear(x, weight, bias)
            strides, dilations = (tuple(attrs[f"{what}_{axis}"] for axis in "hw") for what in ("stride", "dilation"))
            return F.conv2d(_padded(x, attrs, 0.0), weight, bias, strides, 0, dilations, attrs["groups"])
        if node.op == "max_pool2d":
            kernel, strides, dilations = (
                tuple(attrs[f"{what}_{axis}"] for axis in "hw") for what in ("kernel", "stride", "dilation")
            )
            return F.max_pool2d(_padded(x, attrs, -np.inf), kernel, strides, 0, dilations)
        if node.op == "avg_pool2d":
            kernel, strides = (tuple(attrs[f"{what}_{axis}"] for axis in "hw") for what in ("kernel", "stride"))
            y = F.avg_pool2d(_padded(x, attrs, 0.0), kernel, strides)
            share = F.avg_pool2d(_padded(torch.ones_like(x), attrs, 0.0), kernel, strides)
            return y if attrs["count_include_pad"] else y / share
        if node.op == "adaptive_avg_pool2d":
            return F.adaptive_avg_pool2d(x, (attrs["output_h"], attrs["output_w"]))
        if node.op == "mean":
            return x.mean((2, 3))
        if node.op == "add":
            return x + values[node.inputs[1]]
        if node.op == "concat":
            return torch.cat([values[name] for name in node.inputs], dim=1)
        return x.flatten(1) if node.op == "flatten" else x


def _padded(x: Tensor, attrs: Mapping[str, int], value: float) -> Tensor:
    return F.pad(x, [attrs[f"pad_{side}"] for side in ("left", "right", "top", "bottom")], value=value)
