"""Finds the learning rates of the back-propagation baseline: the table RATES of calibrant.bench.baselines.

Runs the qcore protocol on one pair of subjects that no report uses and prints, per bit-width, the mean accuracy on the
target for each rate, with Adam's moments fresh in each window and carried over.

    .venv/bin/python benchmarks/tune_bp.py --data ../shared/data --out OUT/tune --network cnn --seeds 0,1
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

import numpy as np

from calibrant import artifact, data
from calibrant.bench import adaptation, baselines, qcore, training
from calibrant.bench.workspace import Workspace


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--dataset", default="dsa")
    parser.add_argument("--network", default="cnn")
    parser.add_argument("--source", type=int, default=3)
    parser.add_argument("--target", type=int, default=4)
    parser.add_argument("--bits", type=_integers, default=[2, 4, 8])
    parser.add_argument("--seeds", type=_integers, default=[0, 1])
    parser.add_argument("--rates", type=_floats, default=[3e-4, 1e-3, 2e-3, 3e-3, 5e-3, 1e-2])
    parser.add_argument("--moments", nargs="+", choices=["fresh", "carried"], default=["fresh", "carried"])
    parser.add_argument("--windows", type=int, default=qcore.WINDOWS, help="stop after this many windows")
    options = parser.parse_args()
    print("bits moments rate target source")
    with training.threads(1):
        for bits in options.bits:
            scores = {}
            for carry in [name == "carried" for name in options.moments]:
                for lr in options.rates:
                    runs = np.array([_run(options, bits, seed, lr, carry) for seed in options.seeds])
                    scores[carry, lr] = runs[:, 0].mean()
                    target, source = runs.mean(axis=0)
                    print(f"{bits} {'carried' if carry else 'fresh'} {lr:g} {target:.4f} {source:.4f}", flush=True)
            carry, lr = max(scores, key=lambda key: scores[key])
            print(f"best at {bits} bits: {lr:g}, moments {'carried' if carry else 'fresh'}", flush=True)


def _run(options: argparse.Namespace, bits: int, seed: int, lr: float, carry: bool) -> tuple[float, float]:
    """Mean target accuracy over the windows, and source accuracy after them."""
    root, workspace = data.folder(options.data), Workspace(options.out)
    sha256 = qcore.file_digest(root, options.dataset, options.source)
    about = qcore.Training(options.dataset, options.network, options.source, sha256, "random", seed)
    job = qcore.Quantization(about, bits, coreset=20)
    if not workspace.has_module(asdict(about)):
        qcore.train(workspace, root, about)
    if not workspace.artifact_path(asdict(job)).is_file():
        qcore.prepare(workspace, root, job)
    source, target = (data.load(options.dataset, root, n) for n in (options.source, options.target))
    _, source_held = data.split(source, "random", seed)
    rows, held = data.split(target, "random", seed)
    prepared = artifact.read(workspace.artifact_path(asdict(job)))
    net, core = workspace.load_net(asdict(job)), adaptation.core(prepared)
    subject = adaptation.Latent(baselines.BackPropagation(net, *core, lr=lr, carry=carry), prepared)
    accuracies = []
    for x, y in data.windows(target.x[rows], target.y[rows], count=qcore.WINDOWS, seed=seed)[: options.windows]:
        subject.observe(x, y)
        accuracies.append((subject.predict(target.x[held]) == target.y[held]).mean())
    return float(np.mean(accuracies)), float((subject.predict(source.x[source_held]) == source.y[source_held]).mean())


def _integers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _floats(text: str) -> list[float]:
    return [float(part) for part in text.split(",")]


if __name__ == "__main__":
    main()
