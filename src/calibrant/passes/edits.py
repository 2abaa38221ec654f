"""The few graph edits that passes are made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from calibrant.graph.graph import Graph, Node, Value
from calibrant.graph.verify import infer_shape
from calibrant.ops import SCHEMAS


def uses(graph: Graph, value: str) -> int:
    """How often a value is read; being the graph's output counts as one."""
    return sum(node.inputs.count(value) for node in graph.nodes) + (value == graph.output)


def rebuild(graph: Graph, nodes: Iterable[Node], output: str | None = None) -> Graph:
    """The graph with other nodes, in topological order; shapes are inferred anew."""
    kept = tuple(nodes)
    values = {graph.input: graph.values[graph.input]}
    for node in kept:
        values[node.output] = Value(node.output, infer_shape(node, SCHEMAS[node.op], values))
    return replace(graph, nodes=kept, values=values, output=output or graph.output)


def exchange(graph: Graph, changed: Mapping[str, Node]) -> Graph:
    """The graph with the nodes of these names replaced."""
    return rebuild(graph, (changed.get(node.name, node) for node in graph.nodes))


def bypass(graph: Graph, name: str) -> Graph:
    """The graph without the node `name`: whoever read its output reads its first input."""
    gone = next(node for node in graph.nodes if node.name == name)

    def renamed(value: str) -> str:
        return gone.inputs[0] if value == gone.output else value

    nodes = [node.updated(inputs=tuple(map(renamed, node.inputs))) for node in graph.nodes if node is not gone]
    return rebuild(graph, nodes, renamed(graph.output))
