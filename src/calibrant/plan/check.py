"""An independent verifier of memory plans: it shares no code with the planner and trusts nothing but the program."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from calibrant.core.errors import PlanError
from calibrant.core.program import Program, Tensor

ALIGNMENT = 64
Place = tuple[str, int, int]  # what lies there, offset, bytes


def check(program: Program, alignment: int = ALIGNMENT) -> None:
    """Refuse a program whose plan could make one piece of memory overwrite another that is still needed.

    It walks the ops once forward (what is written before it is read) and once backward (what is still needed), and
    at every op compares all memory in use then. A view is its rows of its parent: each row is written once, and the
    parent is in use from its first row's writing to its last row's reading. `alignment` holds for all other offsets.

    Raises
    ------
    PlanError
        An id out of range, a tensor that is read before it is written or written twice, an offset that is misaligned
        or leaves the arena, or two pieces of memory in use at once that overlap.

    Examples
    --------
    >>> from calibrant.core.program import Op, Tensor
    >>> x, y = Tensor("x", 1, 96, 1, 0.1, 0), Tensor("y", 1, 96, 1, 0.1, 0)
    >>> check(Program((x, y), (Op("rescale", (0,), 1, {}),), (), 0, 1, offsets=(0, 64), arena_bytes=192))
    Traceback (most recent call last):
    calibrant.core.errors.PlanError: op 0 (rescale): tensor 'x', 96 bytes at 0, overlaps tensor 'y' at 64, both in use
    """
    _check_ids(program)
    _check_views(program)
    _check_order(program)
    places = list(_places(program))
    _check_places(program, places, alignment)
    whole = [tensor.parent if tensor.parent >= 0 else i for i, tensor in enumerate(program.tensors)]
    writers = {whole[op.output]: at for at, op in reversed(list(enumerate(program.ops)))}  # the first of each
    needed: set[int] = {whole[program.output]}
    for at in range(len(program.ops) - 1, -1, -1):
        op = program.ops[at]
        used = {whole[i] for i in (*op.inputs, op.output)}
        in_use = [places[i] for i in needed | used]
        _check_apart(f"op {at} ({op.kind})", [*in_use, places[len(program.tensors) + at]])
        needed = {i for i in needed | used if writers.get(i) != at}


def _check_ids(program: Program) -> None:
    count = len(program.tensors)
    if len(program.offsets) != count:
        raise PlanError(f"plan: expected {count} offsets, one per tensor, got {len(program.offsets)}")
    ids = [("input", program.input), ("output", program.output)]
    for at, op in enumerate(program.ops):
        ids += [(f"op {at} ({op.kind})", i) for i in (*op.inputs, op.output)]
        if op.layer != -1 and not 0 <= op.layer < len(program.layers):
            raise PlanError(f"op {at} ({op.kind}): expected a layer below {len(program.layers)}, got {op.layer}")
    for where, i in ids:
        if not 0 <= i < count:
            raise PlanError(f"{where}: expected a tensor id below {count}, got {i}")


def _check_views(program: Program) -> None:
    for tensor, offset in zip(program.tensors, program.offsets, strict=True):
        if tensor.parent < 0:
            continue
        if tensor.parent >= len(program.tensors) or program.tensors[tensor.parent].parent >= 0:
            raise PlanError(f"tensor '{tensor.name}': expected rows of a tensor that is no view, got {tensor.parent}")
        whole = program.tensors[tensor.parent]
        same = (whole.width, whole.channels, whole.bits) == (tensor.width, tensor.channels, tensor.bits)
        if not same or tensor.row < 0 or tensor.row + tensor.height > whole.height:
            raise PlanError(f"tensor '{tensor.name}': expected rows that '{whole.name}' has, got {tensor.height} of "
                            f"{tensor.width} x {tensor.channels} at row {tensor.row}")  # fmt: skip
        start = program.offsets[tensor.parent] + tensor.row * (_bytes(tensor) // tensor.height)
        if offset != start:
            raise PlanError(
                f"tensor '{tensor.name}': expected row {tensor.row} of '{whole.name}' at {start}, got {offset}"
            )


def _check_order(program: Program) -> None:
    rows: list[set[tuple[int, int]]] = []
    for i, tensor in enumerate(program.tensors):
        whole, first = (tensor.parent, tensor.row) if tensor.parent >= 0 else (i, 0)
        rows.append({(whole, first + row) for row in range(tensor.height)})
    written = set(rows[program.input])
    for at, op in enumerate(program.ops):
        for i in op.inputs:
            if not rows[i] <= written:
                raise PlanError(f"op {at} ({op.kind}): reads tensor '{program.tensors[i].name}' before it is written")
        if rows[op.output] & written:
            raise PlanError(f"op {at} ({op.kind}): writes tensor '{program.tensors[op.output].name}' a second time")
        written |= rows[op.output]
    if not rows[program.output] <= written:
        raise PlanError(f"output: tensor '{program.tensors[program.output].name}' is written by no op")


def _places(program: Program) -> Iterator[Place]:
    """Where all tensors, then the scratch of all ops lie."""
    for tensor, offset in zip(program.tensors, program.offsets, strict=True):
        yield f"tensor '{tensor.name}'", offset, _bytes(tensor)
    for at, op in enumerate(program.ops):
        yield f"scratch of op {at} ({op.kind})", op.attrs.get("scratch_offset", 0), op.attrs.get("scratch_bytes", 0)


def _bytes(tensor: Tensor) -> int:
    """Counted anew: the checker shares no code with what it checks."""
    position = (tensor.channels + 31) // 32 * 4 if tensor.bits == 1 else tensor.channels * tensor.bits // 8
    return tensor.height * tensor.width * position


def _check_places(program: Program, places: list[Place], alignment: int) -> None:
    views = [tensor.parent >= 0 for tensor in program.tensors] + [False] * len(program.ops)
    for (what, offset, nbytes), view in zip(places, views, strict=True):
        if offset % alignment and not view:
            raise PlanError(f"{what}: expected an offset that is a multiple of {alignment}, got {offset}")
        if offset < 0 or nbytes < 0 or offset + nbytes > program.arena_bytes:
            raise PlanError(f"{what}: expected to lie in an arena of {program.arena_bytes}, got {nbytes} at {offset}")


def _check_apart(where: str, in_use: list[Place]) -> None:
    """No two pieces of memory overlap: in order of offset, some neighbors do if any two do."""
    ordered = sorted((place for place in in_use if place[2] > 0), key=lambda place: place[1])
    for (what, offset, nbytes), (other, start, _) in pairwise(ordered):
        if offset + nbytes > start:
            raise PlanError(f"{where}: {what}, {nbytes} bytes at {offset}, overlaps {other} at {start}, both in use")
