"""The wheel in a clean environment with its base dependencies only: no torch, and everything a device does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from shell import calibrant

ROOT = Path(__file__).parents[2]
MAX_WHEEL_BYTES = 2 * 10**6
FOREIGN = ("torch", "onnx", "scipy", "sklearn", "typer", "rich")


def run(*command: object, cwd: Path) -> str:
    """Standard output of a command that must succeed."""
    done = subprocess.run([str(c) for c in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def install(folder: Path) -> Path:
    """Scripts folder of a fresh virtual environment with only the wheel and what it requires."""
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", folder, ROOT, cwd=folder)
    (wheel,) = folder.glob("calibrant-*.whl")
    assert wheel.stat().st_size <= MAX_WHEEL_BYTES
    run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    scripts = folder / "venv" / "bin"
    run(scripts / "python", "-m", "pip", "install", "--quiet", wheel, cwd=folder)
    return scripts


def test_wheel_in_a_clean_environment(project: Path, tmp_path: Path) -> None:
    """One test, because building and installing is what takes the time."""
    scripts = install(tmp_path)
    adapts_without_torch(scripts, project, tmp_path)
    says_what_the_server_needs(scripts, project, tmp_path)
    imports_nothing_foreign(scripts, tmp_path)


def adapts_without_torch(scripts: Path, project: Path, folder: Path) -> None:
    assert "torch" not in run(scripts / "python", "-m", "pip", "freeze", cwd=folder)
    model, stream, state = project / "model.cal", project / "stream.npz", folder / "s.db"
    options = ("--stream", stream, "--window", 40, "--json")
    rows = run(scripts / "calibrant", "run", model, "--state", state, *options, cwd=folder).splitlines()
    assert "committed" in {json.loads(row)["report"]["decision"] for row in rows}
    options = ("-i", stream, "--state", state, "--json")
    predicted = run(scripts / "calibrant", "predict", model, *options, cwd=folder)
    assert predicted == calibrant("predict", model, *options).out
    firmware = ("export", model, "--board", "generic", "--ram", "256KB", "-o", folder / "firmware", "--build")
    for command in (("inspect", model), ("log", state), ("rollback", state, "--to", 0), ("doctor",), firmware):
        run(scripts / "calibrant", *command, cwd=folder)


def says_what_the_server_needs(scripts: Path, project: Path, folder: Path) -> None:
    arguments = ("prepare", f"{project / 'model.py'}:build", "--data", project / "train.npz", "-o", folder / "o.cal")
    done = subprocess.run([scripts / "calibrant", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "torch is not installed" in done.stderr
    assert "calibrant[server]" in done.stderr


def imports_nothing_foreign(scripts: Path, folder: Path) -> None:
    command = (scripts / "python", "-X", "importtime", "-c", "import calibrant")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    loaded = {line.rpartition("|")[2].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "calibrant" in loaded
    assert not loaded & set(FOREIGN)
