"""The peers of train_step.py. ONNX Runtime's training package clashes with the inference package of the same name, so
it has an interpreter of its own, which runs this file; nothing of Calibrant is imported here.

    python train_step_peer.py make FOLDER            # training artifacts from FOLDER/network.onnx
    python train_step_peer.py contest ROLE FOLDER    # ROLE ort-full or ort-last
"""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import contest

HEAD = ("head.weight", "head.bias")
RATE = 0.01


def _training() -> tuple[Any, Any]:
    """`onnxruntime.training.api`, and the package without its own start, which imports torch for other parts."""
    import onnxruntime

    spec = importlib.util.find_spec("onnxruntime")
    assert spec is not None
    assert spec.origin is not None
    package = types.ModuleType("onnxruntime.training")
    package.__path__ = [str(Path(spec.origin).parent / "training")]
    sys.modules["onnxruntime.training"] = onnxruntime.training = package
    from onnxruntime.training import api

    return api, package


def _make(folder: Path) -> None:
    """Training, optimizer and checkpoint files for the whole network and for its head."""
    _training()
    import onnx
    from onnxruntime.training import artifacts

    model = onnx.load(folder / "network.onnx")
    names = [tensor.name for tensor in model.graph.initializer if "clip" not in tensor.name]
    for role in ("ort-full", "ort-last"):
        trained = names if role == "ort-full" else list(HEAD)
        (folder / role).mkdir(exist_ok=True)
        artifacts.generate_artifacts(
            model,
            requires_grad=trained,
            frozen_params=[name for name in names if name not in trained],
            loss=artifacts.LossType.CrossEntropyLoss,
            optimizer=artifacts.OptimType.SGD,
            artifact_directory=folder / role,
        )


def _onnxruntime(role: str, folder: Path) -> contest.Contest:
    import numpy as np

    api, _ = _training()
    import onnxruntime

    imported = contest.resident("VmRSS")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    held = folder / role
    state = api.CheckpointState.load_checkpoint(held / "checkpoint")
    module = api.Module(held / "training_model.onnx", state, device="cpu", session_options=options)
    optimizer = api.Optimizer(held / "optimizer_model.onnx", module)
    optimizer.set_learning_rate(RATE)
    with np.load(folder / "sample.npz") as stored:
        x, y = stored["real"], stored["y"]

    def step() -> object:
        module.train()
        loss = module(x, y)
        optimizer.step()
        module.lazy_reset_grad()
        return loss

    return lambda: step, f"onnxruntime-training {onnxruntime.__version__}", imported


def main() -> None:
    what, *rest = sys.argv[1:]
    if what == "make":
        _make(Path(rest[0]))
    else:
        contest.serve(*_onnxruntime(rest[0], Path(rest[1])))


if __name__ == "__main__":
    main()
