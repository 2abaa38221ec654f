"""Trained bit-flipping networks, kept beside the artifact that they belong to: training takes up to minutes."""

from __future__ import annotations

import hashlib
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from calibrant.bench.harness.provenance import code_digest
from calibrant.bench.harness.workspace import digest
from calibrant.bench.qcore_paper.calibration import Settings, learn
from calibrant.bench.qcore_paper.network import BitFlipNetwork, Form, covered
from calibrant.quantize import FakeQuantNet


def load_or_learn(
    artifact: Path,
    net: FakeQuantNet,
    x: NDArray[np.float32],
    y: NDArray[np.int64],
    *,
    settings: Settings | None = None,
    seed: int = 0,
) -> dict[Form, BitFlipNetwork]:
    """As :func:`calibrant.bench.qcore_paper.learn`, but only once per artifact, settings, seed and code."""
    how = settings or Settings()
    parts = {
        "artifact": hashlib.sha256(artifact.read_bytes()).hexdigest(),
        "settings": asdict(how),
        "seed": seed,
        "code": code_digest("bench/qcore_paper"),
    }
    path = artifact.with_name(f"{artifact.stem}.qcore-paper-{digest(parts)}.safetensors")
    if not path.is_file():
        networks = learn(net, x, y, settings=how, seed=seed)
        tensors = {
            f"{number}.{key}": value
            for number, network in enumerate(networks.values())
            for key, value in network.state_dict().items()
        }
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        save_file(tensors, partial)
        partial.replace(path)
        return networks
    tensors = load_file(path)
    kept = {}
    for number, form in enumerate(dict.fromkeys(covered(net).values())):
        prefix = f"{number}."
        kept[form] = BitFlipNetwork(form, len(y))
        kept[form].load_state_dict({k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)})
    return kept
