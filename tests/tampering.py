"""Artifact files changed by a liar who knows the format."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import numpy as np

from calibrant.artifact import layout
from calibrant.artifact.manifest import canonical
from calibrant.artifact.read import KEY, checksum

Edit = Callable[[dict[str, Any]], None]


def taken_apart(raw: bytes) -> tuple[dict[str, Any], bytes]:
    start = 8 + int.from_bytes(raw[:8], "little")
    return json.loads(raw[8:start]), raw[start:]


def put_together(header: dict[str, Any] | str | bytes, data: bytes) -> bytes:
    text = json.dumps(header) if isinstance(header, dict) else header
    encoded = text.encode() if isinstance(text, str) else text
    return len(encoded).to_bytes(8, "little") + encoded + data


def with_manifest(raw: bytes, edit: Edit) -> bytes:
    """The file with an edited manifest and a good checksum, as a liar would write it."""
    header, data = taken_apart(raw)
    manifest = json.loads(header["__metadata__"][KEY])
    edit(manifest)
    manifest["checksum"] = checksum(manifest)
    header["__metadata__"][KEY] = canonical(manifest)
    return put_together(header, data)


def with_tensor(raw: bytes, name: str, edit: Callable[[np.ndarray], None]) -> bytes:
    """The file with an edited tensor and a good hash."""
    header, data = taken_apart(raw)
    begin, end = header[name]["data_offsets"]
    array = np.frombuffer(data[begin:end], layout.DTYPES[header[name]["dtype"]]).copy()
    edit(array)
    changed = put_together(header, data[:begin] + array.tobytes() + data[end:])
    return with_manifest(changed, lambda m: m["tensors"].update({name: hashlib.sha256(array.tobytes()).hexdigest()}))
