"""Programs planned for microcontrollers compute the same in less memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from interpreter import Interpreter

from calibrant.core.errors import PlanError
from calibrant.core.program import Op, Program, Tensor
from calibrant.core.rng import generator
from calibrant.engine import Engine
from calibrant.plan import compact, lower
from calibrant.plan.check import check
from calibrant.quantize import to_integer
from random_graphs import random_annotated

PROGRAMS = [lower(to_integer(random_annotated(seed)[0])) for seed in range(30)]
PLAIN = [pair for pair in PROGRAMS if all(op.kind != "adaptive_avg_pool2d" for op in pair[0].ops)]


@pytest.mark.parametrize("seed", range(len(PLAIN)))
def test_same_outputs_in_less_memory(seed: int) -> None:
    program, constants = PLAIN[seed]
    small = compact(program)
    check(small, 16)
    assert small.arena_bytes <= program.arena_bytes
    assert all(op.attrs["scratch_bytes"] == 0 for op in small.ops)
    t = program.tensors[program.input]
    x = generator(seed, "compact").integers(-128, 128, (3, t.height, t.width, t.channels)).astype(np.int8)
    expected = Engine(program, constants).infer(x)
    interpreter = Interpreter(small, constants)
    for sample, want in zip(x, expected, strict=True):
        np.testing.assert_array_equal(interpreter.run(sample), want)


def test_ops_move_where_that_lowers_the_peak() -> None:
    """Two branches that grow, then shrink: one after the other, not side by side."""
    names = ("x", "wide0", "wide1", "thin0", "thin1", "y")
    tensors = tuple(Tensor(n, 1, 1, c, 0.1, 0) for n, c in zip(names, (16, 160, 160, 16, 16, 16), strict=True))
    copies = (Op("rescale", (i,), o, {}) for i, o in ((0, 1), (0, 2), (1, 3), (2, 4)))
    ops = (*copies, Op("add", (3, 4), 5, {}))
    program = Program(tensors, ops, (), 0, 5, (), 0)
    small = compact(program)
    assert [op.output for op in small.ops] == [1, 3, 2, 4, 5]
    assert small.arena_bytes == 16 + 160 + 16


def test_alignment() -> None:
    program, _ = lower(to_integer(random_annotated(0)[0]))
    assert all(offset % 4 == 0 for offset in compact(program, alignment=4).offsets)
    assert compact(program, alignment=4).arena_bytes <= compact(program, alignment=64).arena_bytes
    with pytest.raises(PlanError, match="alignment: expected a power of two from 4, got 12"):
        compact(program, alignment=12)


def test_the_checker_knows_the_alignment() -> None:
    program, _ = lower(to_integer(random_annotated(0)[0]))
    small = compact(program, alignment=4)
    with pytest.raises(PlanError, match="multiple of 4, got 2"):
        check(replace(small, offsets=(2, *small.offsets[1:])), 4)
