"""Whether windows stand for their domain, or show a part of its classes each."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest

from calibrant.core.errors import StateError
from calibrant.core.recognition import Recognition
from calibrant.core.rng import generator
from calibrant.policy.clumping import FEWEST, KEPT, Clumping
from calibrant.policy.place import Place
from calibrant.policy.signature import ONE

D, CLASSES = 20, 4
HERE = Recognition(*np.zeros((2, D), np.float32), np.eye(D, dtype=np.float32), 1.0, 0.0, 1.0, 0.3, 1.0)


def window(classes: Iterable[int], seed: int = 0, domain: float = 0.0, count: int = 40) -> Place:
    """Samples of some classes, each of which lies elsewhere in the domain."""
    rng = generator(seed, "window")
    centers = generator(0, "classes").normal(0, 2, (CLASSES, D)) + domain
    of = rng.choice(sorted(classes), count)
    return Place.of(np.rint((centers[of] * 0.5 + rng.normal(0, 0.9, (count, D))) * ONE).astype(np.int16))


def followed(*windows: Place) -> Clumping:
    stream = Clumping()
    for here in windows:
        stream = stream.after(here, HERE)
    return stream


ALL = range(CLASSES)


def test_a_stream_that_mixes_its_classes_is_not_clumped():
    stream = followed(*(window(ALL, seed) for seed in range(6)))
    assert (stream.known, stream.clumped, stream.independent(40)) == (True, False, 40.0)


def test_classes_one_after_the_other_are_clumped_and_say_less():
    stream = followed(*(window([seed % CLASSES], seed) for seed in range(6)))
    assert (stream.known, stream.clumped) == (True, True)
    assert stream.independent(40) < 20
    assert stream.independent(400) == pytest.approx(10 * stream.independent(40))


def test_a_change_of_domain_is_one_difference_among_many():
    mixed = [window(ALL, seed, domain=3.0 * (seed >= 4)) for seed in range(7)]
    for until in range(FEWEST + 2, 8):
        assert not followed(*mixed[:until]).clumped


def test_the_same_class_again_and_again_is_not_clumped():
    assert not followed(*(window([1], seed) for seed in range(6))).clumped


def test_before_enough_windows_nothing_is_known():
    windows = [window([seed % CLASSES], seed) for seed in range(FEWEST)]
    for until in range(FEWEST + 1):
        stream = followed(*windows[:until])
        assert (stream.known, stream.clumped, stream.independent(40)) == (False, False, 40.0)


def test_what_was_long_ago_is_forgotten():
    before = [window([seed % CLASSES], seed) for seed in range(6)]
    after = [window(ALL, seed) for seed in range(KEPT + 1)]
    assert followed(*before).clumped
    assert not followed(*before, *after).clumped
    assert len(followed(*before, *after).steps) == KEPT


def test_its_memory_goes_on_as_it_would_have():
    windows = [window([seed % 3, seed % CLASSES], seed, count=10 + seed) for seed in range(8)]
    stayed, again = Clumping(), Clumping()
    for here in windows:
        stayed = stayed.after(here, HERE)
        again = Clumping.of(json.loads(json.dumps(again.memory(), allow_nan=False)), D).after(here, HERE)
        assert again.memory() == stayed.memory()
        assert (again.clumped, again.independent(50)) == (stayed.clumped, stayed.independent(50))


Edit = Callable[[dict[str, Any]], object]
NONSENSE: list[Edit] = [
    lambda m: m.pop("last"),
    lambda m: m.update(more=1),
    lambda m: m.update(last=3),
    lambda m: m["last"].pop("total"),
    lambda m: m["last"].update(samples=0, total=[0] * D, squares=0),
    lambda m: m["last"].update(samples=-1),
    lambda m: m["last"].update(squares=10**30),
    lambda m: m["last"].update(total=[0] * (D + 1)),
    lambda m: m.update(steps=None),
    lambda m: m.update(steps="[]"),
    lambda m: m["steps"].extend(m["steps"] * KEPT),
    lambda m: m["steps"].append(None),
    lambda m: m["steps"].append([1.0]),
    lambda m: m["steps"].append([1.0, 1.0, 1.0]),
    lambda m: m["steps"].append([1, 1]),
    lambda m: m["steps"].append([True, 1.0]),
    lambda m: m["steps"].append([-1.0, 1.0]),
    lambda m: m["steps"].append([1.0, 0.0]),
    lambda m: m["steps"].append([float("nan"), 1.0]),
    lambda m: m["steps"].append([1.0, float("nan")]),
    lambda m: m["steps"].append([float("inf"), 1.0]),
    lambda m: m["steps"].append([1.0, 1e300]),
]


@pytest.mark.parametrize("edit", NONSENSE, ids=range(len(NONSENSE)))
def test_nonsense_is_refused(edit: Edit):
    memory = followed(*(window(ALL, seed) for seed in range(3))).memory()
    edit(memory)
    with pytest.raises(StateError, match=r"^clumping.*state is damaged\)$"):
        Clumping.of(memory, D)


@pytest.mark.parametrize("memory", [None, [], "clumping", 3, {}])
def test_what_is_no_memory_is_refused(memory: Any):
    with pytest.raises(StateError, match=r"^clumping: expected fields"):
        Clumping.of(memory, D)
