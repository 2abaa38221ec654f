"""The streaming tests against River, and what holds for all of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import base, drift
from river.drift import binary
from scipy.stats import ks_2samp

from calibrant.core.errors import DataError
from calibrant.core.rng import generator
from calibrant.policy.drift import Adwin, Ddm, DriftTest, Kswin, PageHinkley
from calibrant.policy.drift.kswin import critical

FOLDER = Path(os.environ.get("CALIBRANT_DATA", Path(__file__).parents[4] / "shared" / "data")) / "streams"
real = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no folder {FOLDER}; set CALIBRANT_DATA")


class All:
    """Stands in for River's random choice of older values: takes all of them."""

    def sample(self, population: Sequence[int], k: int) -> list[int]:
        return list(population)


class RiverKswin(drift.KSWIN):
    """River's test without chance."""

    def _reset(self) -> None:
        super()._reset()
        self._rng = All()


PAIRS: dict[str, tuple[Callable[[], DriftTest], Callable[[], base.DriftDetector]]] = {
    "adwin": (Adwin, drift.ADWIN),
    "adwin every value": (lambda: Adwin(0.05, 1), lambda: drift.ADWIN(0.05, 1)),
    "adwin of one check ahead": (lambda: Adwin(0.3, 8, ahead=1), lambda: drift.ADWIN(0.3, 8)),
    "adwin of other buckets": (lambda: Adwin(0.4, 7, 3, 2, 5), lambda: drift.ADWIN(0.4, 7, 3, 2, 5)),
    "adwin that seldom looks": (lambda: Adwin(0.1, 1500, 2, 30, 40), lambda: drift.ADWIN(0.1, 1500, 2, 30, 40)),
    "page-hinkley": (PageHinkley, drift.PageHinkley),
    "page-hinkley down": (
        lambda: PageHinkley(10, 0.1, 10, 0.99, "down"),
        lambda: drift.PageHinkley(10, 0.1, 10, 0.99, "down"),
    ),
    "page-hinkley up": (
        lambda: PageHinkley(50, 0.01, 30, 1.0, "up"),
        lambda: drift.PageHinkley(50, 0.01, 30, 1.0, "up"),
    ),
    "kswin": (Kswin, RiverKswin),
    "kswin of other sizes": (lambda: Kswin(0.05, 40, 15), lambda: RiverKswin(0.05, 40, 15)),
    "kswin of halves": (lambda: Kswin(0.01, 60, 30), lambda: RiverKswin(0.01, 60, 30)),
}


def detections(peer: base.DriftDetector, values: Sequence[float]) -> list[int]:
    found = []
    for i, value in enumerate(values):
        peer.update(value)
        if peer.drift_detected:
            found.append(i)
    return found


def stream(seed: int, segments: int = 5, rounded: bool = False) -> np.ndarray:
    """Stretches of different mean and spread."""
    rng = generator(seed, "stream")
    parts = [rng.normal(rng.normal(0, 1.5), rng.uniform(0.3, 2), int(rng.integers(40, 500))) for _ in range(segments)]
    return np.round(np.concatenate(parts), 1 if rounded else 12)


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("seed", range(3))
def test_the_same_detections_as_river(name: str, seed: int):
    ours, theirs = PAIRS[name]
    values = stream(seed, rounded=seed == 1)[: 500 if name.startswith("kswin") else None]
    expected = detections(theirs(), values.tolist())
    assert ours().update(values).tolist() == expected


def test_the_streams_have_what_can_be_detected():
    for name, (ours, _) in PAIRS.items():
        found = [ours().update(stream(seed)).size for seed in range(3)]
        assert sum(found) > 0, name


@pytest.mark.parametrize("seed", range(4))
def test_ddm_detects_as_river_does(seed: int):
    rng = generator(seed, "errors")
    errors = np.concatenate([rng.random(300) < rate for rate in rng.uniform(0, 0.6, 6)]).astype(int)
    expected = detections(binary.DDM(), errors.tolist())
    assert Ddm().update(errors).tolist() == expected
    assert detections(binary.DDM(10, 1.5, 2.0), errors.tolist()) == Ddm(10, 2.0).update(errors).tolist()
    assert len(expected) > 0


