"""Which domain is this?"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from calibrant.core.errors import DataError, StateError
from calibrant.core.recognition import Recognition
from calibrant.core.rng import generator
from calibrant.policy.contexts import ALARM, HOME, MOST, SLACK, Contexts
from calibrant.policy.place import Place
from calibrant.policy.signature import ONE

D = 40
HERE = Recognition(*np.zeros((2, D), np.float32), np.eye(D, dtype=np.float32), 1.0, 0.005, 1.0, 0.25, 1.0)


def window(place: float, count: int = 50, seed: int = 0, spread: float = 1.0, wander: float = 0.0) -> np.ndarray:
    """Signatures of a domain that lies `place` away from home, in a direction of its own."""
    rng = generator(seed, f"window {place}")
    center = place * np.sign(generator(7, f"direction {place}").normal(0, 1, D)) + rng.normal(0, 1, D) * wander**0.5
    return np.rint((center + spread * rng.normal(0, 1, (count, D))) * ONE).astype(np.int16)


def visited(contexts: Contexts, *windows: np.ndarray) -> tuple[Contexts, list[int]]:
    """After windows that are taken for what they are recognized as; which context each went to."""
    went = []
    for seen in windows:
        found = contexts.recognize(Place.of(seen)).context
        contexts = contexts.seen(Place.of(seen), found)
        went.append(contexts.latest if found is None else found)
    return contexts, went


def test_home_is_home_and_other_places_come_back_as_what_they_were():
    _, went = visited(Contexts.of(HERE), *(window(p, seed=i) for i, p in enumerate([0, 1, 2, 1, 0, 3, 2, 2, 3, 0])))
    assert went == [0, 1, 2, 1, 0, 3, 2, 2, 3, 0]


@pytest.mark.parametrize("count", [3, 10, 16, 200, 900])
def test_batches_of_any_size_are_recognized(count: int):
    contexts, _ = visited(Contexts.of(HERE), window(1), window(2))
    for number in (0, 1, 2):
        told = [
            contexts.recognize(Place.of(window(number, count, seed, wander=0.005))).context for seed in range(5, 25)
        ]
        assert told.count(number) >= 19


def test_what_is_unlike_everything_is_predicted_by_what_is_near():
    contexts, _ = visited(Contexts.of(HERE), window(2))
    between = np.rint(window(2, seed=3) * 0.75).astype(np.int16)
    found = contexts.recognize(Place.of(between))
    assert (found.context, found.nearest) == (None, 1)
    assert found.distance > found.limit
    assert contexts.recognize(Place.of(np.rint(window(2, seed=3) * 0.4).astype(np.int16))).nearest == HOME


def test_a_livelier_domain_is_one_context():
    """By home's variance alone its windows would be too far apart."""
    _, went = visited(Contexts.of(HERE), *(window(3, seed=i, spread=3.0) for i in range(8)))
    assert went == [1] * 8


def test_a_slow_move_away_from_home_alarms_though_no_window_does():
    contexts, away = Contexts.of(HERE), []
    for seed in range(8):
        seen = window(0.12, seed=seed)
        assert contexts.recognize(Place.of(seen)).distance < contexts.recognize(Place.of(seen)).limit
        away.append(contexts.recognize(Place.of(seen)).strain > ALARM)
        contexts = contexts.seen(Place.of(seen), 0)
    assert not away[0]
    assert away[-1]
    assert contexts.recognize(Place.of(window(0.12, seed=20))).context is None
    assert contexts.recognize(Place.of(window(0.12, seed=20))).strain > ALARM
    for seed in range(3):
        contexts = contexts.seen(Place.of(window(0, seed=seed)), 0)
    assert contexts.recognize(Place.of(window(0, seed=9))).context == 0


def test_home_as_it_is_does_not_alarm():
    contexts = Contexts.of(HERE)
    for seed in range(200):
        seen = window(0, seed=seed, wander=0.005)
        assert contexts.recognize(Place.of(seen)).context == HOME
        contexts = contexts.seen(Place.of(seen), 0)


def test_other_domains_leave_homes_sum_alone():
    contexts = Contexts.of(HERE)
    for seed in range(5):
        contexts = contexts.seen(Place.of(window(2, seed=seed)), None)
    assert contexts.strain == 0


