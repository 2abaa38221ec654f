"""One training step: forward, backward and SGD update, batch 1, against ONNX Runtime's training and torch.

MCUNet-5FPS at 128x128 with ten classes (22.5 M multiply-accumulates forward).
Ours train int8 codes under the published 49KB and 100KB schemes, or everything; the peers train float32, everything or
the last layer alone. See contest.py for how they take turns.

    .venv/bin/python benchmarks/train_step.py --data ../shared/data --make-peer OUT/peer   # its venv, made by pip once
    .venv/bin/python benchmarks/train_step.py --data ../shared/data --peer-python OUT/peer/bin/python --json

onnxruntime-training-cpu clashes with onnxruntime, hence the environment of its own. Without --make-peer and
--peer-python, torch is the only peer.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

import contest
from train_step_peer import RATE

CLASSES, MODEL = 10, "mcunet-5fps"
REQUIREMENTS = ("onnxruntime-training-cpu==1.19.2", "onnx==1.16.2", "numpy<2")
SCHEMES = {"calibrant-49KB": "49KB", "calibrant-100KB": "100KB", "calibrant-full": "full"}
ROLES = {
    "calibrant-49KB": "ours, 49KB scheme, int8",
    "calibrant-100KB": "ours, 100KB scheme, int8",
    "calibrant-full": "ours, everything, int8",
    "ort-full": "ONNX Runtime, everything, float32",
    "ort-last": "ONNX Runtime, last layer, float32",
    "torch-full": "torch, everything, float32",
    "torch-last": "torch, last layer, float32",
}
SPARSE = ("calibrant-49KB", "calibrant-100KB")
TARGETS = {"ort-full": 3.0, "ort-last": 1.0}  # how many times as fast as these a sparse step is to be


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="data folder (default: CALIBRANT_DATA)")
    parser.add_argument("--peer-python", type=Path, help=f"interpreter that has {', '.join(REQUIREMENTS)}")
    parser.add_argument("--make-peer", type=Path, metavar="FOLDER", help="make that environment first, with pip")
    parser.add_argument("--wheels", type=Path, help="folder of wheels for pip, beside the registry")
    parser.add_argument("--repeat", type=int, default=31, help="steps per contestant; medians are printed")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--role", choices=["prepare", *ROLES], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer_python and not os.access(options.peer_python, os.X_OK):
        parser.error(f"--peer-python: expected an interpreter, got {options.peer_python} (--make-peer makes one)")
    if options.role == "prepare":
        _prepare(options.folder, options.data)
    elif options.role:
        contest.serve(*(_torch if options.role.startswith("torch") else _ours)(options.role, options.folder))
    else:
        peer = _make_peer(options.make_peer, options.wheels) if options.make_peer else options.peer_python
        result = _compare(options.data, peer, max(options.repeat, 1))
        print(json.dumps(result, indent=1) if options.json else _table(result))


def _make_peer(folder: Path, wheels: Path | None) -> Path:
    """An environment with the peer's packages; as it is, where there is one."""
    python = folder / "bin" / "python"
    if not python.is_file():
        venv.create(folder, with_pip=True)
        given = ["--find-links", str(wheels)] if wheels else []
        subprocess.run([python, "-m", "pip", "install", "-q", *given, *REQUIREMENTS], check=True, stdout=sys.stderr)
    return python


def _compare(data: Path | None, peer: Path | None, repeat: int) -> dict[str, Any]:
    """Prepare once, start every contestant, let them take turns."""
    with tempfile.TemporaryDirectory(prefix="calibrant-step-") as name:
        given = ["--data", str(data)] if data else []
        prepared = subprocess.run(
            [*_command("prepare", name, None), *given], check=True, stdout=subprocess.PIPE, text=True
        )
        if peer is not None:
            _peer_artifacts(peer, name)
        roles = [role for role in ROLES if peer is not None or not role.startswith("ort")]
        result = contest.race({role: _command(role, name, peer) for role in roles}, repeat, warm=3)
    ratios = _ratios({row["contestant"]: row for row in result["rows"]})
    return {"benchmark": "train_step", **json.loads(prepared.stdout), **result} | ratios


