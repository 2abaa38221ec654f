"""Float training: repeatable, side-effect free, and it trains."""

import numpy as np
import pytest
import torch

from calibrant import zoo
from calibrant.core.errors import DataError
from calibrant.core.rng import generator
from calibrant.coreset import MissCounter
from calibrant.pipeline import float_training
from calibrant.pipeline.float_training import TrainingSettings


@pytest.fixture(autouse=True)
def one_thread():
    with float_training.threads(1):  # several are slower on networks this small
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
    with float_training.threads(1):
        first, second = (
            float_training.train(
                fresh,
                x,
                y,
                TrainingSettings(epochs=4, batch=16, shift=1),
                seed=5,
                progress=lambda *call: steps.append(call),
            )
            for _ in range(2)
        )
    assert torch.equal(torch.get_rng_state(), state)
    assert not first.training
    for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert float_training.accuracy(fresh, x, y) < 0.7
    assert float_training.accuracy(first, x, y) > 0.95
    assert steps[:4] == [("train", i, 4) for i in range(1, 5)]


def test_a_callback_sees_every_epoch_and_changes_nothing(samples):
    x, y = samples
    counter, epochs = MissCounter(x, y), []

    def after_epoch(epoch, net):
        assert net.training
        epochs.append(epoch)
        counter.after_epoch(epoch, net)

    watched, alone = (
        float_training.train(
            zoo.build("cnn", 3, 24, 3), x, y, TrainingSettings(epochs=3, batch=16), after_epoch=callback
        )
        for callback in (after_epoch, None)
    )
    assert epochs == [0, 1, 2]
    assert counter.checks == 3
    assert not counter.never.all()
    for a, b in zip(watched.state_dict().values(), alone.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_shards_train_and_too_many_are_refused(samples):
    x, y = samples
    net = float_training.train(zoo.build("cnn", 3, 24, 3), x, y, TrainingSettings(epochs=4, batch=16, shards=2))
    assert float_training.accuracy(net, x, y) > 0.95
    for shards in (0, 9):
        with pytest.raises(DataError, match=f"shards: expected 1 to 8 for this batch, got {shards}"):
            float_training.train(net, x, y, TrainingSettings(batch=16, shards=shards))


def test_a_last_batch_of_one_is_no_trouble(samples):
    x, y = samples
    float_training.train(zoo.build("cnn", 3, 24, 3), x[:17], y[:17], TrainingSettings(epochs=1, batch=16))


def test_shift_moves_along_time(samples):
    x = torch.arange(8.0).reshape(1, 1, 8)
    seen = {tuple(float_training.shifted(x, 1, generator(seed, "test"))[0, 0].tolist()) for seed in range(20)}
    assert seen == {
        (0, 0, 1, 2, 3, 4, 5, 6),
        (0, 1, 2, 3, 4, 5, 6, 7),
        (1, 2, 3, 4, 5, 6, 7, 7),
    }


def test_mirroring_reverses_another_half_each_time():
    x = torch.arange(8.0).expand(6, 2, 3, 8)
    assert float_training.mirrored(x, False, generator(0, "test")) is x
    halves = set()
    for seed in range(20):
        seen = float_training.mirrored(x, True, generator(seed, "test"))
        reversed_rows = [bool((row == x[0].flip(-1)).all()) for row in seen]
        assert all(rev or (row == x[0]).all() for rev, row in zip(reversed_rows, seen, strict=True))
        assert sum(reversed_rows) == 3
        halves.add(tuple(reversed_rows))
    assert len(halves) > 5


def test_threads_are_restored():
    before = torch.get_num_threads()
    with float_training.threads(1):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
