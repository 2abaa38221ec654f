"""Planning changes no number: planned steps train the same parameters as the natural order, bit for bit."""

from __future__ import annotations

import numpy as np
from random_trainings import shuffled

from calibrant.autodiff import Scheme, differentiate
from calibrant.autodiff.reference import Reference
from calibrant.core.errors import ModelError
from calibrant.core.program import Constants, Program
from calibrant.core.rng import generator
from calibrant.core.training import Training
from calibrant.plan import lower, schedule
from calibrant.quantize import to_integer
from random_graphs import random_annotated


def trainings() -> list[tuple[Training, Program, Constants]]:
    """Every bias of random classifiers, and some weights by channels."""
    found = []
    for seed in range(40):
        program, constants = lower(to_integer(random_annotated(seed, classifier=True)[0]))
        weights = {i: 0.5 for i in range(len(program.layers) - 1) if i % 2 == 0}
        try:
            found.append((differentiate(program, constants, Scheme(weights=weights)), program, constants))
        except ModelError:
            continue  # a classifier without a layer at its end
    return found


TRAININGS = trainings()


def test_same_parameters() -> None:
    moved = 0
    for case, (training, program, constants) in enumerate(TRAININGS[:16]):
        planned = schedule(shuffled(training, program, case), program, alignment=4)
        t = program.tensors[program.input]
        rng = generator(case, "samples")
        runs = [Reference(which, program, constants) for which in (training, planned)]
        for label in (0, 1):
            x = rng.integers(-128, 128, (t.height, t.width, t.channels))
            losses = [run.step(x, label, 1e-3).loss for run in runs]
            assert losses[0] == losses[1]
            for run in runs:
                run.commit(carry=True)
        for name in ("weights", "bias", "accumulators"):
            np.testing.assert_array_equal(getattr(runs[0], name), getattr(runs[1], name), f"{name} of case {case}")
        moved += bool(np.any(runs[0].accumulators))
    assert moved > 12  # a few clamp all their logits, and then nothing moves


def test_enough_of_them_are_reordered() -> None:
    orders = [[(s.kind, s.op) for s in shuffled(t, p, 1).steps] != [(s.kind, s.op) for s in t.steps] for t, p, _ in
              TRAININGS]  # fmt: skip
    assert sum(orders) > 10
