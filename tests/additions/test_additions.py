"""What an addition costs: each is a patch on a copy of the tree, within the cost table, and works in a scenario.

An addition is a folder: `change.patch`, as `git diff` writes it; `scenario.py`, which runs on the patched copy; and
`row.txt`, the first cell of its row in the table of CONTRIBUTING.md, which says how many files the patch may touch.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from calibrant import _engine  # private: where the compiled module lies

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TREE = ("src", "c", "CMakeLists.txt", "pyproject.toml", "CONTRIBUTING.md")
ADDITIONS = sorted(path.parent.name for path in HERE.glob("*/change.patch"))
START = (
    "import pathlib, runpy, sys, calibrant; tree, scenario = map(pathlib.Path, sys.argv[1:]);"
    "assert tree in pathlib.Path(calibrant.__file__).parents, calibrant.__file__;"
    "runpy.run_path(str(scenario), run_name='__main__')"
)


def run(*command: object, cwd: Path, env: dict[str, str] | None = None) -> None:
    done = subprocess.run(list(map(str, command)), cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


def cost(row: str) -> int:
    """Files that an addition may touch, by its row of the table."""
    found = re.search(rf"^\| {re.escape(row)} \| (\d+)", (ROOT / "CONTRIBUTING.md").read_text("utf-8"), re.MULTILINE)
    assert found, f"CONTRIBUTING.md: expected a row '{row}' in the table of costs"
    return int(found[1])


def touched(patch: Path) -> set[str]:
    return set(re.findall(r"^diff --git a/(?:\S+) b/(\S+)$", patch.read_text("utf-8"), re.MULTILINE))


def build(tree: Path, shared: Path) -> None:
    """Put the engine of the tree into it: built, or as another addition with the same C sources has built it."""
    sources = sorted(path for path in (tree / "c").rglob("*") if path.is_file())
    text = b"".join(path.relative_to(tree).as_posix().encode() + path.read_bytes() for path in sources)
    ready, name = shared / hashlib.sha256(text).hexdigest(), Path(str(_engine.__file__)).name
    with (shared / "additions.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.exists():
            options = ("-DCALIBRANT_PYTHON=ON", "-DCALIBRANT_INPLACE=ON", f"-DPython_EXECUTABLE={sys.executable}")
            run("cmake", "-S", tree, "-B", tree / "build", *options, cwd=tree)
            run("cmake", "--build", tree / "build", "--parallel", "2", cwd=tree)
            shutil.copy(tree / "src" / "calibrant" / name, ready)
    shutil.copy(ready, tree / "src" / "calibrant" / name)


def test_the_table_is_read():
    assert cost("an op") == 3
    with pytest.raises(AssertionError, match="expected a row 'a wish'"):
        cost("a wish")


def test_what_the_table_promises_most_is_tried():
    rows = {(HERE / name / "row.txt").read_text("utf-8").strip() for name in ADDITIONS}
    assert rows >= {"an op", "an updater", "a kind of parameter", "a task, a kind of output"}


@pytest.mark.parametrize("name", ADDITIONS)
def test_addition(name, tmp_path, tmp_path_factory):
    patch, row = HERE / name / "change.patch", (HERE / name / "row.txt").read_text("utf-8").strip()
    files = touched(patch)
    assert 1 <= len(files) <= cost(row), (
        f"{name}: '{row}' may cost {cost(row)} files, the patch touches {sorted(files)}"
    )
    tree = tmp_path / "tree"
    tree.mkdir()
    for part in TREE:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, tree / part, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        else:
            shutil.copy(source, tree / part)
    run("git", "apply", patch, cwd=tree)
    if any(file.startswith("c/") for file in files):
        pytest.importorskip("nanobind", reason="building the engine needs nanobind")
        base = tmp_path_factory.getbasetemp()
        build(tree, base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base)
    else:
        shutil.copy(str(_engine.__file__), tree / "src" / "calibrant")
    # -S leaves out site and with it the finder of an editable install, which would bring this checkout's package
    places = [tree / "src", HERE, HERE.parent, *(p for p in sys.path if p and not Path(p).is_relative_to(ROOT / "src"))]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, places))}
    run(sys.executable, "-S", "-c", START, tree, HERE / name / "scenario.py", cwd=tmp_path, env=env)
