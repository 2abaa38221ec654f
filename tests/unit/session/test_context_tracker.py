"""Following a stream from context to context: windows are recognized, those of few classes wait for more of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from calibrant.artifact import Artifact
from calibrant.core.errors import DataError, StateError
from calibrant.core.evaluation import Evaluation
from calibrant.core.parameters import Parameters
from calibrant.core.rng import generator
from calibrant.core.window import encode
from calibrant.engine import Engine
from calibrant.memory.policies import Memory
from calibrant.policy.contexts import HOME, MOST
from calibrant.session.context_tracker import ANYWHERE, ContextTracker
from deployments import CLASSES, deployment, samples

AWAY, OTHER = 9, 8  # domains, of which the artifact sees all classes


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    return deployment(8).prepared.artifact


@pytest.fixture(scope="module")
def engine(artifact: Artifact) -> Engine:
    return Engine(artifact.program, artifact.constants)


Window = tuple[np.ndarray, Evaluation]
Make = Callable[..., Window]


@pytest.fixture(scope="module")
def window(artifact: Artifact, engine: Engine) -> Make:
    """Windows of a domain, and what the artifact's own parameters say of them."""

    def make(domain: int, seed: int = 0, classes: tuple[int, ...] = (), count: int = 48) -> Window:
        x, y = samples(domain, 150 if domain == 1 else 288)
        codes = encode(x, artifact.program.tensors[0], artifact.preprocess, artifact.input_shape)
        rows = generator(seed, "window").permutation(len(y))
        if classes:  # as they are predicted, since the tracker knows no others
            predicted = engine.infer(codes).argmax(axis=1)
            rows = rows[np.isin(predicted[rows], classes)]
        return seen(codes[rows[:count]])

    def seen(codes: np.ndarray) -> Window:
        unknown = np.full(len(codes), -1)
        base = Parameters.of(artifact.constants)
        return codes, Evaluation.of(base, engine.observe(codes), unknown, artifact.meaning)

    return make


def kept(tracker: ContextTracker) -> dict[str, Memory]:
    """What a state gives back."""
    memory = json.loads(json.dumps(tracker.memory(), allow_nan=False))
    return {name: Memory(0, value) for name, value in memory.items()}


def visits(*domains: int, length: int = 3) -> list[int]:
    """A stream that stays for some windows wherever it is."""
    return [domain for domain in domains for _ in range(length)]


def test_contexts_are_told_apart_and_come_back(artifact: Artifact, window: Make):
    tracker = ContextTracker(artifact, MOST)
    told = [tracker.follow(*window(domain, seed)) for seed, domain in enumerate(visits(1, AWAY, OTHER, 1, AWAY, OTHER))]
    assert told == visits(HOME, 1, 2, HOME, 1, 2)
    assert [context.number for context in tracker.known] == [0, 1, 2]


@pytest.mark.parametrize("recognizes", [True, False])
def test_reopened_after_every_window_it_goes_on_alike(artifact: Artifact, window: Make, recognizes: bool):
    stayed, again = (ContextTracker(artifact, MOST if recognizes else 1) for _ in range(2))
    stream = [(1, ()), (AWAY, ()), (AWAY, (0,)), (AWAY, (1,)), (OTHER, ()), (1, ()), (1, (0,)), (1, (0,)), (1, (2,))]
    for seed, (domain, classes) in enumerate(stream):
        memories = kept(again)
        again = ContextTracker(artifact, MOST if recognizes else 1)
        again.resume(memories)
        each = window(domain, seed, classes)
        assert again.follow(*each) == stayed.follow(*each)
        assert again.memory() == stayed.memory()
        assert again.mixed == stayed.mixed


def by_class(window: Make, domain: int, rounds: int = 3) -> list[Window]:
    """A stream in which classes come one after the other."""
    return [window(domain, 10 * number + label, (label,)) for number in range(rounds) for label in range(CLASSES)]


def test_windows_of_few_classes_are_pooled_and_then_recognized(artifact: Artifact, window: Make):
    """Home's classes, each by itself, are no domains of their own, as soon as it is known that they come like that."""
    tracker = ContextTracker(artifact, MOST)
    told = [tracker.follow(*each) for each in by_class(window, 1, rounds=5)]
    assert not tracker.mixed
    assert set(told[-9:]) == {HOME}
    assert len(tracker.known) <= 3  # what the first windows seemed to be
    assert tracker.memory()["contexts"]["pending"]["samples"] > 48  # of more than one window
    away = [tracker.follow(*each) for each in by_class(window, AWAY, rounds=3)]
    assert away[0] == HOME  # where it was, until more is known
    assert away[-1] == tracker.known[-1].number != HOME


