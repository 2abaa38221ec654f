"""How plausible parameters are for samples without labels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibrant.core.fmath import ERROR_ONE, LOSS_ONE
from calibrant.core.rng import generator
from calibrant.policy.plausibility import agreement, entropy, plausibility

CLASSES = 4
seeds = st.integers(0, 10_000)


def guessed(seed: int, count: int = 40) -> tuple[np.ndarray, ...]:
    """Probabilities, predictions, and what two kinds of neighbors say of samples."""
    rng = generator(seed, "guessed")
    mass = np.rint(rng.dirichlet(np.full(CLASSES, 0.5), count) * ERROR_ONE).astype(np.int64)
    return mass, mass.argmax(axis=1), rng.integers(0, CLASSES, count), rng.integers(0, CLASSES, count)


def sure_of(classes: np.ndarray) -> np.ndarray:
    return np.eye(CLASSES, dtype=np.int64)[classes] * ERROR_ONE


@given(seeds)
def test_it_is_what_it_says_in_real_arithmetic(seed: int):
    mass, predicted, own, near = guessed(seed)

    def nats(p: np.ndarray) -> np.ndarray:
        return -(p * np.log(np.maximum(p, 1e-9))).sum(axis=-1)

    share = mass / ERROR_ONE
    expected = -nats(share).mean() + nats(share.mean(axis=0)) / 4
    expected += 2 * (own == predicted).mean() + (near == predicted).mean()
    assert plausibility(mass, predicted, own, near) == pytest.approx(expected, abs=2e-3)


@given(seeds)
def test_neither_order_of_samples_nor_names_of_classes_matter(seed: int):
    mass, *classes = guessed(seed)
    rng = generator(seed, "order")
    rows, names = rng.permutation(len(mass)), rng.permutation(CLASSES)
    renamed = mass[rows][:, np.argsort(names)]
    assert plausibility(renamed, *(names[each[rows]] for each in classes)) == plausibility(mass, *classes)


@given(seeds)
def test_it_is_a_fixed_point_number_whatever_the_machine(seed: int):
    value = plausibility(*guessed(seed))
    assert type(value) is float
    assert (value * LOSS_ONE).is_integer()


def test_neither_a_collapsed_nor_an_unsure_network_is_plausible():
    classes = np.arange(40) % CLASSES
    good = plausibility(sure_of(classes), classes, classes, classes)
    collapsed = plausibility(sure_of(0 * classes), 0 * classes, 0 * classes, classes)
    unsure = plausibility(np.full((40, CLASSES), ERROR_ONE // CLASSES), 0 * classes, classes, classes)
    assert good > max(collapsed, unsure) + 0.5


@pytest.mark.parametrize(("which", "worth"), [(2, 2.0), (3, 1.0)])
def test_neighbors_count(which: int, worth: float):
    classes = np.arange(40) % CLASSES
    told = [sure_of(classes), classes, classes, classes]
    best = plausibility(*told)
    told[which] = (classes + 1) % CLASSES
    assert best - plausibility(*told) == pytest.approx(worth, abs=1e-4)


@given(seeds)
def test_entropy_is_between_none_and_that_of_all_classes_alike(seed: int):
    found = entropy(guessed(seed)[0]) / LOSS_ONE
    assert (found >= 0).all()
    assert (found <= math.log(CLASSES) + 1e-3).all()
    assert entropy(sure_of(np.arange(CLASSES))).tolist() == [0] * CLASSES


@given(st.lists(st.lists(st.integers(0, 2), min_size=6, max_size=6), min_size=2, max_size=4))
def test_agreement_is_the_share_of_pairs_of_candidates_that_are_alike(predictions: list[list[int]]):
    pairs = [(a, b) for i, a in enumerate(predictions) for b in predictions[i + 1 :]]
    expected = np.mean([x == y for a, b in pairs for x, y in zip(a, b, strict=True)])
    assert agreement([np.array(each) for each in predictions]) == pytest.approx(expected)
    assert agreement([np.array(predictions[0])] * 3) == 1


def test_one_candidate_agrees_with_nobody():
    assert agreement([np.zeros(3, np.int64)]) is None
    assert agreement([]) is None
