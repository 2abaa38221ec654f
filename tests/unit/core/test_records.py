"""Records that do more than hold values."""

import numpy as np
import pytest

from calibrant import Budget
from calibrant.core.errors import DataError
from calibrant.core.rng import generator
from calibrant.core.statistics import FeatureStatistics, Preprocess


def test_standardization_survives_a_constant_channel():
    x = np.stack([np.full((5, 4), 3.0), generator(0, "test").normal(2, 7, (5, 4))], axis=1).astype(np.float32)
    z = Preprocess.of(x).apply(x)
    assert (z[:, 0] == 0).all()
    assert z[:, 1].mean() == pytest.approx(0, abs=1e-6)
    assert z[:, 1].std() == pytest.approx(1, abs=1e-5)


def test_a_reference_holds_what_half_precision_can():
    held = FeatureStatistics.of(np.array([1 / 3, -254.9]), np.array([2.0, -1e-17]))
    assert held.mean.dtype == held.std.dtype == np.float32
    assert held.std.tolist() == [np.float16(2**0.5), 0]  # a variance below 0 is rounding
    assert np.array_equal(held.mean, held.mean.astype(np.float16))
    assert held.mean == pytest.approx([1 / 3, -254.9], rel=1e-3)


def test_pooled_positions_are_those_of_each_layers_input(artifact):
    assert artifact.program.pooled_positions.tolist() == [8] * 3 + [1] * 6


def test_a_budget_reads_sizes():
    assert (Budget(ram="2MB").ram, Budget(storage=812).storage, Budget().ram) == (2_000_000, 812, None)
    with pytest.raises(DataError, match="expected bytes or a size such as 256KB"):
        Budget(ram="much")
