"""Learning from windows without labels: what it gains, and what it must never do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibrant import Session, UpdateReport, write
from calibrant.core.rng import generator
from calibrant.session import unsupervised
from calibrant.session.wiring import Parts
from calibrant.updaters.base import AdaptableEngine, UpdateOutcome, evaluate
from calibrant.updaters.base import Samples as UpdateSamples
from calibrant.updaters.bias_correction import BiasCorrection
from calibrant.updaters.guarded_flips import GuardedFlips
from deployments import Samples, deployment, samples
from sessions import opened

DROP = 0.1  # of coreset accuracy, by default
DRIFTED, OTHER = 10, 12  # domains that the model errs on


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("unsupervised") / "small.cal"
    write(place, deployment(8).prepared.artifact)
    return place


@pytest.fixture
def both(path: Path) -> Iterator[tuple[Session, Parts]]:
    with opened(path, gate=False) as made:
        yield made


@pytest.fixture
def session(both: tuple[Session, Parts]) -> Session:
    return both[0]


@pytest.fixture
def parts(both: tuple[Session, Parts]) -> Parts:
    """Of that session."""
    return both[1]


def windows(domain: int, count: int = 6, seed: int = 0) -> list[np.ndarray]:
    x, _ = samples(domain, 288)
    return np.array_split(x[generator(seed, "windows").permutation(len(x))], count)


def accuracy(session: Session, test: Samples) -> float:
    return float((session.predict(test[0]) == test[1]).mean())


def weights(parts: Parts) -> bytes:
    engine = parts.engine
    return engine.parameters.weights.tobytes() + engine.parameters.bias.tobytes()


def watch(session: Session, domain: int, **options: int) -> list[UpdateReport]:
    return [session.observe(x) for x in windows(domain, **options)]


@pytest.mark.parametrize("domain", [DRIFTED, 4, 11])
def test_it_learns_a_new_domain_and_keeps_the_old(session: Session, domain: int):
    before, source = accuracy(session, samples(domain, 288)), accuracy(session, samples(1, 150))
    reports = watch(session, domain)
    assert accuracy(session, samples(domain, 288)) > before + 0.2
    assert accuracy(session, samples(1, 150)) > source - 0.05
    committed = [r for r in reports if r.decision == "committed"]
    assert committed
    for report in committed:
        assert report.labels == 0
        assert report.accuracy_after is None
        assert report.reason.startswith("no labels: re-centered")
        assert report.coreset_accuracy_after is not None
        assert report.coreset_accuracy_after >= 1 - DROP - 1e-9
    assert [v.metrics["labels"] for v in session.versions()[1:]] == [0] * len(committed)


def test_the_order_of_a_window_does_not_matter(path: Path):
    held = []
    for seed in (1, 2):
        with opened(path, gate=False) as (session, parts):
            for x in windows(DRIFTED):
                session.observe(x[generator(seed, "shuffle").permutation(len(x))])
            held.append(weights(parts))
    assert held[0] == held[1]


def test_where_nothing_has_shifted_nothing_changes(session: Session, parts: Parts):
    before = weights(parts)
    x, _ = samples(1, 150)
    for part in np.array_split(x[generator(0, "home").permutation(150)], 3):
        report = session.observe(part)
        assert (report.decision, report.reason) == ("skipped", "abstained: nothing has shifted")
    assert weights(parts) == before


def test_one_class_says_nothing(session: Session, parts: Parts):
    x, y = samples(DRIFTED, 288)
    before = weights(parts)
    for _ in range(3):
        report = session.observe(x[y == 1])
        assert report.decision == "skipped"
        assert report.reason.startswith("abstained: ")
    assert weights(parts) == before


def test_small_windows_wait_until_they_say_enough(session: Session):
    small = windows(DRIFTED, count=48)  # of 6
    reports = [session.observe(x) for x in small[:6]]
    assert [r.decision for r in reports[:5]] == ["skipped"] * 5
    assert "30 samples" in reports[4].reason
    assert reports[5].decision == "committed"
    assert session.observe(small[6][:1]).samples == 1


def test_another_domain_starts_from_the_last_labeled_version(session: Session, parts: Parts, path: Path):
    watch(session, DRIFTED)
    report = session.observe(windows(OTHER)[0])
    assert report.reason.startswith("no labels: reset to version 0, ")
    assert report.decision == "committed"
    with opened(path, gate=False) as (fresh, others):
        fresh.observe(windows(OTHER)[0])
        assert weights(others) == weights(parts)
    x, _ = samples(1, 150)
    report = session.observe(x)
    assert report.reason == "no labels: reset to version 0, nothing has shifted"
    artifact = deployment(8).prepared.artifact
    assert weights(parts) == artifact.constants.weights.tobytes() + artifact.constants.bias.tobytes()


def test_labels_stand_and_a_domain_that_has_them_is_left_alone(session: Session, parts: Parts):
    x, y = samples(DRIFTED, 288)
    watch(session, DRIFTED)
    taught = session.observe(x[:96], y[:96])
    assert taught.decision == "committed"
    assert parts.deployed.anchor().version == taught.version
    before = weights(parts)
    assert session.observe(x[96:192]).reason == "abstained: labels have taught this domain"
    assert weights(parts) == before
    others = [session.observe(samples(domain, 96)[0]) for domain in (2, 3, 5, 8, OTHER)]
    assert "committed" in {report.decision for report in others}
    assert parts.deployed.anchor().version == taught.version


class Harmful:
    """Stands in for `GuardedFlips.update`: moves a share of the weights, and claims that it helped."""

    def __init__(self, share: float) -> None:
        self.share, self.calls = share, 0

    def __call__(self, engine: AdaptableEngine, samples: UpdateSamples, *_: Any) -> UpdateOutcome:
        self.calls += 1
        moved, rng = engine.parameters.weights.copy(), generator(0, "harm")
        chosen = rng.permutation(moved.size)[: round(self.share * moved.size)]
        moved[chosen] = -moved[chosen] + (moved[chosen] == 0)
        engine.load(engine.parameters.replaced(weights=moved))
        last = evaluate(engine, samples, deployment(8).prepared.artifact.meaning)
        return UpdateOutcome("flip", 1, 1, 1.0, 0.5, chosen.size, np.zeros(len(samples.y), np.int64), last)


@pytest.mark.parametrize(
    ("share", "guard_left_out"),
    [(1.0, None), (1.0, "rejection_reason"), (1.0, "prediction_collapse"), (0.11, "prediction_collapse")],
)
def test_harmful_flips_are_refused_and_biases_alone_are_kept(
    session: Session, parts: Parts, monkeypatch: pytest.MonkeyPatch, share: float, guard_left_out: str | None
):
    if guard_left_out is not None:  # each holds alone
        monkeypatch.setattr(unsupervised, guard_left_out, lambda *_: None)
    harmful = Harmful(share)
    monkeypatch.setattr(GuardedFlips, "update", harmful)
    artifact = deployment(8).prepared.artifact
    reports = [*watch(session, DRIFTED), *watch(session, 4)]
    assert harmful.calls
    assert all(r.flips == 0 for r in reports)
    assert np.array_equal(parts.engine.parameters.weights, artifact.constants.weights)
    assert {r.updater for r in reports if r.decision == "committed"} == {"recenter"}


def test_biases_that_cost_the_coreset_are_refused(session: Session, parts: Parts, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(unsupervised, "prediction_collapse", lambda *_: False)
    real = BiasCorrection.bias

    def costly(*given: Any) -> np.ndarray:
        return real(*given) + np.arange(len(given[2]), dtype=np.int32) * 20000

    monkeypatch.setattr(BiasCorrection, "bias", costly)
    before = weights(parts)
    reports = watch(session, DRIFTED)
    assert "rejected" in {r.decision for r in reports}
    assert "committed" not in {r.decision for r in reports}
    assert weights(parts) == before


def test_every_version_can_be_restored_and_a_rollback_is_an_anchor(path: Path, tmp_path: Path):
    state = tmp_path / "s.db"
    with opened(path, state, gate=False) as (session, parts):
        watch(session, DRIFTED)
        watch(session, 9)
        number, held = session.version.number, weights(parts)
        assert number >= 2
        assert parts.deployed.anchor().version == 0
    with opened(path, state, gate=False) as (session, parts):
        assert weights(parts) == held
        assert parts.deployed.anchor().version == 0
        session.rollback(to=1)
        assert parts.deployed.anchor().version == number + 1
        session.rollback(to=number)
        assert weights(parts) == held
        assert session.observe(windows(DRIFTED)[0]).version >= number + 2


def test_it_can_be_left_out(path: Path):
    with opened(path, unlabeled=False) as (session, parts):
        before = weights(parts)
        assert {(r.decision, r.reason) for r in watch(session, DRIFTED)} == {("skipped", "no labels")}
        assert weights(parts) == before
