"""torch.export -> graph: exported with a dynamic batch, made functional, then one table row per ATen op."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import fx, nn
from torch.export import Dim, ExportedProgram

from calibrant.core.errors import ModelError
from calibrant.core.limits import LIMITS
from calibrant.frontend import aten, signs
from calibrant.frontend.builder import Builder, operator_name
from calibrant.graph.graph import Graph
from calibrant.graph.verify import verify

MAX_CONSTANT = LIMITS["constant"].most
ROWS = aten.HANDLERS | signs.HANDLERS

# What tracing raises for control flow on data, shapes that do not fit, and calls that it cannot follow.
EXPORT_ERRORS = (RuntimeError, ValueError, TypeError, IndexError, AssertionError)


def from_torch(model: nn.Module | ExportedProgram, example: torch.Tensor) -> Graph:
    """The model as a graph of stage ``float``, for any batch size.

    Parameters
    ----------
    model : nn.Module or ExportedProgram
        A module is exported in eval mode and left in the mode it was in.
    example : float32 tensor [N, C, T], [N, C, H, W] or [N, F]
        One batch of the shape the model takes; its numbers do not matter.

    Returns
    -------
    Graph
        Its weights are copies. A weight that the model uses twice becomes two layers.

    Raises
    ------
    ModelError
        If the model cannot be exported, or contains an op that is not supported: which, where, and what to do.

    Examples
    --------
    >>> model = nn.Sequential(nn.Conv1d(3, 4, 5, padding="same"), nn.ReLU(), nn.Flatten(), nn.Linear(40, 2))
    >>> graph = from_torch(model, torch.zeros(1, 3, 10))
    >>> [f"{node.name} {node.op}" for node in graph.nodes]
    ['0 conv2d', '1 relu', '2 flatten', '3 linear']
    """
    _check_example(example)
    exported = model if isinstance(model, ExportedProgram) else _export(model, example)
    _check_signature(exported, example)
    with _silent():
        functional = exported.run_decompositions({})  # no op is taken apart, but in-place ops become functions
    graph = _walk(functional)
    verify(graph)
    return graph


def _check_example(example: torch.Tensor) -> None:
    if not isinstance(example, torch.Tensor):
        raise ModelError(f"example: expected one tensor, got {type(example).__name__}")
    if example.dtype != torch.float32:
        raise ModelError(f"example: expected float32, got {_dtype_name(example)}")
    if example.ndim not in (2, 3, 4) or 0 in example.shape:
        raise ModelError(f"example: expected [N, F], [N, C, T] or [N, C, H, W], got shape {list(example.shape)}")


def _export(model: nn.Module, example: torch.Tensor) -> ExportedProgram:
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        _check_weight(name, tensor)
    # A batch of 1 would be taken for a constant, so every example is brought to two samples.
    batch = example[:1].expand(2, *example.shape[1:]).contiguous()
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with _silent(), torch.no_grad():
            return torch.export.export(model, (batch,), dynamic_shapes=({0: Dim("batch", min=1)},), strict=False)
    except EXPORT_ERRORS as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ModelError(
            f"{type(model).__name__}: torch.export failed on an input of shape [N, "
            f"{', '.join(map(str, example.shape[1:]))}]: {reason}"
        ) from error
    finally:
        for module, training in modes:
            module.training = training


def _check_signature(exported: ExportedProgram, example: torch.Tensor) -> None:
    signature = exported.graph_signature
    if signature.buffers_to_mutate or signature.user_inputs_to_mutate:
        changed = next(iter({**signature.buffers_to_mutate, **signature.user_inputs_to_mutate}.values()))
        raise ModelError(f"model: its forward changes '{changed}'; call model.eval() before torch.export.export")
    if len(signature.user_inputs) != 1:
        raise ModelError(f"model: expected one input tensor, got {len(signature.user_inputs)}")
    if len(signature.user_outputs) != 1:
        raise ModelError(f"model: expected one output tensor, got {len(signature.user_outputs)}")
    for name, tensor in exported.state_dict.items():
        _check_weight(name, tensor)
    entry = next(n for n in exported.graph.nodes if n.op == "placeholder" and n.name == signature.user_inputs[0])
    value = entry.meta["val"]
    if not isinstance(value, torch.Tensor) or value.dtype != torch.float32:
        raise ModelError(f"model: input '{entry.name}': expected a float32 tensor, got {value}")
    sizes = tuple(value.shape)
    if any(not isinstance(n, int) for n in sizes[1:]):
        raise ModelError(
            f"model: input '{entry.name}': only the batch dimension may be dynamic, got {[str(n) for n in sizes]}"
        )
    if sizes[1:] != tuple(example.shape[1:]):
        raise ModelError(
            f"model: input '{entry.name}': expected an example [N, {', '.join(map(str, sizes[1:]))}], "
            f"got shape {list(example.shape)}"
        )


def _check_weight(name: str, tensor: Any) -> None:
    if isinstance(tensor, torch.Tensor) and tensor.is_floating_point() and tensor.dtype != torch.float32:
        raise ModelError(f"weight '{name}': expected float32, got {_dtype_name(tensor)}; call model.float()")


def _dtype_name(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


@contextmanager
def _silent() -> Iterator[None]:
    """torch.export warns about its own internals; a library has nothing to say there."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _walk(exported: ExportedProgram) -> Graph:
    builder, signature = Builder(aten.LAYERS), exported.graph_signature
    stored = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    lifted = signature.inputs_to_lifted_tensor_constants
    for node in exported.graph.nodes:
        if node.op == "placeholder":
            if node.name in stored:
                target = stored[node.name]
                builder.constants[node] = (exported.state_dict | exported.constants)[target]
            elif node.name in lifted:
                builder.constants[node] = exported.constants[lifted[node.name]]
            else:
                builder.enter(node)
        elif node.op == "call_function" and isinstance(node.meta.get("val"), (torch.Tensor, tuple, list)):
            _convert(builder, node)
    results = next(n for n in exported.graph.nodes if n.op == "output").args[0]
    last = results[0]
    return builder.finish(builder.activation(last if isinstance(last, fx.Node) else results, last))


def _convert(builder: Builder, node: fx.Node) -> None:
    """One torch node: folded if it is computed from constants alone, else by its row."""
    if not any(source in builder.names for source in node.all_input_nodes):
        builder.constants[node] = _fold(builder, node)
        return
    handler = ROWS.get(operator_name(node))
    if handler is None:
        raise builder.unsupported(node)
    value = handler(builder, node)
    whole = isinstance(node.meta["val"], torch.Tensor) and node not in builder.padding
    if whole and builder.layout(node) != builder.shape(value):
        shown = [str(n) for n in node.meta["val"].shape]
        raise builder.refusal(node, f"expected output shape {shown}, the graph has {list(builder.shape(value))}")
    builder.names[node] = value


def _fold(builder: Builder, node: fx.Node) -> Any:
    """The value of a node without activations among its inputs, such as a transposed or normalized weight."""
    missing = [source.name for source in node.all_input_nodes if source not in builder.constants]
    if missing or not callable(node.target):
        raise builder.refusal(node, f"expected constants, got {missing} that depend on the batch size")
    size = getattr(node.meta["val"], "numel", int)()
    if size > MAX_CONSTANT:
        raise builder.refusal(node, f"expected a constant of at most {MAX_CONSTANT:,} numbers, got {size:,}")
    args, kwargs = fx.map_arg((node.args, node.kwargs), builder.constants.__getitem__)
    with torch.no_grad():
        return node.target(*args, **kwargs)
