"""What is known of one context: it goes on from what was kept bit for bit, and nothing else is believed."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifacts import make_artifact
from calibrant.core.errors import StateError
from calibrant.core.parameters import Parameters
from calibrant.core.rng import generator
from calibrant.policy.contest import Contest
from calibrant.session.domain import AFFINE, AS_IT_IS, CANDIDATES, FLIPS, Domain, single
from calibrant.updaters.affine_correction import REMEMBERED, REMEMBERED_FROM_HOME, AffineMemory

BASE = Parameters.of(make_artifact(bits=8).constants)
CHANNELS = len(BASE.bias)


def made(seed: int, limit: int = REMEMBERED, moved: int = 7, labels: int = 5, version: int = 3) -> Domain:
    """A context that has been learned from."""
    rng = generator(seed, "domain")
    mean = rng.normal(0, 300, CHANNELS)
    memory = single(AffineMemory(rng.uniform(0, limit, CHANNELS), mean, mean * mean + rng.gamma(1, 900), limit))
    weights = BASE.weights.copy()
    rows = rng.permutation(weights.size)[:moved]
    weights[rows] = rng.integers(-127, 128, rows.size)
    contest = Contest()
    for _ in range(int(rng.integers(1, 9))):
        contest = contest.after({name: int(rng.integers(-(2**17), 2**18)) / 2**16 for name in CANDIDATES})
    chosen = CANDIDATES[int(rng.integers(len(CANDIDATES)))]
    return Domain(memory, weights if moved else None, contest, chosen, labels, version)


def again(domain: Domain) -> Domain:
    return Domain.of(json.loads(json.dumps(domain.memory(BASE), allow_nan=False)), BASE, "context 1")


@given(st.integers(0, 1000), st.sampled_from([REMEMBERED, REMEMBERED_FROM_HOME]), st.sampled_from([0, 1, 40]))
def test_what_it_keeps_gives_it_again_bit_for_bit(seed: int, limit: int, moved: int):
    domain = made(seed, limit, moved)
    found = again(domain)
    for name in ("samples", "mean", "square"):
        ours, theirs = getattr(domain.affine, name), getattr(found.affine, name)
        assert (ours.tobytes(), ours.dtype) == (theirs.tobytes(), theirs.dtype)
    assert found.affine.limit == limit
    assert (found.weights is None) == (moved == 0)
    if found.weights is not None and domain.weights is not None:
        assert (found.weights.tobytes(), found.weights.dtype) == (domain.weights.tobytes(), np.int8)
    for field in ("contest", "chosen", "labels", "version"):
        assert getattr(found, field) == getattr(domain, field)
    assert found.memory(BASE) == domain.memory(BASE)


def test_flips_that_came_back_to_where_they_began_are_still_flips():
    """They stand in the contest, so they must not become none."""
    found = again(replace(made(0), weights=BASE.weights))
    assert found.weights is not None
    assert np.array_equal(found.weights, BASE.weights)


def test_a_context_of_which_nothing_is_known_is_as_it_is():
    empty = np.zeros(CHANNELS)
    found = again(Domain(AffineMemory(empty, empty, empty)))
    assert (found.chosen, found.weights, found.labels, found.version) == (AS_IT_IS, None, 0, -1)
    assert found.contest.standings == {}


def numbers(*values: float, dtype: str = "<f4") -> str:
    return base64.b64encode(np.array(values).astype(dtype).tobytes()).decode()


def one(value: float) -> str:
    """A channel's number among zeros."""
    return numbers(*[0.0] * (CHANNELS - 1), value)


