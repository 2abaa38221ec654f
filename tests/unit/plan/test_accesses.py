"""What steps touch: rows, parameters, and what is refused as a view."""

from __future__ import annotations

import pytest
from random_trainings import Backward, random_training

from calibrant.core.errors import PlanError
from calibrant.core.program import Tensor, View
from calibrant.plan import accesses
from calibrant.plan.accesses import Area, areas_of


def test_areas_meet_where_rows_do() -> None:
    assert Area(0, 0, 2).meets(Area(0, 1, 3))
    assert not Area(0, 0, 2).meets(Area(0, 2, 3))
    assert not Area(0, 0, 2).meets(Area(1, 0, 2))


X = Tensor("x", 4, 3, 2, 0.1, 0)


@pytest.mark.parametrize(
    ("view", "message"),
    [
        (View("v", 2, 3, 2, 0.1, 0, parent=5), "expected rows of a tensor that is no view, got 5"),
        (View("v", 2, 3, 2, 0.1, 0, parent=1), "expected rows of a tensor that is no view, got 1"),
        (View("v", 2, 3, 2, 0.1, 0, parent=0, row=3), "expected rows below 4, got 2 at row 3"),
        (View("v", 2, 3, 2, 0.1, 0, parent=0, row=-1), "expected rows below 4, got 2 at row -1"),
        (View("v", 2, 2, 2, 0.1, 0, parent=0), "expected rows of the shape and width of 'x'"),
    ],
)
def test_views_that_are_none(view: View, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        areas_of((X, view))


def test_parameters_bind_steps_but_take_no_memory() -> None:
    training, program = random_training(2)
    work = accesses.training(training, program)
    first = len(training.buffers)
    assert sum(work.sizes[first:]) == 0
    updates = [i for i, step in enumerate(training.steps) if step.kind == "bias_update"]
    layers = {root for i in updates for root in work.tasks[i].roots if root >= first}
    assert layers == {first + 2 * part.layer + 1 for part in training.slices if part.kind == "bias"}


def test_what_works_in_place_reads_what_it_writes() -> None:
    training, program = random_training(2)
    work = accesses.training(training, program)
    for step, task in zip(training.steps, work.tasks, strict=True):
        in_place = step.kind == "gate" or bool(step.attrs.get("accumulate"))
        assert (step.output >= 0 and Area(step.output, *_rows(work, step.output, task)) in task.reads) == in_place


def _rows(work: accesses.Work, output: int, task: accesses.Task) -> tuple[int, int]:
    area = next(area for area in task.writes if area.root == output)
    return area.first, area.last


def test_inference_keeps_the_output() -> None:
    _, program = random_training(0)
    work = accesses.inference(program)
    assert (work.source, work.kept) == (program.input, program.output)
    assert [task.scratch for task in work.tasks] == [op.attrs["scratch_bytes"] for op in program.ops]
    assert Backward(program, len(program.ops)).training().logits == program.output
