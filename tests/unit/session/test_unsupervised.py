"""Learning from windows without labels: what it gains, and what it must never do."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from artifacts import at_home, make_artifact, make_window, recognizing
from calibrant import Budget, Session, UpdateReport, write
from calibrant.core.errors import DataError, StateError
from calibrant.core.parameters import Parameters
from calibrant.core.rng import generator
from calibrant.engine import Engine
from calibrant.memory.store import Entry
from calibrant.policy.contexts import HOME
from calibrant.session import self_training
from calibrant.session.context_tracker import ANYWHERE
from calibrant.session.domain import AS_IT_IS
from calibrant.session.unsupervised import BLIND
from calibrant.session.wiring import Parts
from calibrant.updaters.base import AdaptableEngine, UpdateOutcome, evaluate
from calibrant.updaters.base import Samples as UpdateSamples
from calibrant.updaters.guarded_flips import GuardedFlips
from deployments import CHANNELS, Samples, deployment, samples
from sessions import opened

DRIFTED, OTHER, FLIPPING = 10, 4, 11  # domains that the model errs on; the last one has flips compete, too


@pytest.fixture
def session(both: tuple[Session, Parts]) -> Session:
    return both[0]


@pytest.fixture
def parts(both: tuple[Session, Parts]) -> Parts:
    """Of that session."""
    return both[1]


@pytest.fixture
def base() -> Parameters:
    return Parameters.of(deployment(8).prepared.artifact.constants)


def all_of(domain: int) -> Samples:
    return samples(domain, 150 if domain == 1 else 288)


def windows(domain: int, count: int = 6, seed: int = 0) -> list[np.ndarray]:
    x, y = all_of(domain)
    return np.array_split(x[generator(seed, "windows").permutation(len(y))], count)


def accuracy(session: Session, domain: int) -> float:
    x, y = all_of(domain)
    return float((session.predict(x) == y).mean())


def watch(session: Session, domain: int, **options: int) -> list[UpdateReport]:
    return [session.observe(x) for x in windows(domain, **options)]


def memory(parts: Parts) -> dict[str, Any]:
    assert parts.unsupervised is not None
    return parts.unsupervised.memory()


def domains(parts: Parts) -> dict[str, Any]:
    """What is known of each context, by its number."""
    found: dict[str, Any] = memory(parts)["domains"]["domains"]
    return found


def counted(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts an engine's sweeps by their kind."""
    calls = Counter[str]()

    def counting(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any) -> Any:
            calls[name] += 1
            return real(*given)

        return call

    for name in ("infer", "observe", "moments", "taps"):
        monkeypatch.setattr(engine, name, counting(name, getattr(engine, name)))
    return calls


@pytest.mark.parametrize("domain", [DRIFTED, OTHER, FLIPPING])
def test_a_drifted_domain_gets_better_and_home_stays_exactly_as_it_was(session: Session, domain: int):
    home, before = session.scores(all_of(1)[0]), accuracy(session, domain)
    reports = watch(session, domain)
    assert accuracy(session, domain) > before + 0.2
    assert np.array_equal(session.scores(all_of(1)[0]), home)  # though home's parameters are not in force
    committed = [r for r in reports if r.decision == "committed"]
    assert committed
    for report in reports:
        assert (report.labels, report.context) == (0, 1)
        assert report.accuracy_after is None
        assert report.coreset_accuracy_after is None
        assert 0 < report.accuracy_estimate <= 1
        assert report.reason.startswith("no labels: context 1: ")
    assert [v.metrics["labels"] for v in session.versions()[1:]] == [0] * len(committed)
    assert not any(version.vouched for version in session.versions()[1:])


def test_without_a_gate_there_is_one_context_and_it_follows(path: Path):
    with opened(path, gate=False) as (session, parts):
        before = accuracy(session, DRIFTED)
        reports = [*watch(session, DRIFTED), *watch(session, 1, count=3)]
        assert {report.context for report in reports} == {ANYWHERE}
        assert set(domains(parts)) == {str(ANYWHERE)}
    with opened(path, gate=False) as (session, parts):
        watch(session, DRIFTED)
        assert accuracy(session, DRIFTED) > before + 0.2
        assert parts.unsupervised.parameters(parts.artifact.coreset.x) is parts.deployed.parameters


