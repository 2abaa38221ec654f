"""What the numbers of float training depend on beside the code: where these differ, server records are not compared."""

from __future__ import annotations

import importlib.metadata
import platform
import re
from pathlib import Path

PREFIX = "environment/"
PACKAGES = ("torch", "numpy", "scikit-learn")
FLAGS = ("avx2", "fma", "avx512f", "avx512_vnni", "amx_int8", "asimddp", "sve")
_VENDOR = re.compile(r"^(?:vendor_id|CPU implementer)\s*: (.*)$", re.MULTILINE)
_FLAGS = re.compile(r"^(?:flags|Features)\s*: (.*)$", re.MULTILINE)


def rows() -> dict[str, str]:
    """Processor family and package versions, as rows of a record."""
    cpus = Path("/proc/cpuinfo")
    text = cpus.read_text(encoding="utf-8") if cpus.exists() else ""
    vendor, flags = _VENDOR.search(text), _FLAGS.search(text)
    held = set(flags[1].split()) if flags else set()
    return {
        f"{PREFIX}machine": platform.machine(),
        f"{PREFIX}vendor": vendor[1] if vendor else platform.processor(),
        f"{PREFIX}flags": " ".join(flag for flag in FLAGS if flag in held),
        **{f"{PREFIX}{name}": importlib.metadata.version(name) for name in PACKAGES},
    }


def of(recorded: dict[str, str]) -> dict[str, str]:
    """Those rows of a record."""
    return {key: value for key, value in recorded.items() if key.startswith(PREFIX)}
