"""The last step on the server's side of numbers: floats out, integer codes in."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from calibrant.core.errors import ModelError
from calibrant.graph.graph import Graph, Node
from calibrant.graph.verify import verify
from calibrant.quantize.fake import FakeQuantNet


def to_integer(source: Graph | FakeQuantNet) -> Graph:
    """The graph of stage ``integer``: int8 weight codes and int32 biases at scale s_x * s_w.

    Parameters
    ----------
    source : Graph of stage ``annotated``, or a FakeQuantNet of one (its trained weights are taken)

    Raises
    ------
    ModelError
        If the stage is another.

    Examples
    --------
    >>> from calibrant.graph.graph import Value
    >>> from calibrant.quantize import annotate
    >>> params = {"weight": np.array([[1.0, -0.5, 0.0]], np.float32), "bias": np.array([0.25], np.float32)}
    >>> values = {"x": Value("x", (3,)), "y": Value("y", (1,))}
    >>> graph = Graph((Node("linear", "fc", ("x",), "y", {}, params),), values, "x", "y", "folded")
    >>> fc = to_integer(annotate(graph, {"x": (-1.0, 1.0), "y": (-2.0, 2.0)}, weight_bits=4)).nodes[0]
    >>> fc.params["weight"].tolist(), fc.params["bias"].tolist(), fc.attrs["output_bits"]
    ([[7, -4, 0]], [229], 32)
    """
    graph = source if isinstance(source, Graph) else source.graph
    if graph.stage != "annotated":
        raise ModelError(f"to_integer: expected a graph of stage 'annotated', got '{graph.stage}'")
    net = FakeQuantNet(source) if isinstance(source, Graph) else source
    weights, biases = net.codes(), net.bias_codes()

    def coded(node: Node) -> Node:
        if node.name not in weights:
            return node
        weight = np.ascontiguousarray(weights[node.name].reshape(node.params["weight"].shape))
        return node.updated(params={**node.params, "weight": weight, "bias": biases[node.name]})

    integer = replace(graph, nodes=tuple(coded(node) for node in graph.nodes), stage="integer")
    verify(integer)
    return integer
