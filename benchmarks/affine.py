"""Affine correction without labels on drifted pairs: accuracy on the target's and the source's test samples.

    .venv/bin/python benchmarks/affine.py --data ../shared/data --out OUT/affine [--pairs 2:1 4:3 6:5] [--json out.json]

Networks, artifacts, streams and test samples are those of `bench qcore`, at 4 bits. Windows come one after the other;
after each the network is corrected, from a memory of what came before it and, for comparison, from that window alone.
`target` is the mean over windows of the accuracy on the target's test samples, as protocols have it; `source`, that of
the artifact's own domain where one window of it (its training samples in as many windows) is corrected for instead,
which should cost nothing; `seconds` is what one correction takes, beside the seconds of one inference of the window.
Trained networks and artifacts are kept in OUT: the same command continues.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant import data
from calibrant.artifact import Artifact, read
from calibrant.bench.harness.workspace import Workspace
from calibrant.bench.qcore import datasets
from calibrant.bench.qcore.jobs import Cell
from calibrant.bench.qcore.network import train
from calibrant.bench.qcore.options import Options, plan
from calibrant.bench.qcore.preparation import prepare
from calibrant.core.parameters import Parameters
from calibrant.core.window import encode
from calibrant.engine import Engine
from calibrant.updaters.affine_correction import AffineCorrection


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of data sets; default CALIBRANT_DATA")
    parser.add_argument("--out", type=Path, default=Path("OUT/affine"))
    parser.add_argument("--dataset", default="dsa")
    parser.add_argument("--network", default="cnn")
    parser.add_argument("--pairs", nargs="+", default=["2:1", "4:3", "6:5"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    sources, targets = zip(*(map(int, pair.split(":")) for pair in asked.pairs), strict=True)
    root = data.folder(asked.data)
    options = Options(
        out=asked.out,
        data=root,
        dataset=asked.dataset,
        network=asked.network,
        source=sources,
        target=targets,
        bits=(4,),
        updaters=("none",),
        seeds=asked.seeds,
    )
    workspace, rows = Workspace(asked.out), []
    print("pair   seed   none   window  memory   source: none  corrected   seconds: inference  correction")
    for cell in plan(options, root):
        rows.append(measure(prepared(workspace, root, cell), datasets.load(root, cell)))
        rows[-1] |= {
            "pair": f"{cell.quantization.training.source}:{cell.target}",
            "seed": cell.quantization.training.seed,
        }
        print(
            "{pair:<7}{seed:>3}   {none:.3f}   {window:.3f}   {memory:.3f}          {source:.3f}     {home:.3f}"
            "              {inference:.3f}       {correction:.3f}".format(**rows[-1]),
            flush=True,
        )
    means = {
        name: float(np.mean([row[name] for row in rows])) for name in ("none", "window", "memory", "source", "home")
    }
    print("mean         {none:.3f}   {window:.3f}   {memory:.3f}          {source:.3f}     {home:.3f}".format(**means))
    if asked.json:
        asked.json.write_text(json.dumps({"rows": rows, "means": means}, indent=1) + "\n", encoding="ascii")


def prepared(workspace: Workspace, root: Path, cell: Cell) -> Artifact:
    """The pair's artifact, made where it is not kept."""
    quantization = cell.quantization
    if not workspace.has_module(asdict(quantization.training)):
        train(workspace, root, quantization.training)
    if not workspace.has_prepared(asdict(quantization)):
        prepare(workspace, root, quantization)
    return read(workspace.artifact_path(asdict(quantization)))


def measure(artifact: Artifact, seen: datasets.Scene) -> dict[str, Any]:
    """One row."""
    engine, correction = Engine(artifact.program, artifact.constants), AffineCorrection.of(artifact)

    def codes(x: NDArray[np.float32]) -> NDArray[np.int8]:
        return encode(x, artifact.program.tensors[artifact.program.input], artifact.preprocess, artifact.input_shape)

    def accuracy(parameters: Parameters, samples: datasets.Samples) -> float:
        engine.load(parameters)
        scores = artifact.meaning.scores(engine.infer(codes(samples[0])))
        engine.load(own)
        return float((scores.argmax(axis=1) == samples[1]).mean())

    own, memory = engine.parameters, correction.from_nothing()
    alone, together, inference, spent = [], [], 0.0, 0.0
    for x, _ in seen.stream:
        window = codes(x)
        started = time.perf_counter()
        engine.infer(window)
        between = time.perf_counter()
        corrected, memory = correction.correct(engine, window, memory)
        inference, spent = inference + between - started, spent + time.perf_counter() - between
        together.append(accuracy(corrected, seen.target_test))
        only, _ = correction.correct(engine, window, correction.from_nothing())
        alone.append(accuracy(only, seen.target_test))
    order = np.random.default_rng(0).permutation(len(seen.train[1]))
    home = [
        correction.correct(engine, codes(seen.train[0][rows]), correction.from_nothing())[0]
        for rows in np.array_split(order, len(seen.stream))
    ]
    return {
        "none": accuracy(own, seen.target_test),
        "window": float(np.mean(alone)),
        "memory": float(np.mean(together)),
        "last": together[-1],
        "source": accuracy(own, seen.source_test),
        "home": float(np.mean([accuracy(each, seen.source_test) for each in home])),
        "inference": inference / len(seen.stream),
        "correction": spent / len(seen.stream),
    }


if __name__ == "__main__":
    main()