def test_the_least_recently_seen_leaves_those_with_names_last():
    contexts, _ = visited(Contexts.of(HERE), *(window(p) for p in range(1, MOST)))
    assert [c.number for c in contexts.known] == list(range(MOST))
    contexts = contexts.named(2, "garage").seen(Place.of(window(1, seed=1)), 1)
    contexts, went = visited(contexts, window(20), window(21))
    assert went == [8, 9]
    assert [c.number for c in contexts.known] == [0, 1, 2, 5, 6, 7, 8, 9]
    for number in (1, 5, 6, 7, 8, 9):
        contexts = contexts.named(number, f"room {number}")
    contexts, _ = visited(contexts, window(22))
    assert [c.number for c in contexts.known] == [0, 1, 5, 6, 7, 8, 9, 10]  # the garage, for all have names


def test_what_is_asked_of_contexts_that_are_not_there():
    contexts, _ = visited(Contexts.of(HERE), window(1))
    for ask in (lambda c: c[5], lambda c: c.seen(Place.of(window(1)), 5), lambda c: c.named(5, "x")):
        with pytest.raises(DataError, match="context: expected one of 0, 1, got 5"):
            ask(contexts)


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 65, 3, None, "home"])
def test_names_that_are_none(name: Any):
    contexts, _ = visited(Contexts.of(HERE), window(1))
    with pytest.raises(DataError, match="name of context 1"):
        contexts.named(1, name)


def test_home_can_have_another_name():
    assert Contexts.of(HERE).named(0, "factory").named(0, "factory")[0].name == "factory"


def test_its_memory_goes_on_as_it_would_have():
    windows = [window(p, seed=i) for i, p in enumerate([0, 1, 2, 1, 0, 3, 2, 2, 3, 0])]
    stayed, _ = visited(Contexts.of(HERE), *windows)
    again = Contexts.of(HERE)
    for seen in windows:
        again, _ = visited(Contexts.of(HERE, json.loads(json.dumps(again.memory()))), seen)
    assert again.memory() == stayed.memory()


def test_neither_order_of_samples_nor_of_dimensions_matters():
    rows, columns = generator(3, "rows").permutation(50), generator(4, "columns").permutation(D)
    stayed, moved = Contexts.of(HERE), Contexts.of(HERE)
    for seed, place in enumerate([1, 2, 1, 0, 0.1, 2]):
        seen = window(place, seed=seed)
        other = seen[rows][:, columns]
        assert moved.recognize(Place.of(other)) == stayed.recognize(Place.of(seen))
        found = stayed.recognize(Place.of(seen)).context
        stayed, moved = stayed.seen(Place.of(seen), found), moved.seen(Place.of(other), found)


Edit = Callable[[dict[str, Any]], None]
NONSENSE: list[Edit] = [
    lambda m: m.pop("clock"),
    lambda m: m.update(more=1),
    lambda m: m.update(clock=-1),
    lambda m: m.update(clock=1.0),
    lambda m: m.update(latest=1),
    lambda m: m.update(strain=-0.5),
    lambda m: m.update(strain=ALARM + SLACK + 0.1),
    lambda m: m.update(strain=float("nan")),
    lambda m: m.update(strain=True),
    lambda m: m.update(strain="0"),
    lambda m: m.update(contexts=[]),
    lambda m: m.update(contexts={}),
    lambda m: m["contexts"].pop(0),
    lambda m: m["contexts"].reverse(),
    lambda m: m["contexts"].extend(m["contexts"] * 3),
    lambda m: m["contexts"].append(dict(m["contexts"][1])),
    lambda m: m["contexts"].append(None),
    lambda m: m["contexts"][1].pop("name"),
    lambda m: m["contexts"][1].update(name="home"),
    lambda m: m["contexts"][1].update(name="\0"),
    lambda m: m["contexts"][1].update(name=None),
    lambda m: m["contexts"][1].update(number=2**60),
    lambda m: m["contexts"][1].update(last=3),
    lambda m: m["contexts"][1].update(samples=0),
    lambda m: m["contexts"][0].update(samples=1),
    lambda m: m["contexts"][1].update(total=[0]),
]


@pytest.mark.parametrize("edit", NONSENSE, ids=range(len(NONSENSE)))
def test_nonsense_is_refused(edit: Edit):
    memory = visited(Contexts.of(HERE), window(1), window(2))[0].memory()
    edit(memory)
    with pytest.raises(StateError, match=r"state is damaged\)$"):
        Contexts.of(HERE, memory)


@pytest.mark.parametrize("memory", [[], "contexts", 3, {}])
def test_what_is_no_memory_is_refused(memory: Any):
    with pytest.raises(StateError, match=r"^contexts: expected fields"):
        Contexts.of(HERE, memory)


def test_contexts_of_another_artifact_are_refused():
    wider = replace(HERE, mean=np.zeros(D + 1, np.float32))
    with pytest.raises(StateError, match="expected 41 numbers"):
        Contexts.of(wider, visited(Contexts.of(HERE), window(1))[0].memory())
