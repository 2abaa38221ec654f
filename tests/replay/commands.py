"""The `calibrant` command: the door that no refactoring moves."""

from __future__ import annotations

import io
import os
import runpy
import subprocess
import sys
from contextlib import redirect_stdout
from unittest import mock

FAILED = "{command}: status {status}\n{err}"


def calibrant(*arguments: object) -> str:
    """Run it in a process of its own and return what it prints; RuntimeError if it fails.

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


def calibrant_here(*arguments: object) -> str:
    """The same in this process, which saves most of the time of a short command."""
    out, command = io.StringIO(), ["calibrant", *map(str, arguments)]
    with mock.patch.object(sys, "argv", command), redirect_stdout(out):
        try:
            runpy.run_module("calibrant", run_name="__main__")
        except SystemExit as left:
            if left.code:
                raise RuntimeError(FAILED.format(command=" ".join(command), status=left.code, err="")) from None
    return out.getvalue()
