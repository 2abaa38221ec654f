"""From one untrusted file to one `Artifact`: everything is validated before anything is used."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.artifact import layout, sections
from calibrant.artifact.check import check_artifact, check_program
from calibrant.artifact.fields import fields_of, integers_of, numbers_of, scalar_of, strings_of
from calibrant.artifact.format import FORMAT_VERSION, Artifact
from calibrant.artifact.layout import Layout, load_json
from calibrant.artifact.manifest import canonical, program_of, settings_of, usual_of
from calibrant.artifact.recognition import KEY as RECOGNITION
from calibrant.artifact.recognition import expected as recognition_sections
from calibrant.artifact.recognition import recognition_of
from calibrant.artifact.sign import verify as verify_signature
from calibrant.artifact.training import training_of
from calibrant.core.errors import ArtifactError, HashError, ManifestError, SignatureError, VersionError
from calibrant.core.program import Program
from calibrant.core.task import CLASSES

KEY = "calibrant"  # of the manifest in __metadata__
_SEALED = ("checksum", "signature")  # fields that cover the others
_BODY = ("program", "classes", "input_shape", "usual", "settings", "thresholds", "report", "tensors")
_OPTIONAL = ("training", "task", RECOGNITION)
Shapes = dict[str, tuple[str, tuple[int, ...]]]  # by section: dtype and shape
_OLDEST = 2  # format version that is read
_FIELDS = ("format_version", "tool_version", *_BODY, *_SEALED)


@dataclass(frozen=True)
class Summary:
    """What `inspect` tells about a file: bytes per section, and whether a signature is there (not that it is good)."""

    file_bytes: int
    sections: Mapping[str, int]
    format_version: int
    tool_version: str
    signed: bool


def read(path: Path | str, verify: Path | str | None = None) -> Artifact:
    """Read and validate an artifact.

    Parameters
    ----------
    path : Path or str
    verify : Path or str, optional
        PEM file of an Ed25519 public key: the artifact must be signed by its owner.

    Raises
    ------
    TruncatedError, LayoutError, ManifestError, VersionError, HashError, SignatureError
        One per way the file can be wrong; all are `ArtifactError`. The file itself unreadable: `ArtifactError`.
    """
    return parse(_bytes(path), str(path), None if verify is None else Path(verify))


def summary(path: Path | str) -> Summary:
    """Sizes and versions of a valid artifact file; raises like :func:`read`."""
    raw = _bytes(path)
    parse(raw, str(path), None)
    held = layout.parse(raw, str(path))
    manifest = _manifest(held, str(path))
    return Summary(
        file_bytes=len(raw),
        sections={s.name: s.end - s.begin for s in sorted(held.sections.values(), key=lambda s: s.name)},
        format_version=manifest["format_version"],
        tool_version=manifest["tool_version"],
        signed=manifest["signature"] is not None,
    )


def parse(raw: bytes, name: str, verify: Path | None) -> Artifact:
    """An artifact from a file's bytes; `name` opens every message. Raises like :func:`read`."""
    held = layout.parse(raw, name)
    manifest = _manifest(held, name)
    _check_hashes(raw, held, manifest["tensors"], name)
    artifact = _assemble(raw, held, manifest, name)
    if verify is not None:
        signature = manifest["signature"]
        if signature is None:
            raise SignatureError(f"{name}: section 'signature' is missing, expected one by key {verify}")
        verify_signature(signed_bytes(manifest), signature, verify, name)
    return artifact


def checksum(manifest: Mapping[str, Any]) -> str:
    """SHA-256 of everything in a manifest but the checksum itself."""
    return hashlib.sha256(canonical({k: v for k, v in manifest.items() if k != "checksum"}).encode()).hexdigest()


def signed_bytes(manifest: Mapping[str, Any]) -> bytes:
    """What a signature covers: all of a manifest (and by its hashes all tensors) but checksum and signature."""
    return canonical({k: v for k, v in manifest.items() if k not in _SEALED}).encode()


def _bytes(path: Path | str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path}: artifact cannot be read ({error.strerror})") from None


