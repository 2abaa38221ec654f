"""A server record of an old commit, made on this machine by these scripts."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = "packages-of-the-environment-that-asked.pth"


def record(commit: str, target: Path, workers: int) -> None:
    """Check the commit out beside the repository's own tree, build it, and write what its server makes to `target`."""
    with tempfile.TemporaryDirectory() as folder, _checkout(commit, Path(folder) / "tree") as tree:
        print(f"replay: building {commit}", flush=True)
        python = _environment(tree, Path(folder) / "environment")
        print(f"replay: recording {commit}", flush=True)
        arguments = ("-m", "replay", "record", "server", "--to", str(target), "--jobs", str(workers))
        tests = str(Path(__file__).resolve().parents[1])
        subprocess.run([str(python), *arguments], check=True, env=os.environ | {"PYTHONPATH": tests})


@contextmanager
def _checkout(commit: str, tree: Path) -> Iterator[Path]:
    git = ("git", "-C", str(ROOT), "worktree")
    subprocess.run([*git, "add", "--quiet", "--detach", str(tree), commit], check=True)
    try:
        yield tree
    finally:
        subprocess.run([*git, "remove", "--force", str(tree)], check=True)


def _environment(tree: Path, folder: Path) -> Path:
    """An environment that has this one's packages, but that tree's calibrant. Files that add import hooks do not work
    from a folder that a .pth file names, so this tree's editable install stays out."""
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    own = sysconfig.get_path("purelib", "venv", {"base": str(folder), "platbase": str(folder)})
    places = [place for place in sys.path if Path(place).name in ("site-packages", "dist-packages")]
    (Path(own) / PACKAGES).write_text("\n".join(places) + "\n", encoding="utf-8")
    install = (sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps")
    subprocess.run([*install, "--ignore-installed", str(tree)], check=True)
    return python