@pytest.mark.parametrize("gate", [True, False])
def test_the_order_of_a_window_does_not_matter(path: Path, gate: bool):
    held = []
    for seed in (1, 2):
        with opened(path, gate=gate) as (session, parts):
            for x in windows(FLIPPING):
                session.observe(x[generator(seed, "shuffle").permutation(len(x))])
            held.append((parts.deployed.parameters.sha256, memory(parts)))
    assert held[0] == held[1]


def test_home_is_left_untouched_and_costs_one_forward_pass(
    session: Session, parts: Parts, base: Parameters, monkeypatch: pytest.MonkeyPatch
):
    calls = counted(parts.engine, monkeypatch)
    for number, x in enumerate(windows(1, count=3)):
        report = session.observe(x)
        assert (report.decision, report.reason) == ("skipped", "abstained: nothing has shifted")
        assert (report.context, report.version, report.alerts) == (HOME, 0, ())
        assert calls == {"observe": number + 1}
    assert parts.engine.parameters == base
    assert domains(parts) == {}


def test_contexts_come_back_in_one_window_without_flips(session: Session, parts: Parts, base: Parameters):
    for domain, context in ((DRIFTED, 1), (OTHER, 2)):
        assert watch(session, domain)[-1].context == context
        assert accuracy(session, domain) > 0.95
    for seed, (domain, context) in enumerate(((1, HOME), (DRIFTED, 1), (1, HOME), (OTHER, 2), (DRIFTED, 1)), 5):
        assert accuracy(session, domain) > 0.95  # known as what it is, before anything is learned
        report, *others = watch(session, domain, count=6 if domain != 1 else 3, seed=seed)
        assert {other.context for other in others} == {context}
        assert (report.decision, report.context) == ("committed", context)
        assert (report.flips, report.steps) == (0, 0)
        assert accuracy(session, domain) > 0.95
        if domain == 1:
            assert (report.updater, report.reason) == ("recall", "no labels: context 0, nothing has shifted")
            assert parts.deployed.parameters == base


@pytest.mark.parametrize("gate", [True, False])
def test_a_stuck_channel_says_so_and_changes_nothing(path: Path, gate: bool):
    with opened(path, gate=gate) as (session, parts):
        watch(session, DRIFTED)
        held, known = parts.deployed.parameters, memory(parts)
        x = windows(DRIFTED, seed=3)[0]
        for value in (0, 1e6):
            dead = x.copy()
            dead[:, 2] = value
            report = session.observe(dead)
            assert (report.decision, report.context) == ("skipped", None)
            assert report.reason == "abstained: input channels that stand still: 2"
            (alert,) = report.alerts
            assert (alert.code, alert.value) == ("sensor-fault", 1)
            assert parts.store.events()[-1].detail["alerts"] == ["sensor-fault"]
        assert session.observe(np.zeros((9, *session.input_shape))).alerts[0].value == CHANNELS
        assert parts.engine.parameters == held
        assert memory(parts) == known


def test_where_candidates_disagree_somebody_is_told(session: Session):
    estimated = 0
    for report in [*watch(session, DRIFTED), *watch(session, 8)]:
        if report.accuracy_estimate is not None:
            blind = report.accuracy_estimate < BLIND
            assert [alert.code for alert in report.alerts] == ["blind"] * blind
            estimated += blind
    assert estimated


@pytest.mark.parametrize("gate", [True, False])
def test_where_all_is_predicted_to_be_of_one_class_somebody_is_told(path: Path, gate: bool):
    """Candidates that have all fallen for one class agree, and their agreement must not be taken for accuracy."""
    glare = generator(0, "glare").normal(1.2, 0.5, (40, *samples(1, 1)[0].shape[1:])).astype(np.float32)
    with opened(path, gate=gate) as (session, _):
        report = session.observe(glare)
        assert np.unique(session.predict(glare)).size == 1
    (alert,) = report.alerts
    assert (alert.code, alert.value) == ("blind", 1.0)
    assert alert.value < alert.limit
    assert report.accuracy_estimate is None


