"""Float training: repeatable, side-effect free, and it trains."""

import numpy as np
import pytest
import torch

from calibrant import zoo
from calibrant.bench import training
from calibrant.core.rng import generator


@pytest.fixture(autouse=True)
def one_thread():
    with training.threads(1):  # several are slower on networks this small
        yield


@pytest.fixture(scope="module")
def samples():
    rng = generator(0, "test")
    y = np.arange(120) % 3
    x = rng.normal(0, 0.5, size=(120, 3, 24)).astype(np.float32)
    x[np.arange(120), y] += 1
    return x, y


def test_training_trains_and_repeats(samples):
    x, y = samples
    fresh, steps = zoo.build("cnn", 3, 24, 3), []
    state = torch.get_rng_state()
    with training.threads(1):
        first, second = (
            training.train(fresh, x, y, epochs=4, batch=16, shift=1, seed=5, progress=lambda *call: steps.append(call))
            for _ in range(2)
        )
    assert torch.equal(torch.get_rng_state(), state)
    assert not first.training
    for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert training.accuracy(fresh, x, y) < 0.7
    assert training.accuracy(first, x, y) > 0.95
    assert steps[:4] == [("train", i, 4) for i in range(1, 5)]


def test_a_last_batch_of_one_is_no_trouble(samples):
    x, y = samples
    training.train(zoo.build("cnn", 3, 24, 3), x[:17], y[:17], epochs=1, batch=16)


def test_shift_moves_along_time(samples):
    x = torch.arange(8.0).reshape(1, 1, 8)
    seen = {tuple(training._shifted(x, 1, generator(seed, "test"))[0, 0].tolist()) for seed in range(20)}
    assert seen == {
        (0, 0, 1, 2, 3, 4, 5, 6),
        (0, 1, 2, 3, 4, 5, 6, 7),
        (1, 2, 3, 4, 5, 6, 7, 7),
    }


def test_threads_are_restored():
    before = torch.get_num_threads()
    with training.threads(1):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
