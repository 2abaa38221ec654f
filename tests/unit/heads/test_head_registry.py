"""What every head in the registry must do, whatever it keeps: grow, forget, rename, be written down, be repeatable."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibrant import heads
from calibrant.core.errors import DataError, StateError
from calibrant.heads import HEADS, Lesson

NAMES = ("walk", "run", "sit", "jump")


def samples(classes, n=12, width=10, seed=0):
    """Features around a point of their own for each class."""
    rng = np.random.default_rng(seed)
    centers = np.random.default_rng(99).integers(40, 200, (len(NAMES), width))
    y = np.repeat(np.array(classes, np.int64), n)
    x = np.clip(centers[y] + rng.normal(0, 12, (len(y), width)), 0, 255)
    return x.astype(np.int32), y


def lesson(*classes, **how):
    return Lesson(*samples(classes, **how), NAMES)


def grown(kind, *lessons):
    head = heads.new(kind)
    for each in lessons:
        head = head.learn(each)
    return head


def same(a, b):
    """Whether two states are equal to the bit."""
    return a.about == b.about and all((a.arrays[k] == b.arrays[k]).all() for k in a.arrays | b.arrays)


@pytest.mark.parametrize("kind", HEADS)
class TestEveryHead:
    def test_it_grows_by_the_classes_that_samples_are_of(self, kind):
        first = grown(kind, lesson(2, 0))
        assert first.classes == ("walk", "sit")
        both = first.learn(lesson(1, seed=1))
        assert both.classes == ("walk", "sit", "run")
        assert first.classes == ("walk", "sit")  # a record: what was, is
        x, _ = samples((0, 2), seed=5)
        assert first.classifier.predict(x).tolist() == [0] * 12 + [1] * 12

    def test_a_class_that_comes_with_others_is_told_from_them(self, kind):
        head = grown(kind, lesson(0, 1), lesson(2, 3, seed=1))
        x, y = samples((2, 3), seed=7)
        assert np.mean([head.classes[i] == NAMES[c] for i, c in zip(head.classifier.predict(x), y, strict=True)]) > 0.8

    def test_forgetting_leaves_the_others_their_answers(self, kind):
        head = grown(kind, lesson(0, 1, 2), lesson(3, 0, seed=1))
        left = head.forget("run")
        assert left.classes == ("walk", "sit", "jump")
        x, _ = samples((0, 2, 3), seed=3)
        kept = np.delete(head.classifier.scores(x), 1, axis=1)
        assert (left.classifier.scores(x).argmax(1) == kept.argmax(1)).all()
        back = left.learn(lesson(1, seed=4))
        assert back.classes == ("walk", "sit", "jump", "run")
        with pytest.raises(DataError, match="class: expected one of walk, sit, jump, got 'run'"):
            left.forget("run")

    def test_a_head_that_has_forgotten_all_learns_again(self, kind):
        empty = grown(kind, lesson(0)).forget("walk")
        with pytest.raises(DataError, match="head: expected a class to answer with, got none"):
            empty.classifier.predict(samples((0,))[0])
        assert empty.learn(lesson(1, 2)).classes == ("run", "sit")
        assert same(heads.resume(empty.state()).state(), empty.state())

    def test_a_new_name_changes_no_number(self, kind):
        head = grown(kind, lesson(0, 1))
        other = head.rename("run", "sprint")
        assert other.classes == ("walk", "sprint")
        assert (other.classifier.weights == head.classifier.weights).all()
        assert head.rename("run", "run").classes == head.classes
        for new in ("walk", ""):
            with pytest.raises(DataError, match=f"class 'run': expected a new name that no class has, got '{new}'"):
                head.rename("run", new)
        with pytest.raises(DataError, match="class: expected one of walk, run, got 'fly'"):
            head.rename("fly", "x")

    def test_one_that_is_written_down_goes_on_as_if_it_had_not_been(self, kind):
        head = grown(kind, lesson(0, 1), lesson(2, seed=1))
        state = head.state()
        about = json.loads(json.dumps(state.about))
        again = heads.resume(replace(state, about=about, arrays={k: v.copy() for k, v in state.arrays.items()}))
        more = lesson(3, 1, seed=2)
        assert same(head.learn(more).state(), again.learn(more).state())
        assert same(again.state(), state)

    def test_the_same_lessons_give_the_same_bits(self, kind):
        first, second = (grown(kind, lesson(0, 1), lesson(1, 2, seed=1)).state() for _ in range(2))
        assert same(first, second)

    def test_a_damaged_state_is_refused(self, kind):
        state = grown(kind, lesson(0, 1)).state()
        name = next(iter(state.arrays))
        array = state.arrays[name]
        for damage, message in (
            ({"kind": "tree"}, "head: expected one of cwr, slda, ncm, got 'tree'"),
            ({"format": 9}, f"head: expected {kind} of format 1, got '{kind}' of 9"),
            ({"arrays": {}}, f"head {kind}: expected arrays"),
            ({"arrays": {**state.arrays, name: array.astype(np.float32)}}, f"head {kind}: expected {name} "),
            ({"arrays": {**state.arrays, name: array[:1]}}, f"head {kind}: expected {name} "),
            ({"about": {**state.about, "classes": ["a", "a"]}}, f"head {kind}: expected different names"),
            ({"about": {**state.about, "classes": 3}}, f"head {kind}: expected different names"),
        ):
            with pytest.raises(StateError, match=message):
                heads.resume(replace(state, **damage))

    def test_features_of_another_length_are_refused(self, kind):
        head = grown(kind, lesson(0, 1))
        with pytest.raises(DataError, match="lesson: expected features of length 10, got 4"):
            head.learn(lesson(2, width=4))
        with pytest.raises(DataError, match="features: expected length 10, got 4"):
            head.classifier.predict(samples((0,), width=4)[0])


@pytest.mark.parametrize("kind", ["slda", "ncm"])
@given(order=st.permutations(range(36)), cut=st.integers(1, 35))
def test_sums_do_not_know_the_order_of_samples(kind, order, cut):
    x, y = samples((0, 1, 2))
    at = np.array(order)
    parts = [Lesson(x[rows], y[rows], NAMES) for rows in (at[:cut], at[cut:])]
    head, once = grown(kind, *parts), grown(kind, Lesson(x, y, NAMES))
    test, _ = samples((0, 1, 2), seed=3)
    assert [head.classes[i] for i in head.classifier.predict(test)] == [
        once.classes[i] for i in once.classifier.predict(test)
    ]
    assert head.state().nbytes == once.state().nbytes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": np.zeros((2, 3), np.float32)}, r"features: expected int32\[N, D\], got float32 \[2, 3\]"),
        ({"x": np.full((2, 3), 256, np.int32)}, "features: expected at most 255 either way, got 256"),
        ({"x": np.zeros((0, 3), np.int32)}, "lesson: expected at least 1 sample, got none"),
        ({"y": np.array([0])}, r"lesson: expected y int64\[2\], got int64 \[1\]"),
        ({"y": np.array([0, 2])}, "lesson: expected y of 0 to 1, got 0 to 2"),
        ({"names": ("a", "a")}, "lesson: expected different names of classes, got 'a', 'a'"),
        ({"blocks": np.array([0.5, 1])}, r"lesson: expected blocks int64\[2\], got float64"),
    ],
)
def test_a_lesson_is_checked(change, message):
    whole = {"x": np.zeros((2, 3), np.int32), "y": np.array([0, 1]), "names": ("a", "b")}
    with pytest.raises(DataError, match=message):
        Lesson(**(whole | change))


def test_an_unknown_kind_is_named():
    with pytest.raises(DataError, match="head: expected one of cwr, slda, ncm, got 'tree'"):
        heads.new("tree")


@pytest.mark.parametrize("kind", ["slda", "ncm"])
def test_sums_stay_where_they_are_exact(kind):
    """As many samples of a class as a state may have, then one more."""
    head = grown(kind, lesson(0, 1))
    arrays = dict(head.state().arrays)
    arrays["counts"] = np.array([2**20, 12])
    about = dict(head.state().about)
    about |= {"spread_of": 2**20 + 12} if kind == "slda" else {}
    full = heads.resume(replace(head.state(), arrays=arrays, about=about))
    with pytest.raises(DataError, match="lesson: expected at most 1048576 samples of a class, got 1048588"):
        full.learn(lesson(0))
    arrays["counts"] = np.array([2**20 + 1, 12])
    with pytest.raises(StateError, match=f"head {kind}: expected counts 1 to 1048576"):
        heads.resume(replace(head.state(), arrays=arrays, about=about))
