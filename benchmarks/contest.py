"""Contestants of one benchmark: each a process of its own on one thread, all pinned to one core, taking turns, so that
a busy machine slows all alike. Memory is the peak resident set of the process.

Imports nothing beyond the standard library: an interpreter that has only a peer's packages runs contestants, too.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

INSTRUCTION_SETS = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "amx_int8")
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")

# What prepares a round and gives the part that is timed; the kernels it runs; resident bytes after its imports.
Contest = tuple[Callable[[], Callable[[], object]], str, int]


def race(commands: Mapping[str, Sequence[str]], repeat: int, warm: int) -> dict[str, Any]:
    """Start every contestant's command, which ends in `serve`, and let them take turns.

    The first `warm` of ``warm + repeat`` rounds fill caches and allocators and do not count. The answer has the
    "machine" and a row a contestant: median, shortest and longest seconds, and the facts of `serve`.
    """
    core = max(os.sched_getaffinity(0))
    contestants = {name: _start(command, core) for name, command in commands.items()}
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(warm + repeat):
        for name, process in contestants.items():
            took = _ask(process, "round")["seconds"]
            if turn >= warm:
                seconds[name].append(took)
    facts = {name: _ask(process, "finish") for name, process in contestants.items()}
    for process in contestants.values():
        process.communicate()
    rows = [
        {
            "contestant": name,
            "seconds_median": statistics.median(took),
            "seconds_min": min(took),
            "seconds_max": max(took),
            **facts[name],
        }
        for name, took in seconds.items()
    ]
    return {"machine": machine(core), "rows": rows}


def serve(fresh: Callable[[], Callable[[], object]], kernels: str, imported: int) -> None:
    """Be a contestant: answer each line 'round' with the seconds of one, and 'finish' with memory."""
    for line in sys.stdin:
        if line.strip() == "finish":
            break
        step = fresh()
        start = time.perf_counter()
        step()
        print(json.dumps({"seconds": time.perf_counter() - start}), flush=True)
    peak = resident("VmHWM")
    memory = {"peak_bytes": peak, "added_bytes": peak - imported}
    print(json.dumps({**memory, "imports_torch": "torch" in sys.modules, "kernels": kernels}), flush=True)


def resident(field: str) -> int:
    """Resident bytes: VmRSS now, VmHWM at most. ru_maxrss would count the parent before exec too."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"/proc/self/status: expected a line {field}")


def machine(core: int) -> dict[str, Any]:
    """Where this runs: processor, the instruction sets that matter here, load."""
    info: dict[str, str] = {}
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        info.setdefault(key.strip(), value.strip())
    flags = info.get("flags", "").split()
    return {
        "cpu": info.get("model name", platform.machine()),
        "family_model_stepping": [info.get(key) for key in ("cpu family", "model", "stepping")],
        "core": core,
        "instruction_sets": [name for name in INSTRUCTION_SETS if name in flags],
        "load_average": os.getloadavg()[0],
        "python": platform.python_version(),
    }


def table(result: Mapping[str, Any], titles: Mapping[str, str], about: str, what: str) -> list[str]:
    """Lines for people: the machine, what it is `about`, and a row a contestant of one `what`."""
    where = result["machine"]
    lines = [
        f"{where['cpu']}, core {where['core']}, {', '.join(where['instruction_sets'])}",
        about,
        "",
        f"{what:<42}{'ms':>9}{'min-max':>18}{'peak MB':>10}{'added MB':>10}  kernels",
    ]
    for row in result["rows"]:
        spread = f"{1e3 * row['seconds_min']:.2f}-{1e3 * row['seconds_max']:.2f}"
        lines.append(
            f"{titles[row['contestant']]:<42}{1e3 * row['seconds_median']:>9.2f}{spread:>18}"
            f"{row['peak_bytes'] / 1e6:>10.1f}{row['added_bytes'] / 1e6:>10.1f}  {row['kernels']}"
        )
    return [*lines, ""]


def _start(command: Sequence[str], core: int) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | ONE_THREAD
    )
    os.sched_setaffinity(process.pid, {core})
    return process


def _ask(process: subprocess.Popen[str], what: str) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(what + "\n")
    process.stdin.flush()
    answer = process.stdout.readline()
    if not answer:
        raise SystemExit(f"{process.args!r}: ended without an answer")
    reply: dict[str, Any] = json.loads(answer)
    return reply