@real
@pytest.mark.parametrize(("name", "column"), [("elec2", 3), ("weather", 0)])
def test_real_streams_as_river(name: str, column: int):
    values = np.load(FOLDER / f"{name}.npz")["x"][:6000, column].astype(np.float64)
    for ours, theirs in (PAIRS["adwin"], PAIRS["adwin every value"], PAIRS["page-hinkley"]):
        assert ours().update(values).tolist() == detections(theirs(), values.tolist())
    assert Kswin().update(values[:400]).tolist() == detections(RiverKswin(), values[:400].tolist())
    assert Adwin().update(values).size > 0


TESTS = [*(ours for ours, _ in PAIRS.values()), lambda: Ddm(5, 1.0)]


@settings(max_examples=20)
@given(data=st.data())
@pytest.mark.parametrize("make", TESTS, ids=[*PAIRS, "ddm"])
def test_how_a_stream_is_cut_changes_nothing(make: Callable[[], DriftTest], data: st.DataObject):
    values = np.clip(stream(data.draw(st.integers(0, 50)), 3), 0, 1)
    cuts = sorted(data.draw(st.lists(st.integers(0, values.size), max_size=6)))
    whole, pieces, test = make().update(values).tolist(), [], make()
    for start, stop in zip([0, *cuts], [*cuts, values.size], strict=True):
        pieces += (test.update(values[start:stop]) + start).tolist()
    assert pieces == whole


@pytest.mark.parametrize("make", TESTS, ids=[*PAIRS, "ddm"])
def test_values_may_come_one_at_a_time(make: Callable[[], DriftTest]):
    values = np.clip(stream(1, 4)[:600], 0, 1)
    test, found = make(), []
    for i, value in enumerate(values.tolist()):
        if i == 300:  # and then a few at once
            found += (test.update(values[300:333]) + 300).tolist()
        elif not 300 <= i < 333:
            found += (test.update(value) + i).tolist()
    assert found == make().update(values).tolist()


@pytest.mark.parametrize("make", TESTS, ids=[*PAIRS, "ddm"])
def test_values_that_are_no_stream(make: Callable[[], DriftTest]):
    for values in ([np.nan], [0.5, np.inf], [[1.0], [0.0]]):
        with pytest.raises(DataError, match="expected finite numbers in one row"):
            make().update(values)
    assert make().update([]).tolist() == []
    assert make().update(0.5).tolist() == []


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Adwin(delta=0), "delta"),
        (lambda: Adwin(clock=0), "clock"),
        (lambda: Adwin(max_buckets=1), "max_buckets"),
        (lambda: Adwin(grace_period=0), "grace_period"),
        (lambda: Kswin(alpha=2), "alpha"),
        (lambda: Kswin(window_size=30, stat_size=30), "stat_size"),
        (lambda: PageHinkley(alpha=-1), "alpha"),
        (lambda: PageHinkley(direction="sideways"), "direction"),
        (lambda: Ddm(drift_threshold=-1), "drift_threshold"),
        (lambda: Ddm().update([0, 2]), "errors"),
    ],
)
def test_parameters_out_of_range(make: Callable[[], object], said: str):
    with pytest.raises(DataError, match=said):
        make()


@pytest.mark.parametrize(("n", "m"), [(70, 30), (30, 30), (7, 5), (1, 9), (64, 48)])
@pytest.mark.parametrize("alpha", [0.2, 0.01, 0.0001])
def test_critical_distances_are_exact(n: int, m: int, alpha: float):
    unit, smallest = int(np.lcm(n, m)), critical(n, m, alpha)
    rng, beyond = generator(n, "samples"), set()
    for shift in np.linspace(0, 3, 60):
        result = ks_2samp(rng.normal(size=n), rng.normal(shift, size=m), method="exact")
        beyond.add(round(result.statistic * unit) >= smallest)
        assert (round(result.statistic * unit) >= smallest) == (result.pvalue <= alpha)
    assert beyond == {True, False} or smallest > unit  # of so few samples that nothing is improbable


def test_adwin_keeps_little_and_digits():
    test = Adwin()
    for part in np.array_split(generator(1, "long").normal(size=50_000), 500):
        assert test.update(part).size == 0
    assert test.width == 50_000
    assert test._known.nbytes < 16_000  # private: what it takes is what it keeps
    small = Adwin(ahead=1)
    small.update(generator(1, "long").normal(size=50_000))
    # private: what it takes is what it keeps
    assert small._known.nbytes + sum(part.nbytes for part in vars(small._plan).values()) < 5120
    shifted = stream(7)
    assert Adwin().update(shifted + 1e8).tolist() == Adwin().update(shifted).tolist()
