"""From an `Artifact` to one file, atomically: the old file or the new one is there, never half of one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from calibrant.artifact import layout, sections
from calibrant.artifact.format import Artifact
from calibrant.artifact.manifest import canonical, describe, program_json
from calibrant.artifact.read import KEY, checksum, parse, signed_bytes
from calibrant.artifact.sign import sign as sign_bytes
from calibrant.core.errors import ArtifactError, ManifestError
from calibrant.core.files import replacing
from calibrant.core.version import VERSION


def write(path: Path | str, artifact: Artifact, sign: Path | str | None = None) -> None:
    """Write an artifact; the same artifact gives the same bytes.

    Parameters
    ----------
    path : Path or str
        Replaced if it exists.
    artifact : Artifact
    sign : Path or str, optional
        PEM file of an Ed25519 private key.

    Raises
    ------
    ArtifactError
        The artifact breaks an invariant (what is written is read back and checked first), or the file cannot be
        written. `SignatureError` for a key that is none.
    """
    raw = to_bytes(artifact, str(path), None if sign is None else Path(sign))
    target = Path(path)
    if target.is_dir():
        raise ArtifactError(f"{path}: expected a file to write, got a folder")
    try:
        with replacing(target) as file:
            file.write(raw)
    except OSError as error:
        raise ArtifactError(f"{path}: artifact cannot be written ({error.strerror})") from None


def to_bytes(artifact: Artifact, name: str = "artifact", sign: Path | None = None) -> bytes:
    """The file's bytes, validated as :func:`read` would."""
    arrays = {k: _stored(v, k) for k, v in sections.arrays_of(artifact).items()}
    try:
        body = describe(artifact)
    except (TypeError, ValueError) as error:
        raise ManifestError(f"{name}: section 'report': expected JSON values, got {error}") from None
    manifest: dict[str, Any] = {
        "format_version": artifact.format_version,
        "tool_version": VERSION,
        **body,
        "tensors": {k: hashlib.sha256(v.tobytes()).hexdigest() for k, v in arrays.items()},
        "signature": None,
    }
    if sign is not None:
        manifest["signature"] = sign_bytes(signed_bytes(manifest), sign)
    manifest["checksum"] = checksum(manifest)
    text = canonical(manifest)
    raw: bytes = save(arrays, {KEY: text})
    parse(raw, name, None)
    return raw


def content_hash(artifact: Artifact) -> str:
    """SHA-256 of what a device state is bound to: program and constants (not report, coreset or settings)."""
    constants = artifact.constants
    parts: Mapping[str, NDArray[Any]] = {
        "weights": constants.weights,
        "bias": constants.bias,
        "multiplier": constants.multiplier,
        "shift": constants.shift,
        "scale": constants.scale,
    }
    digest = hashlib.sha256(canonical(program_json(artifact.program)).encode())
    for key, array in parts.items():
        digest.update(key.encode())
        digest.update(_stored(array, key).tobytes())
    return digest.hexdigest()


def _stored(array: NDArray[Any], key: str) -> NDArray[Any]:
    """The array as it lies in the file: contiguous, little-endian, of a dtype the format knows."""
    stored = np.ascontiguousarray(array)
    stored = stored.astype(stored.dtype.newbyteorder("<"), copy=False)
    if stored.dtype not in layout.DTYPES.values():
        raise ManifestError(f"section {key!r}: expected one of {', '.join(layout.DTYPES)}, got dtype {array.dtype}")
    return stored
