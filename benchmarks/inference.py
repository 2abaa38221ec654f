"""Int8 inference on one core against ONNX Runtime's better of float32 and int8, and the fraction of the int8 peak.

    python benchmarks/inference.py --data ../shared/data [--json out.json] [--variant avx2]

Both run in this process on the same samples, in turns; times are medians over rounds of the thread's CPU time, so a
busy neighbor costs little. The convolutions' fraction of the peak is multiply-accumulates over time, layer by layer
in programs of one op, over what the same multiply-add instruction reaches on registers alone. ONNX Runtime's int8 on
processors without VNNI adds pairs of products in 16 bits that saturate; ours is exact.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import onnx_peer
from calibrant import _engine, data, frontend, passes, plan, quantize, zoo
from calibrant.core.program import Constants, Program
from calibrant.engine import Engine, variants
from calibrant.graph.graph import Graph
from calibrant.plan.arena import place

NETWORKS = {"cnn": (45, 125), "inception_time": (45, 87)}  # 2.9 M and 40 M multiply-accumulates
BATCHES = (1, 32)
ROUND_SECONDS = 0.1

Call = Callable[[], Any]


def samples(folder: str | None, shape: tuple[int, int], count: int) -> tuple[NDArray[np.float32], str]:
    """Windows of Daily and Sports Activities cut to length, standardized; noise if there is no folder."""
    if folder is None:
        return np.random.default_rng(0).normal(size=(count, *shape)).astype(np.float32), "noise"
    subject = data.subjects("dsa", folder)[0]
    x = data.load("dsa", folder, subject).x[::7][:count, :, : shape[1]]
    x = (x - x.mean((0, 2), keepdims=True)) / (x.std((0, 2), keepdims=True) + 1e-6)
    return np.ascontiguousarray(x, np.float32), f"dsa subject {subject}"


def lowered(graph: Graph, x: NDArray[np.float32], bits: int) -> tuple[Program, Constants]:
    """The network's program with weights of some bits."""
    ranges = quantize.observe_ranges(graph, x)
    return plan.lower(quantize.to_integer(quantize.annotate(graph, ranges, bits)))


def encoded(program: Program, x: NDArray[np.float32]) -> NDArray[np.int8]:
    """Input codes [N, 1, T, C]."""
    tensor = program.tensors[program.input]
    codes = np.clip(np.rint(x / np.float32(tensor.scale)) + tensor.zero_point, -128, 127).astype(np.int8)
    return np.ascontiguousarray(codes.transpose(0, 2, 3, 1))


def medians(calls: Mapping[str, Call], rounds: int) -> dict[str, dict[str, float]]:
    """Microseconds a call, in turns: median and spread over rounds."""
    repeats = {}
    for name, call in calls.items():
        call()
        once = seconds(call, 1)
        repeats[name] = max(1, int(ROUND_SECONDS / max(once, 1e-6)))
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            times[name].append(seconds(call, repeats[name]) / repeats[name] * 1e6)
    return {n: {"median": float(np.median(t)), "low": min(t), "high": max(t)} for n, t in times.items()}


def seconds(call: Call, repeats: int) -> float:
    """CPU time of this thread."""
    start = time.thread_time()
    for _ in range(repeats):
        call()
    return time.thread_time() - start


def macs_of(program: Program, index: int) -> int:
    """Multiply-accumulates of a conv2d for one sample."""
    op = program.ops[index]
    output = program.tensors[op.output]
    return program.layers[op.layer].weight_count * output.height * output.width


def layer_times(program: Program, constants: Constants, variant: str, rounds: int) -> list[dict[str, Any]]:
    """Microseconds a sample of every op on its own, timed at batch 32; multiply-accumulates of convolutions."""
    rows, calls = [], {}
    rng = np.random.default_rng(0)
    for index, op in enumerate(program.ops):
        if len(op.inputs) > 1:
            continue
        layers, part = (), Constants(*(a[:0] for a in vars(constants).values()))
        if op.layer >= 0:
            layer = program.layers[op.layer]
            layers = (replace(layer, weight_offset=0, channel_offset=0, pooled_offset=0),)
            part = Constants(
                constants.weights[layer.weight_slice],
                *(getattr(constants, name)[layer.channel_slice] for name in ("bias", "multiplier", "shift", "scale")),
            )
        tensors = program.tensors[op.inputs[0]], program.tensors[op.output]
        alone = place(tensors, (replace(op, inputs=(0,), output=1, layer=len(layers) - 1),), layers, 0, 1)
        engine = Engine(alone, part, variant)
        x = rng.integers(-128, 128, (32, tensors[0].height, tensors[0].width, tensors[0].channels)).astype(np.int8)
        name = f"{index} {layers[0].name if layers else op.kind}"
        calls[name] = lambda engine=engine, x=x: engine.infer(x)
        rows.append({"op": name, "kind": op.kind, "macs": macs_of(program, index) if layers else 0})
    for row, spread in zip(rows, medians(calls, rounds).values(), strict=True):
        row["microseconds"] = spread["median"] / 32
    return rows


