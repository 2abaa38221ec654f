"""A scheme of our own under a budget: contributions measured by many short trainings, then an evolutionary search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from calibrant import data, plan
from calibrant.autodiff import Scheme, classifier, differentiate
from calibrant.autodiff.contribution import SHARES, Contributions
from calibrant.autodiff.search import search
from calibrant.bench.harness.job import Failure, Run
from calibrant.bench.harness.workspace import Workspace
from calibrant.bench.sparse import costs, rates
from calibrant.bench.sparse.fit import Recipe
from calibrant.bench.sparse.jobs import Cell, Subject
from calibrant.bench.sparse.options import Options
from calibrant.bench.sparse.options import plan as plan_rows
from calibrant.bench.sparse.row import network, train
from calibrant.bench.sparse.schemes import spelled
from calibrant.core.errors import DataError
from calibrant.core.program import Constants, Program
from calibrant.core.progress import Progress

LAYERS = 24  # of the backbone's last whose weights are analyzed: earlier ones cost more than their gain (tte, 3.5)
COUNTS = (4, 8, 12, 16, 20, 24)
EPOCHS, WARMUP, BATCH, SAMPLES, JUDGES = 4, 1, 16, 500, 1000
EVALUATIONS = 1500


def searched(
    options: Options, root: Path, workspace: Workspace, crew: Run, progress: Progress | None = None
) -> list[str]:
    """The best scheme within `options.budget`, spelled out, in a list.

    Contributions are accuracies on training samples that no row trains on; every training is kept like a row.

    Raises
    ------
    DataError
        If a training failed.
    BudgetError
        If nothing fits.
    """
    about, task = plan_rows(options, root)[0].subject, data.load_task(options.task, root)
    program, constants = network(root, options.model, len(task.classes))
    backbone = len(program.layers) - 1
    layers = range(max(backbone - LAYERS, 0), backbone)
    counts = [count for count in COUNTS if count <= len(layers)] or [len(layers)]
    short = replace(about, train=min(SAMPLES, about.train), test=JUDGES, seed=0, held=True)
    trained = [(layer, share) for layer in layers for share in SHARES if _selects(program, layer, share)]
    wanted = [classifier(), *(Scheme(count) for count in counts)]
    wanted += [Scheme(max(counts), {layer: share}) for layer, share in trained]
    accuracies = _accuracies(short, wanted, root, workspace, crew, options.resume, progress)
    base, most = accuracies[classifier().summary()], accuracies[Scheme(max(counts)).summary()]
    table = Contributions(
        base,
        {count: accuracies[Scheme(count).summary()] - base for count in counts},
        {at: accuracies[Scheme(max(counts), dict([at])).summary()] - most for at in trained},
    )
    assert options.budget is not None
    found = search(program, table, options.budget, cost=_peak(program, constants), evaluations=EVALUATIONS)
    return [spelled(found.scheme)]


def _selects(program: Program, layer: int, share: float) -> bool:
    """Whether a share is a channel at least."""
    about = program.layers[layer]
    depthwise = about.groups == about.c_in == about.c_out
    return int(share * (about.c_in if depthwise else about.c_in // about.groups)) > 0


def _accuracies(
    about: Subject,
    schemes: list[Scheme],
    root: Path,
    workspace: Workspace,
    crew: Run,
    resume: bool,
    progress: Progress | None,
) -> dict[str, float]:
    """Accuracy of each scheme by its summary."""
    names = {spelled(scheme): scheme.summary() for scheme in schemes}
    recipe = Recipe(EPOCHS, WARMUP, BATCH, rates.tuned("qas", "contribution"))
    cells = {Cell(about, name, "qas", recipe): summary for name, summary in names.items()}
    found: dict[str, float] = {}
    for cell, summary in cells.items():
        row = workspace.row(asdict(cell)) if resume else None
        if row is not None:
            found[summary] = row["accuracy"]
    missing = [cell for cell, summary in cells.items() if summary not in found]
    for done, (cell, outcome) in enumerate(crew(partial(train, workspace, root), missing), 1):
        if isinstance(outcome, Failure):
            raise DataError(f"contribution of {cell.title}: {outcome.reason}")
        found[cells[cell]] = outcome["accuracy"]
        if progress:
            progress("contributions", done, len(missing))
    return found


def _peak(program: Program, constants: Constants) -> Callable[[Scheme], int]:
    """Bytes of RAM that a scheme needs on a microcontroller: the planned arena and what training changes."""
    small = plan.compact(program)

    def peak(scheme: Scheme) -> int:
        training = differentiate(small, constants, scheme, head="float32")
        return plan.schedule(training, small, search=False).arena_bytes + costs.trained_bytes(training)

    return peak
