"""Schemes: names, summaries, what is refused, and which channels a share selects."""

import numpy as np
import pytest

from calibrant.autodiff import Scheme, bias_only, classifier, extra_memory, full, last, named
from calibrant.autodiff.schemes import check
from calibrant.autodiff.selection import select, selectable, selected_count
from calibrant.core.errors import ModelError
from calibrant.core.program import Layer
from programs import Conv


def layer(c_out, c_in, groups=1, kernel=(1, 1)):
    return Layer("c", 8, c_out, *kernel, c_in, groups, 0, 0, 0)  # type: ignore[call-arg]


def test_names_mean_schemes():
    assert named("classifier", 5) == classifier() == Scheme(0)
    assert named("bias", 5) == bias_only() == Scheme()
    assert named("bias-2", 5) == Scheme(2)
    assert named("full", 2) == full(2) == Scheme(None, {0: 1.0, 1: 1.0})
    assert named("last-2", 5) == last(2, 5) == Scheme(2, {3: 1.0, 4: 1.0})
    assert [s.summary() for s in (classifier(), bias_only(), last(1, 3), Scheme(0, {1: (4, 2)}, head=False))] == [
        "head",
        "head, all biases",
        "head, 1 biases, weights of 2 (1)",
        "weights of 1 (channels 2+4)",
    ]


def test_biases_count_from_the_end():
    assert [Scheme(2).trains_bias(i, 5) for i in range(5)] == [False, False, False, True, True]
    assert all(Scheme().trains_bias(i, 5) for i in range(5))
    assert not any(Scheme(0).trains_bias(i, 5) for i in range(5))


@pytest.mark.parametrize(
    ("scheme", "message"),
    [
        (Scheme(6), "biases: expected 0 to 5"),
        (Scheme(-1), "biases: expected 0 to 5"),
        (Scheme(1, {5: 1.0}), "weights: expected layers 0 to 4, got 5"),
        (Scheme(1, {0: 1.5}), r"layer 0: expected a share in \(0, 1\], got 1.5"),
        (Scheme(1, {0: 0.0}), "layer 0: expected a share"),
        (Scheme(0, head=False), "expected something to train, got nothing"),
    ],
)
def test_impossible_schemes_are_refused(scheme, message):
    with pytest.raises(ModelError, match=message):
        check(scheme, 5)


@pytest.mark.parametrize("name", ["", "last", "last-6", "bias-9", "last-x", "nets:49KB", "mcunet-5fps:49KB"])
def test_unknown_names_are_refused(name):
    with pytest.raises(ModelError, match="scheme"):
        named(name, 5)


def test_a_share_selects_the_largest_norms():
    weights = np.zeros((3, 1, 2, 6), np.int8)
    weights[..., :] = [5, 1, 7, 7, 0, 2]
    weights[0, 0, 0, 4] = 127
    assert select(layer(3, 6, kernel=(1, 2)), weights.ravel(), 0.5) == (2, 3, 4)
    assert select(layer(3, 6, kernel=(1, 2)), weights.ravel(), 0.34) == (2, 4)  # a tie: the lowest index
    assert select(layer(3, 6, kernel=(1, 2)), weights.ravel(), 1.0) == ()
    assert select(layer(3, 6, kernel=(1, 2)), weights.ravel(), (5, 0)) == (0, 5)
    assert select(layer(3, 6, kernel=(1, 2)), weights.ravel(), (0, 1, 2, 3, 4, 5)) == ()


def test_depthwise_and_grouped_layers():
    depthwise = layer(4, 4, groups=4, kernel=(3, 1))
    weights = np.repeat(np.int8([3, -9, 9, 1]), 3)
    assert selectable(depthwise) == 4
    assert select(depthwise, weights, 0.5) == (1, 2)
    grouped = layer(4, 8, groups=2)
    assert selectable(grouped) == 4
    assert select(grouped, np.tile(np.int8([1, 2, 8, 4]), 4), 0.5) == (2, 3)


@pytest.mark.parametrize("part", [(), (1, 1), (3,), (-1,), 0.2])
def test_impossible_parts_are_refused(part):
    with pytest.raises(ModelError, match="layer 'c'"):
        selected_count(layer(2, 3), part)


def test_extra_memory_of_one_layer():
    program = Conv(channels=(6, 10), size=(5, 5), kernel=(3, 3), groups=2).program()
    assert extra_memory(program, classifier()).total == 6 * 25  # the head's input
    with pytest.raises(ModelError, match="biases: expected 0 to 0"):
        extra_memory(program, Scheme(1))
