"""Collects graph nodes while the exported torch graph is walked, and words the refusals."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx

from calibrant.core.errors import ModelError
from calibrant.graph.graph import Graph, Node, Value
from calibrant.graph.verify import infer_shape
from calibrant.ops import SCHEMAS
from calibrant.ops.schema import Shape

INPUT = "input"
LEAVES = ("torch.nn.modules.", "calibrant.nn.")  # modules that are layers
INSTEAD = {
    "gelu": "nn.ReLU or nn.ReLU6",
    "silu": "nn.ReLU or nn.ReLU6",
    "hardswish": "nn.ReLU or nn.ReLU6",
    "leaky_relu": "nn.ReLU or nn.ReLU6",
    "elu": "nn.ReLU or nn.ReLU6",
    "tanh": "nn.Hardtanh",
    "sigmoid": "nn.Hardtanh",
    "softmax": "the logits themselves (drop the softmax)",
    "_softmax": "the logits themselves (drop the softmax)",
    "log_softmax": "the logits themselves (drop the softmax)",
    "_log_softmax": "the logits themselves (drop the softmax)",
    "native_layer_norm": "nn.BatchNorm1d or nn.BatchNorm2d",
    "layer_norm": "nn.BatchNorm1d or nn.BatchNorm2d",
    "group_norm": "nn.BatchNorm1d or nn.BatchNorm2d",
    "native_group_norm": "nn.BatchNorm1d or nn.BatchNorm2d",
}


def place(node: fx.Node) -> tuple[str, str]:
    """Module path and module type of a node, ('', '') where export kept none.

    Examples
    --------
    >>> place(fx.Graph().placeholder("x"))
    ('', '')
    """
    stack = [entry for entry in (node.meta.get("nn_module_stack") or {}).values() if not entry[0].startswith("_empty")]
    if not stack:
        return "", ""
    path, kind = stack[-1]
    return re.sub(r"^L\['self'\]\.?|\[|\]|'", "", path), kind if isinstance(kind, str) else kind.__qualname__


class Builder:
    """Nodes and values so far, and what every torch value became.

    Attributes
    ----------
    names : dict[fx.Node, str]
        The graph value of each torch activation.
    constants : dict[fx.Node, torch.Tensor]
        Parameters, buffers, and what was computed from them alone.
    padding : dict[fx.Node, dict[str, int]]
        Torch values that stand for their graph value with this many zeros around it.
    """

    def __init__(self, supported: str) -> None:
        self.names: dict[fx.Node, str] = {}
        self.constants: dict[fx.Node, torch.Tensor] = {}
        self.padding: dict[fx.Node, dict[str, int]] = {}
        self._supported = supported
        self._nodes: list[Node] = []
        self._values: dict[str, Value] = {}

    def enter(self, node: fx.Node) -> None:
        """Make `node` the graph's input."""
        self._values[INPUT] = Value(INPUT, self.layout(node))
        self.names[node] = INPUT

    def emit(
        self,
        node: fx.Node,
        op: str,
        inputs: tuple[str, ...],
        attrs: Mapping[str, Any] | None = None,
        params: Mapping[str, NDArray[np.float32]] | None = None,
        whole: bool = True,
    ) -> str:
        """Append a node for the torch node `node`; returns the name of its output value.

        A node that is the `whole` of a layer has the layer's name.
        """
        path, kind = place(node)
        leaf = (whole and kind.startswith(LEAVES)) or not path
        name = self._unique((path or op) if leaf else f"{path}.{op}")
        made = Node(op, name, inputs, name, SCHEMAS[op].complete(**(attrs or {})), params or {}, path)
        self._values[name] = Value(name, infer_shape(made, SCHEMAS[op], self._values))
        self._nodes.append(made)
        return name

    def finish(self, output: str) -> Graph:
        """The graph, of stage ``float``; nodes that the output does not need are left out."""
        needed, nodes = {output}, list[Node]()
        for node in reversed(self._nodes):
            if node.output in needed:
                nodes.append(node)
                needed.update(node.inputs)
        values = {name: value for name, value in self._values.items() if name in needed or name == INPUT}
        return Graph(tuple(reversed(nodes)), values, INPUT, output)

    def shape(self, value: str) -> Shape:
        """Shape of a graph value."""
        return self._values[value].shape

    def activation(self, node: fx.Node, argument: Any) -> str:
        """The graph value of an argument that must be an activation."""
        value, padding = self.padded_activation(node, argument)
        if padding:
            raise self.refusal(node, "only a convolution may read a padded value")
        return value

    def padded_activation(self, node: fx.Node, argument: Any) -> tuple[str, Mapping[str, int]]:
        """As `activation`, with the zeros that are to be thought around it."""
        if isinstance(argument, fx.Node) and argument in self.names:
            return self.names[argument], self.padding.get(argument, {})
        raise self.refusal(node, "expected every operand to be computed from the input, got a constant")

    def constant(self, node: fx.Node, argument: Any, what: str) -> NDArray[np.float32]:
        """A parameter as float32 array, copied."""
        if not isinstance(argument, fx.Node) or argument not in self.constants:
            raise self.refusal(node, f"expected a constant {what}, got one computed from the input")
        tensor = self.constants[argument]
        if tensor.dtype != torch.float32:
            raise self.refusal(
                node, f"{what}: expected float32, got {str(tensor.dtype).removeprefix('torch.')} (model.float())"
            )
        array: NDArray[np.float32] = np.array(tensor.detach().cpu().numpy(), np.float32)
        return array

    def layout(self, node: fx.Node) -> Shape:
        """The graph shape that stands for a torch activation: a series [N, C, T] is a map [C, 1, T]."""
        sizes = torch_sizes(node)
        if any(not isinstance(n, int) for n in sizes[1:]):
            raise self.refusal(node, f"only the batch dimension may be dynamic, got shape {[str(n) for n in sizes]}")
        if len(sizes) == 2:
            return (sizes[1],)
        if len(sizes) == 3:
            return sizes[1], 1, sizes[2]
        if len(sizes) == 4:
            return sizes[1], sizes[2], sizes[3]
        raise self.refusal(
            node, f"expected [N, features], [N, C, T] or [N, C, H, W], got shape {[str(n) for n in sizes]}"
        )

    def refusal(self, node: fx.Node, reason: str) -> ModelError:
        """The error to raise: which op, where, why."""
        return ModelError(f"{operator_name(node)}{_at(node)}: {reason}")

    def unsupported(self, node: fx.Node) -> ModelError:
        """The error to raise for an op that is not in the table."""
        operator = operator_name(node)
        parts = operator.split(".")
        instead = INSTEAD.get(parts[1].rstrip("_") if len(parts) > 1 else operator)
        advice = f"use {instead}" if instead else "replace it, or move it out of the model"
        return ModelError(f"unsupported op {operator}{_at(node)}: {advice}; supported: {self._supported}")

    def _unique(self, name: str) -> str:
        name = re.sub(r"[^\w.]", "_", name)
        candidate, count = name, 1
        while candidate in self._values:
            candidate, count = f"{name}_{count}", count + 1
        return candidate


def torch_sizes(node: fx.Node) -> tuple[Any, ...]:
    """Shape of a torch activation (of several, the first), batch first; dynamic sizes are SymInt."""
    value = node.meta["val"]
    return tuple((value if isinstance(value, torch.Tensor) else value[0]).shape)


def operator_name(node: fx.Node) -> str:
    """Name of the operator, such as ``aten.conv1d.default``."""
    return str(node.target) if node.op == "call_function" else f"{node.op} '{node.name}'"


def _at(node: fx.Node) -> str:
    path, kind = place(node)
    kind = re.sub(r"^torch\.nn\.modules\.\w+\.", "torch.nn.", kind).removeprefix("__main__.")
    if not kind:
        return ""
    return f" at '{path}' ({kind})" if path else f" in the forward of {kind}"
