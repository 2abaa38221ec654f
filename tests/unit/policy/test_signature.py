"""What samples look like, whatever the weights are."""

from __future__ import annotations

import numpy as np
import pytest

from artifacts import make_artifact
from calibrant.artifact import Artifact
from calibrant.core.recognition import Recognition
from calibrant.core.rng import generator
from calibrant.core.statistics import Observation
from calibrant.engine import Engine
from calibrant.policy.signature import LIMIT, ONE, Signatures, Whitening, kinds, statistics


def windows(artifact: Artifact, count: int = 30) -> np.ndarray:
    t = artifact.program.tensors[artifact.program.input]
    return generator(5, "tests").integers(-128, 128, (count, t.height, t.width, t.channels)).astype(np.int8)


def observed(artifact: Artifact, codes: np.ndarray) -> np.ndarray:
    return statistics(
        artifact.program, codes, seen(artifact, codes).pooled[:, artifact.program.layers[-1].pooled_slice]
    )


def seen(artifact: Artifact, codes: np.ndarray) -> Observation:
    return Engine(artifact.program, artifact.constants).observe(codes)


def test_statistics_are_those_of_channels_and_of_the_last_layers_inputs(artifact: Artifact):
    codes = windows(artifact)
    found = observed(artifact, codes)
    means, spreads, last = kinds(artifact.program)
    assert found[:, means] == pytest.approx(codes.mean(axis=(1, 2)))
    assert found[:, spreads] == pytest.approx(np.log(12 * codes.var(axis=(1, 2), dtype=float) + 1) / 2, abs=1e-5)
    assert found[:, last] == pytest.approx(seen(artifact, codes).pooled[:, 3:])
    assert last.stop == found.shape[1]


def test_a_channel_at_rest_has_a_spread(artifact: Artifact):
    codes = windows(artifact)
    codes[0] = 7
    assert (observed(artifact, codes)[0, kinds(artifact.program)[1]] == 0).all()


def test_channels_of_a_vector_have_no_spread():
    artifact = make_artifact(length=1)
    found = observed(artifact, windows(artifact))
    assert len(kinds(artifact.program)) == 2
    assert found.shape[1] == kinds(artifact.program)[-1].stop == 3 + 6


def whitening(dimensions: int) -> Whitening:
    rng = generator(6, "tests")
    matrix = np.tril(rng.normal(0, 1, (dimensions, dimensions))).astype(np.float32)
    return Whitening.by(rng.normal(0, 9, dimensions).astype(np.float32), np.full(dimensions, 3, np.float32), matrix)


def test_signatures_are_the_whitened_statistics_to_rounding():
    whiten, values = whitening(9), generator(7, "tests").normal(0, 9, (40, 9))
    exact = (values - whiten.mean) / whiten.spread @ whiten.matrix / 4096
    assert whiten(values) / ONE == pytest.approx(exact, abs=0.02)
    assert whiten(values).dtype == np.int16


def test_signatures_are_the_same_in_any_order_of_summation():
    whiten, values = whitening(300), generator(8, "tests").normal(0, 9, (50, 300))
    order, rows = generator(9, "tests").permutation(300), generator(10, "tests").permutation(50)
    shuffled = Whitening(whiten.mean[order], whiten.spread[order], whiten.matrix[order])
    assert np.array_equal(shuffled(values[rows][:, order]), whiten(values)[rows])


def test_what_is_far_away_is_no_farther():
    whiten = Whitening.by(np.zeros(1, np.float32), np.ones(1, np.float32), np.full((1, 1), 4.4, np.float32))
    assert whiten(np.array([[1e30], [-1e30], [15.0]])).tolist() == [[18022], [-18022], [16896]]
    steep = Whitening.by(np.zeros(1, np.float32), np.ones(1, np.float32), np.full((1, 1), 60, np.float32))
    assert whiten(np.array([[0.0]])).tolist() == [[0]]
    assert abs(int(steep(np.array([[-1e30]]))[0, 0])) == LIMIT


def test_signatures_come_of_codes_and_of_what_the_artifacts_weights_say(artifact: Artifact):
    codes = windows(artifact)
    found = observed(artifact, codes)
    count = found.shape[1]
    known = Recognition(
        mean=found.mean(axis=0).astype(np.float32),
        spread=found.std(axis=0).astype(np.float32),
        matrix=np.eye(count, dtype=np.float32),
        variance=1.0,
        wander=0.0,
        usual=1.0,
        deviation=0.1,
        kept=1.0,
    )
    signatures = Signatures.of(artifact.program, known)(codes, seen(artifact, codes))
    assert signatures.shape == (len(codes), count)
    assert signatures.mean(axis=0) / ONE == pytest.approx(np.zeros(count), abs=0.01)
    assert signatures.std(axis=0) / ONE == pytest.approx(np.ones(count), abs=0.01)
