"""What labels do where contexts are told apart: they teach one, and the others keep what they have."""

from __future__ import annotations

import numpy as np
import pytest

from calibrant import Session, UpdateReport
from calibrant.core.parameters import Parameters
from calibrant.core.rng import generator
from calibrant.policy.contexts import HOME
from calibrant.session import unsupervised
from calibrant.session.wiring import Parts
from deployments import Samples, deployment, samples

DRIFTED, OTHER = 10, 4


def windows(domain: int, count: int = 3) -> list[Samples]:
    x, y = samples(domain, 150 if domain == 1 else 288)
    rows = generator(domain, "windows").permutation(len(y))
    return [(x[part], y[part]) for part in np.array_split(rows, count)]


def watch(session: Session, domain: int) -> list[UpdateReport]:
    return [session.observe(x, y) for x, y in windows(domain)]


def test_a_context_that_labels_taught_is_in_force_again_before_anything_is_learned(both: tuple[Session, Parts]):
    session, parts = both
    assert {report.context for report in watch(session, 1)} == {HOME}
    assert parts.deployed.head.number == 0
    assert [report.context for report in watch(session, DRIFTED)] == [1, 1, 1]
    here = parts.deployed.parameters
    assert [report.context for report in watch(session, OTHER)] == [2, 2, 2]
    there = parts.deployed.head.number
    x, y = windows(DRIFTED)[0]
    expected = session.predict(x)  # by its own context already
    report = session.observe(x, y)
    assert (report.context, report.accuracy_before) == (1, float((expected == y).mean()))
    assert session.versions()[there + 1].updater == "recall"
    assert parts.deployed.at(there + 1) == here
    assert (report.steps, report.decision) == (0, "skipped")
    watch(session, DRIFTED)
    assert {(report.context, report.decision) for report in watch(session, 1)} == {(HOME, "skipped")}
    # at home the artifact's parameters were never changed
    assert parts.deployed.parameters == Parameters.of(deployment(8).prepared.artifact.constants)


def test_labels_may_say_that_what_is_in_force_does_better(both: tuple[Session, Parts], monkeypatch: pytest.MonkeyPatch):
    session, parts = both
    watch(session, DRIFTED)
    watch(session, OTHER)
    taught = parts.deployed.head.number
    monkeypatch.setattr(unsupervised, "ahead", lambda more, less: True)
    report = session.observe(*windows(DRIFTED)[0])
    assert (report.context, report.steps, parts.deployed.head.number) == (1, 0, taught)
    assert session.contexts()[1].version == taught  # from now on it is this context's own


def test_labels_that_are_not_believed_leave_the_window_to_the_candidates(both: tuple[Session, Parts]):
    session, _ = both
    rng = generator(0, "nonsense")
    reports = [session.observe(x, rng.permutation(y)) for x, y in windows(DRIFTED)]
    assert {alert.code for report in reports for alert in report.alerts} >= {"labels-doubted"}
    learned = [report for report in reports if report.decision == "committed"]
    assert learned
    assert all("labels not credible" in report.reason and "no labels: context 1" in report.reason for report in learned)
    assert {report.steps for report in reports} == {0}
    assert all(report.accuracy_before is not None for report in reports if report.decision == "skipped")
    assert {context.labels for context in session.contexts()} == {0}
