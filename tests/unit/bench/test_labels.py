"""Labels arrive as the regime says: how many, which, when; and no updater gets others than the next."""

import numpy as np
import pytest

from calibrant.bench.qcore.labels import Labeler, check_regime, label_count
from calibrant.core.errors import DataError
from calibrant.core.reports import UpdateReport

X, Y = np.arange(20, dtype=np.float32)[:, None], np.arange(20) % 3
REPORT = UpdateReport(1, "committed", "", samples=20, labels=0, milliseconds=0.0, updater="flip")


class Pupil:
    """Notes what it is shown."""

    def __init__(self):
        self.seen = []

    def predict(self, x):
        return np.zeros(len(x), np.int64)

    def observe(self, x, y):
        self.seen.append((x[:, 0].astype(int).tolist(), y.tolist()))

    def added_bytes(self, x):
        return 0


class Curious(Pupil):
    """Asks for the last samples, and keeps windows."""

    def ask(self, x, n):
        return np.arange(len(x) - n, len(x))

    def defer(self, x):
        self.seen.append(("kept", int(x[0, 0])))
        return int(x[0, 0])

    def label(self, ticket, y):
        self.seen.append((ticket, int((y >= 0).sum())))
        return REPORT


def taught(pupil, labels="all", choice="chance", delay=0, windows=3, seed=0):
    labeler = Labeler(pupil, labels, choice, delay, seed)
    for i in range(windows):
        labeler.show(X + 100 * i, Y)
    return labeler


def test_all_labels_arrive_at_once():
    pupil = Pupil()
    assert taught(pupil).used == 60
    assert [y for _, y in pupil.seen] == [Y.tolist()] * 3


@pytest.mark.parametrize(("labels", "count"), [("0", 0), ("5", 5), ("0.25", 5)])
def test_chance_draws_the_same_for_everyone_and_anew_for_each_window(labels, count):
    first, second = Pupil(), Pupil()
    assert taught(first, labels).used == taught(second, labels).used == 3 * count
    assert first.seen == second.seen
    rows = [[i for i, label in enumerate(y) if label != -1] for _, y in first.seen]
    assert [len(row) for row in rows] == [count] * 3
    assert all(y[i] == Y[i] for row, (_, y) in zip(rows, first.seen, strict=True) for i in row)
    if count:
        assert len({tuple(row) for row in rows}) > 1
        other = Pupil()
        taught(other, labels, seed=1)
        assert other.seen != first.seen


def test_the_device_chooses_where_it_may_ask():
    pupil = Curious()
    assert taught(pupil, "4", "ask").used == 12
    assert all([i for i, label in enumerate(y) if label != -1] == [16, 17, 18, 19] for _, y in pupil.seen)
    with pytest.raises(DataError, match="label choice ask: expected an updater that can ask"):
        taught(Pupil(), "4", "ask")


def test_late_labels_come_with_the_window_they_are_of():
    pupil = Pupil()
    assert taught(pupil, delay=2, windows=5).used == 60
    assert [(x[0], y) for x, y in pupil.seen] == [(0, Y.tolist()), (100, Y.tolist()), (200, Y.tolist())]


def test_a_session_keeps_late_windows_itself():
    pupil = Curious()
    labeler = taught(pupil, "5", delay=1)
    assert pupil.seen == [("kept", 0), ("kept", 100), (0, 5), ("kept", 200), (100, 5)]
    assert (labeler.used, labeler.decisions) == (10, ["committed", "committed"])
    assert labeler.untouched == 0


def test_more_labels_than_samples_are_refused():
    with pytest.raises(DataError, match="labels: expected at most the 20 samples of a window, got 21"):
        taught(Pupil(), "21")


@pytest.mark.parametrize("text", ["", "-1", "1.01", "a", "0.1.2", "1e-1", ".", "NaN"])
def test_nonsense_is_no_regime(text):
    with pytest.raises(DataError, match=r"labels: expected all, a share such as 0.1"):
        check_regime(text)


@pytest.mark.parametrize("text", ["all", "7", "0.5", "0.00001"])
def test_a_regime_is_written_one_way(text):
    assert check_regime(check_regime(text)) == check_regime(text)
    assert 1 <= label_count(check_regime(text), 20) <= 20
