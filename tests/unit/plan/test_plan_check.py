"""The checker rejects every plan that we break on purpose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from calibrant.core.errors import PlanError
from calibrant.core.program import Op, Program, Tensor
from calibrant.plan import lower
from calibrant.plan.check import check
from calibrant.quantize import to_integer
from random_graphs import random_annotated


def chain(offsets: tuple[int, int, int] = (0, 128, 0), arena: int = 256, scratch: int = 0) -> Program:
    """x (100 bytes) -> y (100 bytes) -> z (100 bytes): x is dead when z is written, so z may take its place."""
    x, y, z = (Tensor(name, 1, 100, 1, 0.1, 0) for name in "xyz")
    plain = {"scratch_offset": 0, "scratch_bytes": 0}
    ops = (
        Op("rescale", (0,), 1, plain | {"scratch_bytes": scratch, "scratch_offset": 256 if scratch else 0}),
        Op("rescale", (1,), 2, plain),
    )
    return Program((x, y, z), ops, (), 0, 2, offsets, arena)


def test_memory_of_a_dead_tensor_may_be_reused() -> None:
    check(chain())


def test_overlap_of_input_and_output_of_one_op() -> None:
    with pytest.raises(PlanError, match=r"op 0 .*: tensor 'x', 100 bytes at 0, overlaps tensor 'y' at 64, both in use"):
        check(chain(offsets=(0, 64, 192), arena=320))


def test_overlap_with_a_tensor_that_is_read_later() -> None:
    """x is read again by the last op, so nothing may be written over it in between."""
    program = chain(offsets=(0, 128, 0))
    late = Op("add", (0, 1), 2, {})
    with pytest.raises(PlanError, match="both in use"):
        check(replace(program, ops=(program.ops[0], late)))
    check(replace(program, ops=(program.ops[0], late), offsets=(0, 128, 256), arena_bytes=384))


def test_overlap_with_the_output_that_must_survive_to_the_end() -> None:
    x, y, z, w = (Tensor(name, 1, 100, 1, 0.1, 0) for name in "xyzw")
    ops = (Op("rescale", (0,), 1, {}), Op("rescale", (0,), 2, {}), Op("rescale", (2,), 3, {}))
    program = Program((x, y, z, w), ops, (), 0, 1, (0, 128, 256, 128), 384)
    with pytest.raises(PlanError, match=r"op 2 .*overlaps"):
        check(program)


def test_overlap_of_scratch() -> None:
    check(chain(arena=356, scratch=100))
    program = chain(arena=356, scratch=100)
    moved = replace(program.ops[0], attrs={"scratch_offset": 192, "scratch_bytes": 100})
    with pytest.raises(PlanError, match=r"overlaps scratch of op 0 .* at 192"):
        check(replace(program, ops=(moved, program.ops[1])))


def test_a_large_block_over_several_small_ones() -> None:
    """The wide one starts first and ends last: it must be caught though its far neighbor is not adjacent in order."""
    wide, a, b = Tensor("wide", 1, 400, 1, 0.1, 0), Tensor("a", 1, 10, 1, 0.1, 0), Tensor("b", 1, 410, 1, 0.1, 0)
    ops = (Op("rescale", (0,), 1, {}), Op("concat", (0, 1), 2, {}))
    with pytest.raises(PlanError, match="overlaps tensor 'a' at 64"):
        check(Program((wide, a, b), ops, (), 0, 2, (0, 64, 448), 896))


BROKEN: dict[str, tuple[str, Callable[[Program], Program]]] = {
    "outside": ("lie in an arena of 192", lambda p: replace(p, arena_bytes=192)),
    "negative": ("lie in an arena", lambda p: replace(p, offsets=(-64, 128, 0))),
    "misaligned": ("multiple of 64, got 130", lambda p: replace(p, offsets=(0, 130, 0))),
    "too few offsets": ("expected 3 offsets, one per tensor, got 2", lambda p: replace(p, offsets=(0, 128))),
    "input id": ("input: expected a tensor id below 3, got 3", lambda p: replace(p, input=3)),
    "output id": ("output: expected a tensor id below 3, got -1", lambda p: replace(p, output=-1)),
    "operand id": (
        r"op 1 \(rescale\): expected a tensor id below 3, got 7",
        lambda p: replace(p, ops=(p.ops[0], Op("rescale", (7,), 2, {}))),
    ),
    "layer id": ("expected a layer below 0, got 0", lambda p: replace(p, ops=(Op("conv2d", (0,), 1, {}, 0), p.ops[1]))),
    "read before written": ("reads tensor 'y' before it is written", lambda p: replace(p, ops=p.ops[::-1])),
    "undefined output": ("output: tensor 'z' is written by no op", lambda p: replace(p, ops=p.ops[:1])),
    "written twice": ("a second time", lambda p: replace(p, ops=(*p.ops, Op("rescale", (1,), 2, {})))),
    "input written": (
        "writes tensor 'x' a second time",
        lambda p: replace(p, ops=(*p.ops, Op("rescale", (2,), 0, {}))),
    ),
    "scratch outside": (
        "scratch of op 0",
        lambda p: replace(p, ops=(Op("rescale", (0,), 1, {"scratch_offset": 256, "scratch_bytes": 1}), p.ops[1])),
    ),
    "negative scratch": (
        "scratch of op 0",
        lambda p: replace(p, ops=(Op("rescale", (0,), 1, {"scratch_offset": 0, "scratch_bytes": -5}), p.ops[1])),
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_plans_are_refused(name: str) -> None:
    message, spoil = BROKEN[name]
    with pytest.raises(PlanError, match=message):
        check(spoil(chain()))


@pytest.mark.parametrize("seed", range(12))
def test_planted_overlaps_in_real_plans(seed: int) -> None:
    """Move the output of each op onto its first input: always an overlap, always found."""
    program, _ = lower(to_integer(random_annotated(seed)[0]))
    for op in program.ops:
        offsets = list(program.offsets)
        offsets[op.output] = offsets[op.inputs[0]]
        room = max(program.arena_bytes, offsets[op.output] + program.tensors[op.output].nbytes)
        with pytest.raises(PlanError, match="both in use"):
            check(replace(program, offsets=tuple(offsets), arena_bytes=room))
