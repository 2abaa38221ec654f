"""Binary convolutions beside our own int8 ones of the same shape, in every variant that this processor has.

    python benchmarks/binary.py [--rounds 9] [--json out.json]

One core, one process, all programs in turns; times are medians over rounds of the thread's CPU time. A layer that gives
signs is timed as a link of a chain: nine of them less one, by eight. Packing is a program of a sign and a layer of one
output at one position.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from calibrant.core.fixedpoint import quantize_multiplier
from calibrant.core.program import Constants, Layer, Op, Program, Tensor
from calibrant.core.scratch import scratch_bytes
from calibrant.engine import Engine, variants
from calibrant.plan.arena import place
from inference import Call, machine, medians

SHAPES = {"3x3x256x256 at 14x14": (256, 14), "3x3x64x64 at 56x56": (64, 56)}  # channels, side
LINKS = 9
BATCH = 4


class Chain:
    """A program as a list of layers, each on the output of the one before."""

    def __init__(self, channels: int, side: int) -> None:
        self.tensors = [Tensor("x", side, side, channels, 0.1, 3)]
        self.ops: list[Op] = []
        self.layers: list[Layer] = []

    def sign(self) -> Chain:
        """Signs of the last output."""
        last = self.tensors[-1]
        self._add("sign", Tensor("signs", last.height, last.width, last.channels, 1.0, 0, 1), {}, -1)
        return self

    def conv(self, outputs: int, kernel: int, side: int, weight_bits: int, output_bits: int) -> Chain:
        """A convolution of stride 1, as wide as its input, or of one position."""
        last, before = self.tensors[-1], self.layers[-1] if self.layers else None
        stride = 1 if side > 1 else last.height
        pad = kernel // 2
        attrs = {"kernel_h": kernel, "kernel_w": kernel, "stride_h": stride, "stride_w": stride, "pad_top": pad,
                 "pad_left": pad, "dilation_h": 1, "dilation_w": 1, "groups": 1}  # fmt: skip
        offsets = (0, 0, 0) if before is None else (
            before.weight_offset + before.weight_count, before.channel_offset + before.c_out,
            before.pooled_offset + before.c_in,
        )  # fmt: skip
        name = f"layer{len(self.layers)}"
        self.layers.append(Layer(name, weight_bits, outputs, kernel, kernel, last.channels, 1, *offsets))
        kind = "binary_conv2d" if weight_bits == 1 else "conv2d"
        self._add(kind, Tensor(name, side, side, outputs, 0.1, 0, output_bits), attrs, len(self.layers) - 1)
        return self

    def engine(self, variant: str) -> Engine:
        """Of random weights."""
        program = place(tuple(self.tensors), tuple(self.ops), tuple(self.layers), 0, len(self.tensors) - 1)
        return Engine(program, constants(program), variant)

    def _add(self, kind: str, output: Tensor, attrs: dict[str, int], layer: int) -> None:
        full = {"clamp_low": -128, "clamp_high": 127, "rounding": 0, "scratch_offset": 0, **attrs}
        full["scratch_bytes"] = scratch_bytes(kind, self.tensors[-1], output, full)
        self.tensors.append(output)
        self.ops.append(Op(kind, (len(self.tensors) - 2,), len(self.tensors) - 1, full, layer))


def constants(program: Program) -> Constants:
    """Random weights at all layers' widths, and scales that leave most codes inside of their range."""
    rng = np.random.default_rng(0)
    weights = np.empty(program.weight_count, np.int8)
    pairs = np.empty((program.channel_count, 2), np.int32)
    for layer in program.layers:
        count = layer.weight_count
        codes = rng.choice([-1, 1], count) if layer.binary else rng.integers(-127, 128, count)
        weights[layer.weight_slice] = codes
        spread = np.sqrt(count // layer.c_out) * (256 if layer.binary else 127 * 75)
        pairs[layer.channel_slice] = quantize_multiplier(60 / spread)
    bias = np.zeros(program.channel_count, np.int32)
    columns = np.ascontiguousarray(pairs.T)
    return Constants(weights, bias, columns[0], columns[1], np.ones(program.channel_count, np.float32))


def links(channels: int, side: int, count: int) -> Chain:
    """Signs of the input, `count` layers of signs, and one output of all that."""
    chain = Chain(channels, side).sign()
    for _ in range(count):
        chain.conv(channels, 3, side, 1, 1)
    return chain.conv(1, 1, 1, 1, 8)


def measure(channels: int, side: int, rounds: int, names: Sequence[str]) -> dict[str, dict[str, float]]:
    """Microseconds a sample by variant and kind of layer."""
    x = np.random.default_rng(1).integers(-128, 128, (BATCH, side, side, channels)).astype(np.int8)
    programs = {
        "int8": Chain(channels, side).conv(channels, 3, side, 8, 8),
        "to codes": Chain(channels, side).sign().conv(channels, 3, side, 1, 8),
        "packing": links(channels, side, 0),
        "one": links(channels, side, 1),
        "nine": links(channels, side, LINKS),
    }
    calls: dict[str, Call] = {}
    for variant in names:
        for name, chain in programs.items():
            engine = chain.engine(variant)
            calls[f"{variant} {name}"] = lambda engine=engine: engine.infer(x)
    times = {name: row["median"] / BATCH for name, row in medians(calls, rounds).items()}
    return {
        variant: {
            "int8": times[f"{variant} int8"],
            "binary, to signs": (times[f"{variant} nine"] - times[f"{variant} one"]) / (LINKS - 1),
            "binary, to codes": times[f"{variant} to codes"] - times[f"{variant} packing"],
            "packing": times[f"{variant} packing"],
        }
        for variant in names
    }


def main() -> None:
    """Parse, pin to one core, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variants", type=lambda text: text.split(","), default=list(variants()))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path, help="write all numbers here")
    args = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    print(f"{machine()}, one core")
    found = {name: measure(*shape, args.rounds, args.variants) for name, shape in SHAPES.items()}
    for name, (channels, side) in SHAPES.items():
        macs = 9 * channels * channels * side * side
        least = min(row["int8"] for row in found[name].values())
        print(f"\n{name}: microseconds a sample, G products/s, times the fastest int8 of this processor")
        for variant, rows in found[name].items():
            for kind, time in rows.items():
                rate = "" if kind == "packing" else f"{macs / time / 1e3:8.1f}  {least / time:5.2f}x"
                print(f"  {variant:16} {kind:18} {time:10.1f}  {rate}")
    if args.json:
        args.json.write_text(json.dumps({"machine": machine(), "shapes": found}, indent=1))


if __name__ == "__main__":
    main()
