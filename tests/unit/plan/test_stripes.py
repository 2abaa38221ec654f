"""A stage in stripes computes what it computed whole, bit for bit."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from interpreter import Interpreter

from calibrant.autodiff import differentiate, published
from calibrant.core.errors import ModelError, PlanError
from calibrant.core.program import Constants, Op, Program, Tensor, View
from calibrant.core.rng import generator
from calibrant.engine import Engine
from calibrant.plan import check_training, compact, lower, report, schedule
from calibrant.plan.check import check
from calibrant.plan.stripes import choose, split
from calibrant.plan.workload import program_macs
from calibrant.quantize import annotate, to_integer
from calibrant.zoo import load_tinyml
from random_graphs import Sketch

FOLDER = Path(os.environ.get("CALIBRANT_DATA", Path(__file__).parents[4] / "shared" / "data"))
real = pytest.mark.skipif(not (FOLDER / "tinyml").is_dir(), reason=f"no tinyml in {FOLDER}; set CALIBRANT_DATA")


def network(seed: int) -> tuple[Program, Constants]:
    """Convolutions, pools and residual sums on a small map, then a mean and a linear layer."""
    rng = generator(seed, "stripes")
    s = Sketch((int(rng.integers(1, 4)), int(rng.integers(6, 14)), int(rng.integers(3, 7))), rng)
    x = "x"
    for _ in range(int(rng.integers(2, 5))):
        x = s.pick(s.conv, s.conv, lambda x: s.pool(x, same=True), s.residual, s.standalone)(x)
    x = s.emit("linear", (s.emit("mean", (x,)),), s.params(3, s.shape(x)[0]))
    graph = s.graph(x)
    return lower(to_integer(annotate(graph, dict.fromkeys(graph.values, (-2.0, 6.0)), 8)))


def stages(program: Program, counts: tuple[int, ...]) -> list[Program]:
    """The program with every stage that can be striped, in so many stripes."""
    found = []
    for ops in range(1, len(program.ops)):
        for count in counts:
            try:
                found.append(split(program, ops, count))
            except PlanError:
                continue
    return found


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(2, 6))
def test_same_outputs(seed: int, count: int) -> None:
    program, constants = network(seed)
    t = program.tensors[program.input]
    x = generator(seed, "input").integers(-128, 128, (t.height, t.width, t.channels)).astype(np.int8)
    expected = Engine(program, constants).infer(x[None])[0]
    for striped in stages(program, (1, count)):
        check(striped, 16)
        np.testing.assert_array_equal(Interpreter(striped, constants).run(x), expected)


def test_most_networks_have_stages() -> None:
    assert sum(bool(stages(network(seed)[0], (2,))) for seed in range(20)) > 10


def test_halos_by_hand() -> None:
    """Two 3x3 convolutions with padding 1 on 8 rows, 2 stripes: 4 rows of output need 5 inside and 6 outside."""
    s = Sketch((2, 8, 5), generator(0, "halo"))
    y = "x"
    for _ in range(2):
        pads = {f"pad_{side}": 1 for side in ("top", "bottom", "left", "right")}
        y = s.emit("conv2d", (y,), s.params(2, 2, 3, 3), **pads)
    graph = s.graph(s.emit("linear", (s.emit("mean", (y,)),), s.params(3, 2)))
    program, _ = lower(to_integer(annotate(graph, dict.fromkeys(graph.values, (-2.0, 6.0)), 8)))
    striped = split(program, 2, 2)
    rows = [(striped.tensors[op.inputs[0]], striped.tensors[op.output], op.attrs["pad_top"]) for op in striped.ops[:4]]
    got = [(x.row if isinstance(x, View) else 0, x.height, y.row, y.height, pad) for x, y, pad in rows]
    assert got == [(0, 6, 0, 5, 1), (0, 5, 0, 4, 1), (2, 6, 0, 5, 0), (0, 5, 4, 4, 0)]
    assert [op.layer for op in striped.ops] == [0, 1, 0, 1, -1, 2]
    assert program_macs(striped) - program_macs(program) == 2 * 5 * 2 * (9 * 2)
    whole = striped.tensors[striped.ops[4].inputs[0]]
    assert (whole.name, whole.height, whole.parent) == (program.tensors[2].name, 8, -1)


def test_what_cannot_be_striped() -> None:
    s = Sketch((2, 6, 4), generator(0, "refused"))
    a = s.emit("clamp", ("x",), low=0.0, high=2.0)
    b = s.emit("clamp", (a,), low=0.0, high=1.0)
    graph = s.graph(s.emit("mean", (s.emit("add", (a, b)),)))
    program, _ = lower(to_integer(annotate(graph, dict.fromkeys(graph.values, (-2.0, 6.0)), 8)))
    with pytest.raises(PlanError, match="'clamp0_out' is read after the first 2 ops"):
        split(program, 2, 2)
    with pytest.raises(PlanError, match=r"op 3: expected one of conv2d, .*, got mean"):
        split(program, 4, 1)
    with pytest.raises(PlanError, match="expected 1 to 6, one a row of 'clamp0_out', got 7"):
        split(program, 1, 7)
    with pytest.raises(PlanError, match="expected 1 to 4 ops, got 5"):
        split(program, 5, 1)
    with pytest.raises(PlanError, match="without views"):
        split(split(program, 1, 2), 1, 2)
    assert split(program, 0, 1) == compact(program)


def test_the_engine_refuses_views() -> None:
    program, constants = network(1)
    with pytest.raises(PlanError, match="expected memory of its own, got rows of tensor"):
        Engine(stages(program, (2,))[0], constants)


def views(**changes: object) -> Program:
    """x of 4 rows is copied to y in two stripes."""
    x, y = Tensor("x", 4, 1, 16, 0.1, 0), Tensor("y", 4, 1, 16, 0.1, 0)
    parts = [
        View(f"{t.name}{row}", 2, 1, 16, 0.1, 0, parent=i, row=row) for i, t in enumerate((x, y)) for row in (0, 2)
    ]
    ops = (Op("rescale", (2,), 4, {}), Op("rescale", (3,), 5, {}))
    whole = Program((x, y, *parts), ops, (), 0, 1, (0, 64, 0, 32, 64, 96), 128)
    return replace(whole, **changes)


def test_the_checker_follows_rows() -> None:
    check(views(), 16)
    with pytest.raises(PlanError, match="row 2 of 'y' at 96, got 64"):
        check(views(offsets=(0, 64, 0, 32, 64, 64)), 16)
    with pytest.raises(PlanError, match="'y' is written by no op"):
        check(views(ops=(Op("rescale", (2,), 4, {}),)), 16)
    with pytest.raises(PlanError, match="writes tensor 'y0' a second time"):
        check(views(ops=(*views().ops, Op("rescale", (2,), 4, {}))), 16)
    with pytest.raises(PlanError, match="overlaps"):
        check(views(offsets=(0, 32, 0, 32, 32, 64)), 16)
    tensors = views().tensors
    with pytest.raises(PlanError, match="rows that 'y' has"):
        check(views(tensors=(*tensors[:5], replace(tensors[5], row=3))), 16)  # type: ignore[call-arg]
    with pytest.raises(PlanError, match="tensor that is no view, got 2"):
        check(views(tensors=(*tensors[:5], replace(tensors[5], parent=2))), 16)  # type: ignore[call-arg]
    with pytest.raises(PlanError, match="tensor that is no view, got 2"):
        compact(views(tensors=(*tensors[:5], replace(tensors[5], parent=2))))  # type: ignore[call-arg]


def test_choice_within_a_limit_saves_work() -> None:
    s = Sketch((2, 12, 9), generator(0, "choice"))
    y = "x"
    for stride in (1, 2, 1):
        y = s.emit("conv2d", (y,), s.params(6, s.shape(y)[0], 3, 3), stride_h=stride, stride_w=stride)
    graph = s.graph(s.emit("linear", (s.emit("mean", (y,)),), s.params(3, 6)))
    program, _ = lower(to_integer(annotate(graph, dict.fromkeys(graph.values, (-2.0, 6.0)), 8)))
    lowest = choose(program)
    assert lowest.ops > 0
    whole = report_peak(program)
    assert lowest.peak_bytes < whole
    between = choose(program, limit=(lowest.peak_bytes + whole) // 2)
    assert between.peak_bytes <= (lowest.peak_bytes + whole) // 2
    assert between.extra_macs <= lowest.extra_macs
    assert choose(program, limit=whole).extra_macs == 0
    assert choose(program, frozen=0) == replace(lowest, ops=0, count=1, extra_macs=0, peak_bytes=whole)
    assert program_macs(split(program, lowest.ops, lowest.count)) - program_macs(program) == lowest.extra_macs


def report_peak(program: Program) -> int:
    """The most bytes of tensors in use at one op, by definition."""
    last = {i: at for at, op in enumerate(program.ops) for i in op.inputs} | {program.output: len(program.ops)}
    first = {program.input: 0} | {op.output: at for at, op in enumerate(program.ops)}
    return max(sum(program.tensors[i].nbytes for i in first if first[i] <= at <= last.get(i, first[i]))
               for at in range(len(program.ops)))  # fmt: skip


@real
def test_mcunet_trains_in_stripes() -> None:
    """With its first six ops in stripes, the backward pass alone decides the arena."""
    program, constants = lower(load_tinyml(FOLDER / "tinyml" / "mcunet-5fps", classes=10))
    chosen = choose(program, limit=119_000)
    assert chosen.extra_macs < 0.02 * program_macs(program)
    striped = split(program, chosen.ops, chosen.count)
    training = differentiate(striped, constants, published("mcunet-5fps", "49KB"))
    planned = schedule(training, striped, alignment=16)
    check_training(planned, striped, training)
    found = report(planned, striped)
    assert found.forward_peak_bytes == chosen.peak_bytes < found.backward_peak_bytes
    assert planned.arena_bytes <= 120_000
    with pytest.raises(ModelError, match="no gradient to a tensor that is computed in stripes"):
        differentiate(striped, constants, published("mcunet-5fps", "49KB").__class__(biases=None))
