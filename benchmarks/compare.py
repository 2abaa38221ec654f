"""Is this tree slower than a commit? Both are measured in turns on one core; fails where a number grew by over 3 %.

    .venv/bin/python benchmarks/compare.py main
    .venv/bin/python benchmarks/compare.py HEAD~3 --rounds 15 --limit 1.05 --json

The commit is checked out and built beside this tree, in an environment that borrows this one's packages, and is gone
afterwards. Each side runs its own `window.py` (an updater alone, a whole session) and its own `inference.py` (engine
at 8 and 4 bits), without their peers, on made-up data. Medians are of CPU time, so a busy neighbor costs little.
"""

from __future__ import annotations

import argparse
import json
import os
import runpy
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import types
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import contest

ROOT = Path(__file__).resolve().parents[1]
WINDOW_ROLES = ("flip", "session")
BITS, BATCHES = (8, 4), (1, 32)
INFERENCE_SECONDS = 0.05  # a round of one network, width and batch
SIDES = ("base", "here")
STARTS = 3  # of each process: where its memory lies makes one a few percent faster than the next


def main() -> None:
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", help="commit to compare with")
    parser.add_argument("--rounds", type=int, default=15, help="per side; medians are compared")
    parser.add_argument("--limit", type=float, default=1.03, help="largest ratio here/base that passes")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, _terminated)
    with tempfile.TemporaryDirectory(prefix="calibrant-compare-") as place, checkout(options.base, Path(place)) as tree:
        result = compare({"base": tree, "here": ROOT}, Path(place), max(options.rounds, 1))
    result = {"base": options.base, "limit": options.limit, **result}
    print(json.dumps(result, indent=1) if options.json else table(result))
    raise SystemExit(any(row["ratio"] > options.limit for row in result["rows"]))


@contextmanager
def checkout(commit: str, place: Path) -> Iterator[Path]:
    """A commit's tree with an environment `.venv` in it that has it installed."""
    tree = place / "tree"
    subprocess.run(["git", "-C", ROOT, "worktree", "add", "-q", "--detach", tree, commit], check=True)
    try:
        venv.create(tree / ".venv", with_pip=True)
        (packages,) = (tree / ".venv").glob("lib/python*/site-packages")
        borrowed = [path for path in sys.path if path.endswith("site-packages")]
        (packages / "borrowed.pth").write_text("\n".join(borrowed) + "\n", encoding="utf-8")
        install = [_python(tree), "-m", "pip", "install", "-q", "--no-deps", "--disable-pip-version-check", "."]
        subprocess.run(install, check=True, cwd=tree, stdout=sys.stderr)
        yield tree
    finally:
        subprocess.run(["git", "-C", ROOT, "worktree", "remove", "--force", tree], check=False)
        shutil.rmtree(tree, ignore_errors=True)
        subprocess.run(["git", "-C", ROOT, "worktree", "prune"], check=False)


