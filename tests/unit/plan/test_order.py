"""The search finds legal orders, as good as all orders tried one by one."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibrant.plan import lower
from calibrant.plan.accesses import Area, Task, Work, inference
from calibrant.plan.order import lifetimes, live, predecessors, search
from calibrant.quantize import to_integer
from random_graphs import random_annotated


@st.composite
def works(draw: st.DrawFn, most: int = 6) -> Work:
    """Tasks that each write a memory of their own or change an earlier one, and read earlier ones."""
    tasks: list[Task] = []
    sizes = [draw(st.integers(1, 9))]
    for _ in range(draw(st.integers(1, most))):
        reads = draw(st.lists(st.integers(0, len(sizes) - 1), min_size=1, max_size=2, unique=True))
        if draw(st.integers(0, 4)) == 0:
            target = reads[0]  # in place
        else:
            sizes.append(draw(st.integers(0, 30)))
            target = len(sizes) - 1
        areas = [Area(i, 0, 1) for i in (*reads, target)]
        tasks.append(Task(tuple(areas[:-1]), (areas[-1],), draw(st.sampled_from((0, 0, 7)))))
    return Work(tuple(tasks), tuple(sizes), 0, len(sizes) - 1)


def legal(work: Work, order: tuple[int, ...] | list[int]) -> bool:
    """Every read finds the same number of writes before it as in the natural order, and writes keep their order."""

    def seen(sequence: tuple[int, ...] | list[int]) -> dict[int, list[int]]:
        writes = dict.fromkeys(range(len(work.sizes)), 0)
        found = {}
        for i in sequence:
            found[i] = [writes[a.root] for a in (*work.tasks[i].reads, *work.tasks[i].writes)]
            for a in work.tasks[i].writes:
                writes[a.root] += 1
        return found

    return seen(order) == seen(range(len(work.tasks)))


@given(works())
def test_as_good_as_every_legal_order(work: Work) -> None:
    order = search(work)
    assert sorted(order) == list(range(len(work.tasks)))
    assert legal(work, order)
    best = min(max(live(work, p)) for p in permutations(range(len(work.tasks))) if legal(work, p))
    assert max(live(work, order)) == best


@given(works(most=12))
def test_predecessors_are_what_makes_an_order_legal(work: Work) -> None:
    before = predecessors(work)
    for i in range(len(work.tasks) - 1):
        swapped = [*range(i), i + 1, i, *range(i + 2, len(work.tasks))]
        if not before[i + 1] >> i & 1:
            assert legal(work, swapped)


@given(works(most=12), st.integers(1, 4))
def test_out_of_steps_it_ends_greedily(work: Work, limit: int) -> None:
    order = search(work, limit=limit)
    assert sorted(order) == list(range(len(work.tasks)))
    assert legal(work, order)
    assert order == search(work, limit=limit)


def test_the_peak_after_a_cut_is_minimized_too() -> None:
    """Behind a first half of 100 bytes, the second half need not care; with a cut it does."""
    x, big, mid, a, b, c, end = (Area(i, 0, 1) for i in range(7))
    tasks = (Task((x,), (big,)), Task((big,), (mid,)), Task((mid,), (a,)), Task((mid,), (b,)), Task((a,), (c,)),
             Task((b, c), (end,)))  # fmt: skip
    work = Work(tasks, (10, 100, 1, 30, 30, 1, 1), 0, 6)
    order = search(work, cuts=[1])
    assert order == [0, 1, 2, 4, 3, 5]
    assert max(live(work, order)[2:]) == 32


def test_rows_that_differ_do_not_bind() -> None:
    top, bottom, whole = Area(1, 0, 2), Area(1, 2, 4), Area(1, 0, 4)
    x, y = Area(0, 0, 1), Area(2, 0, 1)
    work = Work((Task((x,), (top,)), Task((x,), (bottom,)), Task((whole,), (y,))), (1, 4, 1), 0, 2)
    assert predecessors(work) == [0b000, 0b000, 0b011]
    assert lifetimes(work, [1, 0, 2]) == {0: (0, 1), 1: (0, 2), 2: (2, 2)}


@pytest.mark.parametrize("seed", range(10))
def test_never_above_the_natural_order_of_a_program(seed: int) -> None:
    work = inference(lower(to_integer(random_annotated(seed)[0]))[0])
    natural = list(range(len(work.tasks)))
    order = search(work)
    assert legal(work, order)
    assert max(live(work, order)) <= max(live(work, natural))
