"""A class that nobody has taught, on a stream without labels: it is said, and changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calibrant import Session, UpdateReport, write
from calibrant.core.rng import generator
from calibrant.session.wiring import Parts
from deployments import CLASSES, deployment, samples
from sessions import opened

CODE, COUNT = "unknown-classes", 600


def known(domain: int, windows: int) -> list[np.ndarray]:
    """Windows of 60 samples of the classes that the network knows."""
    x, _ = samples(domain, COUNT)
    return np.array_split(x[generator(0, "known").permutation(COUNT)], 10)[:windows]


def new(domain: int, windows: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Windows of 60 samples, 20 of a class that it does not know; and their classes."""
    x, y = samples(domain, COUNT, CLASSES + 1)
    for start in range(windows):
        parts = [(x[rows][start * n :][:n], y[rows][start * n :][:n]) for rows, n in ((y < 3, 40), (y == 3, 20))]
        yield np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def news(report: UpdateReport) -> list[tuple[float, float]]:
    return [(alert.value, alert.limit) for alert in report.alerts if alert.code == CODE]


@pytest.mark.parametrize("domain", [1, 8, 10])
def test_a_new_class_is_said_as_long_as_it_is_there(path: Path, domain: int):
    with opened(path) as (session, parts):
        assert not any(news(session.observe(x)) for x in known(domain, 6))
        for x, _ in new(domain, 3):
            report = session.observe(x)
            ((value, limit),) = news(report)
            assert value > limit > 0
            committed = report.decision == "committed"
            about = session.versions()[-1].metrics if committed else parts.store.events()[-1].detail
            assert CODE in about["alerts"]
            assert f"{value:.0f} samples are alike" in report.summary()


def test_plain_drift_is_not(path: Path):
    with opened(path) as (session, _):
        for domain in (1, 2, 3, 1, 5, 2, 10):
            assert not any(news(session.observe(x)) for x in known(domain, 4))


def followed(session: Session, parts: Parts) -> list[tuple[str, str, int | None]]:
    found = []
    for x in [*known(1, 5), *known(10, 4), *(x for x, _ in new(10, 2))]:
        report = session.observe(x)
        found.append((report.decision, parts.deployed.parameters.sha256, report.context))
    return found


def test_it_changes_nothing(path: Path, tmp_path: Path):
    """A session that knows too little of home to look, and is the same in all else, does the same."""
    made = deployment(8).prepared.artifact
    assert made.recognition is not None
    with opened(path) as way:
        watching = followed(*way)
    with opened(path) as way:
        way[1].unsupervised._watch._most = 0  # private: no option turns it off, since it only ever says something
        way[1].unsupervised._watch._signatures = None  # private: as above
        assert followed(*way) == watching
    write(tmp_path / "a.cal", replace(made, recognition=replace(made.recognition, kept=0.5)))
    with opened(tmp_path / "a.cal") as (session, parts):
        assert parts.footprint.watched == 0
        assert not any(news(session.observe(x)) for x in [*known(10, 5), *(x for x, _ in new(10, 2))])
        assert not any(name.startswith("novelty") for name in parts.deployed.policies())


def test_labels_make_it_known(path: Path):
    """The new class must be called one that the network has, and the window be learned from."""
    with opened(path) as (session, _):
        for x in known(10, 6):
            session.observe(x)
        windows = list(new(10, 6))
        assert news(session.observe(windows[0][0]))
        taught = [session.observe(x, y % CLASSES) for x, y in windows[1:4]]
        assert "committed" in [report.decision for report in taught]
        assert not any(news(session.observe(x)) for x, _ in windows[4:])


def test_a_session_that_is_opened_again_goes_on_alike(path: Path, tmp_path: Path):
    stream = [*known(10, 6), *(x for x, _ in new(10, 3)), *known(2, 2)]
    with opened(path, tmp_path / "through.db") as (session, parts):
        through = [news(session.observe(x)) for x in stream]
        kept = {name: each.value for name, each in parts.deployed.policies().items()}
        assert {"novelty 0", "novelty 1"} <= set(kept)
    again = []
    for x in stream:
        with opened(path, tmp_path / "again.db") as (session, _):
            again.append(news(session.observe(x)))
    with opened(path, tmp_path / "again.db") as (session, parts):
        assert {name: each.value for name, each in parts.deployed.policies().items()} == kept
        session.forget()
        assert not any(news(session.observe(x)) for x, _ in new(10, 2))  # of a place that nothing is known of
    assert again == through
