"""CWR* as published: the worked example, what the count weights do, which rows move; on whole numbers and in floats."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibrant.core.errors import DataError
from calibrant.heads import CwrSettings, Lesson
from calibrant.heads.counts import COUNT_ONE, WANDER_ONE, effective, past_share
from calibrant.heads.cwr import Cwr, consolidated

ONE = 1 << 12  # of a grid that reaches 8 with 16 bits
LIMIT = 2**15 - 1


def published(kept, fresh, past, current):
    """Steps 4 and 5 of an experience in float64, as three public implementations have them."""
    seen, made = current > 0, kept.astype(np.float64).copy()
    mean = fresh[seen].mean()
    for c in np.flatnonzero(seen):
        wp = np.sqrt(past[c] / current[c])
        made[c] = (kept[c] * wp + (fresh[c] - mean)) / (wp + 1)
    return made


def test_the_worked_example():
    none = np.zeros((2, 2), np.int64)
    first = consolidated(none, ONE * np.array([[1, 3], [-1, 1]]), np.zeros(2, np.int64), np.full(2, 100), LIMIT)
    assert (first == ONE * np.array([[0, 2], [-2, 0]])).all()
    kept = np.concatenate([first, np.zeros((1, 2), np.int64)])
    fresh = ONE * np.array([[7, 7], [-1, 2], [3, 4]])  # class 0 is not in the lesson: what its row became is dropped
    second = consolidated(kept, fresh, np.array([100, 100, 0]), np.array([0, 25, 100]), LIMIT)
    assert (second[0] == first[0]).all()
    assert abs(second[1] - ONE * np.array([-7 / 3, 0])).max() <= 1
    assert (second[2] == ONE * np.array([1, 2])).all()


@pytest.mark.parametrize(("ratio", "share"), [((100, 100), 0.5), ((1000, 100), 0.760), ((100, 1000), 0.240)])
def test_weights_of_old_and_new(ratio, share):
    assert round(past_share(*ratio) / 2**15, 3) == share


def test_the_first_of_equal_visits_fades_as_the_square_root_says():
    kept = {}
    for n in (4, 8, 16):
        share, past = 1.0, 100
        for _ in range(n - 1):
            share *= past_share(past, 100) / 2**15
            past += 100
        kept[n] = share
    assert kept == pytest.approx({4: 0.186, 8: 0.044, 16: 0.0054}, abs=6e-4)


whole = st.integers(-8 * ONE // 2, 8 * ONE // 2)


@given(st.data(), st.integers(1, 5), st.integers(1, 6))
def test_whole_numbers_are_within_two_steps_of_the_published_formula(data, classes, width):
    def rows():
        flat = data.draw(st.lists(whole, min_size=classes * width, max_size=classes * width))
        return np.array(flat, np.int64).reshape(classes, width)

    kept, fresh = rows(), rows()
    counts = st.lists(st.integers(0, 10**6), min_size=classes, max_size=classes)
    past, current = (np.array(data.draw(counts), np.int64) for _ in range(2))
    current[0] = max(current[0], 1)
    made = consolidated(kept, fresh, past, current, 10**9)
    assert abs(made - published(kept, fresh, past, current)).max() <= 3
    assert (made[current == 0] == kept[current == 0]).all()


def test_a_lesson_moves_no_row_of_a_class_that_is_not_in_it():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (60, 8)).astype(np.int32), np.repeat(np.arange(3), 20)
    names = ("a", "b", "c")
    first = Cwr.new().learn(Lesson(x[:40], y[:40], names))
    second = first.learn(Lesson(x[20:], y[20:], names))
    moved = second.grid.step * second.kept - np.pad(first.grid.step * first.kept, ((0, 1), (0, 0)))
    assert not moved[0].any()
    assert moved[1].any()
    assert second.past.tolist() == [20 * COUNT_ONE, 40 * COUNT_ONE, 20 * COUNT_ONE]


@pytest.mark.parametrize(
    ("bits", "rounding", "kept"),
    [
        (8, "nearest", [[49, -45, -13], [-58, 52, 13], [29, -21, -15]]),
        (8, "stochastic", [[48, -44, -13], [-58, 52, 13], [29, -21, -14]]),
        (16, "nearest", [[12366, -11347, -3272], [-14636, 13086, 3477], [7536, -5376, -3630]]),
        (
            32,
            "nearest",
            [
                [810391040, -743589760, -214405312],
                [-959161980, 857579905, 227923817],
                [493904021, -352291819, -237884715],
            ],
        ),
    ],
)
def test_every_machine_gives_these_weights(bits, rounding, kept):
    """Recorded: two lessons, three classes, one of them known and one new in the second."""
    x = np.array([[200, 0, 31], [180, 10, 7], [0, 200, 90], [5, 190, 64]], np.int32)
    head = Cwr.new(CwrSettings(backward_bits=bits, rounding=rounding, batch=2))
    head = head.learn(Lesson(x, np.array([0, 0, 1, 1]), ("a", "b")))
    head = head.learn(Lesson(x[1:3], np.array([2, 1]), ("a", "b", "c")))
    assert head.kept.tolist() == kept


def test_resembling_samples_count_for_fewer():
    y, blocks = np.array([0] * 50 + [1] * 50), np.array([0] * 50 + list(range(50)))
    wander = WANDER_ONE // 10
    alike, apart = effective(y, 2, blocks, wander) / COUNT_ONE
    assert alike == pytest.approx(50 / (1 + 0.1 * 50), abs=0.01)
    assert apart == pytest.approx(50 / 1.1, abs=0.2)
    assert (effective(y, 2, blocks) == 50 * COUNT_ONE).all()


def test_counts_are_capped_and_fade_and_never_vanish():
    x, names = np.full((10, 4), 100, np.int32), ("a", "b")

    def of(c):
        return Lesson(x, np.full(10, c), names)

    capped = Cwr.new(CwrSettings(cap=15)).learn(of(0)).learn(of(0))
    assert capped.past.tolist() == [15 * COUNT_ONE]
    fading = Cwr.new(CwrSettings(decay=0.5)).learn(of(0)).learn(of(1))
    assert fading.past.tolist() == [5 * COUNT_ONE, 10 * COUNT_ONE]
    gone = Cwr.new(CwrSettings(decay=1.0)).learn(of(0)).learn(of(1))
    assert gone.past.tolist() == [1, 10 * COUNT_ONE]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"forward_bits": 9}, "cwr: expected forward_bits 2 to 8, got 9"),
        ({"backward_bits": 33}, "cwr: expected backward_bits 2 to 32, got 33"),
        ({"backward_bits": 4}, "cwr: expected backward_bits of at least 8, got 4"),
        ({"rounding": "up"}, "rounding: expected one of nearest, stochastic, widen, got 'up'"),
        ({"batch": 257}, "cwr: expected batch 1 to 256, got 257"),
        ({"rate": 0.0}, "cwr: expected rate 1e-06 to 1000, got 0.0"),
    ],
)
def test_settings_are_checked(change, message):
    with pytest.raises(DataError, match=message):
        CwrSettings(**change)