def test_windows_of_few_classes_wait_where_the_stream_is(session: Session, parts: Parts, base: Parameters):
    x, y = all_of(1)
    reports = [session.observe(x[y == label][start::4]) for start in range(4) for label in range(3)]
    assert {report.context for report in reports[-3:]} == {HOME}
    assert parts.deployed.parameters == base
    assert memory(parts)["contexts"]["pending"] is not None
    assert session.observe(x[:1]).samples == 1


def test_labels_teach_a_context_and_it_is_recalled(session: Session, parts: Parts, base: Parameters):
    x, y = all_of(DRIFTED)
    rows = generator(0, "labeled").permutation(len(y))
    watch(session, 1)
    taught = session.observe(x[rows[:96]], y[rows[:96]])
    assert taught.decision == "committed"
    assert parts.deployed.anchor().version == taught.version
    held = parts.deployed.parameters
    assert held.weights.tobytes() != base.weights.tobytes()
    for start in range(96, 240, 48):
        report = session.observe(x[rows[start : start + 48]])
        assert (report.decision, report.reason) == ("skipped", "abstained: labels have taught this context")
    assert watch(session, 1)[-1].context == HOME
    assert parts.deployed.parameters == base
    report = session.observe(x[rows[240:]])
    assert (report.decision, report.updater, report.context) == ("committed", "recall", 1)
    assert report.reason == "no labels: context 1, labels have taught this context"
    assert report.flips > 0  # those of the labels
    assert parts.deployed.parameters == held
    watch(session, OTHER)
    assert parts.deployed.anchor().version == taught.version  # guesses vouch for nothing


def test_few_labels_leave_a_context_to_its_candidates(path: Path):
    x, y = all_of(DRIFTED)
    few = np.where(np.arange(48) < 5, y[:48], -1)
    with opened(path, gate=False) as (session, parts):
        taught = session.observe(x[:48], few)
        assert taught.decision == "committed"
        assert domains(parts)[str(ANYWHERE)]["labels"] == 5
        report = session.observe(x[48:96])
        assert report.reason.startswith(f"no labels: context {ANYWHERE}: ")
        assert "labeled" in domains(parts)[str(ANYWHERE)]["contest"]  # what they taught competes
        assert parts.deployed.anchor().version == taught.version


def told(report: UpdateReport) -> dict[str, Any]:
    return {**vars(report), "milliseconds": 0}


def history(session: Session) -> list[Any]:
    return [(v.number, v.parent, v.updater, v.weights_sha256) for v in session.versions()]


@pytest.mark.parametrize("gate", [True, False])
def test_a_session_reopened_after_every_window_goes_on_alike(path: Path, tmp_path: Path, gate: bool):
    x, y = all_of(9)
    stream = [
        *(windows(domain, seed=seed)[0] for seed, domain in enumerate((FLIPPING, 1, FLIPPING, OTHER, FLIPPING, 1))),
        *(x[y == label][:24] for label in (0, 1, 2)),
        *(windows(domain, seed=seed)[0] for seed, domain in enumerate((OTHER, 12, FLIPPING, 3, 1, 3), 9)),
    ]
    asked = [*stream[::4], all_of(1)[0][:20]]
    with opened(path, tmp_path / "through.db", gate=gate) as (session, parts):
        through, predicted = [], []
        for each in stream:
            through.append(told(session.observe(each)))
            predicted.append([session.scores(batch).tobytes() for batch in asked])
        versions, known = history(session), memory(parts)
    again, repeated = [], []
    for each in stream:
        with opened(path, tmp_path / "again.db", gate=gate) as (session, _):
            again.append(told(session.observe(each)))
        with opened(path, tmp_path / "again.db", gate=gate) as (session, _):
            repeated.append([session.scores(batch).tobytes() for batch in asked])
    assert again == through
    assert repeated == predicted
    with opened(path, tmp_path / "again.db", gate=gate) as (session, parts):
        assert (history(session), memory(parts)) == (versions, known)


