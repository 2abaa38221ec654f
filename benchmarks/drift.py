"""Streaming tests for drift: time per value against River's, in turns.

    python benchmarks/drift.py [--json out.json]

A device sees windows, so ours take rows of values; River's take one value at a time. Both watch the same numbers in
this process, round after round; times are medians of the thread's CPU time. What both detect must be equal.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from river import base, drift
from river.drift import binary

from calibrant.policy.drift import Adwin, Ddm, DriftTest, Kswin, PageHinkley

ROWS = (1, 91, 500, 5000)  # values a call; 91 is a window of the calibration protocol
TARGETS = {"adwin": 2.0, "kswin": 1 / 50}  # of River's time, in rows of 500 or more
VALUES = {"adwin": 50_000, "page-hinkley": 50_000, "ddm": 50_000, "kswin": 5_000}


class WholeKswin(drift.KSWIN):
    """River's KSWIN, but that it compares with all older values, as ours does, not with a random choice of them."""

    def _reset(self) -> None:
        super()._reset()
        self._rng = _All()


class _All:
    def sample(self, population: Sequence[int], k: int) -> list[int]:
        return list(population)


PAIRS: dict[str, tuple[Callable[[], DriftTest], Callable[[], base.DriftDetector]]] = {
    "adwin": (Adwin, drift.ADWIN),
    "kswin": (Kswin, lambda: drift.KSWIN(seed=0)),
    "page-hinkley": (PageHinkley, drift.PageHinkley),
    "ddm": (Ddm, binary.DDM),
}


def stream(name: str, count: int) -> NDArray[np.float64]:
    """Four stretches of numbers with different means; errors for DDM."""
    rng = np.random.default_rng(0)
    level = np.repeat([0.1, 0.3, 0.15, 0.5], -(-count // 4))[:count]
    if name == "ddm":
        return (rng.random(count) < level).astype(np.float64)
    return rng.normal(10 * level, 1.0)


def watch_rows(test: DriftTest, values: NDArray[np.float64], row: int) -> list[int]:
    """Where ours detects, in rows of `row` values."""
    found: list[int] = []
    if row == 1:
        return [i for i, value in enumerate(values.tolist()) if test.update(value).size]
    for start in range(0, values.size, row):
        found.extend((test.update(values[start : start + row]) + start).tolist())
    return found


def watch_each(test: base.DriftDetector, values: Sequence[float]) -> list[int]:
    """Where River's detects."""
    found = []
    for i, value in enumerate(values):
        test.update(value)
        if test.drift_detected:
            found.append(i)
    return found


def measure(name: str, rounds: int) -> dict[str, Any]:
    """Microseconds a value: River's, and ours by values a call."""
    ours, theirs = PAIRS[name]
    values = stream(name, VALUES[name])
    numbers, few = values.tolist(), values[:500]
    peer = WholeKswin if name == "kswin" else theirs
    equal = watch_rows(ours(), few, 91) == watch_each(peer(), few.tolist())
    if name != "kswin":
        equal = watch_rows(ours(), values, 91) == watch_each(theirs(), numbers)
    calls: dict[str, tuple[int, Callable[[], object]]] = {}
    part = numbers[: 500 if name == "kswin" else None]
    calls["river"] = len(part), lambda: watch_each(theirs(), part)
    for row in ROWS:
        some = values[: 2000 if row == 1 else None]
        calls[str(row)] = some.size, lambda row=row, some=some: watch_rows(ours(), some, row)
    times: dict[str, list[float]] = {key: [] for key in calls}
    for _ in range(rounds):
        for key, (count, call) in calls.items():
            start = time.thread_time()
            call()
            times[key].append((time.thread_time() - start) / count * 1e6)
    medians = {key: float(np.median(spent)) for key, spent in times.items()}
    river = medians.pop("river")
    target = TARGETS.get(name)
    met = None if target is None else all(medians[row] <= target * river for row in ("500", "5000"))
    return {"test": name, "river": river, "rows": medians, "detections_equal": equal, "target": target, "met": met}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    results = [measure(name, args.rounds) for name in PAIRS]
    if args.json:
        args.json.write_text(json.dumps({"benchmark": "drift", "results": results}, indent=1) + "\n")
    print("microseconds a value (River's time / ours); ours by values a call")
    print(f"{'':14}{'River':>10}" + "".join(f"{row:>18}" for row in ROWS))
    for result in results:
        cells = "".join(f"{t:>10.3f} ({result['river'] / t:>4.1f}x)" for t in result["rows"].values())
        target = "" if result["target"] is None else f"  target {'met' if result['met'] else 'missed'}"
        print(f"{result['test']:14}{result['river']:>10.3f}{cells}{target}")
        if not result["detections_equal"]:
            raise SystemExit(f"{result['test']}: detections differ from River's")


if __name__ == "__main__":
    main()