def _manifest(held: Layout, name: str) -> dict[str, Any]:
    """The manifest: JSON, version, form, checksum, fields and their outer types."""
    text = held.metadata.get(KEY)
    if text is None:
        raise ManifestError(f"{name}: section '__metadata__': field {KEY!r} is missing (not a Calibrant artifact?)")
    where = f"{name}: section 'manifest'"
    manifest = load_json(text, where)
    if not isinstance(manifest, dict) or "format_version" not in manifest:
        raise ManifestError(f"{where}: field 'format_version' is missing")
    version = manifest["format_version"]
    if type(version) is not int or not _OLDEST <= version <= FORMAT_VERSION:
        older = type(version) is int and 0 < version < _OLDEST
        cause = "of an older release: prepare the model again" if older else "newer release?"
        raise VersionError(f"{where}: expected format version {FORMAT_VERSION}, got {version!r:.40} ({cause})")
    fields_of(manifest, (*_FIELDS, *(name for name in _OPTIONAL if name in manifest)), where)
    try:
        same = canonical(manifest) == text
    except (ValueError, RecursionError):  # a number that overflowed to infinity; nesting
        same = False
    if not same:
        raise ManifestError(f"{where}: expected canonical JSON (sorted keys, no spaces, finite numbers)")
    if manifest["checksum"] != checksum(manifest):
        raise HashError(f"{where}: expected SHA-256 {checksum(manifest)[:16]}..., got {manifest['checksum']!r:.18}")
    for key, kinds in (("tool_version", str), ("signature", (str, type(None))), ("report", dict), ("tensors", dict)):
        if not isinstance(manifest[key], kinds):
            raise ManifestError(f"{where}: field {key!r}: expected another type than {type(manifest[key]).__name__}")
    return manifest


def _check_hashes(raw: bytes, held: Layout, hashes: Mapping[str, Any], name: str) -> None:
    missing, unknown = sorted(set(hashes) - set(held.sections)), sorted(set(held.sections) - set(hashes))
    if missing or unknown:
        fault = f"{missing[0]!r} is missing" if missing else f"{unknown[0]!r:.80} is not in the manifest"
        raise ManifestError(f"{name}: section {fault}")
    for key in held.sections:
        got = hashlib.sha256(held.data(raw, key)).hexdigest()
        if hashes[key] != got:
            raise HashError(f"{name}: section {key!r}: expected SHA-256 {hashes[key]!r:.18}..., got {got[:16]}...")


def _assemble(raw: bytes, held: Layout, manifest: Mapping[str, Any], name: str) -> Artifact:
    place = f"{name}: section"
    program = program_of(manifest["program"], place)
    classes = strings_of(manifest["classes"], f"{place} 'classes'")
    check_program(program, len(classes), place)
    more = recognition_sections(program) if RECOGNITION in manifest else {}
    arrays = _arrays(raw, held, program, len(classes), more, name)
    preprocess, feedback, reference = sections.parts_of(arrays)
    constants = sections.constants_of(program, arrays, name)
    artifact = Artifact(
        program=program,
        constants=constants,
        preprocess=preprocess,
        feedback=feedback,
        coreset=sections.coreset_of(program, arrays, name),
        reference=reference,
        classes=classes,
        input_shape=integers_of(manifest["input_shape"], f"{place} 'input_shape'"),
        training=training_of(manifest["training"], program, constants, place) if "training" in manifest else None,
        usual=usual_of(manifest["usual"], place),
        settings=settings_of(manifest["settings"], place),
        thresholds=numbers_of(manifest["thresholds"], f"{place} 'thresholds'"),
        report=manifest["report"],
        home=sections.home_of(arrays),
        recognition=recognition_of(manifest, arrays, place),
        task=scalar_of("str", manifest.get("task", CLASSES), f"{place} 'task'"),
    )
    version = artifact.format_version
    if manifest["format_version"] != version:
        got = manifest["format_version"]
        raise ManifestError(f"{place} 'format_version': expected {version} for what the file holds, got {got}")
    check_artifact(artifact, name)
    return artifact


def _arrays(
    raw: bytes, held: Layout, program: Program, classes: int, more: Shapes, name: str
) -> dict[str, NDArray[Any]]:
    """All tensors: those that follow from the program, and `more` of optional sections."""
    kept = held.sections["coreset/y"].shape if "coreset/y" in held.sections else ()
    bits = 4 if "coreset/step" in held.sections else 8
    wanted = sections.expected(program, classes, kept[0] if kept else 0, bits)
    wanted |= sections.expected_home(program, classes, held.sections) | more
    missing, unknown = sorted(set(wanted) - set(held.sections)), sorted(set(held.sections) - set(wanted))
    if missing or unknown:
        fault = f"{missing[0]!r} is missing" if missing else f"{unknown[0]!r:.80} has no place in the program"
        raise ManifestError(f"{name}: section {fault}")
    arrays = {}
    for key, (dtype, shape) in wanted.items():
        section = held.sections[key]
        if (section.dtype, section.shape) != (dtype, shape):
            raise ManifestError(
                f"{name}: section {key!r}: expected {dtype}{list(shape)}, got {section.dtype}{list(section.shape)}"
            )
        stored = np.frombuffer(held.data(raw, key), layout.DTYPES[dtype]).reshape(shape)
        arrays[key] = stored.astype(stored.dtype.newbyteorder("="))  # a copy, aligned and the machine's own
    return arrays
