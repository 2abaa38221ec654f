"""The torch module that computes what the integer program will, with straight-through gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from calibrant.core.errors import ModelError
from calibrant.graph.graph import Graph
from calibrant.quantize.layers import Record, Step, Weighted, per_channel, step
from calibrant.quantize.straight_through import round_input


class FakeQuantNet(nn.Module):
    """A graph as a torch module: weights, activations and roundings are those of the integer program.

    Activations travel as centered codes in float32, where integer sums below 2^24 are exact, so outputs equal the
    integer program's but for rare float32 roundings next to a tie. Latent weights and biases are the parameters;
    rounding and clamping pass gradients straight through inside their range.

    Parameters
    ----------
    graph : Graph of stage ``annotated``, or ``folded`` for a float network that cannot quantize

    Attributes
    ----------
    graph : Graph
        As given; its weights are not updated by training, see :func:`calibrant.quantize.to_integer`.
    layers : list of str
        Names of the weighted nodes in program order.
    quantized : bool
        Whether `forward` quantizes; see :meth:`float_mode`.

    Raises
    ------
    ModelError
        If the stage is another, or an op has no form at that stage.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        if graph.stage not in ("folded", "annotated"):
            raise ModelError(f"FakeQuantNet: expected a graph of stage 'folded' or 'annotated', got '{graph.stage}'")
        self.graph = graph
        self.quantized = graph.stage == "annotated"
        self._program: list[Step] = [step(node, graph) for node in graph.nodes]
        self.steps = nn.ModuleList(self._program)
        self._weighted = {module.name: module for module in self._program if isinstance(module, Weighted)}
        self.layers = list(self._weighted)
        self._reals = {module.output for module in self._program if module.raw}

    def forward(self, x: Tensor, record: Record | None = None) -> Tensor:
        """Outputs of a batch as reals: logits, for a classifier.

        Parameters
        ----------
        x : float32[N, C, H, W], or [N, C, T] for an input of height 1, or [N, F] for a vector
        record : dict, optional
            Filled with ``name: (z, active)`` per weighted layer: z float32[N, c_out, H, W] (or [N, c_out]) is the
            real-valued output before clamp and rounding, its gradient retained; active, bool of the same shape, is
            True where the output code is strictly inside its clamp. Left as it is in float mode.

        Returns
        -------
        float32[N, *output shape]

        Raises
        ------
        ModelError
            If the shape of `x` is not the graph's.
        """
        return self._real(self.graph.output, self._values(x, record)[self.graph.output])

    def trace(self, x: Tensor) -> dict[str, Tensor]:
        """Real values of all activations of a batch, by name."""
        return {name: self._real(name, value) for name, value in self._values(x, None).items()}

    def walk(self, x: Tensor, before: Callable[[Step, list[Tensor]], None]) -> None:
        """A forward pass that hands every step with its inputs to `before`, which may change the step's parameters."""
        self._values(x, None, before)

    @contextmanager
    def float_mode(self) -> Iterator[None]:
        """Within this context `forward` runs on reals with the latent weights."""
        before, self.quantized = self.quantized, False
        try:
            yield
        finally:
            self.quantized = before

    @torch.no_grad()
    def codes(self) -> dict[str, NDArray[np.int8]]:
        """Integer weights per layer, int8[c_out, c_in / groups, kernel_h, kernel_w]; 1x1 for linear layers."""
        return {
            name: module.weight_codes().reshape(_kernel_shape(module.weight)).numpy().astype(np.int8)
            for name, module in self._annotated().items()
        }

    @torch.no_grad()
    def bias_codes(self) -> dict[str, NDArray[np.int32]]:
        """Integer biases per layer, int32[c_out] at scale s_x * s_w."""
        return {name: module.bias_codes().numpy().astype(np.int32) for name, module in self._annotated().items()}

    @torch.no_grad()
    def load_codes(self, weights: Mapping[str, NDArray[np.int8]], bias: Mapping[str, NDArray[np.int32]]) -> None:
        """Set latent weights and biases to the reals that codes stand for; layers that are left out keep theirs.

        Parameters
        ----------
        weights : int8[c_out, c_in / groups, kernel_h, kernel_w] per layer name
        bias : int32[c_out] per layer name; exact below 2^24

        Raises
        ------
        ModelError
            If a name is no layer, a shape differs, or a weight does not fit in its bits.
        """
        modules = self._annotated()
        for name in (*weights, *bias):
            if name not in modules:
                raise ModelError(f"load_codes: expected names of layers {self.layers}, got '{name}'")
        for name, codes in weights.items():
            module = modules[name]
            _expect_shape(f"weights of '{name}'", codes.shape, _kernel_shape(module.weight))
            if np.abs(codes.astype(np.int16)).max() > module.limit:
                raise ModelError(f"load_codes: weights of '{name}': expected codes of {module.bits} bits, got larger")
            latent = torch.from_numpy(codes.astype(np.float32)).reshape(module.weight.shape)
            module.weight.copy_(latent * per_channel(module.weight_scale, latent, 0))
        for name, values in bias.items():
            module = modules[name]
            _expect_shape(f"bias of '{name}'", values.shape, tuple(module.bias.shape))
            module.bias.copy_(torch.from_numpy(values.astype(np.float32)) * module.bias_scale)

    def _values(
        self, x: Tensor, record: Record | None, before: Callable[[Step, list[Tensor]], None] | None = None
    ) -> dict[str, Tensor]:
        values = {self.graph.input: self._enter(x)}
        for module in self._program:
            inputs = [values[name] for name in module.inputs]
            if before is not None:
                before(module, inputs)
            values[module.output] = module.quantized(inputs, record) if self.quantized else module.floating(inputs)
        return values

    def _annotated(self) -> dict[str, Weighted]:
        if self.graph.stage != "annotated":
            raise ModelError(f"codes: expected a network of a graph of stage 'annotated', got '{self.graph.stage}'")
        return self._weighted

    def _enter(self, x: Tensor) -> Tensor:
        """The input as reals or centered codes in the graph's shape; channels-last in memory, which is faster."""
        shape = self.graph.values[self.graph.input].shape
        if len(shape) == 3 and shape[1] == 1 and x.ndim == 3:
            x = x.unsqueeze(2)
        if tuple(x.shape[1:]) != shape:
            raise ModelError(f"input '{self.graph.input}': expected [N, *{shape}], got {tuple(x.shape)}")
        if x.ndim == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        q = self.graph.values[self.graph.input].qparams
        if not self.quantized or q is None:
            return x
        return round_input(x, q.scale, q.qmin - q.zero_point, q.qmax - q.zero_point)

    def _real(self, name: str, value: Tensor) -> Tensor:
        q = self.graph.values[name].qparams
        if not self.quantized or q is None or name in self._reals:  # accumulators leave their step as reals
            return value
        return value * q.scale


def _kernel_shape(weight: Tensor) -> tuple[int, ...]:
    return (*weight.shape, 1, 1)[:4]


def _expect_shape(what: str, got: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if tuple(got) != expected:
        raise ModelError(f"load_codes: {what}: expected shape {expected}, got {tuple(got)}")
