"""Jobs give the same results here, in other processes and on Ray; a bad job stops no other; nothing is left running."""

import multiprocessing
import os
import sys

import pytest
import torch

from calibrant.bench.harness import provenance, workers
from calibrant.bench.harness.cluster import attempt_here
from calibrant.bench.harness.job import Failure
from calibrant.core.errors import DataError


def square(n: int) -> tuple[int, int]:
    return n * n, torch.get_num_threads()


def picky(n: int) -> int:
    if n == 1:
        raise DataError("job 1: expected better, got worse")
    if n == 2:
        raise ValueError("two\nlines")
    return n


def deadly(n: int) -> int:
    if n == 2:
        os._exit(9)
    return n


def where(n: int) -> int:
    return os.getpid()


def done(work, jobs, processes, engine="local"):
    with workers.crew(engine, processes) as crew:
        return dict(crew(work, jobs))


@pytest.mark.parametrize("processes", [1, 2])
def test_results_do_not_depend_on_processes(processes):
    assert done(square, [1, 2, 3], processes) == {1: (1, 1), 2: (4, 1), 3: (9, 1)}


def test_one_process_is_this_one():
    assert done(where, [1], 8) == {1: os.getpid()}
    assert done(where, [], 2) == {}


@pytest.mark.parametrize("processes", [1, 2])
def test_a_bad_job_stops_no_other(processes):
    results = done(picky, [1, 2, 3, 4], processes)
    assert results.pop(1).reason == "job 1: expected better, got worse"
    failure = results.pop(2)
    assert failure.reason == "ValueError: two lines"
    assert "in picky" in failure.trace
    assert results == {3: 3, 4: 4}
    assert not multiprocessing.active_children()


def test_a_process_that_dies_takes_only_its_own_job_with_it():
    results = done(deadly, [0, 1, 2, 3, 4, 5], 2)
    assert isinstance(results[2], Failure)
    assert "process died" in results.pop(2).reason
    assert results == {n: n for n in (0, 1, 3, 4, 5)}


def test_stopping_early_stops_the_children():
    with workers.crew("local", 2) as crew:
        running = crew(where, list(range(50)))
        next(running)
        running.close()  # type: ignore[attr-defined]
    for child in multiprocessing.active_children():
        child.join(10)
        assert not child.is_alive()


def test_unknown_engines_and_missing_ray_are_refused(monkeypatch):
    with pytest.raises(DataError, match="engine: expected one of local, ray, got horse"):
        workers.crew("horse")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(DataError, match=r"engine ray: expected the package ray, got none \(pip install"):
        done(square, [1], 1, "ray")


def test_a_node_with_other_code_does_nothing():
    assert attempt_here(provenance.code_digest(), square, 3) == (9, 1)
    assert "expected calibrant's code 0123, got" in attempt_here("0123", square, 3).reason


def test_ray_gives_the_same():
    ray = pytest.importorskip("ray", reason="ray is not installed (pip install 'calibrant[ray]')")
    from ray import cloudpickle

    here = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(here)  # a task's process cannot import a test module
    try:
        results = done(picky, [1, 2, 3, 4], 2, "ray")
        assert done(square, [5], 1, "ray") == {5: (25, 1)}
    finally:
        cloudpickle.unregister_pickle_by_value(here)
    assert results.pop(1).reason == "job 1: expected better, got worse"
    assert results.pop(2).reason == "ValueError: two lines"
    assert results == {3: 3, 4: 4}
    assert not ray.is_initialized()
