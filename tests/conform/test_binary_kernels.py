"""Binary layers in every variant this processor has, at awkward shapes, equal to numpy to the last bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from convolution import rng_of
from hypothesis import given, settings
from hypothesis import strategies as st
from signs import CASES, check, constants_of, program_of, random_conv

from calibrant.core.errors import PlanError
from calibrant.engine import Engine, variants
from programs import Conv

WIDTHS = (1, 8, 32)


@pytest.mark.parametrize("variant", variants())
@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("conv", CASES, ids=str)
def test_binary_conv2d(conv, bits, variant):
    for extreme in (False, True):
        check(replace(conv, output_bits=bits), variant, extreme)


@pytest.mark.parametrize("variant", variants())
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), bits=st.sampled_from(WIDTHS), extreme=st.booleans())
def test_binary_conv2d_at_random(variant, seed, bits, extreme):
    check(random_conv(rng_of(seed), bits), variant, extreme)


@pytest.mark.parametrize("variant", variants())
@pytest.mark.parametrize("zero_point", [-128, 0, 127])
def test_signs_at_zero_point_limits(zero_point, variant):
    for bits in WIDTHS:
        check(Conv((45, 18), (3, 4), zero_points=(zero_point, 0), output_bits=bits), variant, extreme=True)


CONV = Conv((5, 3), (1, 4), output_bits=32)


def broken(change):
    program = program_of(CONV)
    with pytest.raises(PlanError) as raised:
        Engine(change(program), constants_of(program, rng_of("broken"), False))
    return str(raised.value)


def test_a_weight_of_0_is_refused():
    program = program_of(CONV)
    constants = constants_of(program, rng_of("zero"), False)
    weights = constants.weights.copy()
    weights[7] = 0
    with pytest.raises(PlanError, match="or 0 in a binary layer"):
        Engine(program, replace(constants, weights=weights))


@pytest.mark.parametrize(("index", "change"), [
    (0, {"bits": 1}),  # the program's input
    (1, {"bits": 8}),  # what sign gives
    (1, {"channels": 4}),
    (1, {"width": 5}),
    (2, {"bits": 1}),  # the program's output
])  # fmt: skip
def test_tensors_that_do_not_fit_are_refused(index, change):
    def changed(program):
        tensors = list(program.tensors)
        tensors[index] = replace(tensors[index], **change)
        return replace(program, tensors=tuple(tensors))

    assert broken(changed)


@pytest.mark.parametrize("change", [{"bits": 2}, {"bits": 8}, {"groups": 5}, {"c_in": 6}])
def test_layers_that_do_not_fit_are_refused(change):
    assert broken(lambda program: replace(program, layers=(replace(program.layers[0], **change),)))


def test_misplaced_signs_are_refused():
    assert "multiple of 4" in broken(lambda p: replace(p, offsets=(0, 1 + p.offsets[1], p.offsets[2])))


def test_a_sign_does_not_feed_a_convolution():
    def changed(program):
        op = program.ops[1]
        layers = (replace(program.layers[0], bits=8),)
        return replace(program, ops=(program.ops[0], replace(op, kind="conv2d")), layers=layers)

    assert broken(changed)


def test_moments_of_signs_are_refused():
    program = program_of(replace(CONV, output_bits=1))
    engine = Engine(program, constants_of(program, rng_of("moments"), False))
    with pytest.raises(PlanError, match="expected an output of 8 bits"):
        engine.moments(np.zeros((1, 1, 4, 5), np.int8), (0,))
