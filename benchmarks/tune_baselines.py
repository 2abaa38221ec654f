"""Finds the settings of the baselines: the tables of calibrant.bench.baselines.tuned.

One pair of subjects per data set, which the reported tables do not have (of DSA and USC-HAD they show pairs 1 to 2, 3
to 4 and 5 to 6, of CIFAR-10 pairs 0 to 1, 0 to 3 and 0 to 5); every bit-width; two seeds. The best mean accuracy on the
target over the first five windows wins, and of the settings within half a point of it the one that keeps the source
best. Learning rates are of one grid for all methods: `bp` begins with six of it, every other method with the three
around `bp`'s best, and each goes on while the best lies at the edge of what it tried (biases alone like larger ones).
Then DER++ tries its weights at 4 bits, and batch-norm re-estimation its momentum over all widths. Every run is kept in
OUT/runs.jsonl, so the same command continues.

    .venv/bin/python benchmarks/tune_baselines.py --data ../shared/data --out OUT/tune

prints what every setting gave on target and source, then the tables; about 25 minutes of one processor for the
series. Pictures cost far more: `--datasets cifar10 --bits 4 --seeds 0 --methods bp er derpp` alone takes about an hour.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from calibrant import artifact, data
from calibrant.bench import adaptation, baselines, qcore
from calibrant.bench.harness.workspace import Workspace
from calibrant.bench.qcore.network import build
from calibrant.bench.recipes import recipe
from calibrant.pipeline import float_training

PAIRS = {"dsa": (2, 1), "usc_had": (7, 8), "cifar10": (0, 4)}
NETWORKS = {"dsa": "cnn", "usc_had": "cnn", "cifar10": "resnet18-w16"}
BITS = (2, 4, 8)
RATES = (3e-5, 1e-4, 3e-4, 1e-3, 2e-3, 3e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.2, 0.5)
FIRST = (3e-4, 1e-2)  # the first and the last of them that `bp` begins with
MOMENTA = (0.1, 0.25, 0.5, 1.0)
DARK_START = {"alpha": 0.3, "beta": 0.5}
DARK = [{"alpha": alpha, "beta": beta} for alpha in (0.1, 0.3, 1.0) for beta in (0.5, 1.0)]
CORESET = 20
EQUAL = 0.005  # differences of accuracy below this decide nothing

Settings = Mapping[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--datasets", nargs="+", choices=PAIRS, default=["dsa", "usc_had"])
    parser.add_argument("--bits", nargs="+", type=int, choices=BITS, default=BITS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--windows", type=int, default=5, help="of ten; the first few tell settings apart best")
    parser.add_argument("--methods", nargs="+", choices=baselines.LEARNERS, default=list(baselines.LEARNERS))
    options = parser.parse_args()
    methods = [method for method in baselines.LEARNERS if method in {"bp", *options.methods}]
    bench = Bench(data.folder(options.data), Workspace(options.out), tuple(options.seeds), options.windows)
    with float_training.threads(1):
        tables = {dataset: tune(bench, dataset, options.bits, methods) for dataset in options.datasets}
    for dataset, (rates, others) in tables.items():
        print(f"\n{dataset}: {others}")
        for method, row in rates.items():
            print(f"{method}: {row}")


def tune(
    bench: Bench, dataset: str, widths: Sequence[int], methods: Sequence[str]
) -> tuple[dict[str, dict[int, float]], dict[str, Settings]]:
    """The winners: a rate per method and width, and the other settings; prints what every setting gave."""
    rates: dict[str, dict[int, float]] = {method: {} for method in methods}
    for bits in widths:
        low, high = map(RATES.index, FIRST)
        for method in methods:
            rates[method][bits] = rate = walk(bench, dataset, method, bits, low, high)
            if method == "bp":
                low, high = max(RATES.index(rate) - 1, 0), min(RATES.index(rate) + 1, len(RATES) - 1)
    others = {"bn": bench.best(dataset, "bn", widths, [{"momentum": momentum} for momentum in MOMENTA])}
    if 4 in widths and "derpp" in methods:
        weights = bench.best(dataset, "derpp", [4], [{"lr": rates["derpp"][4], **dark} for dark in DARK])
        others["derpp"] = {name: weights[name] for name in DARK_START}
    return rates, others


def walk(bench: Bench, dataset: str, method: str, bits: int, low: int, high: int) -> float:
    """The best of the rates from `low` to `high`, or of more while the best is at their edge."""
    extra = DARK_START if method == "derpp" else {}
    while True:
        best = bench.best(dataset, method, [bits], [{"lr": lr, **extra} for lr in RATES[low : high + 1]])["lr"]
        if best == RATES[low] and low > 0:
            low -= 1
        elif best == RATES[high] and high < len(RATES) - 1:
            high += 1
        else:
            return best


@dataclass(frozen=True)
class Bench:
    """Where things are, and what a setting is judged by."""

    root: Path
    workspace: Workspace
    seeds: tuple[int, ...]
    windows: int
    shown: set[str] = field(default_factory=set)

    def best(self, dataset: str, method: str, widths: Sequence[int], settings: Sequence[Settings]) -> Settings:
        """The best of some settings over seeds and widths."""
        scores: list[tuple[float, float]] = []
        for setting in settings:
            runs = [self.run(dataset, method, bits, seed, setting) for bits in widths for seed in self.seeds]
            target, source = np.mean(runs, axis=0)
            scores.append((target, source))
            given = " ".join(f"{name} {value:g}" for name, value in setting.items())
            line = f"{dataset} {method} {','.join(map(str, widths))} bits, {given}: {target:.4f} {source:.4f}"
            if line not in self.shown:
                print(line, flush=True)
            self.shown.add(line)
        highest = max(target for target, _ in scores)
        near = [i for i, (target, _) in enumerate(scores) if target >= highest - EQUAL]
        return settings[max(near, key=lambda i: scores[i][1])]

    def run(self, dataset: str, method: str, bits: int, seed: int, settings: Settings) -> tuple[float, float]:
        """Mean target accuracy over the windows, and source accuracy after them."""
        about = {"dataset": dataset, "method": method, "bits": bits, "seed": seed, "windows": self.windows, **settings}
        done = self._done(about)
        if done is not None:
            return done
        scene = prepared(self.root, self.workspace, dataset, bits, seed)
        subject = scene.subject(method, bits, seed, settings)
        accuracies = []
        for x, y in scene.stream[: self.windows]:
            subject.observe(x, y)
            accuracies.append(_accuracy(subject, scene.target))
        result = float(np.mean(accuracies)), _accuracy(subject, scene.source)
        self._runs.parent.mkdir(parents=True, exist_ok=True)
        with self._runs.open("a", encoding="utf-8") as runs:
            runs.write(json.dumps({**about, "result": result}) + "\n")
        return result

    @property
    def _runs(self) -> Path:
        return self.workspace.root / "runs.jsonl"

    def _done(self, about: Mapping[str, Any]) -> tuple[float, float] | None:
        lines = self._runs.read_text(encoding="utf-8").splitlines() if self._runs.is_file() else []
        for row in map(json.loads, lines):
            if {name: value for name, value in row.items() if name != "result"} == about:
                return row["result"][0], row["result"][1]
        return None


@dataclass(frozen=True)
class Scene:
    """A deployed network, what it trained on, and the streams and test samples it meets."""

    workspace: Workspace
    about: qcore.Training
    job: qcore.Quantization
    model: artifact.Artifact
    domain: data.Domain
    train: Any
    source: Any
    target: Any
    stream: Any

    def subject(self, method: str, bits: int, seed: int, settings: Settings) -> adaptation.Adaptation:
        """The network with a baseline of given settings."""
        net = self.workspace.load_net(asdict(self.job))
        if method == "bn":
            x = self.model.preprocess.apply(self.train)
            learned = self.workspace.load_module(asdict(self.about), build(self.about, self.domain))
            layers = baselines.normalized_layers(learned, x[:2])
            return adaptation.OnServer(baselines.BatchNormStatistics(net, layers, x, **settings), self.model)
        learner = baselines.LEARNERS[method](
            net, *adaptation.core(self.model), steps=baselines.STEPS, seen=len(self.train), seed=seed, **settings
        )
        return adaptation.OnServer(learner, self.model)


@cache
def prepared(root: Path, workspace: Workspace, dataset: str, bits: int, seed: int) -> Scene:
    """Train and quantize what is missing, and load the rest."""
    numbers = PAIRS[dataset]
    sha256, steps = data.digest(dataset, root, numbers[0]), recipe(dataset).steps
    about = qcore.Training(dataset, NETWORKS[dataset], numbers[0], sha256, "segment", seed, steps=steps)
    job = qcore.Quantization(about, bits, CORESET)
    if not workspace.has_module(asdict(about)):
        qcore.train(workspace, root, about)
    if not workspace.artifact_path(asdict(job)).is_file():
        qcore.prepare(workspace, root, job)
    source, target = (data.load(dataset, root, number) for number in numbers)
    train, source_held = data.split(source, "segment", seed)
    rows, held = data.split(target, "segment", seed)
    return Scene(
        workspace,
        about,
        job,
        artifact.read(workspace.artifact_path(asdict(job))),
        domain=source,
        train=source.x[train],
        source=(source.x[source_held], source.y[source_held]),
        target=(target.x[held], target.y[held]),
        stream=data.windows(target.x[rows], target.y[rows], count=qcore.WINDOWS, seed=seed),
    )


def _accuracy(subject: adaptation.Adaptation, samples: Any) -> float:
    return float((subject.predict(samples[0]) == samples[1]).mean())


if __name__ == "__main__":
    main()
