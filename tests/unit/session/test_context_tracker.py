"""Following a stream from context to context: windows are recognized, those of few classes wait for more of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from artifacts import make_artifact
from calibrant.artifact import Artifact
from calibrant.core.errors import DataError, StateError
from calibrant.core.evaluation import Evaluation
from calibrant.core.parameters import Parameters
from calibrant.core.rng import generator
from calibrant.core.window import encode
from calibrant.engine import Engine
from calibrant.memory.policies import Memory
from calibrant.policy.contexts import HOME
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


def test_contexts_are_told_apart_and_come_back(artifact: Artifact, window: Make):
    tracker = ContextTracker(artifact, True)
    stream = (1, AWAY, AWAY, OTHER, 1, AWAY, OTHER, 1)
    told = [tracker.follow(*window(domain, seed)) for seed, domain in enumerate(stream)]
    assert told == [HOME, 1, 1, 2, HOME, 1, 2, HOME]
    assert [context.number for context in tracker.known] == [0, 1, 2]


@pytest.mark.parametrize("recognizes", [True, False])
def test_reopened_after_every_window_it_goes_on_alike(artifact: Artifact, window: Make, recognizes: bool):
    stayed, again = (ContextTracker(artifact, recognizes) for _ in range(2))
    stream = [(1, ()), (AWAY, ()), (AWAY, (0,)), (AWAY, (1,)), (OTHER, ()), (1, ()), (1, (0,)), (1, (0,)), (1, (2,))]
    for seed, (domain, classes) in enumerate(stream):
        memories = kept(again)
        again = ContextTracker(artifact, recognizes)
        again.resume(memories)
        each = window(domain, seed, classes)
        assert again.follow(*each) == stayed.follow(*each)
        assert again.memory() == stayed.memory()
        assert again.mixed == stayed.mixed


def test_windows_of_few_classes_are_pooled_and_then_recognized(artifact: Artifact, window: Make):
    pooled, whole = (ContextTracker(artifact, True) for _ in range(2))
    for tracker in (pooled, whole):
        assert [tracker.follow(*window(1, seed)) for seed in range(2)] == [HOME, HOME]
    parts = [window(AWAY, label, (label,), count=20) for label in (0, 2)]
    assert [pooled.follow(*part) for part in parts] == [None, 1]
    codes = np.concatenate([part[0] for part in parts])
    assert whole.follow(codes, parts[0][1].then(parts[1][1])) == 1
    assert pooled.known[1].place.memory() == whole.known[1].place.memory()
    assert pooled.memory()["contexts"]["pending"] is None
    assert pooled.follow(*window(AWAY, 5)) == 1


def test_a_window_that_stands_for_itself_ends_the_waiting(artifact: Artifact, window: Make):
    tracker = ContextTracker(artifact, True)
    for seed in range(2):
        tracker.follow(*window(1, seed))
    assert tracker.follow(*window(AWAY, 0, (0,), count=20)) is None
    assert tracker.memory()["contexts"]["pending"] is not None
    assert tracker.follow(*window(1, 7)) == HOME
    assert tracker.memory()["contexts"]["pending"] is None
    assert len(tracker.known) == 1


def test_samples_with_labels_need_not_show_all_classes(artifact: Artifact, window: Make):
    tracker = ContextTracker(artifact, True)
    for seed in range(2):
        tracker.follow(*window(1, seed))
    assert tracker.enter(*window(AWAY, 0, (0,), count=20)) == 1
    assert tracker.recognize(*window(AWAY, 0, (0,), count=20)).nearest == 1


def test_asking_what_samples_are_of_changes_nothing(artifact: Artifact, window: Make):
    tracker = ContextTracker(artifact, True)
    tracker.follow(*window(AWAY))
    before = tracker.memory()
    assert [tracker.recognize(*window(domain, 9)).nearest for domain in (AWAY, 1)] == [1, HOME]
    assert tracker.memory() == before


@pytest.mark.parametrize("why", ["not asked", "not said", "not possible"])
def test_where_contexts_are_not_told_apart_everything_is_anywhere(artifact: Artifact, window: Make, why: str):
    known = artifact.recognition
    assert known is not None
    says = {"not asked": known, "not said": None, "not possible": replace(known, kept=0.5)}[why]
    tracker = ContextTracker(replace(artifact, recognition=says), why != "not asked")
    told = [tracker.follow(*window(domain)) for domain in (1, AWAY, OTHER)]
    assert told == [ANYWHERE] * 3
    assert tracker.follow(*window(AWAY, 0, (0,))) == ANYWHERE  # nothing waits either
    assert tracker.enter(*window(1)) == ANYWHERE
    assert tracker.known == ()
    tracker.name(ANYWHERE, "garage")
    assert tracker.memory()["contexts"]["known"] is None


def test_it_knows_whether_windows_show_the_classes_as_the_stream_does(artifact: Artifact, window: Make):
    mixed, sorted_ = (ContextTracker(artifact, True) for _ in range(2))
    assert not mixed.mixed  # nothing is known yet
    for seed in range(3):
        mixed.follow(*window(1, seed))
        sorted_.follow(*window(1, seed, (seed % CLASSES,)))
        assert (mixed.mixed, sorted_.mixed) == (True, False)


def test_contexts_have_names(artifact: Artifact, window: Make):
    tracker = ContextTracker(artifact, True)
    tracker.follow(*window(AWAY))
    tracker.name(1, "garage")
    assert [context.name for context in tracker.known] == ["home", "garage"]
    with pytest.raises(DataError, match="context: expected one of 0, 1, got 5"):
        tracker.name(5, "attic")


def test_contexts_are_forgotten_by_a_session_that_tells_none_apart(artifact: Artifact, window: Make):
    tracker, other = ContextTracker(artifact, True), ContextTracker(artifact, False)
    tracker.follow(*window(AWAY))
    other.resume(kept(tracker))
    assert other.follow(*window(AWAY)) == ANYWHERE
    tracker.resume(kept(other))
    assert [context.number for context in tracker.known] == [HOME]
    tracker.resume({})
    assert tracker.memory() == ContextTracker(artifact, True).memory()


Edit = Callable[[dict[str, Any]], object]
NONSENSE: list[Edit] = [
    lambda m: m.pop("stream"),
    lambda m: m.update(more=1),
    lambda m: m.update(stream=3),
    lambda m: m["stream"].update(predicted=[1]),
    lambda m: m["stream"].update(pairs=2**60),
    lambda m: m.update(known=[]),
    lambda m: m["known"].update(clock=-1),
    lambda m: m["known"]["contexts"][1].update(total=[0]),
    lambda m: m.update(pending=[]),
    lambda m: m["pending"].pop("place"),
    lambda m: m["pending"]["place"].update(samples=float("nan")),
    lambda m: m["pending"]["place"].update(total=m["pending"]["place"]["total"][1:]),
    lambda m: m["pending"]["place"].update(squares=10**30),
    lambda m: m["pending"].update(place=None),
    lambda m: m["pending"]["evidence"].update(same=-1),
    lambda m: m["pending"].update(evidence=None),
]


@pytest.mark.parametrize("edit", NONSENSE, ids=range(len(NONSENSE)))
def test_nonsense_is_refused(artifact: Artifact, window: Make, edit: Edit):
    tracker = ContextTracker(artifact, True)
    for each in (window(1), window(AWAY, 1), window(AWAY, 2, (0,), count=20)):
        tracker.follow(*each)
    memories = kept(tracker)
    edit(memories["contexts"].value)
    with pytest.raises(StateError, match=r"state is damaged\)$"):
        tracker.resume(memories)


@pytest.mark.parametrize("value", [None, [], "contexts", 3, {}])
def test_what_is_no_memory_is_refused(value: Any):
    with pytest.raises(StateError, match=r"^contexts: expected fields"):
        ContextTracker(make_artifact(), True).resume({"contexts": Memory(0, value)})
