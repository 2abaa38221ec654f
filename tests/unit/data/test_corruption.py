"""An ageing camera: nothing at first, more with every severity, the same bytes each time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibrant.core.rng import generator
from calibrant.data import corruption
from calibrant.data.corruption import SEVERITIES, Ageing


@pytest.fixture(scope="module")
def pictures():
    rng = generator(0, "pictures")
    coarse = rng.integers(0, 256, (20, 3, 8, 8)).repeat(4, axis=2).repeat(4, axis=3)
    return (coarse / 255).astype(np.float32)


def test_severity_zero_shows_the_picture(pictures):
    assert (Ageing.of(0).apply(pictures, generator(0)) == pictures).all()


def test_every_part_grows_with_severity(pictures):
    for part in ("blur_sigma", "noise_sigma"):
        values = [getattr(Ageing.of(s), part) for s in SEVERITIES]
        assert values == sorted(set(values))
    contrasts = [Ageing.of(s).contrast for s in SEVERITIES]
    assert contrasts == sorted(set(contrasts), reverse=True)
    assert contrasts[-1] > 0
    reds = [Ageing.of(s).tint_offsets[0] - Ageing.of(s).tint_offsets[2] for s in SEVERITIES]
    assert reds == sorted(set(reds))
    distances = [np.abs(Ageing.of(s).apply(pictures, generator(1)) - pictures).mean() for s in SEVERITIES]
    assert distances == sorted(set(distances))


def test_seen_pictures_are_eight_bit_and_repeat(pictures):
    old = Ageing(blur_sigma=0.5, contrast=0.9, tint_offsets=(0.1, 0.0, -0.1), noise_sigma=0.2)
    seen, again, other = (old.apply(pictures, generator(seed)) for seed in (3, 3, 4))
    assert seen.dtype == np.float32
    assert seen.min() == 0
    assert seen.max() == 1
    assert (np.rint(seen * 255).astype(np.float32) / np.float32(255) == seen).all()
    assert seen.tobytes() == again.tobytes() != other.tobytes()


def test_parts_do_what_they_say():
    gray = np.full((2, 3, 5, 5), 0.5, np.float32)
    assert (corruption.fade(gray, 0.3) == gray).all()
    np.testing.assert_allclose(corruption.fade(gray + np.float32(0.4), 0.5), gray + 0.2, atol=1e-6)
    tinted = corruption.tint(gray, (0.1, 0.0, -0.2))
    np.testing.assert_allclose(tinted[0, :, 2, 2], [0.6, 0.5, 0.3], atol=1e-6)
    wide = np.zeros((10, 3, 32, 32), np.float32)
    assert corruption.grain(wide, 0.25, generator(0)).std() == pytest.approx(0.25, rel=0.02)
    assert (corruption.grain(wide, 0.0, generator(0)) == wide).all()


@given(st.floats(0.1, 3))
def test_blur_keeps_what_is_flat(sigma):
    flat = np.full((1, 1, 16, 16), 0.7, np.float32)
    np.testing.assert_allclose(corruption.blur(flat, sigma), flat, rtol=1e-5)


def test_blur_is_a_gaussian_along_both_axes():
    point = np.zeros((1, 1, 15, 13), np.float32)
    point[0, 0, 7, 6] = 1
    seen = corruption.blur(point, 1.0)[0, 0]
    row, column = np.mgrid[-7:8, -6:7]
    expected = np.exp(-(row**2 + column**2) / 2) * (np.abs(row) <= 3) * (np.abs(column) <= 3)
    np.testing.assert_allclose(seen, expected / expected.sum(), atol=1e-6)
