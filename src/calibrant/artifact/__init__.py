"""The one neck between server and device: `write` and `read` a calibrated model as one safetensors file."""

from calibrant.artifact.format import FORMAT_VERSION, THRESHOLDS, Artifact
from calibrant.artifact.read import Summary, read, summary
from calibrant.artifact.sign import generate_keys
from calibrant.artifact.write import content_hash, write

__all__ = [
    "FORMAT_VERSION",
    "THRESHOLDS",
    "Artifact",
    "Summary",
    "content_hash",
    "generate_keys",
    "read",
    "summary",
    "write",
]
