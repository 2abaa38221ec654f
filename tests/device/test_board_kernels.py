"""The boards' own kernels give numpy's outputs at awkward shapes, bit for bit, and read nothing beyond their inputs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from emulator import EMULATED, Results, Stream, make, need_tools

from artifacts import make_artifact
from calibrant import _engine  # private: its tables say how an op is encoded for C
from calibrant.core.program import Constants, Op
from calibrant.engine.engine import _op_fields  # private: C is given ops as the engine gives them
from calibrant.engine.native import encode
from calibrant.export import BOARDS, export
from calibrant.export.sources import Kernel, kernel, root
from conform.convolution import CASES, codes, constants_of, expected, random_conv, rng_of
from programs import Conv

GUARD = 16
SHAPES = [
    *(Conv((depth, 5), (3, 7), pad=(0, 0, 0, 0)) for depth in (1, 3, 4, 5, 8, 16, 17, 33)),
    *(Conv((depth, 3), (4, width), (3, 3), pad=(1, 1, 1, 1)) for depth in (1, 5, 16, 19) for width in (1, 2, 7)),
    Conv((8, 6), (6, 7), (1, 1), stride=(2, 2)),
    Conv((8, 6), (3, 4), (1, 1), pad=(1, 1, 0, 1)),
    Conv((20, 6), (5, 9), (3, 3), stride=(2, 2), pad=(0, 0, 1, 1)),
    *(Conv((c, c), (7, width), (3, 3), (s, s), pad=(1, 1, 1, 1), groups=c)
      for c in (2, 3, 4, 5, 8, 9, 16, 19) for width, s in ((7, 1), (2, 1), (8, 2))),
    Conv((12, 12), (9, 9), (7, 7), pad=(3, 3, 3, 3), groups=12),
    Conv((10, 10), (12, 12), (9, 9), pad=(2, 2, 2, 2), groups=10),  # more taps than tables hold
    Conv((10, 10), (9, 9), (3, 3), dilation=(2, 3), pad=(1, 4, 2, 0), groups=10),
    Conv((6, 6), (4, 6), (2, 4), pad=(1, 1, 0, 2), groups=6, output_bits=32),
    Conv((40, 40), (6, 6), (3, 3), pad=(1, 1, 1, 1), groups=2, zero_points=(-128, 127), clamp=(-128, 127)),
]  # fmt: skip


def conv_cases() -> Iterator[tuple[Conv, bool]]:
    """Geometries, each at random codes of one width, some at codes and weights that are all at a limit."""
    zero_points = ((-128, -128), (127, 127), (0, 0), (3, -5))
    for i, conv in enumerate((*SHAPES, *CASES, *map(random_conv, range(12)))):
        conv = replace(conv, bits=(8, 4, 2)[i % 3], zero_points=zero_points[i % 4])
        yield conv, False
        if i % 3 == 0:
            yield replace(conv, bits=8, zero_points=zero_points[i % 2]), True


def record(depthwise: bool, conv: Conv, op: Op) -> np.ndarray:
    """A kernel_case of kernels.c."""
    program = conv.program()
    rows = [encode(vars(t) | {"offset": 0}, _engine.TENSOR_FIELDS, "") for t in program.tensors]
    rows.append(encode(vars(program.layers[0]), _engine.LAYER_FIELDS, ""))
    rows.append(encode(_op_fields(op, 0), _engine.OP_FIELDS, ""))
    return np.concatenate([[depthwise], *rows]).astype("<i4")


def tied(constants: Constants, rng: np.random.Generator) -> Constants:
    """Powers of two as multipliers, so that many sums lie halfway between two codes, on both sides of zero."""
    shift = rng.integers(31, 43, len(constants.shift)).astype(np.int32)
    return replace(constants, multiplier=np.full_like(constants.multiplier, 2**30), shift=shift)


def parameters(constants: Constants) -> np.ndarray:
    return np.concatenate([constants.bias, constants.multiplier, constants.shift])


@pytest.mark.parametrize("board", EMULATED)
def test_convolutions(board: str, tmp_path: Path) -> None:
    need_tools()
    folder, variant, stream, expectations = tmp_path / "firmware", BOARDS[board].kernels, Stream(), []
    for i, (conv, extreme) in enumerate(conv_cases()):
        rng, program = rng_of(conv, extreme), conv.program()
        x, constants = codes(rng, (1, *conv.size, conv.channels[0]), extreme), constants_of(conv, rng, extreme)
        constants = tied(constants, rng) if i % 3 == 1 else constants
        chosen = kernel(program, program.ops[0], variant)
        assert chosen.variant == variant
        case = record(chosen.name == "depthwise", conv, program.ops[0])
        stream.commands += [part.tobytes() for part in (case, parameters(constants), x, constants.weights)]
        expectations.append((conv, expected(conv, constants, x, np.zeros((1, conv.channels[1]), np.int32))))
    assert {c.groups == c.channels[0] > 1 for c, _ in expectations} == {True, False}
    export(make_artifact(), board, "512KB", "none", folder)
    shutil.copy(Path(__file__).with_name("kernels.c"), folder)
    shutil.copytree(root() / "simd" / variant, folder / "kernels" / variant, dirs_exist_ok=True)
    sources = " ".join(Kernel(name, variant).place for name in ("conv2d", "depthwise"))
    for level in ("-O2", "-O0"):
        results = run_cases(
            folder, stream, f"SOURCES={sources}", f"OPT={level} -DKERNELS={variant}", f"BUILD=build{level}"
        )
        for conv, (outputs, active, *_) in expectations:
            dtype = "<i4" if conv.output_bits == 32 else "i1"
            for _ in range(2):
                assert (results.take("i1", GUARD) == 0x5A).all(), conv
                assert np.array_equal(results.take(dtype, *outputs.shape), outputs), conv
                assert (results.take("i1", GUARD) == 0x5A).all(), conv
            assert np.array_equal(results.take("<i4", *active.shape), active), conv
        assert results.rest == 0


def run_cases(folder: Path, stream: Stream, *arguments: str) -> Results:
    (folder / "stream.bin").write_bytes(b"".join(stream.commands))
    done = make(folder, "-j2", "run", "MAIN=kernels.c", "MORE=-Werror", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return Results((folder / "results.bin").read_bytes())
