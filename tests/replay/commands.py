"""The `calibrant` command, in a process of its own: the door that no refactoring moves."""

from __future__ import annotations

import os
import subprocess
import sys

FAILED = "{command}: status {status}\n{err}"


def calibrant(*arguments: object) -> str:
    """Run it and return what it prints; RuntimeError if it fails.

    It computes in one thread, as sums in several come in another order.
    """
    command = [sys.executable, "-m", "calibrant", *map(str, arguments)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment | {"OMP_NUM_THREADS": "1"}
    )
    if done.returncode != 0:
        raise RuntimeError(
            FAILED.format(command=" ".join(command[2:]), status=done.returncode, err=done.stderr[-2000:])
        )
    return done.stdout
