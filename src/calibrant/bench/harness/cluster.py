"""The same jobs as tasks of Ray, on this machine or on the cluster that the environment variable RAY_ADDRESS names.

Every node needs this package with the same code, and the data and output folders at the same paths (a shared file
system). Ray's own statistics are not sent anywhere unless RAY_USAGE_STATS_ENABLED says so.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from calibrant.bench.harness.job import Failure, Job, Result, Run, attempt
from calibrant.bench.harness.provenance import code_digest
from calibrant.core.errors import DataError

STORE_BYTES = 100 * 2**20  # of shared memory: jobs and rows are small, Ray's default is a third of the machine


@contextmanager
def ray(processes: int) -> Iterator[Run]:
    """Join the cluster, or start one on this machine that ends with the ``with`` statement.

    Parameters
    ----------
    processes : int
        Jobs at once; 0 for one per CPU of the cluster.

    Raises
    ------
    DataError
        If the package ray is not installed, or the cluster cannot be reached.
    """
    try:
        library = import_module("ray")
    except ModuleNotFoundError:
        raise DataError("engine ray: expected the package ray, got none (pip install 'calibrant[ray]')") from None
    joined = library.is_initialized()
    if not joined:
        _join(library, processes)
    try:
        limit = processes or max(1, int(library.cluster_resources().get("CPU", 1)))

        def run(work: Callable[[Job], Result], jobs: Sequence[Job]) -> Iterator[tuple[Job, Result | Failure]]:
            return _tasks(library, work, jobs, limit)

        yield run
    finally:
        if not joined:
            library.shutdown()


def _join(library: Any, processes: int) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    address = os.environ.get("RAY_ADDRESS")
    try:
        if address:
            library.init(address=address, **quiet)
        else:
            size = {"num_cpus": processes or None, "object_store_memory": STORE_BYTES}
            library.init(address="local", include_dashboard=False, **size, **quiet)
    except (ConnectionError, ValueError, RuntimeError) as error:
        where = f"a cluster at {address}" if address else "Ray to start on this machine"
        raise DataError(f"engine ray: expected {where}, got: {error}") from error


def _tasks(
    library: Any, work: Callable[[Job], Result], jobs: Sequence[Job], limit: int
) -> Iterator[tuple[Job, Result | Failure]]:
    task = library.remote(num_cpus=1, max_retries=1)(attempt_here)  # a process that dies gets one more try
    code, waiting = code_digest(), list(reversed(jobs))
    running: dict[Any, Job] = {}
    try:
        while waiting or running:
            while waiting and len(running) < limit:
                job = waiting.pop()
                running[task.remote(code, work, job)] = job
            (done,), _ = library.wait(list(running), num_returns=1)
            job = running.pop(done)
            try:
                outcome = library.get(done)
            except library.exceptions.RayError as error:
                outcome = Failure(" ".join(f"ray: {error}".split()))
            yield job, outcome
    finally:
        for reference in running:
            library.cancel(reference, force=True)


def attempt_here(code: str, work: Callable[[Job], Result], job: Job) -> Result | Failure:
    """Do one job on a node, if it runs the same code as the machine that asks."""
    own = code_digest()
    if own != code:
        return Failure(f"node {os.uname().nodename}: expected calibrant's code {code}, got {own}")
    return attempt(work, job)
