"""Offsets in one static arena: the largest block first, each in the tightest gap that its lifetime leaves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from calibrant.core.program import Layer, Op, Program, Tensor
from calibrant.plan.lifetimes import Block, scratch_blocks, tensor_blocks

ALIGNMENT = 64  # one cache line, and the widest vector register


def place(
    tensors: tuple[Tensor, ...], ops: tuple[Op, ...], layers: tuple[Layer, ...], source: int, output: int
) -> Program:
    """The program with an arena offset for every tensor and for the scratch of every op.

    Ops carry `scratch_bytes`; `source` and `output` are the ids of the program's input and output.
    """
    scratch = scratch_blocks(ops)
    offsets = pack([*tensor_blocks(tensors, ops, source, output), *scratch])
    placed = tuple(
        replace(op, attrs={**op.attrs, "scratch_offset": offset if block.nbytes else 0})
        for op, block, offset in zip(ops, scratch, offsets[len(tensors) :], strict=True)
    )
    ends = [o + t.nbytes for o, t in zip(offsets, tensors, strict=False)]
    ends += [op.attrs["scratch_offset"] + op.attrs["scratch_bytes"] for op in placed]
    return Program(
        tensors, placed, layers, source, output, tuple(offsets[: len(tensors)]), aligned(max(ends), ALIGNMENT)
    )


def pack(blocks: Sequence[Block], alignment: int = ALIGNMENT) -> list[int]:
    """Offsets of blocks such that no two that meet overlap; greedy best fit by size, deterministic.

    Examples
    --------
    >>> pack([Block(100, 0, 1), Block(300, 1, 2), Block(64, 2, 3)])
    [320, 0, 320]
    """
    offsets = [0] * len(blocks)
    placed: list[int] = []
    for i in sorted(range(len(blocks)), key=lambda i: (-blocks[i].nbytes, i)):
        neighbors = sorted((offsets[j], blocks[j].nbytes) for j in placed if blocks[j].meets(blocks[i]))
        offsets[i] = _tightest(neighbors, blocks[i].nbytes, alignment)
        placed.append(i)
    return offsets


def _tightest(taken: list[tuple[int, int]], nbytes: int, alignment: int) -> int:
    """Start of the smallest gap that holds `nbytes` between `taken` (offset, bytes), sorted; else the end."""
    best, best_gap, end = -1, 0, 0
    for offset, size in taken:
        gap = offset - end
        if gap >= nbytes and (best < 0 or gap < best_gap):
            best, best_gap = end, gap
        end = max(end, aligned(offset + size, alignment))
    return best if best >= 0 else end


def aligned(nbytes: int, alignment: int) -> int:
    """The next multiple of `alignment`."""
    return -(-nbytes // alignment) * alignment
