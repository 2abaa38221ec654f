"""What an artifact knows home by: arrays and numbers of one optional section. Artifacts without it know no contexts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.artifact.fields import fields_of, scalar_of
from calibrant.core.errors import ManifestError
from calibrant.core.program import Program
from calibrant.core.recognition import Recognition

KEY = "recognition"  # of the manifest, where it is there
_NUMBERS: Mapping[str, tuple[float, float]] = {
    "variance": (1e-6, 1e6),
    "wander": (0.0, 1e6),
    "usual": (0.0, 1e6),
    "deviation": (1e-6, 1e6),
    "kept": (0.0, 1.0),
}
_ENTRY = 2.0**8  # of the matrix; keeps products exact
_SPREAD = 1e-6


def dimensions(program: Program) -> int:
    """Numbers of a signature: mean and spread of input channels (a vector's mean), and the last layer's inputs."""
    tensor, last = program.tensors[program.input], program.layers[-1:]
    kinds = 1 if tensor.height * tensor.width == 1 else 2
    return kinds * tensor.channels + sum(layer.c_in for layer in last)


def expected(program: Program) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Section name -> (dtype, shape) of what it adds."""
    count = dimensions(program)
    return {
        "recognition/mean": ("F32", (count,)),
        "recognition/spread": ("F32", (count,)),
        "recognition/matrix": ("F16", (count * (count + 1) // 2,)),
    }


def arrays_of(recognition: Recognition | None) -> dict[str, NDArray[Any]]:
    """The tensors to write; of the matrix, the rows of its lower triangle one after the other.

    Raises
    ------
    ManifestError
        The matrix is not lower triangular, or not of half precision: it would silently be cut.
    """
    if recognition is None:
        return {}
    with np.errstate(over="ignore"):
        half = recognition.matrix.astype(np.float16)
    if not np.array_equal(np.tril(half).astype(np.float32), recognition.matrix):
        raise ManifestError("section 'recognition/matrix': expected a lower triangle of half precision, got others")
    return {
        "recognition/mean": recognition.mean,
        "recognition/spread": recognition.spread,
        "recognition/matrix": half[np.tril_indices(len(half))],
    }


def recognition_json(recognition: Recognition | None) -> dict[str, Any]:
    """The field of the manifest, or none."""
    if recognition is None:
        return {}
    return {KEY: {name: float(getattr(recognition, name)) for name in _NUMBERS}}


def recognition_of(manifest: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], where: str) -> Recognition | None:
    """From a manifest and tensors of known shapes; None where there is none.

    Raises
    ------
    ManifestError
        A number is out of range.
    """
    if KEY not in manifest:
        return None
    place = f"{where} 'recognition'"
    fields = fields_of(manifest[KEY], tuple(_NUMBERS), place)
    numbers = {name: scalar_of("float", fields[name], f"{place} field {name!r}") for name in _NUMBERS}
    for name, (low, high) in _NUMBERS.items():
        if not low <= numbers[name] <= high:
            raise ManifestError(f"{place} field {name!r}: expected {low:g} to {high:g}, got {numbers[name]!r:.40}")
    mean, spread, packed = (arrays[f"recognition/{name}"] for name in ("mean", "spread", "matrix"))
    sane = {
        "mean": np.isfinite(mean),
        "spread": np.isfinite(spread) & (spread >= _SPREAD),
        "matrix": np.abs(packed) <= _ENTRY,  # of NaN, False
    }
    for name, good in sane.items():
        if not good.all():
            raise ManifestError(f"{where} 'recognition/{name}': expected finite values in range, got others")
    matrix = np.zeros((len(mean), len(mean)), np.float32)
    matrix[np.tril_indices(len(mean))] = packed
    return Recognition(mean=mean, spread=spread, matrix=matrix, **numbers)