def compare(trees: dict[str, Path], place: Path, rounds: int) -> dict[str, Any]:
    """Both sides' medians, benchmark by benchmark; the first round of each fills caches and does not count."""
    core = max(os.sched_getaffinity(0))
    environment = {
        k: v for k, v in os.environ.items() if k not in ("CALIBRANT_DATA", "PYTHONPATH")
    } | contest.ONE_THREAD
    for side, tree in trees.items():
        (place / side).mkdir()
        prepare = [_python(tree), "window.py", "--role", "prepare", "--folder", str(place / side)]
        subprocess.run(prepare, check=True, cwd=tree / "benchmarks", env=environment, stdout=subprocess.DEVNULL)
    took: dict[str, dict[str, list[float]]] = {side: {} for side in trees}
    for what in (*WINDOW_ROLES, "inference"):
        for start in range(STARTS):
            running = {
                side: subprocess.Popen(
                    [_python(tree), __file__, "--serve", what, str(tree / "benchmarks"), str(place / side)],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=tree / "benchmarks",
                )
                for side, tree in trees.items()
            }  # fmt: skip
            try:
                for process in running.values():
                    os.sched_setaffinity(process.pid, {core})
                _turns(running, -(-(rounds - start) // STARTS), took)
            finally:
                for process in running.values():
                    process.kill()
                    process.communicate()
    return {
        "machine": contest.machine(core),
        "rows": [_row(name, took) for name in took["base"] if name in took["here"]],
    }


def _turns(running: dict[str, subprocess.Popen[str]], rounds: int, took: dict[str, dict[str, list[float]]]) -> None:
    for turn in range(rounds + 1):
        for side in SIDES[:: 1 if turn % 2 else -1]:  # who goes first alternates, too
            for name, seconds in _ask(running[side]).items():
                took[side].setdefault(name, [])
                if turn:
                    took[side][name].append(seconds)


def _row(name: str, took: dict[str, dict[str, list[float]]]) -> dict[str, Any]:
    """The ratio is the median of the turns' own: both sides of a turn have the same neighbors."""
    base, here = (took[side][name] for side in SIDES)
    ratio = statistics.median(mine / theirs for theirs, mine in zip(base, here, strict=True))
    return {
        "benchmark": name,
        "base_seconds": statistics.median(base),
        "here_seconds": statistics.median(here),
        "ratio": ratio,
    }


def _ask(process: subprocess.Popen[str]) -> dict[str, float]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("round\n")
    process.stdin.flush()
    answer = process.stdout.readline()
    if not answer:
        raise SystemExit(f"{process.args!r}: ended without an answer")
    seconds: dict[str, float] = json.loads(answer)
    return seconds


def table(result: dict[str, Any]) -> str:
    """Lines for people."""
    where = result["machine"]
    lines = [
        f"{where['cpu']}, core {where['core']}, {', '.join(where['instruction_sets'])}, Python {where['python']}",
        f"{'CPU time, medians in turns':<40}{'base ms':>10}{'here ms':>10}{'ratio':>8}",
    ]
    for row in result["rows"]:
        slow = "  OVER" if row["ratio"] > result["limit"] else ""
        base, here = 1e3 * row["base_seconds"], 1e3 * row["here_seconds"]
        lines.append(f"{row['benchmark']:<40}{base:>10.3f}{here:>10.3f}{row['ratio']:>8.3f}{slow}")
    return "\n".join(lines)


def serve(what: str, scripts: Path, folder: Path) -> None:
    """Be one side: its own scripts, with what calls them here. Runs in that side's environment."""
    sys.path.insert(0, str(scripts))
    if what == "inference":
        _answer(_inference())
        return
    import contest as own

    def timed(fresh: Callable[[], Callable[[], object]], *_: object) -> None:
        def one() -> dict[str, float]:
            step = fresh()
            start = time.process_time()
            step()
            return {f"window {what}": time.process_time() - start}

        _answer(one)

    own.serve = timed  # window.py goes as far as serving, which it then does by our clock
    sys.argv = ["window.py", "--role", what, "--folder", str(folder)]
    runpy.run_path(str(scripts / "window.py"), run_name="__main__")


def _answer(one: Callable[[], dict[str, float]]) -> None:
    for _ in sys.stdin:
        print(json.dumps(one()), flush=True)


def _inference() -> Callable[[], dict[str, float]]:
    """Made of the side's own inference.py, whose imports say where that tree has its modules."""
    sys.modules["onnx_peer"] = types.ModuleType("onnx_peer")  # the peer is not asked
    import torch

    import inference as own

    torch.set_num_threads(1)
    torch.manual_seed(0)
    calls: dict[str, tuple[Callable[[], object], int]] = {}
    for network, shape in own.NETWORKS.items():
        x, _ = own.samples(None, shape, max(BATCHES))
        graph = own.passes.run(own.frontend.from_torch(own.zoo.build(network, *shape, 19), torch.zeros(2, *shape)))
        maps = x.reshape(len(x), shape[0], 1, shape[1])
        for bits in BITS:
            program, constants = own.lowered(graph, maps, bits)
            engine, codes = own.Engine(program, constants, own.variants()[-1]), own.encoded(program, maps)
            for batch in BATCHES:
                call = lambda engine=engine, codes=codes[:batch]: engine.infer(codes)  # noqa: E731
                call()
                repeats = max(1, int(INFERENCE_SECONDS / max(own.seconds(call, 3) / 3, 1e-6)))
                calls[f"inference {network}, {bits} bits, batch {batch}"] = call, repeats

    def one() -> dict[str, float]:
        return {name: own.seconds(call, repeats) / repeats for name, (call, repeats) in calls.items()}

    return one


def _python(tree: Path) -> str:
    return sys.executable if tree == ROOT else str(tree / ".venv" / "bin" / "python")


def _terminated(number: int, _: object) -> NoReturn:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    main()
