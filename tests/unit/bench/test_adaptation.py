"""Every registered way of adapting runs behind the same interface, and does what its name says."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from calibrant import artifact as files
from calibrant.bench import baselines, qcore_paper
from calibrant.bench.adaptation import RESET_EVERY, UPDATERS, Adaptation, Deployed, steps_of
from calibrant.core.settings import FlipSettings
from calibrant.pipeline import float_training
from deployments import deployment


@pytest.fixture(autouse=True)
def one_thread():
    with float_training.threads(1):
        yield


@pytest.fixture(scope="module")
def small():
    return deployment()


@contextmanager
def opened(small, folder, name, steps: int | None = None) -> Iterator[Adaptation]:
    path = folder / "small.cal"
    files.write(path, small.prepared.artifact)
    deployed = Deployed(
        path,
        load_net=lambda: small.prepared.net,
        load_float=lambda: small.float_net,
        load_source=lambda: small.source[0],
        dataset="dsa",
        network="cnn",
        bits=8,
        steps=steps_of(name, steps),
        seed=0,
    )
    with UPDATERS[name](deployed) as subject:
        yield subject


def windows(small, count=2):
    x, y = small.target
    return list(zip(np.split(x, count), np.split(y, count), strict=True))


def eager(method, *about):
    """Settings that show on a tiny network after a few steps."""
    if method == "bn":
        return {"momentum": 1.0}
    return {"lr": 0.1 if method == "bias" else 2e-2} | ({"alpha": 0.1, "beta": 0.5} if method == "derpp" else {})


@pytest.mark.parametrize("name", UPDATERS)
def test_it_predicts_observes_and_says_what_it_needs(small, tmp_path, name, monkeypatch):
    monkeypatch.setattr(baselines, "tuned", eager)
    monkeypatch.setattr(qcore_paper, "SHARE", 0.2)
    x, _ = small.target
    results = []
    for _ in range(2):
        with opened(small, tmp_path, name, steps=4) as subject:
            before = subject.predict(x)
            for window in windows(small):
                subject.observe(*window)
            results.append(subject.predict(x))
            assert (subject.added_bytes(x[:30]) > 0) == (name != "none")
    assert (results[0] == results[1]).all()
    assert (results[0] == before).all() == (name in ("none", "flip-random"))  # directions by lot lower no loss


def test_all_back_propagation_is_registered_with_its_steps():
    assert set(baselines.LEARNERS) < set(UPDATERS)
    for name in UPDATERS:
        expected = {"none": 0, "bn": 0, "qcore-paper": qcore_paper.PASSES}.get(
            name, baselines.STEPS if name in baselines.LEARNERS else FlipSettings().steps
        )
        assert steps_of(name, None) == expected
        assert steps_of(name, 7) == (7 if expected else 0)


def test_a_reset_forgets_what_was_learned(small, tmp_path):
    """The window after it is learned as if it were the first, with the artifact's coreset."""
    first, second = windows(small)
    (tmp_path / "fresh").mkdir()
    with opened(small, tmp_path, "reset") as subject, opened(small, tmp_path / "fresh", "flip") as fresh:
        for _ in range(RESET_EVERY):
            subject.observe(*first)
        subject.observe(*second)
        fresh.observe(*second)
        versions = [one.session.version for one in (subject, fresh)]
        assert versions[0].weights_sha256 == versions[1].weights_sha256
        with opened(small, tmp_path, "flip") as kept:
            for _ in range(RESET_EVERY):
                kept.observe(*first)
            kept.observe(*second)
            assert kept.session.version.weights_sha256 != versions[0].weights_sha256


def test_without_upkeep_the_coreset_stays(small, tmp_path):
    gone = {}
    for name in ("flip", "flip-fixed"):
        with opened(small, tmp_path, name) as subject:
            for window in windows(small):
                subject.observe(*window)
            gone[name] = subject.session.forget()
    assert gone["flip"] > 0
    assert gone["flip-fixed"] == 0
