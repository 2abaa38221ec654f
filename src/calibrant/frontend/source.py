"""Where a model or its data comes from: a function in somebody's Python file, or a saved exported program."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram

from calibrant.core.errors import ModelError
from calibrant.frontend import exported

EXPORTED_SUFFIX = ".pt2"


def call(reference: str, seed: int = 0) -> Any:
    """Import ``file.py:function`` and return what the function returns, torch's generator seeded before.

    This runs the file, as its author's guest would: name only files that you would run with Python.

    Raises
    ------
    ModelError
        If the reference, the file or the function is missing, or its code raises.
    """
    file, separator, function = reference.rpartition(":")
    path = Path(file)
    if not separator or path.suffix != ".py" or not function:
        raise ModelError(f"{reference}: expected file.py:function, got something else")
    if not path.is_file():
        raise ModelError(f"{path}: expected a Python file, got none")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    torch.manual_seed(seed)
    sys.path.insert(0, str(path.parent.resolve()))  # the file may import its neighbors
    try:
        spec.loader.exec_module(module)
        if not callable(getattr(module, function, None)):
            raise ModelError(f"{path}: expected a function '{function}', got none")
        return getattr(module, function)()
    except ModelError:
        raise
    except Exception as error:  # somebody else's code may raise anything; here it becomes one of our errors
        raise ModelError(f"{reference}: its code raised {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(path.parent.resolve()))


def load(reference: str, seed: int = 0) -> nn.Module | ExportedProgram:
    """The model that ``file.py:function`` returns, or the program that ``torch.export.save`` wrote to a .pt2 file.

    The former is code, and runs; nothing in the latter does, see `frontend.exported`.

    Raises
    ------
    ModelError
        If there is no model to be had.
    """
    if reference.endswith(EXPORTED_SUFFIX):
        return exported.read(Path(reference))
    model = call(reference, seed)
    if not isinstance(model, nn.Module | ExportedProgram):
        raise ModelError(f"{reference}: expected it to return a torch.nn.Module, got {type(model).__name__}")
    return model


def trainable(model: nn.Module | ExportedProgram) -> nn.Module:
    """The model itself if its weights can be trained; ModelError for an exported program."""
    if isinstance(model, ExportedProgram):
        raise ModelError("training: expected a torch module, got an exported program, whose weights are fixed")
    return model
