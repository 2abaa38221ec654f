"""Finds the share of weights that a pass of `qcore-paper` may move: SHARE of calibrant.bench.qcore_paper.network.

On the pair of subjects that the baselines are tuned on. Prints, per bit-width and share, the mean accuracy on the
target over the windows, that on the source after them, and how many codes then differ, each a mean over seeds; the
first lines give what does not adapt, and the share of codes that a step of the calibration itself moves.

    .venv/bin/python benchmarks/tune_qcore_paper.py --data ../shared/data --out OUT/tune
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from calibrant import data
from calibrant.bench import adaptation, qcore_paper
from calibrant.bench.harness.workspace import Workspace
from calibrant.bench.qcore_paper.calibration import Settings, calibrate
from calibrant.core.rng import generator
from calibrant.pipeline import float_training
from tune_baselines import BITS, PAIRS, prepared


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--dataset", choices=PAIRS, default="dsa")
    parser.add_argument("--bits", nargs="+", type=int, choices=BITS, default=BITS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--shares", nargs="+", type=float, default=[0.0003, 0.001, 0.003, 0.01])
    parser.add_argument("--passes", type=int, default=qcore_paper.PASSES)
    options = parser.parse_args()
    print("bits share target source changed", flush=True)
    with float_training.threads(1):
        for bits in options.bits:
            print(bits, "calibration moves", np.round(np.mean([_moved(options, bits, s) for s in options.seeds], 0), 4))
            for share in [0.0, *options.shares]:
                runs = np.array([_run(options, bits, seed, share) for seed in options.seeds])
                print(bits, share, *np.round(runs.mean(0), 4), "each", *np.round(runs[:, 0], 4), flush=True)


def _run(options: argparse.Namespace, bits: int, seed: int, share: float) -> tuple[float, float, int]:
    scene = prepared(data.folder(options.data), Workspace(options.out), options.dataset, bits, seed)
    net, core = scene.workspace.load_net(asdict(scene.job)), adaptation.core(scene.model)
    path = scene.workspace.artifact_path(asdict(scene.job))
    networks = qcore_paper.load_or_learn(path, net, *core, seed=seed)
    learner = qcore_paper.BitFlipping(net, networks, *core, passes=options.passes, share=share, seed=seed)
    standardized = scene.model.preprocess.apply
    before, accuracies = learner.codes(), []
    for x, y in scene.stream:
        if share:
            learner.observe(standardized(x), y)
        accuracies.append((learner.predict(standardized(scene.target[0])) == scene.target[1]).mean())
    source = (learner.predict(standardized(scene.source[0])) == scene.source[1]).mean()
    after = learner.codes()
    return np.mean(accuracies), source, sum(int((after[name] != before[name]).sum()) for name in before)


def _moved(options: argparse.Namespace, bits: int, seed: int) -> list[float]:
    """Share of codes that change in each step of one calibration."""
    scene = prepared(data.folder(options.data), Workspace(options.out), options.dataset, bits, seed)
    x, y = (torch.from_numpy(part) for part in adaptation.core(scene.model))
    net = scene.workspace.load_net(asdict(scene.job))
    records = calibrate(net, x, y, Settings(), generator(seed, "moved"))
    return [float(torch.cat([m.flatten() for m in r.moves.values()]).abs().mean()) for r in records]


if __name__ == "__main__":
    main()
