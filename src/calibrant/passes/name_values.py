"""Names every value after the node that computes it, and the input ``input``, so that equal models print equal text."""

from __future__ import annotations

from dataclasses import replace

from calibrant.core.errors import ModelError
from calibrant.graph.graph import Graph
from calibrant.passes.edits import rebuild

INPUT = "input"


def name_values(graph: Graph) -> Graph:
    """Rename values to canonical names."""
    if any(node.name == INPUT for node in graph.nodes):
        raise ModelError(f"node '{INPUT}': expected another name, this one is the graph's input")
    names = {graph.input: INPUT} | {node.output: node.name for node in graph.nodes}
    entry = replace(graph.values[graph.input], name=INPUT)
    nodes = [node.updated(inputs=tuple(names[i] for i in node.inputs), output=node.name) for node in graph.nodes]
    return rebuild(replace(graph, input=INPUT, values={INPUT: entry}), nodes, names[graph.output])
