"""A network of integers as an artifact: what its file holds, what a session learns with it, what is refused."""

import numpy as np
import pytest
import torch

from calibrant import Session, passes, quantize
from calibrant.artifact import write
from calibrant.core.errors import DataError, ModelError
from calibrant.core.rng import generator
from calibrant.core.statistics import Preprocess
from calibrant.frontend import from_torch
from calibrant.pipeline.integer_model import prepare_integer

PLAIN = Preprocess(np.zeros(3, np.float32), np.ones(3, np.float32))


@pytest.fixture(scope="module")
def samples():
    """Class k raises channel k."""
    rng = generator(0, "adoption")
    y = np.arange(60) % 3
    x = rng.normal(0, 0.5, (60, 3, 8)).astype(np.float32)
    x[np.arange(60), y] += 2
    return x, y


@pytest.fixture(scope="module")
def graph(samples):
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv1d(3, 8, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool1d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(8, 3),
    )
    folded = passes.run(from_torch(net, torch.from_numpy(samples[0][:2])))
    ranges = quantize.observe_ranges(folded, samples[0], quantize.percentile(8))
    return quantize.to_integer(quantize.FakeQuantNet(quantize.annotate(folded, ranges, 8, 8)))


def test_it_is_trained_on_the_device(graph, samples, tmp_path):
    made = prepare_integer(
        graph, *samples, preprocess=PLAIN, scheme="full", coreset=6, classes=("a", "b", "c"), steps=20
    )
    write(tmp_path / "a.cal", made)
    with Session.open(tmp_path / "a.cal", gate=False) as session:
        before = (session.predict(samples[0]) == samples[1]).mean()
        assert session.observe(*samples).updater == "sparse"
        assert (session.predict(samples[0]) == samples[1]).mean() > before


def test_it_repeats_by_seed(graph, samples):
    first, again, other = (
        prepare_integer(graph, *samples, preprocess=PLAIN, coreset=6, scheme="full", seed=s) for s in (0, 0, 1)
    )
    assert np.array_equal(first.coreset.x, again.coreset.x)
    assert not np.array_equal(first.coreset.x, other.coreset.x)


def test_blocks_say_how_far_home_strays(graph, samples):
    x, y = (np.concatenate([each] * 5) for each in samples)
    x = x + np.repeat(np.linspace(-1, 1, 5), 60)[:, None, None].astype(np.float32)
    mixed = np.arange(300) % 5  # blocks that are all alike
    told, hidden = (
        prepare_integer(graph, x, y, preprocess=PLAIN, scheme="full", coreset=6, blocks=blocks).recognition
        for blocks in (np.repeat(np.arange(5), 60), mixed)
    )
    assert told.wander > hidden.wander


def test_what_does_not_fit_is_refused(graph, samples):
    x, y = samples
    with pytest.raises(DataError, match="classes: expected 3 names, one an output, got 2"):
        prepare_integer(graph, x, y, preprocess=PLAIN, scheme="full", classes=("a", "b"))
    with pytest.raises(ModelError, match="scheme: expected classifier"):
        prepare_integer(graph, x, y, preprocess=PLAIN, scheme="everything")
    with pytest.raises(DataError, match="blocks: expected 60 integers"):
        prepare_integer(graph, x, y, preprocess=PLAIN, scheme="full", blocks=y[:3])
    with pytest.raises(DataError, match="expected a class for every sample"):
        prepare_integer(graph, x, np.where(y == 0, -1, y), preprocess=PLAIN, scheme="full")
