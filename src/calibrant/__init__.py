"""Calibrant keeps quantized neural networks calibrated on the device that runs them.

On a server, :func:`prepare` turns a PyTorch model into one artifact file. On the device, :class:`Session` opens it,
predicts, and adapts to drift; every change is verified, committed as a version, and can be rolled back.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from calibrant.core import version
from calibrant.core.errors import (
    ArtifactError,
    BudgetError,
    CalibrantError,
    DataError,
    HashError,
    LayoutError,
    ManifestError,
    ModelError,
    PlanError,
    SignatureError,
    StateError,
    TruncatedError,
    VersionError,
)
from calibrant.core.reports import Alert, KnownContext, UpdateReport, Version
from calibrant.core.settings import Budget, FlipSettings

if TYPE_CHECKING:
    from calibrant.artifact import Artifact, write
    from calibrant.artifact import read as load
    from calibrant.pipeline.torch_model import Prepared, prepare
    from calibrant.session import Session

__version__ = version.VERSION

# Imported on first use: a device never imports torch, and `import calibrant` stays fast.
_LAZY = {
    "Artifact": ("calibrant.artifact", "Artifact"),
    "Prepared": ("calibrant.pipeline.torch_model", "Prepared"),
    "Session": ("calibrant.session", "Session"),
    "load": ("calibrant.artifact", "read"),
    "prepare": ("calibrant.pipeline.torch_model", "prepare"),
    "write": ("calibrant.artifact", "write"),
}

__all__ = [
    "Alert",
    "Artifact",
    "ArtifactError",
    "Budget",
    "BudgetError",
    "CalibrantError",
    "DataError",
    "FlipSettings",
    "HashError",
    "KnownContext",
    "LayoutError",
    "ManifestError",
    "ModelError",
    "PlanError",
    "Prepared",
    "Session",
    "SignatureError",
    "StateError",
    "TruncatedError",
    "UpdateReport",
    "Version",
    "VersionError",
    "__version__",
    "load",
    "prepare",
    "write",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'calibrant' has no attribute {name!r}")
    module, attribute = _LAZY[name]
    try:
        value = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != "torch":
            raise
        raise ModelError(f"calibrant.{name} needs torch: pip install 'calibrant[server]'") from None
    globals()[name] = value
    return value
