"""A small classifier with the op ``negate`` in it, for the scenarios of that addition."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from artifacts import make_artifact
from calibrant.artifact import Artifact
from calibrant.core.rng import generator
from calibrant.core.settings import FlipSettings
from calibrant.graph.graph import Graph, Node, Value
from calibrant.ops import SCHEMAS
from calibrant.plan import lower
from calibrant.quantize import annotate, observe_ranges, to_integer


def annotated() -> Graph:
    """Series [3, 8] -> conv2d (kernel 3, clamp at zero) -> negate -> mean -> linear, 3 classes."""
    rng = generator(0, "negation")
    first = {"weight": rng.normal(0, 0.4, (6, 3, 1, 3)), "bias": rng.normal(0, 0.1, 6)}
    last = {"weight": rng.normal(0, 0.4, (3, 6)), "bias": np.zeros(3)}
    one, other = ({k: v.astype(np.float32) for k, v in each.items()} for each in (first, last))
    attrs = SCHEMAS["conv2d"].complete(pad_left=1, pad_right=1) | {"clamp_low": 0.0}
    nodes = (
        Node("conv2d", "first", ("x",), "h", attrs, one),
        Node("negate", "neg", ("h",), "n"),
        Node("mean", "mean", ("n",), "m"),
        Node("linear", "last", ("m",), "y", {}, other),
    )
    shapes = {"x": (3, 1, 8), "h": (6, 1, 8), "n": (6, 1, 8), "m": (6,), "y": (3,)}
    graph = Graph(nodes, {name: Value(name, shape) for name, shape in shapes.items()}, "x", "y", "folded")
    samples = rng.normal(0, 1, (64, 3, 1, 8)).astype(np.float32)
    return annotate(graph, observe_ranges(graph, samples), weight_bits=8)


def artifact(settings: FlipSettings) -> Artifact:
    """The classifier lowered, with statistics of the small artifact of the same layers."""
    program, constants = lower(to_integer(annotated()))
    return replace(make_artifact(bits=8), program=program, constants=constants, settings=settings)
