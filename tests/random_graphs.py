"""Seeded random graphs of stage ``folded``, small and full of corner cases, with data that suits them."""

from __future__ import annotations

import math

import numpy as np

from calibrant.core.errors import ModelError
from calibrant.core.rng import generator
from calibrant.graph.graph import Graph, Node, Value
from calibrant.graph.verify import infer_shape, verify
from calibrant.ops import SCHEMAS
from calibrant.quantize import annotate, observe_ranges

CLAMPS = ((-math.inf, math.inf), (0.0, math.inf), (0.0, 6.0), (-1.0, 1.0), (-math.inf, 0.5), (0.25, 2.0))
MAX_CHANNELS = 40


class Sketch:
    """Collects nodes; every method returns the name of the value it made."""

    def __init__(self, shape: tuple[int, ...], rng: np.random.Generator) -> None:
        self.rng = rng
        self.values = {"x": Value("x", shape)}
        self.nodes: list[Node] = []

    def shape(self, name: str) -> tuple[int, ...]:
        return self.values[name].shape

    def pick(self, *choices):
        return choices[int(self.rng.integers(len(choices)))]

    def emit(self, op: str, inputs: tuple[str, ...], params=None, **attrs) -> str:
        name = f"{op}{len(self.nodes)}"
        node = Node(op, name, inputs, f"{name}_out", SCHEMAS[op].complete(**attrs), params or {})
        self.values[node.output] = Value(node.output, infer_shape(node, SCHEMAS[op], self.values))
        self.nodes.append(node)
        return node.output

    def clamp(self, plain: float = 0.2) -> dict[str, float]:
        low, high = CLAMPS[0] if self.rng.random() < plain else self.pick(*CLAMPS)
        return {"clamp_low": low, "clamp_high": high}

    def params(self, *shape: int) -> dict[str, np.ndarray]:
        fan_in = math.prod(shape[1:])
        weight = self.rng.normal(0, 1.4 / math.sqrt(fan_in), shape).astype(np.float32)
        if self.rng.random() < 0.1:
            weight[int(self.rng.integers(shape[0]))] = 0.0  # a dead channel that keeps its bias
        return {"weight": weight, "bias": self.rng.normal(0, 0.3, shape[0]).astype(np.float32)}

    def conv(self, x: str, c_out: int | None = None, same: bool = False, **clamp: float) -> str:
        channels, *size = self.shape(x)
        rng, pads = self.rng, {}
        depthwise = c_out is None and rng.random() < 0.25
        c_out = c_out or int(rng.integers(1, 13))
        groups = 1
        if depthwise:
            groups, c_out = channels, channels * self.pick(1, 1, 2)
        elif rng.random() < 0.3:
            groups = math.gcd(channels, c_out)
        geometry, kernel = {}, []
        for axis, n, (before, after) in zip("hw", size, (("top", "bottom"), ("left", "right")), strict=True):
            dilation = self.pick(1, 1, 1, 2, 3)
            k = 1 if n == 1 else int(rng.integers(1, max(2, min(7, (n - 1) // dilation + 1) + 1)))
            reach = (k - 1) * dilation
            stride = 1 if same else self.pick(1, 1, 2, 3)
            total = (
                (reach // 2, reach - reach // 2)
                if same or rng.random() < 0.5
                else tuple(rng.integers(0, reach + 1, 2).tolist())
            )
            geometry |= {f"dilation_{axis}": dilation, f"stride_{axis}": stride}
            pads |= {f"pad_{before}": total[0], f"pad_{after}": total[1]}
            kernel.append(k)
        params = self.params(c_out, channels // groups, *kernel)
        return self.emit("conv2d", (x,), params, groups=groups, **geometry, **pads, **(clamp or self.clamp()))

    def pool(self, x: str, same: bool = False) -> str:
        rng = self.rng
        if not same and rng.random() < 0.2:
            _, height, width = self.shape(x)
            size = int(rng.integers(1, height + 1)), int(rng.integers(1, width + 2))
            return self.emit("adaptive_avg_pool2d", (x,), output_h=size[0], output_w=size[1])
        op = self.pick("max_pool2d", "avg_pool2d")
        attrs = {} if op == "max_pool2d" else {"count_include_pad": self.pick(0, 1)}
        for axis, n, sides in zip("hw", self.shape(x)[1:], (("top", "bottom"), ("left", "right")), strict=True):
            k = 1 if n == 1 else int(rng.integers(1, min(5, n) + 1))
            dilation = self.pick(1, 2) if op == "max_pool2d" and 2 * (k - 1) < n else 1
            reach = (k - 1) * dilation
            pad = reach // 2 if same else int(rng.integers(0, k // 2 + 1))
            extra = reach - 2 * pad if same else self.pick(0, 0, 1) * int(pad > 0 and op == "max_pool2d")
            attrs |= {f"kernel_{axis}": k, f"stride_{axis}": 1 if same else self.pick(1, 2, 3)}
            attrs |= {f"pad_{sides[0]}": pad, f"pad_{sides[1]}": pad + extra}
            attrs |= {f"dilation_{axis}": dilation} if op == "max_pool2d" else {}
        try:
            return self.emit(op, (x,), **attrs)
        except ModelError:  # some window would hold padding alone
            return self.conv(x, same=same)

    def residual(self, x: str) -> str:
        inner = self.conv(x, self.shape(x)[0], same=True)
        return self.emit("add", (inner, x) if self.rng.random() < 0.5 else (x, inner), **self.clamp())

    def inception(self, x: str) -> str:
        branches = [self.pick(self.conv, self.pool)(x, same=True) for _ in range(self.pick(1, 2, 3, 4, 8))]
        if self.rng.random() < 0.4:
            branches.append(x)
        if sum(self.shape(b)[0] for b in branches) > MAX_CHANNELS:
            branches = branches[:2]
        return self.emit("concat", tuple(branches[:8]), **self.clamp(0.6))

    def standalone(self, x: str) -> str:
        low, high = self.pick(*CLAMPS[1:])
        return self.emit("clamp", (x,), low=low, high=high)

    def head(self, x: str, classes: int) -> str:
        kind = self.pick("mean", "mean", "flatten", "adaptive", "two")
        if kind == "adaptive":
            x = self.emit("adaptive_avg_pool2d", (x,), output_h=1, output_w=self.pick(1, 2))
        x = self.emit("mean" if kind in ("mean", "two") else "flatten", (x,))
        if kind == "two":
            y = self.emit("linear", (x,), self.params(9, self.shape(x)[0]), **self.clamp(0.0))
            x = self.emit("concat", (y, x)) if self.rng.random() < 0.3 else y
            # The vector that did not go into the concat must not be left unread; here it always feeds `y`.
        return self.emit("linear", (x,), self.params(classes, self.shape(x)[0]))

    def graph(self, output: str) -> Graph:
        read = {name for node in self.nodes for name in node.inputs} | {output}
        nodes = tuple(node for node in self.nodes if node.output in read)
        values = {"x": self.values["x"]} | {node.output: self.values[node.output] for node in nodes}
        graph = Graph(nodes, values, "x", output, "folded")
        verify(graph)
        return graph


def random_graph(seed: int, classifier: bool = True) -> Graph:
    """A folded graph; a `classifier` ends in a vector of 2 to 7 logits, others in any map or code vector."""
    rng = generator(seed, "random graph")
    if rng.random() < 0.5:
        shape = int(rng.integers(1, 9)), 1, int(rng.integers(6, 30))
    else:
        shape = int(rng.integers(1, 6)), int(rng.integers(3, 10)), int(rng.integers(3, 10))
    sketch = Sketch(shape, rng)
    x = "x"
    for _ in range(int(rng.integers(1, 6))):
        x = sketch.pick(
            sketch.conv, sketch.conv, sketch.conv, sketch.pool, sketch.residual, sketch.inception, sketch.standalone
        )(x)
    if classifier:
        x = sketch.head(x, int(rng.integers(2, 8)))
        if rng.random() < 0.1:
            x = sketch.standalone(x)  # a quantized output: 8-bit codes instead of accumulators
    elif not sketch.nodes or rng.random() < 0.3:
        x = sketch.emit("mean", (x,))
    elif rng.random() < 0.5:
        x = sketch.conv(x, clamp_low=-math.inf, clamp_high=math.inf)  # raw accumulators on a map
    return sketch.graph(x)


def random_input(graph: Graph, n: int, seed: int) -> np.ndarray:
    """float32[n, *input shape], smooth enough that maxima differ and with a few outliers."""
    rng = generator(seed, "random input")
    x = rng.normal(0, 1, (n, *graph.values[graph.input].shape)) + rng.normal(0, 0.5)
    x[rng.random(x.shape) < 0.01] *= 4
    return x.astype(np.float32)


def random_annotated(seed: int, classifier: bool = True) -> tuple[Graph, np.ndarray]:
    """A random graph quantized at random widths, and the 8 samples its ranges come from."""
    rng = generator(seed, "widths")
    graph = random_graph(seed, classifier)
    x = random_input(graph, 8, seed)
    weight_bits = int(rng.choice([2, 4, 8]))
    activation_bits = int(rng.choice([8, 8, 8, 4, 2, 6]))
    percentile = float(rng.choice([100.0, 99.0]))
    return annotate(graph, observe_ranges(graph, x, percentile), weight_bits, activation_bits), x
