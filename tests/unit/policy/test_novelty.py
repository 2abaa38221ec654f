"""A class that nobody has taught: alike, and unlike all that its place has shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from math import comb
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibrant.core.errors import StateError
from calibrant.core.rng import generator
from calibrant.policy.novelty import (
    CHANCE,
    LEAST,
    MOST,
    RATE,
    WAITING,
    Novelty,
    largest_by_chance,
    squared_distances,
)
from calibrant.policy.signature import ONE

D, CLASSES = 40, 5
PLACES = generator(0, "classes").normal(0, 1.5, (CLASSES + 1, D)) * ONE  # the last class is new
Window = tuple[np.ndarray, np.ndarray]


def window(seed: int, classes: list[int] | None = None, count: int = 100, shift: float = 0.0) -> Window:
    """Signatures of known classes, or of these; `shift` moves all of them, each class in a direction of its own."""
    rng = generator(seed, "window")
    of = rng.choice(range(CLASSES) if classes is None else classes, count)
    moved = PLACES + shift * generator(1, "moves").normal(0, 1, PLACES.shape) * ONE
    return np.rint(moved[of] + rng.normal(0, 0.5, (count, D)) * ONE).astype(np.int16), of % CLASSES


def mixed(seed: int, new: int, count: int = 100) -> Window:
    """So many samples of the new class, among others."""
    some = [window(seed, count=count - new), window(seed + 1000, [CLASSES], new)]
    return np.concatenate([each[0] for each in some]), np.concatenate([each[1] for each in some])


def watched(novelty: Novelty, *windows: Window) -> tuple[Novelty, list[bool | None]]:
    said = list[bool | None]()
    for each in windows:
        novelty, finding = novelty.after(*each)
        said.append(None if finding is None else finding.unknown)
    return novelty, said


@cache
def at_home(windows: int = 5) -> Novelty:
    return watched(Novelty(4), *(window(seed) for seed in range(windows)))[0]


def test_what_a_place_has_shown_is_no_news():
    novelty, said = watched(Novelty(4), *(window(seed) for seed in range(40)))
    assert said == [None, None, *[False] * 38]
    assert len(novelty.places) == 1
    assert len(novelty.places[0].known) == MOST


@pytest.mark.parametrize(("new", "quiet"), [(60, 0), (20, 0), (10, 1), (5, 2)])
def test_a_new_class_is_news_once_there_is_enough_of_it_and_stays_news(new: int, quiet: int):
    novelty, said = watched(at_home(), *(mixed(seed, new) for seed in range(50, 70)))
    assert said == [*[False] * quiet, *[True] * (20 - quiet)]
    assert len(novelty.places) == 1


@pytest.mark.parametrize("shift", [0.1, 0.3, 1.0, 3.0])
def test_where_everything_moves_nothing_is_news(shift: float):
    novelty, said = watched(at_home(), *(window(seed, shift=shift) for seed in range(50, 70)))
    elsewhere = shift > 0.1  # a place of its own, of which two windows are not enough to judge by
    assert said == [None if elsewhere and at < 2 else False for at in range(20)]
    assert len(novelty.places) == 1 + elsewhere


def test_another_place_is_known_for_itself():
    novelty, _ = watched(at_home(), *(window(seed, shift=3.0) for seed in range(50, 55)))
    assert len(novelty.places) == 2
    assert novelty.after(*window(90))[1].fits
    assert novelty.after(*mixed(90, 20))[1].unknown


def test_single_samples_that_are_unlike_everything_and_each_other_are_no_news():
    x, predicted = window(50)
    x[:8] = generator(3, "strange").normal(0, 5, (8, D)) * ONE
    _, finding = at_home().after(x, predicted)
    assert np.count_nonzero(finding.beyond) >= 8
    assert (finding.size, finding.fits, finding.unknown) == (1, True, False)


def test_a_group_as_broad_as_many_classes_is_none():
    """Where samples of several classes move, each may be near one of another."""
    x, predicted = window(50)
    way = np.linspace(0, 1, 50)[:, None] * generator(3, "way").normal(0, 6, D) * ONE
    x[:50] = np.rint(PLACES[CLASSES] + way)
    _, finding = at_home().after(x, predicted)
    assert finding.size == 50 > finding.limit
    assert finding.fits
    assert finding.broad
    assert not finding.unknown


def test_a_class_that_is_not_seen_here_yet_explains_itself():
    """A sample taken for a class that the place has not shown is likely of that."""
    novelty, _ = watched(Novelty(4), *(window(seed, [0, 1, 2, 3]) for seed in range(5)))
    _, finding = novelty.after(*window(50, [0, 1, 2, 3, 4]))
    assert finding.size > finding.limit
    assert finding.explained
    assert not finding.unknown


def test_labels_make_it_known():
    novelty, said = watched(at_home(), *(mixed(seed, 30) for seed in range(50, 53)))
    assert said == [True] * 3
    for seed in range(53, 56):
        novelty = novelty.knowing(*mixed(seed, 30))
    assert watched(novelty, *(mixed(seed, 30) for seed in range(56, 60)))[1] == [False] * 4


def test_single_samples_are_unlike_their_place_at_the_stated_rate():
    novelty = at_home(20)
    asked = np.concatenate([window(seed)[0] for seed in range(100, 130)])
    unlike = np.concatenate([novelty.unlike(part) for part in np.array_split(asked, 30)])
    rate = RATE[0] / RATE[1]
    assert rate / 3 < unlike.mean() < rate * 3
    assert novelty.unlike(mixed(50, 20)[0])[-20:].all()
    assert novelty.unlike(window(50, shift=3.0)[0]) is None
    assert Novelty(4).unlike(window(50)[0]) is None


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**30), st.integers(0, 40))
def test_the_order_of_a_window_does_not_matter(seed: int, new: int):
    (x, predicted), held = mixed(seed % 1000, new), list[Any]()
    for order in (np.arange(len(x)), generator(seed, "order").permutation(len(x))):
        novelty, finding = at_home().after(x[order], predicted[order])
        held.append((novelty.memory(), finding.unknown, finding.size))
    assert held[0] == held[1]


def test_what_is_kept_is_bounded_and_places_leave():
    novelty = Novelty(2)
    for seed in range(30):
        novelty, _ = novelty.after(*(mixed(seed, 30, 400) if seed % 3 else window(seed, shift=seed, count=400)))
        assert len(novelty.places) <= 2
        for place in novelty.places:
            assert len(place.known) <= MOST
            assert sum(len(each.samples) for each in place.waiting) <= WAITING


@given(st.integers(1, 400), st.integers(LEAST, MOST))
@settings(max_examples=60)
def test_what_chance_may_give(after: int, known: int):
    limit = largest_by_chance(after, known)

    def improbable(size: int) -> bool:
        return comb(after, size) * max(1, known // size) * CHANCE[1] < comb(after + known, size) * CHANCE[0]

    assert not any(improbable(size) for size in range(1, limit + 1))
    assert limit == after or improbable(limit + 1)


def test_distances_are_exact():
    rng = generator(0, "codes")
    a, b = (rng.integers(-128, 128, (20, 512)).astype(np.int8) for _ in range(2))
    a[0], b[0] = -128, 127
    exact = ((a[:, None].astype(np.int64) - b) ** 2).sum(axis=2)
    assert (squared_distances(a, b) == exact).all()


def test_what_is_kept_goes_on_alike():
    novelty, _ = watched(at_home(), *(mixed(seed, 4) for seed in range(50, 53)), window(53, shift=3.0))
    assert novelty.places[0].waiting
    again = Novelty.of(json.loads(json.dumps(novelty.memory())), D, CLASSES, 4)
    assert again.memory() == novelty.memory()
    ways = [watched(each, *(mixed(seed, 10) for seed in range(60, 64))) for each in (novelty, again)]
    assert ways[0][0].memory() == ways[1][0].memory()
    assert ways[0][1] == ways[1][1]


Edit = Callable[[dict[str, Any]], Any]
NONSENSE: list[Edit] = [
    lambda row: row.pop("known"),
    lambda row: row.update(last=-1),
    lambda row: row.update(waiting=3),
    lambda row: row["waiting"][0].update(among=0),
    lambda row: row["known"].update(codes="?"),
    lambda row: row["known"].update(codes=""),
    lambda row: row["known"]["predicted"].append(0),
    lambda row: row["known"]["predicted"].__setitem__(0, CLASSES),
    lambda row: row["known"].update(predicted=None),
]


@pytest.mark.parametrize("edit", NONSENSE, ids=range(len(NONSENSE)))
def test_nonsense_is_refused(edit: Edit):
    rows = watched(at_home(), mixed(50, 4))[0].memory()
    assert rows[0]["waiting"]
    edit(rows[0])
    with pytest.raises(StateError, match=r"state is damaged\)$"):
        Novelty.of(rows, D, CLASSES, 4)
