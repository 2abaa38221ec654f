"""Running independent jobs, in this process, in several or on a cluster; a bad job does not stop the others."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager

import torch

from calibrant.bench.harness import cluster
from calibrant.bench.harness.job import Failure, Job, Result, Run, attempt
from calibrant.core.errors import DataError


def crew(engine: str = "local", processes: int = 0) -> AbstractContextManager[Run]:
    """Those who do the jobs, for a ``with`` statement; what ends it early, Ctrl-C included, stops what still runs.

    Parameters
    ----------
    engine : {"local", "ray"}
        Processes of this machine, or tasks of a Ray cluster (see `calibrant.bench.harness.cluster`).
    processes : int
        Jobs at once; 0 for one per usable CPU. Local and 1: in this process, in order.

    Raises
    ------
    DataError
        If the engine is unknown or not installed.
    """
    if engine not in ENGINES:
        raise DataError(f"engine: expected one of {', '.join(ENGINES)}, got {engine}")
    return ENGINES[engine](processes)


def usable_cpus() -> int:
    """CPUs this process may run on."""
    return len(os.sched_getaffinity(0))


@contextmanager
def local(processes: int) -> Iterator[Run]:
    """Processes of this machine."""

    def run(work: Callable[[Job], Result], jobs: Sequence[Job]) -> Iterator[tuple[Job, Result | Failure]]:
        count = min(processes or usable_cpus(), len(jobs))
        if count > 1:
            yield from _pooled(work, jobs, count)
        else:
            for job in jobs:
                yield job, attempt(work, job)

    yield run


ENGINES: dict[str, Callable[[int], AbstractContextManager[Run]]] = {"local": local, "ray": cluster.ray}


def _pooled(work: Callable[[Job], Result], jobs: Sequence[Job], count: int) -> Iterator[tuple[Job, Result | Failure]]:
    """A process that dies (killed for its memory, say) breaks its pool. The jobs that it may have been at, the first
    unfinished ones, are then done alone, so that only the guilty one fails; a new pool does the rest."""
    rest, alone = list(jobs), 0
    while rest:
        unfinished = len(rest)
        for job, outcome in _pool(work, rest[:1] if alone else rest, 1 if alone else count):
            rest.remove(job)
            yield job, outcome
        if not alone:
            alone = min(count, len(rest))
            continue
        alone -= 1
        if len(rest) == unfinished:
            yield rest.pop(0), Failure("the job's process died (out of memory?)")


def _pool(work: Callable[[Job], Result], jobs: Sequence[Job], count: int) -> Iterator[tuple[Job, Result | Failure]]:
    """Do the jobs in `count` processes; silent about those that a broken pool leaves undone."""
    # A forked child would inherit torch's thread pool in an unusable state.
    context = multiprocessing.get_context("spawn")
    known = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(count, context, initializer=_start)
    futures: dict[Future[Result | Failure], Job] = {}
    try:
        for job in jobs:
            futures[pool.submit(attempt, work, job)] = job
        for future in as_completed(futures):
            if not isinstance(future.exception(), BrokenProcessPool):
                yield futures[future], future.result()
    except BrokenProcessPool:  # while submitting
        pass
    finally:
        if any(not future.done() for future in futures):
            for child in set(multiprocessing.active_children()) - known:
                child.terminate()
        pool.shutdown(cancel_futures=True)


def _start() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C reaches the whole group: die without a traceback
    torch.set_num_threads(1)
