"""Which tensors an artifact file holds: names, dtypes and shapes follow from its program, nothing else is allowed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.artifact import recognition
from calibrant.artifact.format import Artifact
from calibrant.core import nibbles
from calibrant.core.dtype import is_weight, pack, unpack, weight_range
from calibrant.core.errors import ManifestError
from calibrant.core.program import Constants, Program
from calibrant.core.statistics import Coreset, FeatureStatistics, Feedback, PreActivations, Preprocess

_HOME = ("mean", "variance", "mean_spread", "square_spread")
_HOME_BY_CLASS = ("class_mean", "class_std")


def expected(program: Program, classes: int, coreset: int, coreset_bits: int) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Section name -> (dtype, shape); `coreset` is the number of samples kept, at 8 or 4 bits."""
    tensor = program.tensors[program.input]
    channels, layers = program.channel_count, len(program.layers)
    names: dict[str, tuple[str, tuple[int, ...]]] = {
        f"weights/{layer.name}": ("U8", (-(-layer.weight_count * layer.bits // 8),)) for layer in program.layers
    }
    if coreset_bits == 4:
        blocks = nibbles.blocks(tensor.height, tensor.width, tensor.channels)
        names["coreset/x"] = ("U8", (coreset, -(-tensor.elements // 2)))
        names |= {"coreset/low": ("I8", (coreset, blocks)), "coreset/step": ("U8", (coreset, blocks))}
    else:
        names["coreset/x"] = ("I8", (coreset, tensor.height, tensor.width, tensor.channels))
    return names | {
        "bias": ("I32", (channels,)),
        "multiplier": ("I32", (channels,)),
        "shift": ("I32", (channels,)),
        "scale": ("F32", (channels,)),
        "feedback/matrix": ("I8", (classes, channels)),
        "feedback/scale": ("F32", (layers,)),
        "coreset/y": ("I64", (coreset,)),
        "preprocess/mean": ("F32", (tensor.channels,)),
        "preprocess/std": ("F32", (tensor.channels,)),
        "reference/mean": ("F16", (program.pooled_count,)),
        "reference/std": ("F16", (program.pooled_count,)),
    }


def expected_home(program: Program, classes: int, held: Collection[str]) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Those of `Artifact.home`, as far as a file that holds sections of these names must have them."""
    names: dict[str, tuple[str, tuple[int, ...]]] = {}
    if any(name.startswith("home/") for name in held):
        names |= {f"home/{name}": ("F32", (program.channel_count,)) for name in _HOME}
    if any(f"home/{name}" in held for name in _HOME_BY_CLASS):
        names |= {f"home/{name}": ("F16", (classes, program.channel_count)) for name in _HOME_BY_CLASS}
    return names


def arrays_of(artifact: Artifact) -> dict[str, NDArray[Any]]:
    """The tensors to write. Weights and coreset are packed at their bits.

    Raises
    ------
    ManifestError
        A weight code or the coreset does not fit its bits, or a reference half precision (all would silently be cut).
    """
    constants = artifact.constants
    packed: dict[str, NDArray[Any]] = {}
    for layer in artifact.program.layers:
        codes = constants.weights[layer.weight_slice]
        if codes.size and not is_weight(codes, layer.bits):
            low, high = weight_range(layer.bits)
            raise ManifestError(
                f"layer {layer.name!r}: expected codes {low} to {high}, got {codes.min()}..{codes.max()}"
            )
        packed[f"weights/{layer.name}"] = pack(codes, layer.bits)
    packed |= _coreset_arrays(artifact.coreset) | recognition.arrays_of(artifact.recognition)
    return packed | {
        "bias": constants.bias,
        "multiplier": constants.multiplier,
        "shift": constants.shift,
        "scale": constants.scale,
        "feedback/matrix": artifact.feedback.matrix,
        "feedback/scale": artifact.feedback.scale,
        "coreset/y": artifact.coreset.y,
        "preprocess/mean": artifact.preprocess.mean,
        "preprocess/std": artifact.preprocess.std,
        "reference/mean": _half(artifact.reference.mean, "reference/mean"),
        "reference/std": _half(artifact.reference.std, "reference/std"),
        **({} if artifact.home is None else _home_arrays(artifact.home)),
    }


def _home_arrays(home: PreActivations) -> dict[str, NDArray[Any]]:
    plain: dict[str, NDArray[Any]] = {f"home/{name}": getattr(home, name) for name in _HOME}
    classes = {f"home/{name}": getattr(home, name) for name in _HOME_BY_CLASS}
    if all(array is None for array in classes.values()):
        return plain
    if any(array is None for array in classes.values()):
        raise ManifestError("section 'home/class_mean': expected it with 'home/class_std' or neither, got one of them")
    return plain | {key: _half(array, key) for key, array in classes.items()}


def home_of(arrays: Mapping[str, NDArray[Any]]) -> PreActivations | None:
    """`Artifact.home`, None of an artifact that has none."""
    if "home/mean" not in arrays:
        return None
    wide = {name: arrays[f"home/{name}"] for name in _HOME}
    half = {n: arrays[f"home/{n}"].astype(np.float32) for n in _HOME_BY_CLASS if f"home/{n}" in arrays}
    return PreActivations(**wide, **half)


def _coreset_arrays(coreset: Coreset) -> dict[str, NDArray[Any]]:
    """Its samples: plain at 8 bits, as `core.nibbles` packs them at 4."""
    if coreset.bits == 8:
        return {"coreset/x": coreset.x}
    if coreset.bits != 4:
        raise ManifestError(f"section 'coreset/x': expected 8 or 4 bits, got {coreset.bits}")
    if not np.array_equal(nibbles.rounded(coreset.x), coreset.x):
        raise ManifestError("section 'coreset/x': expected samples rounded to 4 bits (core.nibbles), got others")
    held = nibbles.pack(coreset.x)
    return {"coreset/x": held.packed, "coreset/low": held.low, "coreset/step": held.step}


def coreset_of(program: Program, arrays: Mapping[str, NDArray[Any]], name: str) -> Coreset:
    """The coreset, expanded to input codes; at 4 bits only what :func:`arrays_of` would write is accepted."""
    if "coreset/step" not in arrays:
        return Coreset(arrays["coreset/x"], arrays["coreset/y"])
    tensor = program.tensors[program.input]
    held = nibbles.Nibbles(arrays["coreset/low"], arrays["coreset/step"], arrays["coreset/x"])
    codes = nibbles.unpack(held, (tensor.height, tensor.width, tensor.channels))
    again = nibbles.pack(np.clip(codes, -128, 127).astype(np.int8))
    same = (np.array_equal(*pair) for pair in ((again.low, held.low), (again.step, held.step)))
    if not all(same) or not np.array_equal(again.packed, held.packed):
        raise ManifestError(f"{name}: section 'coreset/x': expected samples packed at 4 bits, got others")
    return Coreset(codes.astype(np.int8), arrays["coreset/y"], bits=4)


def _half(values: NDArray[np.float32], key: str) -> NDArray[np.float16]:
    """The same numbers at half precision."""
    with np.errstate(over="ignore"):
        stored = values.astype(np.float16)
    if not np.array_equal(stored.astype(np.float32), values):
        raise ManifestError(f"section {key!r}: expected finite values of half precision, got others")
    return stored


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


def parts_of(arrays: Mapping[str, NDArray[Any]]) -> tuple[Preprocess, Feedback, FeatureStatistics]:
    """The records that are plain tensors."""
    return (
        Preprocess(arrays["preprocess/mean"], arrays["preprocess/std"]),
        Feedback(arrays["feedback/matrix"], arrays["feedback/scale"]),
        FeatureStatistics(arrays["reference/mean"].astype(np.float32), arrays["reference/std"].astype(np.float32)),
    )
