"""Batch-norm statistics re-estimated on the stream, and nothing else: the label-free control.

Batch norm is folded before quantization, but re-estimating its statistics has an exact equivalent behind the fold. A
folded layer gives ``z = gamma (c - mean) / deviation + beta`` with the statistics of the training data; the norm with
statistics of other data is z standardized per channel by those data's mean and deviation of z, then brought to the mean
and deviation that z has on the training data. In the integer program that is another multiplier and another bias per
channel: no weight changes.

The training data's statistics of z are taken on the server, on the deployed quantized network, so that nothing moves
where nothing drifts; the coreset would be too few samples for them. They are two numbers a channel to deploy.
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from calibrant.bench.baselines.learner import predict
from calibrant.frontend import from_torch
from calibrant.graph.graph import Graph
from calibrant.passes import PASSES
from calibrant.passes.fold_batchnorm import fold_batchnorm
from calibrant.quantize import FakeQuantNet
from calibrant.quantize.layers import Step, Weighted, per_channel

EPSILON = 1e-5  # added to variances, as batch norm does
BYTES_PER_CHANNEL = 24  # float32: mean and variance in training and now, and the window's two sums


@dataclass
class _Norm:
    """One layer's parameters at deployment, and the statistics of its pre-activation, float64[c_out]."""

    parameters: dict[str, Tensor]
    mean: Tensor
    variance: Tensor
    running_mean: Tensor
    running_variance: Tensor


class BatchNormStatistics:
    """Re-estimates the statistics of every layer that carried a batch norm, in one forward pass a window, in order.

    As in torch's training mode, a layer sees inputs that the layers before it have normalized with the new statistics.

    Parameters
    ----------
    net : FakeQuantNet
        A copy is adapted; in float mode, or of a folded graph, it is batch norm itself.
    normalized : collection of str
        Layers that carried a batch norm, see :func:`normalized_layers`.
    source : float32[N, ...]
        The training samples, as the network sees them.
    momentum : float
        Share of a window in the running statistics, which start as those of the training data; 1: each window alone.
    """

    def __init__(
        self, net: FakeQuantNet, normalized: Collection[str], source: NDArray[np.float32], *, momentum: float
    ) -> None:
        self.net, self._momentum = copy.deepcopy(net).eval().requires_grad_(False), momentum
        self._norms: dict[str, _Norm] = {}
        sums: dict[str, Tensor] = {}

        def add(step: Step, inputs: list[Tensor]) -> None:
            if step.name in normalized and isinstance(step, Weighted):
                sums[step.name] = _moments(self._pre_activation(step, inputs)) + sums.get(step.name, torch.zeros(()))

        for start in range(0, len(source), 128):
            self.net.walk(torch.from_numpy(np.ascontiguousarray(source[start : start + 128])), add)
        for step in self.net.steps:
            if isinstance(step, Weighted) and step.name in sums:
                mean, variance = _statistics(sums[step.name])
                self._norms[step.name] = _Norm(_parameters(step), mean, variance, mean, variance)

    def observe(self, x: NDArray[np.float32], y: NDArray[np.int64]) -> None:
        """Re-estimate on one window, float32[N, ...] as the network sees it; `y` is not looked at."""
        self.net.walk(torch.from_numpy(np.ascontiguousarray(x)), self._normalize)

    def predict(self, x: NDArray[np.float32]) -> NDArray[np.int64]:
        """Classes int64[N]."""
        return predict(self.net, x)

    def added_bytes(self, x: NDArray[np.float32]) -> int:
        """24 bytes a channel, and the window's input codes: a device would go through it once a layer, keeping sums."""
        return BYTES_PER_CHANNEL * sum(len(norm.mean) for norm in self._norms.values()) + x.size

    def _pre_activation(self, step: Weighted, inputs: list[Tensor]) -> Tensor:
        return step.pre_activation(inputs[0], codes=self.net.quantized)

    def _normalize(self, step: Step, inputs: list[Tensor]) -> None:
        """Measure what the layer gives at its deployed parameters, then put the new statistics in their place."""
        if step.name not in self._norms or not isinstance(step, Weighted):
            return
        norm = self._norms[step.name]
        _restore(step, norm.parameters)
        mean, variance = _statistics(_moments(self._pre_activation(step, inputs)))
        norm.running_mean = norm.running_mean + self._momentum * (mean - norm.running_mean)
        norm.running_variance = norm.running_variance + self._momentum * (variance - norm.running_variance)
        gain = torch.sqrt((norm.variance + EPSILON) / (norm.running_variance + EPSILON))
        adapted = {name: value * per_channel(gain.to(value.dtype), value, 0) for name, value in norm.parameters.items()}
        adapted["bias"] += (norm.mean - norm.running_mean * gain).to(adapted["bias"].dtype)
        _restore(step, adapted)


def normalized_layers(model: nn.Module, x: NDArray[np.float32]) -> frozenset[str]:
    """Names of the weighted layers that carry a batch norm once `model` is folded.

    A norm that went down into a linear layer that reads it has no layer whose output it normalizes: it is left alone.

    Parameters
    ----------
    model : torch.nn.Module
        The float network.
    x : float32[2, ...]
        Samples for the export.
    """
    graph = from_torch(model, torch.from_numpy(x))
    for rewrite in PASSES:
        folded = rewrite(graph)
        if rewrite is fold_batchnorm:
            return _changed(graph, folded)
        graph = folded
    raise AssertionError("no pass folds batch norm")


def _changed(before: Graph, after: Graph) -> frozenset[str]:
    weights = {node.name: node.params["weight"] for node in before.weighted()}
    norms = {node.output for node in before.nodes if node.op == "batch_norm"}
    readers = {node.name for node in before.nodes if node.op == "linear" and node.inputs[0] in norms}
    return frozenset(
        node.name
        for node in after.weighted()
        if node.name not in readers and node.params["weight"] is not weights.get(node.name)
    )


def _parameters(step: Weighted) -> dict[str, Tensor]:
    """What scales with a layer's output: latent values, and their code units where there are codes."""
    names = ("weight", "bias", "weight_scale", "bias_scale") if step.sources else ("weight", "bias")
    return {name: getattr(step, name).detach().clone() for name in names}


def _restore(step: Weighted, parameters: dict[str, Tensor]) -> None:
    for name, value in parameters.items():
        getattr(step, name).copy_(value)


def _moments(z: Tensor) -> Tensor:
    """Count, sum and sum of squares per channel of [N, c, ...], float64[3, c]."""
    rows: Any = z.double().transpose(0, 1).flatten(1)
    return torch.stack([torch.full((len(rows),), rows.shape[1]).double(), rows.sum(1), rows.square().sum(1)])


def _statistics(moments: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and unbiased variance, as batch norm keeps them."""
    count, total, squares = moments
    mean = total / count
    return mean, ((squares - count * mean.square()) / (count - 1).clamp(min=1)).clamp(min=0)