def test_while_windows_wait_the_stream_is_where_it_was(artifact: Artifact, window: Make):
    tracker = ContextTracker(artifact, MOST)
    for each in by_class(window, 1):
        before, known = tracker.memory()["contexts"], tracker.known
        number = tracker.follow(*each)
        after = tracker.memory()["contexts"]
        if after["pending"] is not None:
            assert number == before["last"] == after["last"]
            assert tracker.known == known
        else:
            assert number == after["last"]


def test_asking_what_samples_are_of_changes_nothing(artifact: Artifact, window: Make):
    tracker = ContextTracker(artifact, MOST)
    tracker.follow(*window(AWAY))
    before = tracker.memory()
    assert [tracker.recognize(*window(domain, 9)).nearest for domain in (AWAY, 1)] == [1, HOME]
    assert tracker.memory() == before


@pytest.mark.parametrize("why", ["not asked", "not said", "not possible"])
def test_where_contexts_are_not_told_apart_everything_is_anywhere(artifact: Artifact, window: Make, why: str):
    known = artifact.recognition
    assert known is not None
    says = {"not asked": known, "not said": None, "not possible": replace(known, kept=0.5)}[why]
    tracker = ContextTracker(replace(artifact, recognition=says), 1 if why == "not asked" else MOST)
    told = [tracker.follow(*window(domain)) for domain in (1, AWAY, OTHER)]
    told += [tracker.follow(*each) for each in by_class(window, AWAY, rounds=1)]  # nothing waits either
    assert told == [ANYWHERE] * 6
    assert tracker.known == ()
    tracker.name(ANYWHERE, "garage")
    assert tracker.memory()["contexts"]["known"] is None


def test_it_knows_whether_windows_show_the_classes_as_the_stream_does(artifact: Artifact, window: Make):
    mixed, sorted_ = (ContextTracker(artifact, MOST) for _ in range(2))
    told = [(mixed.mixed, sorted_.mixed)]  # nothing is known yet
    for seed, each in enumerate(by_class(window, 1)):
        mixed.follow(*window(1, seed))
        sorted_.follow(*each)
        told.append((mixed.mixed, sorted_.mixed))
    assert told == [(False, False)] + [(True, False)] * 9


def test_contexts_have_names(artifact: Artifact, window: Make):
    tracker = ContextTracker(artifact, MOST)
    tracker.follow(*window(AWAY))
    tracker.name(1, "garage")
    assert [context.name for context in tracker.known] == ["home", "garage"]
    with pytest.raises(DataError, match="context: expected one of 0, 1, got 5"):
        tracker.name(5, "attic")


def test_contexts_are_forgotten_by_a_session_that_tells_none_apart(artifact: Artifact, window: Make):
    tracker, other = ContextTracker(artifact, MOST), ContextTracker(artifact, 1)
    tracker.follow(*window(AWAY))
    other.resume(kept(tracker))
    assert other.follow(*window(AWAY)) == ANYWHERE
    tracker.resume(kept(other))
    assert [context.number for context in tracker.known] == [HOME]
    tracker.resume({})
    assert tracker.memory() == ContextTracker(artifact, MOST).memory()


Edit = Callable[[dict[str, Any]], object]
NONSENSE: list[Edit] = [
    lambda m: m.pop("known"),
    lambda m: m.update(more=1),
    lambda m: m.update(known=[]),
    lambda m: m["known"].update(clock=-1),
    lambda m: m["known"]["contexts"][0].update(total=[0]),
    lambda m: m.update(clumping=None),
    lambda m: m["clumping"].update(steps=[[0.0, float("nan")]]),
    lambda m: m["clumping"]["last"].update(samples=0),
    lambda m: m.update(pending=[]),
    lambda m: m["pending"].pop("total"),
    lambda m: m["pending"].update(samples=float("nan")),
    lambda m: m["pending"].update(total=m["pending"]["total"][1:]),
    lambda m: m["pending"].update(squares=10**30),
    lambda m: m.update(last=-1),
    lambda m: m.update(last=1.0),
    lambda m: m.update(last=m["known"]["latest"] + 1),
    lambda m: m.update(broad=1),
    lambda m: m.update(broad=None),
]


@pytest.mark.parametrize("edit", NONSENSE, ids=range(len(NONSENSE)))
def test_nonsense_is_refused(artifact: Artifact, window: Make, edit: Edit):
    tracker = ContextTracker(artifact, MOST)
    for each in by_class(window, 1):
        tracker.follow(*each)
    memories = kept(tracker)
    ContextTracker(artifact, MOST).resume(memories)
    edit(memories["contexts"].value)
    with pytest.raises(StateError, match=r"state is damaged\)$"):
        tracker.resume(memories)


@pytest.mark.parametrize("value", [None, [], "contexts", 3, {}])
def test_what_is_no_memory_is_refused(value: Any):
    with pytest.raises(StateError, match=r"^contexts: expected fields"):
        ContextTracker(deployment(8).prepared.artifact, True).resume({"contexts": Memory(0, value)})
