"""Compare what the code does now with what it did when the records were made.

python -m replay compare                    both records; 1 if a key differs
python -m replay compare device stream/     only these parts of one record
python -m replay compare --base COMMIT      the server's part against that commit, run on this machine
python -m replay record [device|server]     make records anew
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from replay import base, machine, parts, record
from replay.record import UnavailableError

KINDS = {"device": (parts.DEVICE, parts.DEVICE_RECORD), "server": (parts.SERVER, parts.SERVER_RECORD)}
ELSEWHERE = "server: not compared, was recorded elsewhere ({}): `make replay BASE=<commit>` records that commit here"


def main() -> int:
    """Carry out the command line."""
    asked = _arguments()
    if asked.command == "record":
        for kind in asked.kinds:
            _record(kind, asked.to or KINDS[kind][1], asked.jobs)
        return 0
    differing = 0
    for kind in asked.kinds:
        differing += _compare(kind, asked)
    return 1 if differing else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="replay", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("command", choices=("compare", "record"))
    parser.add_argument("kind", nargs="?", choices=tuple(KINDS), help="both without")
    parser.add_argument("prefix", nargs="?", default="", help="of the parts to compare")
    parser.add_argument("--base", metavar="COMMIT", help="compare the server's part with this commit on this machine")
    parser.add_argument("--to", type=Path, help="where `record` writes")
    parser.add_argument("--jobs", type=int, default=2, help="parts at once")
    asked = parser.parse_args()
    asked.kinds = (asked.kind,) if asked.kind else ("server",) if asked.base else tuple(KINDS)
    if asked.to and not asked.kind:
        parser.error("--to: say which record")
    return asked


def run(kind: str, name: str) -> dict[str, str] | str:
    """One part's rows, or why it was skipped."""
    try:
        return record.gathered(KINDS[kind][0][name]())
    except UnavailableError as reason:
        return str(reason)


def _parts(kind: str, names: Iterable[str], jobs: int) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """Rows by part, and reasons by part that was skipped."""
    names = list(names)
    with ProcessPoolExecutor(jobs) as pool:
        outcomes = dict(zip(names, pool.map(run, [kind] * len(names), names), strict=True))
    done = {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, dict)}
    return done, {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, str)}


def _record(kind: str, target: Path, jobs: int) -> None:
    """Write a record; parts that cannot be run here keep the rows they have."""
    done, skipped = _parts(kind, KINDS[kind][0], jobs)
    old = record.read(target)
    rows = machine.rows() if kind == "server" else {}
    for name in KINDS[kind][0]:
        rows |= done[name] if name in done else record.under(old, name)
    for name, reason in skipped.items():
        print(f"{kind}: {name} not recorded anew: {reason}")
    record.write(target, rows)
    print(f"{kind}: recorded {len(rows)} keys")


def _compare(kind: str, asked: argparse.Namespace) -> int:
    """Print what differs; returns how many keys."""
    started = time.perf_counter()
    recorded = record.read(KINDS[kind][1])
    if asked.base:
        with tempfile.TemporaryDirectory() as folder:
            base.record(asked.base, Path(folder) / "base.json", asked.jobs)
            recorded = record.read(Path(folder) / "base.json")
    if kind == "server" and (other := record.differences(machine.of(recorded), machine.rows())):
        print(ELSEWHERE.format("; ".join(other)))
        return 0
    names = [name for name in KINDS[kind][0] if name.startswith(asked.prefix)]
    done, skipped = _parts(kind, names, asked.jobs)
    lines: list[str] = []
    for name, rows in done.items():
        lines += record.differences(record.under(recorded, name), rows)
    if not asked.prefix:
        known = {key for name in KINDS[kind][0] for key in record.under(recorded, name)}
        lines += [
            f"{key}: recorded, but no part gives it" for key in recorded.keys() - known - machine.of(recorded).keys()
        ]
    for line in lines:
        print(line)
    for name, reason in skipped.items():
        print(f"{kind}: {name} skipped: {reason}")
    keys, seconds = sum(map(len, done.values())), time.perf_counter() - started
    print(f"{kind}: {keys} keys, {len(lines)} differ, {len(skipped)} parts skipped, {seconds:.0f} s", flush=True)
    return len(lines)


if __name__ == "__main__":
    sys.exit(main())