Edit = Callable[[dict[str, Any]], object]
NAMES = ("samples", "mean", "square", "limit", "weights", "contest", "chosen", "labels", "version")
MISSING: list[Edit] = [lambda m, name=name: m.pop(name) for name in NAMES]  # type: ignore[misc]
ARRAYS: list[Edit] = [
    lambda m, name=name, value=value: m.update({name: value})  # type: ignore[misc]
    for name in ("samples", "mean", "square")
    for value in (
        None,
        3,
        [],
        "",
        "?",
        "ü",
        numbers(*[0.0] * (CHANNELS - 1)),
        numbers(*[0.0] * (CHANNELS + 1)),
        numbers(*[0.0] * CHANNELS, dtype="<f8"),
        one(float("nan")),
        one(float("inf")),
        one(float("-inf")),
        one(2.0**41),
        one(-3e38),
    )
]
OTHERS: list[Edit] = [
    lambda m: m.update(more=1),
    lambda m: m.update(samples=one(-1.0)),
    lambda m: m.update(square=one(-1.0)),
    lambda m: m.update(limit=REMEMBERED + 1),
    lambda m: m.update(limit=float(REMEMBERED)),
    lambda m: m.update(limit=10**30),
    lambda m: m.update(limit=None),
    lambda m: m.update(limit=[REMEMBERED]),
    lambda m: m.update(weights=None),
    lambda m: m.update(weights=0),
    lambda m: m.update(weights=[]),
    lambda m: m.update(weights="?"),
    lambda m: m.update(weights=numbers(1, 2, 3)),
    lambda m: m.update(weights=m["weights"][: len(m["weights"]) // 8 * 4]),
    lambda m: m.update(contest=None),
    lambda m: m.update(contest=3),
    lambda m: m.update(contest=[AFFINE]),
    lambda m: m.update(contest=AFFINE),
    lambda m: m["contest"].update({AFFINE: {"total": float("nan"), "weight": 1.0}}),
    lambda m: m["contest"].update({AFFINE: {"total": 1e300, "weight": 1.0}}),
    lambda m: m["contest"].pop(AFFINE),
    lambda m: m.update(contest={}),
    lambda m: m.update(chosen="nobody"),
    lambda m: (m.update(chosen="nobody"), m["contest"].update(nobody={"total": 1.0, "weight": 1.0})),
    lambda m: m.update(chosen=None),
    lambda m: m.update(chosen=[AFFINE]),
    lambda m: m.update(labels=-1),
    lambda m: m.update(labels=1.0),
    lambda m: m.update(labels=True),
    lambda m: m.update(labels=2**60),
    lambda m: m.update(version=-2),
    lambda m: m.update(version="0"),
    lambda m: m.update(version=10**30),
    lambda m: m.update(version=float("nan")),
]
EDITS = [*MISSING, *ARRAYS, *OTHERS]


@pytest.mark.parametrize("edit", EDITS, ids=range(len(EDITS)))
def test_nonsense_is_refused(edit: Edit):
    memory = replace(made(0), chosen=AFFINE).memory(BASE)
    edit(memory)
    with pytest.raises(StateError, match=r"^(context 1|(standing of|a contest).*state is damaged)"):
        Domain.of(memory, BASE, "context 1")


@pytest.mark.parametrize("memory", [None, [], "domain", 3, {}])
def test_what_is_no_memory_is_refused(memory: Any):
    with pytest.raises(StateError, match=r"^context 1: expected fields"):
        Domain.of(memory, BASE, "context 1")


def test_the_domain_of_another_artifact_is_refused():
    wider = Parameters.of(make_artifact(bits=8, hidden=7).constants)
    with pytest.raises(StateError, match=f"expected {len(wider.bias)} numbers"):
        Domain.of(made(0).memory(BASE), wider, "context 1")


def test_flips_of_weights_that_are_not_there_are_refused():
    fewer = Parameters.of(make_artifact(bits=8, length=8, channels=2).constants)
    assert len(fewer.bias) == CHANNELS
    memory = replace(made(0, moved=BASE.weights.size), chosen=FLIPS).memory(BASE)
    with pytest.raises(StateError, match="expected weights indices below"):
        Domain.of(memory, fewer, "context 1")


@given(st.lists(st.floats(-1e9, 1e9), min_size=CHANNELS, max_size=CHANNELS))
def test_single_numbers_stay_what_they_are(values: list[float]):
    array = np.array(values)
    once = single(AffineMemory(np.abs(array), array, array * array, REMEMBERED))
    twice = single(once)
    assert all(np.array_equal(getattr(once, name), getattr(twice, name)) for name in ("samples", "mean", "square"))
    assert np.allclose(once.mean, array, rtol=1e-6)