def _ratios(by_name: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """How many times as fast each of ours is as each peer, and what share of its added memory it takes."""
    peers = [role for role in by_name if role not in SCHEMES]
    speed = {
        own: {peer: by_name[peer]["seconds_median"] / by_name[own]["seconds_median"] for peer in peers}
        for own in SCHEMES
    }
    memory = {
        own: {peer: by_name[own]["added_bytes"] / by_name[peer]["added_bytes"] for peer in peers} for own in SCHEMES
    }
    met = {
        own: all(speed[own][peer] >= target for peer, target in TARGETS.items())
        for own in SPARSE
        if TARGETS.keys() <= by_name.keys()
    }
    return {"speed": speed, "memory": memory, "targets": TARGETS, "targets_met": met}


def _table(result: dict[str, Any]) -> str:
    about = f"{result['network']}, {CLASSES} classes: forward, backward, update; batch 1, one thread"
    lines = contest.table(result, ROLES, about, "one step")
    for own, ratios in result["speed"].items():
        for peer, ratio in ratios.items():
            target = f" (target {TARGETS[peer]:g}x)" if own in SPARSE and peer in TARGETS else ""
            lines.append(
                f"{ROLES[own]}: {ratio:.2f}x as fast as {ROLES[peer]}{target}, "
                f"adds {result['memory'][own][peer]:.2f} of its memory"
            )
    for own, met in result["targets_met"].items():
        lines.append(f"{ROLES[own]}: {'targets met' if met else 'TARGETS MISSED'}")
    return "\n".join([*lines, *([] if result["targets_met"] else ["no ONNX Runtime to compare with"])])


def _command(role: str, folder: str, peer: Path | None) -> list[str]:
    if role.startswith("ort"):
        return [str(peer), str(Path(__file__).with_name("train_step_peer.py")), "contest", role, folder]
    return [sys.executable, __file__, "--role", role, "--folder", folder]


def _peer_artifacts(peer: Path, folder: str) -> None:
    """Have the peer make its files; what it says is shown only if it fails."""
    made = subprocess.run(
        [peer, Path(__file__).with_name("train_step_peer.py"), "make", folder],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if made.returncode:
        raise SystemExit(f"{peer}: cannot make training artifacts\n{made.stdout[-2000:]}")


def _ours(role: str, folder: Path) -> contest.Contest:
    """The compiled training step on the engine's codes, without accumulators, as on a device."""
    import numpy as np

    from calibrant.engine import Engine, Trainer

    imported = contest.resident("VmRSS")
    program, constants, training = pickle.loads((folder / f"{role}.pickle").read_bytes())
    engine = Engine(program, constants)
    trainer = Trainer(engine, training, accumulators=False)
    with np.load(folder / "sample.npz") as stored:
        x, y = stored["codes"], stored["y"]
    return lambda: lambda: trainer.step(x, y, RATE), engine.variant, imported


def _torch(role: str, folder: Path) -> contest.Contest:
    """Autograd and plain SGD on the float32 network behind the codes."""
    import numpy as np
    import torch

    from calibrant.bench.sparse.float_learner import RealLearner

    imported = contest.resident("VmRSS")
    torch.set_num_threads(1)
    program, constants, scheme = pickle.loads((folder / f"{role}.pickle").read_bytes())
    learner = RealLearner(program, constants, scheme)
    with np.load(folder / "sample.npz") as stored:
        x, y = stored["codes"], stored["y"]
    kernels = f"torch {torch.__version__} {torch.backends.cpu.get_cpu_capability()}"
    return lambda: lambda: learner.step(learner.features(x), y, RATE), kernels, imported


def _prepare(folder: Path, given: Path | None) -> None:
    """Load the network; keep it with its training steps, as ONNX, and one sample."""
    import numpy as np

    import onnx_program
    from calibrant import autodiff, plan, zoo
    from calibrant.bench.sparse.float_network import real

    root = given or (Path(os.environ["CALIBRANT_DATA"]) if os.environ.get("CALIBRANT_DATA") else None)
    if root is None:
        raise SystemExit("data folder: expected --data or the environment variable CALIBRANT_DATA, got neither")

    program, constants = plan.lower(zoo.load_tinyml(root / "tinyml" / MODEL, CLASSES))
    backbone = len(program.layers) - 1
    for role, name in SCHEMES.items():
        scheme = autodiff.named(f"{MODEL}:{name}" if name.endswith("KB") else name, backbone)
        training = autodiff.differentiate(program, constants, scheme, head="float32")
        kept = program, constants, plan.schedule(training, program)
        (folder / f"{role}.pickle").write_bytes(pickle.dumps(kept))
    for role, name in (("torch-full", "full"), ("torch-last", "classifier")):
        (folder / f"{role}.pickle").write_bytes(pickle.dumps((program, constants, autodiff.named(name, backbone))))
    onnx_program.export(program, constants, folder / "network.onnx")
    entry = program.tensors[program.input]
    x = np.random.default_rng(0).integers(-128, 128, (1, entry.height, entry.width, entry.channels)).astype(np.int8)
    np.savez(folder / "sample.npz", codes=x, real=real(x, program).numpy(), y=np.array([3], np.int64))
    print(json.dumps({"network": MODEL, "classes": CLASSES, "input": [entry.height, entry.width, entry.channels]}))


if __name__ == "__main__":
    main()
