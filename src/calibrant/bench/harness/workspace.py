"""What a protocol leaves in its output folder, so that a second run resumes: trained networks, artifacts, rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from calibrant import artifact as files
from calibrant.artifact import Artifact
from calibrant.core.files import replacing
from calibrant.graph import text
from calibrant.quantize import FakeQuantNet

_GRAPH, _LATENT = "graph.", "latent."


def digest(settings: Mapping[str, Any]) -> str:
    """A name for settings: equal settings, equal name, whatever their order.

    Examples
    --------
    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}), len(digest({}))
    (True, 16)
    """
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def write_text(path: Path, content: str) -> None:
    """Replace a file at once: a reader sees the old text or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(content.encode())


@dataclass(frozen=True)
class Workspace:
    """Folder `root`; everything reusable lies under ``root/cache``, named by the digest of its settings."""

    root: Path

    def row(self, settings: Mapping[str, Any]) -> dict[str, Any] | None:
        """A finished row, None if there is none."""
        path = self._path("rows", settings, ".json")
        if not path.is_file():
            return None
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found

    def save_row(self, settings: Mapping[str, Any], row: Mapping[str, Any]) -> None:
        """Keep a finished row."""
        write_text(self._path("rows", settings, ".json"), json.dumps(row, indent=1) + "\n")

    def has_module(self, settings: Mapping[str, Any]) -> bool:
        """Whether :meth:`load_module` will find parameters."""
        return self._path("float", settings, ".safetensors").is_file()

    def save_module(self, settings: Mapping[str, Any], net: nn.Module) -> None:
        """Keep a float network's parameters."""
        _save_tensors(self._path("float", settings, ".safetensors"), net.state_dict(), {})

    def load_module(self, settings: Mapping[str, Any], net: nn.Module) -> nn.Module:
        """Fill a network of the same architecture."""
        net.load_state_dict(load_file(self._path("float", settings, ".safetensors")))
        return net.eval()

    def has_misses(self, settings: Mapping[str, Any]) -> bool:
        """Whether :meth:`load_misses` will find counts."""
        return self._path("misses", settings, ".safetensors").is_file()

    def save_misses(self, settings: Mapping[str, Any], misses: NDArray[np.int64]) -> None:
        """Keep the quantization misses of training samples, int64[N]."""
        _save_tensors(self._path("misses", settings, ".safetensors"), {"misses": torch.from_numpy(misses)}, {})

    def load_misses(self, settings: Mapping[str, Any]) -> NDArray[np.int64]:
        """Quantization misses int64[N] of training samples."""
        found: NDArray[np.int64] = load_file(self._path("misses", settings, ".safetensors"))["misses"].numpy()
        return found

    def has_features(self, settings: Mapping[str, Any]) -> bool:
        """Whether :meth:`features` will find arrays."""
        return self._path("features", settings, ".safetensors").is_file()

    def save_features(self, settings: Mapping[str, Any], arrays: Mapping[str, NDArray[np.int32]]) -> None:
        """Keep what a backbone makes of samples, by name of a split."""
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        _save_tensors(self._path("features", settings, ".safetensors"), tensors, {})

    def features(self, settings: Mapping[str, Any]) -> dict[str, NDArray[np.int32]]:
        """What :meth:`save_features` kept."""
        found = load_file(self._path("features", settings, ".safetensors"))
        return {name: tensor.numpy() for name, tensor in found.items()}

    def has_prepared(self, settings: Mapping[str, Any]) -> bool:
        """Whether :meth:`artifact_path` and :meth:`load_net` will find what was prepared."""
        return self.artifact_path(settings).is_file()

    def artifact_path(self, settings: Mapping[str, Any]) -> Path:
        """Where :meth:`save_prepared` puts the artifact; it is written last, so it stands for both files."""
        return self._path("prepared", settings, ".cal")

    def save_prepared(self, settings: Mapping[str, Any], artifact: Artifact, net: FakeQuantNet) -> None:
        """Keep an artifact and the fake-quantized network it was lowered from."""
        arrays = {_GRAPH + key: array for key, array in net.graph.arrays().items()}
        tensors = {key: torch.from_numpy(array.copy()) for key, array in arrays.items()}
        tensors |= {_LATENT + key: value for key, value in net.state_dict().items()}
        _save_tensors(self._path("prepared", settings, ".safetensors"), tensors, {"graph": text.dump(net.graph)})
        files.write(self.artifact_path(settings), artifact)

    def load_net(self, settings: Mapping[str, Any]) -> FakeQuantNet:
        """The fake-quantized network of a prepared artifact."""
        with safe_open(self._path("prepared", settings, ".safetensors"), framework="pt") as stored:
            graph_text = stored.metadata()["graph"]
            tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118 (not a dict)
        arrays = {key.removeprefix(_GRAPH): t.numpy() for key, t in tensors.items() if key.startswith(_GRAPH)}
        net = FakeQuantNet(text.parse(graph_text, arrays))
        net.load_state_dict({key.removeprefix(_LATENT): t for key, t in tensors.items() if key.startswith(_LATENT)})
        return net

    def _path(self, kind: str, settings: Mapping[str, Any], suffix: str) -> Path:
        return self.root / "cache" / kind / (digest(settings) + suffix)


def _save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(save({key: value.contiguous() for key, value in tensors.items()}, metadata))
