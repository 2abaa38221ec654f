"""Which tensors an artifact file holds: names, dtypes and shapes follow from its program, nothing else is allowed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.artifact.format import Artifact
from calibrant.core.dtype import pack, unpack, weight_range
from calibrant.core.errors import ManifestError
from calibrant.core.records import Constants, Coreset, Feedback, Preprocess, Program


def expected(program: Program, classes: int, coreset: int) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Section name -> (dtype, shape); `coreset` is the number of samples kept."""
    tensor = program.tensors[program.input]
    channels, layers = program.channel_count, len(program.layers)
    names: dict[str, tuple[str, tuple[int, ...]]] = {
        f"weights/{layer.name}": ("U8", (-(-layer.weight_count * layer.bits // 8),)) for layer in program.layers
    }
    return names | {
        "bias": ("I32", (channels,)),
        "multiplier": ("I32", (channels,)),
        "shift": ("I32", (channels,)),
        "scale": ("F32", (channels,)),
        "feedback/matrix": ("I8", (classes, channels)),
        "feedback/scale": ("F32", (layers,)),
        "coreset/x": ("I8", (coreset, tensor.height, tensor.width, tensor.channels)),
        "coreset/y": ("I64", (coreset,)),
        "preprocess/mean": ("F32", (tensor.channels,)),
        "preprocess/std": ("F32", (tensor.channels,)),
    }


def arrays_of(artifact: Artifact) -> dict[str, NDArray[Any]]:
    """The tensors to write. Weights are packed at their bits.

    Raises
    ------
    ManifestError
        A weight code does not fit its bits (packing would silently cut it).
    """
    constants = artifact.constants
    packed: dict[str, NDArray[Any]] = {}
    for layer in artifact.program.layers:
        codes = constants.weights[layer.weight_slice]
        low, high = weight_range(layer.bits)
        if codes.size and not low <= int(codes.min()) <= int(codes.max()) <= high:
            raise ManifestError(
                f"layer {layer.name!r}: expected codes {low} to {high}, got {codes.min()}..{codes.max()}"
            )
        packed[f"weights/{layer.name}"] = pack(codes, layer.bits)
    return packed | {
        "bias": constants.bias,
        "multiplier": constants.multiplier,
        "shift": constants.shift,
        "scale": constants.scale,
        "feedback/matrix": artifact.feedback.matrix,
        "feedback/scale": artifact.feedback.scale,
        "coreset/x": artifact.coreset.x,
        "coreset/y": artifact.coreset.y,
        "preprocess/mean": artifact.preprocess.mean,
        "preprocess/std": artifact.preprocess.std,
    }


def constants_of(program: Program, arrays: Mapping[str, NDArray[Any]], name: str) -> Constants:
    """The program's constants, weights unpacked; unused bits of the last byte must be zero."""
    weights = np.zeros(program.weight_count, np.int8)
    for layer in program.layers:
        packed = arrays[f"weights/{layer.name}"]
        codes = unpack(packed, layer.bits, layer.weight_count)
        if not np.array_equal(pack(codes, layer.bits), packed):
            raise ManifestError(f"{name}: section 'weights/{layer.name}': expected zero padding bits, got others")
        weights[layer.weight_slice] = codes
    return Constants(weights, arrays["bias"], arrays["multiplier"], arrays["shift"], arrays["scale"])


def parts_of(arrays: Mapping[str, NDArray[Any]]) -> tuple[Preprocess, Feedback, Coreset]:
    """The records that are plain tensors."""
    return (
        Preprocess(arrays["preprocess/mean"], arrays["preprocess/std"]),
        Feedback(arrays["feedback/matrix"], arrays["feedback/scale"]),
        Coreset(arrays["coreset/x"], arrays["coreset/y"]),
    )
