"""One calibration window: flips against torch back-propagation, time and memory.

The same 4-bit network (45 channels of 125 steps, 19 classes, 2.9 M multiply-accumulates), the same 91 window and 20
coreset samples, the same 20 steps. See contest.py for how they take turns.

    .venv/bin/python benchmarks/window.py            # subject 1 to 2 of DSA, or made-up data without a data folder
    .venv/bin/python benchmarks/window.py --json
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import contest

WINDOW, CORESET, STEPS, BITS = 91, 20, 20, 4
SETTINGS = {"benchmark": "window"}
ROLES = {
    "flip": "flips, accumulated (the default)",
    "flip-pooled": "flips, pooled",
    "flip-taps": "flips, taps",
    "session": "flips in a session (verified, committed)",
    "torch-bp": "torch, back-propagation, 4-bit",
    "torch-float": "torch, back-propagation, float",
}
FORMS = {"flip": "accumulated", "flip-pooled": "pooled", "flip-taps": "taps"}
TARGETS = {"speed": 4.0, "memory": 1 / 3}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="data folder (default: CALIBRANT_DATA; without one, made-up data)")
    parser.add_argument("--repeat", type=int, default=9, help="windows per contestant; medians are printed")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--role", choices=["prepare", *ROLES], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role == "prepare":
        _prepare(options.folder, options.data)
    elif options.role:
        make = {**dict.fromkeys(FORMS, _flip), "session": _session}.get(options.role, _torch)
        contest.serve(*make(options.role, options.folder))
    else:
        result = _compare(options.data, max(options.repeat, 1))
        print(json.dumps(result, indent=1) if options.json else _table(result))


def _compare(data: Path | None, repeat: int) -> dict[str, Any]:
    """Prepare once, start every contestant, let them take turns."""
    with tempfile.TemporaryDirectory(prefix="calibrant-window-") as name:
        given = ["--data", str(data)] if data else []
        prepared = subprocess.run(_command("prepare", name) + given, check=True, stdout=subprocess.PIPE, text=True)
        result = contest.race({role: _command(role, name) for role in ROLES}, repeat, warm=1)
    return {"benchmark": "window", **json.loads(prepared.stdout), **result} | _ratios(result["rows"])


def _ratios(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """How flips compare with the faster and with the leaner torch process; the targets are for the pooled form."""
    by_name = {row["contestant"]: row for row in rows}
    flip, torch_rows = by_name["flip-pooled"], [by_name["torch-bp"], by_name["torch-float"]]
    ratios = {
        "default_speed_over_torch_bp": by_name["torch-bp"]["seconds_median"] / by_name["flip"]["seconds_median"],
        "speed_over_torch_bp": by_name["torch-bp"]["seconds_median"] / flip["seconds_median"],
        "speed_over_torch_float": by_name["torch-float"]["seconds_median"] / flip["seconds_median"],
        "peak_of_torch": flip["peak_bytes"] / min(row["peak_bytes"] for row in torch_rows),
        "added_of_torch": flip["added_bytes"] / min(row["added_bytes"] for row in torch_rows),
    }
    met = ratios["speed_over_torch_bp"] >= TARGETS["speed"] and ratios["peak_of_torch"] <= TARGETS["memory"]
    return {"ratios": ratios, "targets": TARGETS, "targets_met": met and not flip["imports_torch"]}


def _table(result: dict[str, Any]) -> str:
    ratios = result["ratios"]
    about = f"{result['data']}: {WINDOW} + {CORESET} samples, {STEPS} steps, one thread"
    lines = [
        *contest.table(result, ROLES, about, "one window"),
        f"flips as they are by default are {ratios['default_speed_over_torch_bp']:.1f}x as fast as torch at 4 bits",
        f"pooled flips are {ratios['speed_over_torch_bp']:.1f}x as fast as torch at 4 bits and "
        f"{ratios['speed_over_torch_float']:.1f}x as fast as torch in float (target {TARGETS['speed']:g}x)",
        f"peak memory is {ratios['peak_of_torch']:.2f} of the leaner torch process (target {TARGETS['memory']:.2f}); "
        f"what is added over the imports is {ratios['added_of_torch']:.2f}",
        "targets met" if result["targets_met"] else "TARGETS MISSED",
    ]
    return "\n".join(lines)


def _command(role: str, folder: str) -> list[str]:
    return [sys.executable, __file__, "--role", role, "--folder", folder]


def _flip(role: str, folder: Path) -> contest.Contest:
    """The updater alone, on window and coreset."""
    from dataclasses import replace

    import numpy as np

    from calibrant import artifact
    from calibrant.core.parameters import Parameters
    from calibrant.core.window import encode
    from calibrant.engine import Engine
    from calibrant.policy.verification import importance
    from calibrant.updaters import build
    from calibrant.updaters.base import Samples, evaluate

    imported = contest.resident("VmRSS")
    model = artifact.read(_artifact(folder))
    settings = replace(model.settings, form=FORMS[role], steps=STEPS, loss_goal=0.0)
    engine = Engine(model.program, model.constants)
    x, y = _window(folder)
    labels = np.concatenate([y, model.coreset.y])

    def fresh() -> Callable[[], object]:
        engine.load(Parameters.of(model.constants))
        updater = build(model, settings)
        counts = importance(len(y), np.ones(len(model.coreset.y), np.bool_), updater.balanced)

        def window() -> object:
            codes = encode(x, model.program.tensors[model.program.input], model.preprocess, model.input_shape)
            samples = Samples(np.concatenate([codes, model.coreset.x]), labels, counts)
            return updater.update(engine, samples, evaluate(engine, samples, model.meaning), STEPS)

        return window

    return fresh, engine.variant, imported


def _session(role: str, folder: Path) -> contest.Contest:
    """The whole product: update, verification, commit to the state file."""
    import calibrant

    del role
    session_type, settings = calibrant.Session, calibrant.FlipSettings(steps=STEPS, loss_goal=0.0)
    imported = contest.resident("VmRSS")
    x, y = _window(folder)
    state = folder / "state.db"
    session = session_type.open(_artifact(folder), state=state, settings=settings, gate=False)

    def fresh() -> Callable[[], object]:
        session.rollback(to=0)
        return lambda: session.observe(x, y)

    return fresh, session.variant, imported


def _torch(role: str, folder: Path) -> contest.Contest:
    """Back-propagation with Adam: straight through the 4-bit network, or plainly on the float one."""
    import torch

    from calibrant import artifact, zoo
    from calibrant.bench import adaptation, baselines
    from calibrant.bench.harness.workspace import Workspace

    imported = contest.resident("VmRSS")
    torch.set_num_threads(1)
    model, workspace = artifact.read(_artifact(folder)), Workspace(folder)
    net: torch.nn.Module = workspace.load_net(SETTINGS)
    if role == "torch-float":
        net = workspace.load_module(
            SETTINGS, zoo.build("cnn", model.input_shape[0], model.input_shape[1:], len(model.classes))
        )
    core, tuned = adaptation.core(model), baselines.tuned("bp", "dsa", "cnn", BITS)
    x, y = _window(folder)

    def fresh() -> Callable[[], object]:
        learner = adaptation.OnServer(baselines.BackPropagation(net, *core, **tuned, steps=STEPS), model)
        return lambda: learner.observe(x, y)

    return fresh, f"torch {torch.__version__} {torch.backends.cpu.get_cpu_capability()}", imported


def _prepare(folder: Path, given: Path | None) -> None:
    """Train, quantize and keep the network and one window of another domain."""
    import numpy as np

    from calibrant import data, zoo
    from calibrant.bench.harness.workspace import Workspace
    from calibrant.core.statistics import Preprocess
    from calibrant.pipeline import float_training, torch_model

    if given or os.environ.get("CALIBRANT_DATA"):
        root = data.folder(given)
        source, target = data.load("dsa", root, 1), data.load("dsa", root, 2)
        name, classes, epochs = "DSA, subject 1 to 2", source.classes, 15
        rows, _ = data.split(source)
        x, y = source.x[rows], source.y[rows]
        window_x, window_y = data.windows(target.x, target.y, count=1, size=WINDOW)[0]
    else:
        name, classes, epochs = "made-up data", tuple(map(str, range(19))), 5
        rng = np.random.default_rng(0)
        y, window_y = np.arange(570) % 19, np.arange(WINDOW) % 19
        shapes = rng.normal(size=(19, 45, 125))
        x = (shapes[y] + rng.normal(size=(570, 45, 125))).astype(np.float32)
        noise = rng.normal(0, 2, (WINDOW, 45, 125))
        window_x = (0.6 * shapes[window_y] + noise + rng.normal(0, 1, (45, 1))).astype(np.float32)
    with float_training.threads(1):
        net = zoo.build("cnn", x.shape[1], x.shape[2], len(classes))
        net = float_training.train(net, Preprocess.of(x).apply(x), y, float_training.TrainingSettings(epochs=epochs))
        prepared = torch_model.prepare(net, x, y, bits=BITS, coreset=CORESET, classes=classes, steps=STEPS)
    workspace = Workspace(folder)
    workspace.save_module(SETTINGS, net)
    workspace.save_prepared(SETTINGS, prepared.artifact, prepared.net)
    workspace.artifact_path(SETTINGS).rename(_artifact(folder))
    np.savez(folder / "window.npz", x=window_x, y=window_y)
    print(json.dumps({"data": name, "samples": WINDOW + CORESET, "steps": STEPS, "bits": BITS}))


def _artifact(folder: Path) -> Path:
    return folder / "window.cal"


def _window(folder: Path) -> tuple[Any, Any]:
    import numpy as np

    with np.load(folder / "window.npz") as stored:
        return stored["x"], stored["y"]


if __name__ == "__main__":
    main()
