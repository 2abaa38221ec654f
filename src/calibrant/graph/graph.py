"""The intermediate representation: a flat, topologically ordered list of nodes over named values.

Layout is torch's: feature maps are [channels, height, width] and vectors [features], batch left out. A 1-D series is
a feature map of height 1, so every convolution and pool is two-dimensional. Stages of a graph: ``float`` (from the
frontend), ``folded`` (after passes), ``annotated`` (values carry QParams, weighted nodes carry weight scales),
``integer`` (weights and biases are integer codes). `graph.verify` says what is legal at each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.core.qparams import QParams
from calibrant.ops import SCHEMAS


@dataclass(frozen=True)
class Value:
    """One activation: its shape without batch, and quantization parameters from stage ``annotated`` on."""

    name: str
    shape: tuple[int, ...]
    qparams: QParams | None = None


@dataclass(frozen=True)
class Node:
    """One op. `attrs` are integers, floats or strings; `params` are constant arrays.

    ``conv2d``: weight [c_out, c_in/groups, kh, kw], bias [c_out]; attrs stride_h, stride_w, pad_top, pad_bottom,
    pad_left, pad_right, dilation_h, dilation_w, groups. ``linear``: weight [c_out, c_in], bias [c_out].
    ``batch_norm``: scale [c], offset [c] (statistics already folded in). ``relu``; ``clamp``: attrs low, high.
    ``max_pool2d``, ``avg_pool2d``: kernel_h/w, stride_h/w, pad_*, dilation_h/w (max only), count_include_pad (avg
    only). ``adaptive_avg_pool2d``: output_h, output_w. ``mean``: over height and width, giving a vector. ``add``
    (two inputs), ``concat`` (over channels), ``flatten``, ``dropout``.

    From stage ``folded`` on conv2d, linear, add, concat carry a fused clamp: attrs clamp_low, clamp_high (floats,
    -inf/inf when absent). From ``annotated`` on weighted nodes have attr weight_bits and param weight_scale [c_out].
    At stage ``integer`` their weight is int8 and bias int32. The source module path is in `path`.
    """

    op: str
    name: str
    inputs: tuple[str, ...]
    output: str
    attrs: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    path: str = ""

    def updated(self, **changes: Any) -> Node:
        """A copy with some fields replaced."""
        return replace(self, **changes)


@dataclass(frozen=True)
class Graph:
    """Nodes in topological order, values by name, one input and one output."""

    nodes: tuple[Node, ...]
    values: Mapping[str, Value]
    input: str
    output: str
    stage: str = "float"

    def producer(self, value: str) -> Node | None:
        """The node that computes a value, None for the input."""
        return next((n for n in self.nodes if n.output == value), None)

    def consumers(self, value: str) -> tuple[Node, ...]:
        """The nodes that read a value."""
        return tuple(n for n in self.nodes if value in n.inputs)

    def weighted(self) -> tuple[Node, ...]:
        """Nodes with trainable weights, in order: the layers of the program to be."""
        return tuple(n for n in self.nodes if SCHEMAS[n.op].weighted)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All params by ``node.param``."""
        return {f"{n.name}.{k}": np.asarray(v) for n in self.nodes for k, v in n.params.items()}