def test_predicting_changes_nothing(path: Path, tmp_path: Path):
    state = tmp_path / "s.db"
    with opened(path, state) as (session, parts):
        for domain in (DRIFTED, OTHER, 1):
            watch(session, domain)
        batches = [windows(domain, seed=9)[number] for number, domain in enumerate((1, DRIFTED, OTHER, 12, 5))]

        def looks() -> tuple[Any, ...]:
            written = [state, *tmp_path.glob("s.db-wal")]
            kept = [hashlib.sha256(file.read_bytes()).hexdigest() for file in written]
            return kept, memory(parts), history(session), parts.engine.parameters.sha256

        before = looks()
        scores = [session.scores(x).tobytes() for x in batches]
        assert looks() == before
        assert [session.scores(x).tobytes() for x in reversed(batches)] == scores[::-1]
        assert looks() == before
    with opened(path, state) as (session, _):
        assert [session.scores(x).tobytes() for x in batches] == scores


def test_predicting_remembers_no_samples(session: Session, parts: Parts, monkeypatch: pytest.MonkeyPatch):
    """A device that predicts for months must not keep what it saw: what is asked again is answered again."""
    watch(session, DRIFTED)
    session.observe(windows(1)[0])  # the artifact's parameters are in force, which contexts are recognized by
    calls = counted(parts.engine, monkeypatch)
    for times in (1, 2):
        session.predict(windows(1)[1])
        assert calls == {"observe": times, "infer": times}


def test_few_samples_are_predicted_by_what_is_in_force(session: Session):
    """So few do not say where they are from."""
    watch(session, DRIFTED)
    x = windows(1)[0]
    in_force = np.concatenate([session.scores(x[i : i + 4]) for i in range(0, len(x), 4)])
    assert not np.array_equal(in_force, session.scores(x))
    session.observe(x)
    assert np.array_equal(
        np.concatenate([session.scores(x[i : i + 4]) for i in range(0, len(x), 4)]), session.scores(x)
    )


def test_a_rollback_holds_at_home(path: Path, tmp_path: Path):
    """What somebody went back from does not come back with the next window."""
    artifact = recognizing(at_home(make_artifact()))
    write(tmp_path / "a.cal", artifact)
    for reopened in (False, True):
        with ExitStack() as stack:
            state = tmp_path / f"{reopened}.db"
            session, parts = stack.enter_context(opened(tmp_path / "a.cal", state))
            taught = session.observe(*make_window(artifact, 60, seed=0))
            assert taught.decision == "committed"
            held = parts.deployed.parameters
            assert session.observe(make_window(artifact, 60, seed=4)[0]).context == HOME
            assert parts.deployed.parameters == held  # it is what labels taught home
            session.rollback(0)
            if reopened:
                stack.close()
                session, parts = stack.enter_context(opened(tmp_path / "a.cal", state))
            report = session.observe(make_window(artifact, 60, seed=5)[0])
            assert (report.decision, report.context) == ("skipped", HOME)
            assert parts.deployed.parameters == Parameters.of(artifact.constants)
            session.rollback(taught.version)
            session.observe(make_window(artifact, 60, seed=6)[0])
            assert parts.deployed.parameters == held


def test_what_a_rollback_restores_competes_elsewhere(session: Session, parts: Parts):
    watch(session, DRIFTED)
    number, held = session.version.number, parts.deployed.parameters
    session.rollback(0)
    assert parts.deployed.anchor().version == number + 1
    session.rollback(number)
    assert parts.deployed.parameters == held
    assert parts.deployed.anchor().version == number + 2
    session.observe(windows(DRIFTED, seed=2)[0])
    assert "labeled" in domains(parts)["1"]["contest"]


def test_what_is_forgotten_leaves_the_weights(tmp_path: Path):
    artifact = recognizing(at_home(make_artifact()))
    write(tmp_path / "a.cal", artifact)
    with opened(tmp_path / "a.cal") as (session, parts):
        assert session.observe(*make_window(artifact, 60, seed=0)).decision == "committed"
        held = parts.deployed.parameters
        session.forget()
        assert parts.store.policies() == {}
        report = session.observe(make_window(artifact, 60, seed=5)[0])
        assert (report.decision, report.context) == ("skipped", HOME)
        assert parts.deployed.parameters == held