def peak_of(variant: str, bits: int) -> float:
    """Multiply-accumulates per second of the variant's multiply-add on registers; 0 if it has none."""
    rounds = 1_000_000
    done = _engine.peak(variant, bits, rounds)
    return done / min(seconds(lambda: _engine.peak(variant, bits, rounds), 1) for _ in range(20))


def machine() -> str:
    """The processor's name."""
    for line in Path("/proc/cpuinfo").read_text().splitlines() if sys.platform == "linux" else ():
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.processor()


def measure(name: str, shape: tuple[int, int], args: argparse.Namespace, variant: str) -> dict[str, Any]:
    """One network: our engine at each width against every form of ONNX Runtime, at each batch."""
    x, source = samples(args.data, shape, 64)
    graph = passes.run(frontend.from_torch(zoo.build(name, *shape, 19), torch.zeros(2, *shape)))
    maps = x.reshape(len(x), shape[0], 1, shape[1])
    result: dict[str, Any] = {"network": name, "shape": shape, "data": source, "batch": {}, "bits": {}}
    engines = {}
    for bits in args.bits:
        program, constants = lowered(graph, maps, bits)
        engines[bits] = Engine(program, constants, variant), encoded(program, maps)
        ops = layer_times(program, constants, variant, args.rounds)
        conv = [row for row in ops if row["macs"]]
        rate = sum(row["macs"] for row in conv) / sum(row["microseconds"] for row in conv) * 1e6
        peak = peak_of(variant, bits)
        result["macs"] = sum(row["macs"] for row in conv)
        result["bits"][bits] = {
            "ops": ops,
            "macs_per_second": rate,
            "peak": peak,
            "fraction": rate / peak if peak else 0,
        }
    with tempfile.TemporaryDirectory() as folder:
        peers = onnx_peer.sessions(graph, maps, Path(folder))
        agree(graph, maps, engines[max(args.bits)], peers["float32 2-D"][0])
        for batch in BATCHES:
            calls: dict[str, Call] = {}
            for bits, (engine, codes) in engines.items():
                calls[f"calibrant {bits}-bit"] = lambda e=engine, c=codes[:batch]: e.infer(c)
            for form, (session, flat) in peers.items():
                feed = {graph.input: np.ascontiguousarray(maps[:batch, :, 0] if flat else maps[:batch])}
                calls[form] = lambda s=session, f=feed: s.run(None, f)
            result["batch"][batch] = medians(calls, args.rounds)
    return result


def agree(graph: Graph, x: NDArray[np.float32], ours: tuple[Engine, NDArray[np.int8]], peer: Any) -> None:
    """Refuse to time networks that do not compute the same thing."""
    theirs = peer.run(None, {graph.input: x})[0]
    correlation = np.corrcoef(theirs.ravel(), ours[0].infer(ours[1]).ravel().astype(np.float64))[0, 1]
    if len(theirs) * theirs.shape[1] != ours[0].infer(ours[1]).size or correlation < 0.9:
        raise SystemExit(f"outputs disagree: correlation {correlation:.3f}")


def table(result: dict[str, Any]) -> None:
    """Print one network's rows."""
    print(f"\n{result['network']}: {result['macs'] / 1e6:.1f} M multiply-accumulates, {result['data']}")
    for bits, row in result["bits"].items():
        fraction = f", {row['fraction']:.0%} of {row['peak'] / 1e9:.1f} G/s on registers" if row["peak"] else ""
        print(f"  convolutions at {bits} bits: {row['macs_per_second'] / 1e9:.1f} G multiply-accumulates/s{fraction}")
    for batch, rows in result["batch"].items():
        peers = {name: row["median"] for name, row in rows.items() if not name.startswith("calibrant")}
        best = min(peers, key=peers.__getitem__)
        print(f"  batch {batch}: microseconds, median [lowest, highest]")
        for name, row in rows.items():
            note = f"  {peers[best] / row['median']:.2f}x as fast as the best peer" if name not in peers else ""
            note += "  <- best peer" if name == best else ""
            print(f"    {name:28} {row['median']:10.1f} [{row['low']:.1f}, {row['high']:.1f}]{note}")


def main() -> None:
    """Parse, pin to one core, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data",
        default=os.environ.get("CALIBRANT_DATA"),
        help="folder that holds dsa/ (default: CALIBRANT_DATA, or noise)",
    )
    parser.add_argument("--variant", choices=variants(), default=variants()[-1])
    parser.add_argument("--bits", type=lambda text: [int(b) for b in text.split(",")], default=[8, 4])
    parser.add_argument("--networks", type=lambda text: text.split(","), default=list(NETWORKS))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path, help="write all numbers here")
    args = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    print(f"{machine()}, one core; calibrant {args.variant}: {_engine.instructions(args.variant)}; "
          f"onnxruntime {onnx_peer.onnxruntime.__version__}")  # fmt: skip
    results = [measure(name, NETWORKS[name], args, args.variant) for name in args.networks]
    for result in results:
        table(result)
    if args.json:
        args.json.write_text(json.dumps({"machine": machine(), "variant": args.variant, "results": results}, indent=1))


if __name__ == "__main__":
    main()
