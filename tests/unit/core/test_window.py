"""Windows and labels at the door."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from calibrant.core.errors import DataError
from calibrant.core.program import Tensor
from calibrant.core.qparams import QParams
from calibrant.core.statistics import Preprocess
from calibrant.core.task import check_labels
from calibrant.core.window import check_window, encode, keep_labels

SERIES = Tensor("x", 1, 5, 3, 0.1, -10)
PREPROCESS = Preprocess(np.float32([0.0, 1.0, -2.0]), np.float32([1.0, 0.5, 3.0]))


def encode_series(x: object) -> np.ndarray:
    return encode(x, SERIES, PREPROCESS, (3, 5))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8, np.int64, np.uint16])
def test_codes_are_the_standardized_values_channels_last(dtype):
    x = np.arange(30).reshape(2, 3, 5).astype(dtype)
    codes = encode_series(x)
    mean, std = PREPROCESS.mean[:, None], PREPROCESS.std[:, None]
    expected = QParams(0.1, -10).quantize((x.astype(np.float32) - mean) / std)
    assert codes.dtype == np.int8
    assert codes.shape == (2, 1, 5, 3)
    assert codes.flags.c_contiguous
    for n in range(2):
        for c in range(3):
            assert np.array_equal(codes[n, 0, :, c], expected[n, c])


def test_images_and_vectors_have_their_own_layout():
    image = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5) % 7
    tensor = Tensor("x", 4, 5, 3, 1.0, 0)
    unit = Preprocess(np.zeros(3, np.float32), np.ones(3, np.float32))
    assert np.array_equal(encode(image, tensor, unit, (3, 4, 5)), image.transpose(0, 2, 3, 1))
    vector = np.arange(6).reshape(2, 3)
    assert np.array_equal(encode(vector, Tensor("x", 1, 1, 3, 1.0, 0), unit, (3,)), vector.reshape(2, 1, 1, 3))


def test_values_beyond_the_range_saturate_even_when_standardizing_overflows():
    tiny = Preprocess(np.zeros(3, np.float32), np.full(3, 1e-30, np.float32))
    x = np.full((1, 3, 5), 3e38, np.float32)
    x[:, 1] *= -1
    codes = encode(x, SERIES, tiny, (3, 5))
    assert codes[0, 0, 0].tolist() == [127, -128, 127]


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (np.zeros((2, 4, 5)), "expected 3 channels (shape (N, 3, 5)), got 4"),
        (np.zeros((2, 3, 6)), "expected 5 time steps"),
        (np.zeros((3, 5)), "expected shape (N, 3, 5), got (3, 5)"),
        (np.zeros((1, 2, 3, 5)), "expected shape (N, 3, 5), got (1, 2, 3, 5)"),
        (np.zeros((0, 3, 5)), "at least 1 sample"),
        (np.float64(1.0), "expected shape (N, 3, 5), got ()"),
        (None, "dtype object"),
        ("abc", "dtype <U3"),
        (np.zeros((2, 3, 5), bool), "dtype bool"),
        (np.zeros((2, 3, 5), complex), "dtype complex128"),
        (np.zeros((2, 3, 5), object), "dtype object"),
        (np.zeros((2, 3, 5), "datetime64[s]"), "dtype datetime64[s]"),
        ([[1.0], [1.0, 2.0]], "expected an array of numbers"),
    ],
)
def test_what_is_no_window_is_refused_in_one_line(x, said):
    with pytest.raises(DataError) as error:
        encode_series(x)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("shape", [(), (1, 2, 3, 4)])
def test_samples_have_one_to_three_axes(shape):
    with pytest.raises(DataError, match="1 to 3 axes"):
        check_window(np.zeros((2, *shape)), shape)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_values_that_are_not_finite_are_refused_with_the_first_position(bad):
    x = np.zeros((2, 3, 5))
    x[1, 2, 3] = x[1, 2, 4] = bad
    with pytest.raises(DataError, match=r"at index \(1, 2, 3\)"):
        encode_series(x)


def test_labels_may_be_missing_but_not_wrong():
    assert check_labels(np.array([2, -1, 0], np.int16), 3, 3).tolist() == [2, -1, 0]
    for y, said in [
        ([0, 1, 3], "got 3 at index 2"),
        ([0, -2, 1], "got -2 at index 1"),
        ([0, 1], "expected shape (3,)"),
        ([[0, 1, 2]], "expected shape (3,)"),
        ([0.0, 1.0, 2.0], "dtype float64"),
        ([True, False, True], "dtype bool"),
        (["a", "b", "c"], "dtype <U1"),
        (None, "dtype object"),
        (np.array([0, 2**64 - 1, 0], np.uint64), "at index 1"),
    ]:
        with pytest.raises(DataError) as error:
            check_labels(y, 3, 3)
        assert said in str(error.value)


@given(
    hnp.arrays(
        st.sampled_from([np.float32, np.float64, np.int32, np.bool_, np.complex64, np.dtype("O"), np.dtype("U2")]),
        hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
    )
)
def test_any_array_gives_codes_or_a_data_error(x):
    try:
        codes = encode_series(x)
    except DataError:
        return
    assert codes.shape == (len(x), 1, 5, 3)


@given(st.lists(st.integers(-1, 5), max_size=80), st.floats(0, 1), st.integers(0, 50))
def test_some_labels_are_kept_and_none_invented(labels: list[int], fraction: float, seed: int):
    y = np.array(labels, np.int64)
    kept = keep_labels(y, fraction, seed)
    assert ((kept == y) | (kept == -1)).all()
    assert np.count_nonzero(kept >= 0) == round(fraction * np.count_nonzero(y >= 0))
    assert np.array_equal(kept, keep_labels(y, fraction, seed))
    assert np.array_equal(keep_labels(y, 1.0, seed), y)


def test_which_labels_are_kept_depends_on_the_seed():
    y = np.zeros(100, np.int64)
    assert not np.array_equal(keep_labels(y, 0.3, 0), keep_labels(y, 0.3, 1))
    for fraction in (-0.1, 1.1, float("nan")):
        with pytest.raises(DataError, match="expected 0 to 1"):
            keep_labels(y, fraction, 0)