def test_what_is_forgotten_of_contexts_is_learned_anew(session: Session, parts: Parts):
    watch(session, DRIFTED)
    watch(session, OTHER)
    session.forget()
    assert domains(parts) == {}
    assert memory(parts)["contexts"]["clumping"] == {"last": None, "steps": []}
    assert [report.context for report in watch(session, DRIFTED)] == [1] * 6
    assert accuracy(session, DRIFTED) > 0.9


def test_labels_that_nobody_here_was_told_of_hold_at_home(tmp_path: Path):
    """Those of a session that learned from labels alone, or of an earlier release."""
    artifact = recognizing(at_home(make_artifact()))
    write(tmp_path / "a.cal", artifact)
    with opened(tmp_path / "a.cal", tmp_path / "s.db", unlabeled=False) as (session, parts):
        assert session.observe(*make_window(artifact, 60, seed=0)).decision == "committed"
        held = parts.deployed.parameters
    with opened(tmp_path / "a.cal", tmp_path / "s.db") as (session, parts):
        assert session.observe(make_window(artifact, 60, seed=5)[0]).context == HOME
        assert parts.deployed.parameters == held


def test_a_context_of_a_session_that_told_none_apart_is_none_of_this_one(path: Path, tmp_path: Path):
    with opened(path, tmp_path / "s.db", gate=False) as (session, parts):
        watch(session, DRIFTED)
        assert set(domains(parts)) == {str(ANYWHERE)}
    with opened(path, tmp_path / "s.db") as (session, parts):
        assert domains(parts) == {}
        assert session.observe(windows(1)[0]).context == HOME
        assert accuracy(session, 1) == 1


@pytest.mark.parametrize("kind", ["observe", "moments", "infer"])
def test_an_interrupt_leaves_what_was_in_force(path: Path, tmp_path: Path, kind: str):
    """Wherever it comes, the session goes on as one that was never interrupted."""
    stream = [windows(domain, seed=seed)[0] for seed, domain in enumerate((FLIPPING, FLIPPING, OTHER, 1, FLIPPING))]
    asked = windows(FLIPPING, seed=9)[0]
    with opened(path, tmp_path / "through.db") as (session, parts):
        expected = [(told(session.observe(x)), session.scores(asked).tobytes()) for x in stream]
        known = memory(parts)
    interrupted = 0
    with opened(path, tmp_path / "again.db") as (session, parts):
        found = []
        for x in stream:
            for after in range(4):
                held, before = parts.deployed.parameters, memory(parts)
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(parts.engine, kind, interrupting(getattr(parts.engine, kind), after))
                    try:
                        session.scores(x) if kind == "infer" else session.observe(x)
                    except KeyboardInterrupt:
                        interrupted += 1
                    else:
                        break  # it does not ask so often
                assert parts.engine.parameters == held
                assert memory(parts) == before
            else:
                found.append(told(session.observe(x)))
                continue
            if kind == "infer":
                session.observe(x)
            found.append(None)
    assert interrupted
    with opened(path, tmp_path / "again.db") as (session, parts):
        assert memory(parts) == known
        assert session.scores(asked).tobytes() == expected[-1][1]
    assert all(report in (None, wanted) for report, (wanted, _) in zip(found, expected, strict=True))


