"""Finds the learning rates of `bench sparse`: the table of calibrant.bench.sparse.rates.

MCUNet-5FPS on CIFAR-10, one scheme of each kind, is trained as the tables' rows of seed 0 are, at rates a factor of 2
apart, and judged on 2,000 training images that no row of that seed trains on. A row begins at what its method takes for
the 100KB scheme, with its two neighbors, and goes on while the best lies at the edge of what it tried; of rates within
half a point of the best the smallest wins, which is the farthest from diverging. Every training is kept in OUT: the
same command continues.

    .venv/bin/python benchmarks/tune_sparse.py --data ../shared/data --out OUT/tune-sparse --jobs 2

prints what every rate gave, then the table.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from calibrant import data
from calibrant.bench.harness import workers
from calibrant.bench.harness.job import Failure
from calibrant.bench.harness.workspace import Workspace
from calibrant.bench.sparse.jobs import Cell
from calibrant.bench.sparse.options import Options, plan
from calibrant.bench.sparse.rates import LIKE
from calibrant.bench.sparse.row import train

START = {"qas": 0.01, "qas-direct": 0.00125, "plain": 0.01, "float": 0.01}
EQUAL = 0.005  # differences of accuracy below this decide nothing
JUDGES = 2000
SCHEMES = ("classifier", "bias-20", "last-6", LIKE, "full")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--schemes", nargs="+", default=SCHEMES)
    parser.add_argument("--methods", nargs="+", default=list(START))
    parser.add_argument("--train", type=int, help="samples, if not as many as the tables")
    parser.add_argument("--epochs", type=int, help="if not as many as the tables")
    options = parser.parse_args()
    root = data.folder(options.data)
    asked = Options(options.out, root, schemes=options.schemes, seeds=(0,), train=options.train, epochs=options.epochs)
    rows = {
        (cell.scheme, cell.method): replace(cell, subject=replace(cell.subject, held=True, test=JUDGES))
        for cell in plan(asked, root)
        if cell.method in options.methods
    }
    tuner = Tuner(root, Workspace(options.out), options.jobs)
    first = {place: cell for place, cell in rows.items() if place[0] == LIKE}
    best = tuner.best({place: (cell, START[place[1]]) for place, cell in first.items()})
    like = {method: rate for (_, method), rate in best.items()}
    rest = {place: (cell, like.get(place[1], START[place[1]])) for place, cell in rows.items() if place not in first}
    best |= tuner.best(rest)
    for method in START:
        print(f"{method}: { ({scheme: rate for (scheme, how), rate in best.items() if how == method}) }")


class Tuner:
    """Trains rows at rates, several at once, and keeps what they gave."""

    def __init__(self, root: Path, workspace: Workspace, jobs: int) -> None:
        self.root, self.workspace, self.jobs = root, workspace, jobs

    def best(self, asked: dict[tuple[str, str], tuple[Cell, float]]) -> dict[tuple[str, str], float]:
        """The best rate of each row from a start; all rows go on together, so that all processors have work."""
        tried: dict[tuple[str, str], dict[float, dict[str, Any]]] = {place: {} for place in asked}
        found: dict[tuple[str, str], float] = {}
        while wanted := self._wanted(asked, tried, found):
            for cell, row in self._train([cell for _, cell in wanted]):
                place = cell.scheme, cell.method
                tried[place][cell.recipe.rate] = row
                shown = ", ".join(f"{loss}" for loss in row["losses"][-1:])
                print(f"{place[0]} {place[1]} {cell.recipe.rate:g}: {row['accuracy']:.3f} (loss {shown})", flush=True)
        return found

    def _wanted(
        self,
        asked: dict[tuple[str, str], tuple[Cell, float]],
        tried: dict[tuple[str, str], dict[float, dict[str, Any]]],
        found: dict[tuple[str, str], float],
    ) -> list[tuple[tuple[str, str], Cell]]:
        """What is to be tried next; rows whose best lies inside move to `found`."""
        wanted = []
        for place, (cell, start) in asked.items():
            center = winner(tried[place]) if tried[place] else start
            missing = [rate for rate in (center / 2, center, center * 2) if rate not in tried[place]]
            if not missing:
                found[place] = center
            wanted += [(place, replace(cell, recipe=replace(cell.recipe, rate=rate))) for rate in missing]
        return wanted

    def _train(self, cells: list[Cell]) -> list[tuple[Cell, dict[str, Any]]]:
        kept = {cell: self.workspace.row(asdict(cell)) for cell in cells}
        with workers.crew("local", self.jobs) as crew:
            for cell, row in crew(partial(train, self.workspace, self.root), [c for c in cells if kept[c] is None]):
                if isinstance(row, Failure):
                    raise SystemExit(f"{cell.title}: {row.reason}")
                kept[cell] = row
        return [(cell, row) for cell, row in kept.items() if row is not None]


def winner(tried: dict[float, dict[str, Any]]) -> float:
    """The rate of the best accuracy; among near equals the smallest."""
    top = max(row["accuracy"] for row in tried.values())
    return min(rate for rate, row in tried.items() if row["accuracy"] >= top - EQUAL)


if __name__ == "__main__":
    main()
