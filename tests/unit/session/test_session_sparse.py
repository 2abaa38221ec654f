"""The sparse updater in a session: verified, versioned and rolled back as flips are."""

import numpy as np
import pytest

from artifacts import make_sparse_artifact, make_window
from calibrant import Budget, Session
from calibrant.artifact import write
from calibrant.core.errors import BudgetError


@pytest.fixture
def path(tmp_path):
    write(tmp_path / "small.cal", make_sparse_artifact())
    return tmp_path / "small.cal"


def test_it_learns_commits_and_rolls_back(path, tmp_path):
    x, y = make_window(make_sparse_artifact(), 60)
    with Session.open(path, tmp_path / "s.db", gate=False) as session:
        before = session.scores(x)
        report = session.observe(x, y)
        assert (report.decision, report.updater) == ("committed", "sparse")
        assert report.accuracy_after > report.accuracy_before
        assert not np.array_equal(session.scores(x), before)
        after = session.scores(x)
    with Session.open(path, tmp_path / "s.db", gate=False) as session:
        assert np.array_equal(session.scores(x), after)
        session.rollback(to=0)
        assert np.array_equal(session.scores(x), before)


def test_two_runs_give_the_same_versions(path):
    hashes = []
    for _ in range(2):
        with Session.open(path, gate=False) as session:
            for seed in (1, 2):
                session.observe(*make_window(make_sparse_artifact(), 30, seed))
            hashes.append([version.weights_sha256 for version in session.versions()])
    assert hashes[0] == hashes[1]
    assert len(hashes[0]) > 1


def test_the_step_counts_in_the_budget(path):
    with Session.open(path, budget=Budget(ram="1MB")) as session:
        assert session.version.number == 0
    with pytest.raises(BudgetError, match="RAM budget is 9,000 bytes"):
        Session.open(path, budget=Budget(ram=9000))