def interrupting(real: Callable[..., Any], after: int) -> Callable[..., Any]:
    """Somebody presses Ctrl-C in a later call."""
    left = [after]

    def call(*given: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return real(*given)

    return call


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
def test_harmful_flips_are_refused_and_the_correction_is_kept(
    session: Session, parts: Parts, monkeypatch: pytest.MonkeyPatch, share: float, guard_left_out: str | None
):
    if guard_left_out is not None:  # each holds alone
        monkeypatch.setattr(self_training, guard_left_out, lambda *_: None)
    harmful = Harmful(share)
    monkeypatch.setattr(GuardedFlips, "update", harmful)
    before = accuracy(session, FLIPPING)
    reports = [*watch(session, FLIPPING), *watch(session, OTHER)]
    assert harmful.calls
    assert all(r.flips == 0 for r in reports)
    assert all(domain["weights"] == "" for domain in domains(parts).values())
    assert np.array_equal(parts.engine.parameters.weights, parts.artifact.constants.weights)
    assert accuracy(session, FLIPPING) > before + 0.2


def test_flips_of_a_context_stay_within_it(session: Session, parts: Parts, base: Parameters):
    x, home = all_of(FLIPPING)[0], session.scores(all_of(1)[0])
    report = session.observe(windows(FLIPPING)[0])
    assert (report.decision, report.updater, report.context) == ("committed", "affine+flip-pooled", 1)
    assert report.flips > 0
    flipped, left = parts.deployed.parameters, session.scores(x)
    assert np.array_equal(session.scores(all_of(1)[0]), home)
    watch(session, 1)
    assert parts.deployed.parameters == base
    assert np.array_equal(session.scores(x), left)
    assert np.count_nonzero(flipped.weights != base.weights) == report.flips


def test_every_version_can_be_restored(path: Path, tmp_path: Path):
    state, held = tmp_path / "s.db", dict[int, str]()
    with opened(path, state) as (session, parts):
        for domain in (DRIFTED, FLIPPING, 1, DRIFTED):
            for x in windows(domain):
                number = session.observe(x).version
                assert held.setdefault(number, parts.engine.parameters.sha256) == parts.engine.parameters.sha256
        assert parts.deployed.anchor().version == 0
    assert len(held) >= 4
    with opened(path, state) as (session, parts):
        assert parts.deployed.anchor().version == 0
        for number, sha in held.items():
            session.rollback(number)
            assert parts.engine.parameters.sha256 == sha


@pytest.mark.parametrize(("spare", "places"), [(0, 1), (1, 2), (3, 4), (40, 8)])
def test_contexts_take_half_of_what_a_budget_leaves(path: Path, spare: int, places: int):
    with opened(path, capacity=20) as (_, parts):
        assert parts.footprint.places == 8  # without a budget
        assert parts.footprint.watched == 8
        alone, two = (replace(parts.footprint, places=n, watched=0).resident for n in (1, 2))
    budget = Budget(ram=alone + 2 * spare * (two - alone))
    with opened(path, capacity=20, budget=budget) as (session, parts):
        assert parts.footprint.places == places
        assert parts.footprint.watched == 0  # contexts come first
        assert budget.ram - parts.footprint.resident >= spare * (two - alone)
        if spare:
            assert session.contexts()[0].name == "home"


def test_an_artifact_that_does_not_know_home_teaches_nothing(tmp_path: Path):
    artifact = replace(deployment(8).prepared.artifact, home=None, recognition=None)
    write(tmp_path / "a.cal", artifact)
    with opened(tmp_path / "a.cal") as (session, parts):
        for report in watch(session, DRIFTED):
            assert report.decision == "skipped"
            assert report.reason.startswith("abstained: the artifact does not say what is usual at home")
        x, y = all_of(DRIFTED)
        assert session.observe(x[:96], y[:96]).decision == "committed"  # labels teach as ever
        held = parts.deployed.parameters
        assert session.observe(windows(1)[0]).decision == "skipped"
        assert parts.deployed.parameters == held
        assert domains(parts) == {}


def test_it_can_be_left_out(path: Path, base: Parameters):
    with opened(path, unlabeled=False) as (session, parts):
        assert parts.unsupervised is None
        reports = watch(session, DRIFTED)
        assert {(r.decision, r.reason, r.context) for r in reports} == {("skipped", "no labels", None)}
        assert parts.engine.parameters == base


Edit = Callable[[dict[str, Any]], object]
NONSENSE: list[Edit] = [
    lambda m: m.pop("current"),
    lambda m: m.update(more=1),
    lambda m: m.update(current=-1),
    lambda m: m.update(current=1.0),
    lambda m: m.update(current=2**60),
    lambda m: m.update(domains=[]),
    lambda m: m["domains"].update({"": m["domains"]["1"]}),
    lambda m: m["domains"].update({"-1": m["domains"]["1"]}),
    lambda m: m["domains"].update({"01": m["domains"]["1"]}),
    lambda m: m["domains"].update({"²": m["domains"]["1"]}),
    lambda m: m["domains"].update({"٣": m["domains"]["1"]}),
    lambda m: m["domains"].update({"9" * 5000: m["domains"]["1"]}),
    lambda m: m["domains"].update({"1": None}),
    lambda m: m["domains"]["1"].update(mean=""),
    lambda m: m["domains"]["1"].update(chosen="nobody"),
    lambda m: m["domains"]["1"].pop("version"),
]


def edited(path: Path, state: Path, edit: Edit) -> None:
    """A state of somebody who writes what he likes."""
    with opened(path, state) as (session, parts):
        watch(session, DRIFTED)
        found = memory(parts)
        edit(found["domains"])
        parts.store.record("skipped", Entry(policies=found))


@pytest.mark.parametrize("edit", NONSENSE, ids=range(len(NONSENSE)))
def test_a_state_that_says_nonsense_is_refused(path: Path, tmp_path: Path, edit: Edit):
    edited(path, tmp_path / "s.db", edit)
    with pytest.raises(StateError, match=r"state is damaged\)$"):
        Session.open(path, tmp_path / "s.db")


def test_a_context_taught_by_a_version_that_is_not_there_is_refused(path: Path, tmp_path: Path):
    edited(path, tmp_path / "s.db", lambda m: m["domains"]["1"].update(labels=99, version=77))
    with opened(path, tmp_path / "s.db") as (session, _):
        with pytest.raises(StateError, match="77"):
            session.observe(windows(DRIFTED)[0])
        assert session.observe(*[each[:48] for each in all_of(1)]).labels == 48  # and goes on


def test_a_context_that_nothing_is_better_for_is_predicted_by_the_artifacts_parameters(path: Path, tmp_path: Path):
    edited(path, tmp_path / "s.db", lambda m: m["domains"]["1"].update(chosen=AS_IT_IS))
    x = all_of(DRIFTED)[0]
    with opened(path) as (session, _):
        expected = session.scores(x)
    with opened(path, tmp_path / "s.db") as (session, parts):
        assert not np.array_equal(session.scores(x), expected)  # until it is entered again, the correction is in force
        session.observe(windows(1)[0])
        assert memory(parts)["domains"]["current"] == HOME
        assert np.array_equal(session.scores(x), expected)


def test_contexts_can_be_seen_and_have_names(path: Path, tmp_path: Path):
    x, y = all_of(DRIFTED)
    with opened(path, tmp_path / "s.db") as (session, parts):
        assert [(each.number, each.candidate) for each in session.contexts()] == [(HOME, AS_IT_IS)]
        taught = session.observe(x[:96], y[:96])
        session.name_context(1, "garage")
        known = session.contexts()[1]
        assert (known.number, known.name, known.labels, known.version) == (1, "garage", 96, taught.version)
        for name in ("", "home", "a\nb"):
            with pytest.raises(DataError, match="name of context 1"):
                session.name_context(1, name)
        with pytest.raises(DataError, match="expected one of 0, 1, got 7"):
            session.name_context(7, "attic")
    with opened(path, tmp_path / "s.db") as (session, parts):
        assert session.contexts()[1] == known
        assert session.observe(windows(DRIFTED)[0]).context == 1
        assert parts.store.events()[-1].detail["context_name"] == "garage"
        session.forget()
        assert [each.number for each in session.contexts()] == [HOME]


def test_without_contexts_there_is_nothing_to_see_or_to_name(path: Path):
    for options in ({"gate": False}, {"unlabeled": False}):
        with opened(path, **options) as (session, _):
            assert session.contexts() == ()
            with pytest.raises(DataError, match="expected a session that tells contexts apart"):
                session.name_context(1, "garage")
