"""`calibrant doctor`: what this machine has, and what of Calibrant works on it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
from pathlib import Path

from rich.text import Text

from calibrant.cli.console import emit, out, size, table
from calibrant.cli.options import Json

# Features that kernels choose by: name in /proc/cpuinfo (x86 "flags", Arm "Features").
CPU_FEATURES = ("sse4_1", "avx2", "fma", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "asimd", "asimddp", "i8mm")
DEVICE_PACKAGES = ("numpy", "safetensors", "typer", "rich")
SERVER_PACKAGES = ("torch", "scikit-learn", "matplotlib", "cryptography", "onnx", "onnxruntime")
COMPILERS = ("cc", "c++", "arm-none-eabi-gcc")
COUNTERS = ("sys/class/powercap/*/energy_uj", "sys/class/hwmon/hwmon*/energy*_input")


def doctor(json: Json = False) -> None:
    """Say what this machine has: processor, engine kernels, memory, packages, data, compiler, energy counters.

    Example: calibrant doctor --json
    """
    found: dict[str, dict[str, object]] = {
        "machine": _machine(),
        "engine": _engine(),
        "packages": _packages(),
        "data": _data(),
        "compilers": {name: _compiler(name) for name in COMPILERS},
        "energy": _energy(Path("/")),
    }
    if json:
        emit(found)
        return
    report = table("", "", "", left=3)
    for group, entries in found.items():
        for i, (name, value) in enumerate(entries.items()):
            report.add_row(Text(group, "bold") if i == 0 else "", name, _words(name, value))
    out.print(report)


def _words(name: str, value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, list | tuple):
        return " ".join(str(v) for v in value) or "none"
    if name.endswith("_bytes") and isinstance(value, int):
        return size(value)
    return str(value)


def _machine() -> dict[str, object]:
    memory = _fields(Path("/proc/meminfo"))
    cpu = _fields(Path("/proc/cpuinfo"))
    flags = (cpu.get("flags") or cpu.get("Features") or "").split()
    return {
        "system": f"{platform.system()} {platform.release()}",
        "processor": cpu.get("model name") or platform.machine(),
        "features": [feature for feature in CPU_FEATURES if feature in flags],
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": _kilobytes(memory.get("MemTotal")),
        "memory_available_bytes": _kilobytes(memory.get("MemAvailable")),
        "python": platform.python_version(),
    }


def _fields(path: Path) -> dict[str, str]:
    """`name : value` lines of a kernel file, the first of each name; empty where there is no such file."""
    if not path.is_file():
        return {}
    found: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        name, separator, value = line.partition(":")
        if separator:
            found.setdefault(name.strip(), value.strip())
    return found


def _kilobytes(field: str | None) -> int | None:
    return int(field.split()[0]) * 1024 if field else None


def _engine() -> dict[str, object]:
    from calibrant.engine import variants

    return {"variants": list(variants())}


def _packages() -> dict[str, object]:
    installed: dict[str, object] = {}
    for name in ("calibrant", *DEVICE_PACKAGES, *SERVER_PACKAGES):
        try:
            installed[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            installed[name] = None
    return installed


def _data() -> dict[str, object]:
    from calibrant.core.errors import DataError
    from calibrant.data import DATASETS, folder, subjects

    try:
        root = folder()
    except DataError as error:
        return {"folder": None, "reason": str(error)}
    found: dict[str, object] = {"folder": str(root)}
    for name in DATASETS:
        if not (root / name).is_dir():
            continue
        try:
            found[name] = [f"subject{n}" for n in subjects(name, root)]
        except DataError as error:  # an unfinished download is a finding, not a failure
            found[name] = str(error)
    return found


def _compiler(name: str) -> str | None:
    path = shutil.which(name)
    if path is None:
        return None
    asked = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    return (asked.stdout.splitlines() or [path])[0]


def _energy(root: Path) -> dict[str, object]:
    """Energy counters of the kernel under `root`, and which of them may be read."""
    counters = sorted(path for pattern in COUNTERS for path in root.glob(pattern))
    readable = [str(path) for path in counters if os.access(path, os.R_OK)]
    verdict = "measured" if readable else "no readable counter: energy can only be estimated"
    return {"counters": [str(path) for path in counters], "readable": readable, "verdict": verdict}
