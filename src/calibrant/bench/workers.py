"""Running independent jobs, in this process or in several, one torch thread each."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import TypeVar

import torch

from calibrant.bench.training import threads

Job = TypeVar("Job")
Result = TypeVar("Result")


def usable_cpus() -> int:
    """CPUs this process may run on."""
    return len(os.sched_getaffinity(0))


def run(work: Callable[[Job], Result], jobs: Sequence[Job], processes: int) -> Iterator[tuple[Job, Result]]:
    """Do the jobs and yield each with its result as it is finished.

    Every job runs on one torch thread, whatever `processes` is, so results do not depend on it.

    Parameters
    ----------
    work : callable
        Importable by name, as are jobs and results.
    jobs : sequence
    processes : int
        1 runs the jobs here, in order; 0 takes one process per usable CPU.

    Raises
    ------
    Whatever `work` raises. Children are stopped before any exception, KeyboardInterrupt included, goes on.
    """
    count = min(processes or usable_cpus(), len(jobs))
    if count <= 1:
        for job in jobs:
            with threads(1):
                result = work(job)
            yield job, result
        return
    # A forked child would inherit torch's thread pool in an unusable state.
    context = multiprocessing.get_context("spawn")
    known = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(count, context, initializer=_start)
    try:
        futures = {pool.submit(work, job): job for job in jobs}
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        if any(not future.done() for future in futures):
            for child in set(multiprocessing.active_children()) - known:
                child.terminate()
        pool.shutdown(cancel_futures=True)


def _start() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C reaches the whole group: die without a traceback
    torch.set_num_threads(1)
