"""Jobs give the same results here and in other processes; errors come back; nothing is left running."""

import multiprocessing
import os

import pytest
import torch

from calibrant.bench import workers
from calibrant.core.errors import DataError


def square(n: int) -> tuple[int, int]:
    return n * n, torch.get_num_threads()


def fail(n: int) -> int:
    raise DataError(f"job {n}: expected better, got worse")


def where(n: int) -> int:
    return os.getpid()


@pytest.mark.parametrize("processes", [1, 2])
def test_results_do_not_depend_on_processes(processes):
    assert dict(workers.run(square, [1, 2, 3], processes)) == {1: (1, 1), 2: (4, 1), 3: (9, 1)}


def test_one_process_is_this_one():
    assert dict(workers.run(where, [1], 8)) == {1: os.getpid()}
    assert list(workers.run(where, [], 2)) == []


@pytest.mark.parametrize("processes", [1, 2])
def test_errors_come_back(processes):
    with pytest.raises(DataError, match="job 1: expected better"):
        list(workers.run(fail, [1] * 2, processes))
    assert not multiprocessing.active_children()


def test_stopping_early_stops_the_children():
    running = workers.run(where, list(range(50)), 2)
    next(running)
    running.close()
    for child in multiprocessing.active_children():
        child.join(10)
        assert not child.is_alive()
