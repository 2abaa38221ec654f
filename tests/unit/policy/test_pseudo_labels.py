"""Labels that a window gives itself."""

from __future__ import annotations

import numpy as np

from calibrant.core.rng import generator
from calibrant.policy.pseudo_labels import directions, pseudo_labels


def clusters(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features of three classes, and a last layer that takes a third of class 0 for class 1, not very surely."""
    rng = generator(seed, "clusters")
    y = np.arange(60) % 3
    centers = np.array([[9, 1, 1, 5, 0, 0], [1, 9, 1, 0, 5, 0], [1, 1, 9, 0, 0, 5]]) * 20
    pooled = np.maximum(centers[y] + rng.normal(0, 12, (60, 6)), 0).astype(np.int32)
    mass = np.full((60, 3), 2000)
    mass[np.arange(60), y] = 28768
    wrong = np.flatnonzero(y == 0)[::3]
    mass[wrong] = [10000, 20768, 2000]
    return directions(pooled, np.ones(6, np.int64)), mass, y


def test_prototypes_correct_the_last_layer():
    features, mass, y = clusters()
    assert (mass.argmax(axis=1) == y).mean() < 0.9
    assert np.array_equal(pseudo_labels(features, mass), y)


def test_the_order_of_samples_does_not_matter():
    features, mass, _ = clusters()
    order = generator(1, "order").permutation(60)
    assert np.array_equal(pseudo_labels(features[order], mass[order]), pseudo_labels(features, mass)[order])


def test_a_class_without_mass_is_given_to_nobody():
    features, mass, _ = clusters()
    wider = np.concatenate([np.zeros((60, 1), np.int64), mass], axis=1)
    assert set(pseudo_labels(features, wider)) == {1, 2, 3}
    assert set(pseudo_labels(np.zeros((4, 6), np.int64), mass[:4])) == {0}  # nothing to tell by: the lowest class


def test_directions_have_one_length_whatever_the_signal():
    pooled = np.array([[3, 4], [300, 400], [-30000000, 40000000], [0, 0]], np.int32)
    found = directions(pooled, np.array([1, 1]))
    assert found.tolist() == [[2458, 3277], [2458, 3277], [-2458, 3277], [0, 0]]
