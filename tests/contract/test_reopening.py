"""A session that is closed and opened again after every window behaves as one that was not, bit for bit: every form of
the registry, every regime of labels, with the gate and without."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibrant import Session, UpdateReport, write
from calibrant.artifact import Artifact
from calibrant.core.rng import generator
from calibrant.pipeline import parts
from calibrant.updaters import FORMS, defaults
from deployments import deployment, samples

WINDOWS, SIZE = 7, 48
Labeled = tuple[np.ndarray, np.ndarray]
Regime = Callable[[Session, int, Labeled], UpdateReport]


def all_labels(session: Session, _: int, window: Labeled) -> UpdateReport:
    return session.observe(*window)


def few_labels(session: Session, _: int, window: Labeled) -> UpdateReport:
    chosen = session.ask(window[0], 9)
    y = np.full(SIZE, -1)
    y[chosen] = window[1][chosen]
    return session.observe(window[0], y)


def no_labels(session: Session, _: int, window: Labeled) -> UpdateReport:
    return session.observe(window[0])


def classes_in_turns(session: Session, number: int, window: Labeled) -> UpdateReport:
    """Windows of one class each, and none has labels: they wait for each other."""
    return session.observe(window[0][window[1] == number % 3])


def late_labels(session: Session, _: int, window: Labeled) -> UpdateReport:
    return session.label(session.defer(window[0]), window[1])


def labels_in_turns(session: Session, number: int, window: Labeled) -> UpdateReport:
    """Some windows have labels, some none, the coreset is forgotten and a version restored in between."""
    if number == 3:
        session.forget()
    if number == 5 and session.version.number:
        session.rollback(to=session.version.number - 1)
    return session.observe(window[0], window[1] if number % 3 == 0 else None)


def wrong_labels(session: Session, number: int, window: Labeled) -> UpdateReport:
    """A lie at first, then the truth: what was learned is regretted."""
    return session.observe(window[0], (window[1] + 1) % 3 if number < 3 else window[1])


REGIMES = (all_labels, few_labels, no_labels, classes_in_turns, late_labels, labels_in_turns, wrong_labels)


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    prepared = deployment(4).prepared.artifact
    return replace(prepared, training=parts.training_step(prepared.program, prepared.constants, "last-2"))


def stream() -> list[Labeled]:
    """Windows of the source, of a domain that the model errs on, and of another one."""
    found = []
    for number in range(WINDOWS):
        x, y = samples((1, 10, 10, 10, 12, 12, 1)[number], 288)
        rows = generator(number, "stream").permutation(len(y))[:SIZE]
        found.append((x[rows], y[rows]))
    return found


def told(report: UpdateReport) -> dict[str, Any]:
    return {**vars(report), "milliseconds": 0}


def history(session: Session) -> list[Any]:
    return [(v.number, v.decision, v.weights_sha256, v.metrics.get("coreset_sha256")) for v in session.versions()]


@pytest.mark.parametrize("gate", [True, False], ids=["gate-on", "gate-off"])
@pytest.mark.parametrize("regime", REGIMES, ids=lambda regime: regime.__name__)
@pytest.mark.parametrize("form", FORMS)
def test_reopening_after_every_window_changes_nothing(
    artifact: Artifact, tmp_path: Path, form: str, regime: Regime, gate: bool
):
    settings = defaults(form, artifact.settings.rate, steps=6)
    write(tmp_path / "a.cal", replace(artifact, settings=settings))
    with Session.open(tmp_path / "a.cal", tmp_path / "through.db", gate=gate) as session:
        through = [told(regime(session, *window)) for window in enumerate(stream())]
        versions, scores = history(session), [session.scores(x) for x, _ in stream()]
    again = []
    for window in enumerate(stream()):
        with Session.open(tmp_path / "a.cal", tmp_path / "again.db", gate=gate) as session:
            again.append(told(regime(session, *window)))
    assert again == through
    with Session.open(tmp_path / "a.cal", tmp_path / "again.db", gate=gate) as session:
        assert history(session) == versions
        assert all(np.array_equal(session.scores(x), each) for (x, _), each in zip(stream(), scores, strict=True))


def test_the_regimes_make_versions_of_every_kind(artifact: Artifact, tmp_path: Path):
    """A contract over streams on which nothing happens would say nothing."""
    write(tmp_path / "a.cal", artifact)
    decisions, updaters = set(), set()
    for regime in REGIMES:
        with Session.open(tmp_path / "a.cal", tmp_path / f"{regime.__name__}.db") as session:
            reports = [regime(session, *window) for window in enumerate(stream())]
            decisions |= {report.decision for report in reports}
            updaters |= {version.updater for version in session.versions()}
    assert decisions == {"committed", "rejected", "skipped"}
    assert {"flip", "rollback"} < updaters
    assert any(name.startswith("affine") for name in updaters)
