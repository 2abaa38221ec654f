"""The drifting camera: repeatable, without repeated images, further from the start with each window."""

import numpy as np
import pytest

from calibrant.core.errors import DataError
from calibrant.core.rng import generator
from calibrant.data import digits
from calibrant.data.digits import Camera


@pytest.fixture(scope="module")
def stream():
    return digits.camera_stream(seed=4)


def test_shapes_and_sizes(stream):
    assert len(stream.windows) == len(stream.drift) == 20
    for x, y in (stream.train, stream.test, *stream.windows):
        assert x.shape == (len(y), 1, 16, 16)
        assert (x.dtype, y.dtype) == (np.float32, np.int64)
    assert {len(y) for _, y in stream.windows} == {60}
    assert len(stream.train[1]) + len(stream.test[1]) + 20 * 60 == 1797


def test_same_seed_same_bytes(stream):
    again, other = digits.camera_stream(seed=4), digits.camera_stream(seed=5)
    assert again.windows[7][0].tobytes() == stream.windows[7][0].tobytes()
    assert again.train[0].tobytes() == stream.train[0].tobytes()
    assert other.windows[7][0].tobytes() != stream.windows[7][0].tobytes()


def test_drift_grows_in_every_parameter(stream):
    for name in ("rotation", "blur", "haze", "noise"):
        values = [drift[name] for drift in stream.drift]
        assert values == sorted(values)
        assert values[0] > 0
    gains = [drift["gain"] for drift in stream.drift]
    assert gains == sorted(gains, reverse=True)


def test_a_fresh_camera_shows_the_image():
    x, _ = digits.load()
    assert (Camera().shoot(x[:5], generator(0)) == x[:5]).all()


def test_quarter_turn_is_exact():
    x, _ = digits.load()
    turned = Camera(rotation=90).shoot(x[:3], generator(0))
    np.testing.assert_allclose(turned, np.rot90(x[:3], -1, axes=(2, 3)), atol=1e-5)


def test_too_many_windows_are_refused():
    with pytest.raises(DataError, match="at least 200 images left for training, got 97"):
        digits.camera_stream(windows=25)
