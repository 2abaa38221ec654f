"""Small graphs of stage ``float``, written by hand or drawn from a seed, without torch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.core.rng import generator
from calibrant.graph.graph import Graph, Node, Value
from calibrant.graph.verify import infer_shape
from calibrant.ops import SCHEMAS


class Draft:
    """Every call appends a node and returns the name of its value; the input is ``x``."""

    def __init__(self, *shape: int, seed: int = 0) -> None:
        self.nodes: list[Node] = []
        self.values = {"x": Value("x", shape)}
        self.rng = generator(seed, "draft")

    def add(self, op: str, *inputs: str, **attrs: Any) -> str:
        return self._append(op, inputs or ("x",), attrs, {})

    def conv(
        self,
        source: str = "x",
        c_out: int = 3,
        kernel: tuple[int, int] = (1, 3),
        groups: int = 1,
        **attrs: int,
    ) -> str:
        """A convolution, 'same' unless told otherwise."""
        per_group = self.shape(source)[0] // groups
        params = {"weight": self._weights(c_out, per_group, *kernel), "bias": self._array(c_out)}
        pads = {"pad_top": (kernel[0] - 1) // 2, "pad_bottom": kernel[0] // 2}
        pads |= {"pad_left": (kernel[1] - 1) // 2, "pad_right": kernel[1] // 2}
        return self._append("conv2d", (source,), {**pads, "groups": groups, **attrs}, params)

    def linear(self, source: str, c_out: int = 2) -> str:
        params = {"weight": self._weights(c_out, *self.shape(source)), "bias": self._array(c_out)}
        return self._append("linear", (source,), {}, params)

    def norm(self, source: str, positive: bool = False) -> str:
        channels = self.shape(source)[0]
        scale, offset = self._array(channels), self._array(channels)
        params = {"scale": np.abs(scale) + np.float32(0.1) if positive else scale, "offset": offset}
        return self._append("batch_norm", (source,), {}, params)

    def shape(self, value: str) -> tuple[int, ...]:
        return self.values[value].shape

    def graph(self, output: str) -> Graph:
        return Graph(tuple(self.nodes), self.values, "x", output)

    def _weights(self, *shape: int) -> NDArray[np.float32]:
        return self._array(*shape) / np.float32(math.sqrt(math.prod(shape[1:])))

    def _array(self, *shape: int) -> NDArray[np.float32]:
        return self.rng.standard_normal(shape).astype(np.float32)

    def _append(self, op: str, inputs: tuple[str, ...], attrs: dict[str, Any], params: dict[str, Any]) -> str:
        name = f"{op}{len(self.nodes)}"
        node = Node(op, name, inputs, f"v_{name}", SCHEMAS[op].complete(**attrs), params)
        self.values[node.output] = Value(node.output, infer_shape(node, SCHEMAS[op], self.values))
        self.nodes.append(node)
        return node.output


def random_graph(seed: int) -> Graph:
    """A classifier of a dozen nodes: any op in any legal order, branches, shared values, odd sizes."""
    choose = generator(seed, "graph").integers
    height = int(choose(1, 7)) if choose(2) else 1
    draft = Draft(int(choose(1, 6)), height, int(choose(3, 14)), seed=seed)
    maps = ["x"]
    for _ in range(int(choose(3, 12))):
        source = maps[int(choose(max(0, len(maps) - 3), len(maps)))]
        maps.append(_step(draft, source, maps, choose))
    # Whatever nobody read yet joins the vector that the head sees.
    read = {name for node in draft.nodes for name in node.inputs}
    ends = [name for name in maps if name not in read][-8:]
    vectors = [_vector(draft, name, choose) for name in ends]
    joined = vectors[0] if len(vectors) == 1 else draft.add("concat", *vectors)
    if choose(2):
        joined = draft.add("relu", draft.norm(draft.linear(joined, int(choose(2, 7)))))
    return draft.graph(draft.linear(draft.add("dropout", joined), int(choose(2, 6))))


def _vector(draft: Draft, source: str, choose: Any) -> str:
    """Mean, flatten, or a global pool and flatten."""
    way = int(choose(4))
    if way == 0 and math.prod(draft.shape(source)) <= 64:
        return draft.add("flatten", source)
    if way == 1:
        return draft.add("flatten", draft.add("adaptive_avg_pool2d", source, output_h=1, output_w=1))
    return draft.add("mean", source)


def _step(draft: Draft, source: str, maps: list[str], choose: Any) -> str:
    channels, height, width = draft.shape(source)
    alike = [name for name in maps if draft.shape(name) == (channels, height, width)]
    beside = [name for name in maps if draft.shape(name)[1:] == (height, width) and draft.shape(name)[0] <= 12]
    kind = int(choose(11))
    if kind == 0:
        return draft.norm(source)
    if kind == 1:
        return draft.add("relu", source)
    if kind == 2:
        return draft.add("clamp", source, low=float(choose(-2, 1)), high=float(choose(1, 7)))
    if kind == 3:
        return draft.add("add", source, alike[int(choose(len(alike)))])
    if kind == 4 and channels <= 12:
        return draft.add("concat", source, beside[int(choose(len(beside)))] if beside else source)
    if kind == 5:
        kernel_h, kernel_w = min(height, int(choose(1, 4))), min(width, int(choose(1, 4)))
        pads = {"pad_top": int(choose(kernel_h)), "pad_right": int(choose(kernel_w)), "stride_w": int(choose(1, 3))}
        return draft.add("max_pool2d", source, kernel_h=kernel_h, kernel_w=kernel_w, **pads)
    if kind == 6:
        kernel_h, kernel_w = min(height, int(choose(1, 4))), min(width, int(choose(1, 4)))
        pads = {"pad_bottom": int(choose(kernel_h)), "pad_left": int(choose(kernel_w)), "stride_h": int(choose(1, 3))}
        counted = int(choose(2))
        return draft.add("avg_pool2d", source, kernel_h=kernel_h, kernel_w=kernel_w, count_include_pad=counted, **pads)
    if kind == 7:
        return draft.add("adaptive_avg_pool2d", source, output_h=int(choose(1, 4)), output_w=int(choose(1, 6)))
    if kind == 8:
        return draft.norm(draft.conv(source, channels, (1, min(3, width)), groups=channels))
    kernel = int(choose(1, 4)), int(choose(1, 6))
    strides = {"stride_h": int(choose(1, 3)), "stride_w": int(choose(1, 3))}
    dilated = {"dilation_w": 2, "pad_left": 4, "pad_right": 4} if choose(3) == 0 else {}
    return draft.conv(source, int(choose(1, 9)), kernel, **strides, **dilated)
