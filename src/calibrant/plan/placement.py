"""Offsets in an arena that is as small as a bounded search finds: several greedy orders, then moves in the best one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from calibrant.core.rng import generator
from calibrant.plan.arena import aligned, pack
from calibrant.plan.lifetimes import Block

ROUNDS = 400  # orders tried after the greedy ones, of blocks that reach the end of the arena
Key = Callable[[Block], tuple[int, ...]]
GREEDY: tuple[Key, ...] = (
    lambda b: (-b.nbytes,),
    lambda b: (b.first - b.last, -b.nbytes),  # the longest in use first
    lambda b: (-b.nbytes * (b.last - b.first + 1),),
    lambda b: (b.first, -b.nbytes),
    lambda b: (-b.last, -b.nbytes),
)


def bound(blocks: Sequence[Block], alignment: int = 1) -> int:
    """The most bytes in use at one step, each block rounded up to `alignment`: no arena is smaller.

    Examples
    --------
    >>> bound([Block(100, 0, 1), Block(300, 1, 2), Block(64, 2, 3)])
    400
    """
    change: dict[int, int] = {}
    for block in blocks:
        size = aligned(block.nbytes, alignment)
        change[block.first] = change.get(block.first, 0) + size
        change[block.last + 1] = change.get(block.last + 1, 0) - size
    most = now = 0
    for step in sorted(change):
        now += change[step]
        most = max(most, now)
    return most


def place_blocks(blocks: Sequence[Block], alignment: int, *, search: bool = True) -> list[int]:
    """Offsets of blocks such that no two that meet overlap; never a larger arena than `arena.pack` gives.

    Parameters
    ----------
    blocks : sequence of Block
    alignment : int
        Of every offset, in bytes.
    search : bool
        Also try `ROUNDS` other orders of placement, each with a block that reaches the end of the arena moved forward;
        stops at the bound. Deterministic.

    Examples
    --------
    >>> place_blocks([Block(100, 0, 1), Block(300, 1, 2), Block(64, 2, 3)], 4)
    [300, 0, 300]
    """
    packing = _Packing(blocks, alignment)
    goal = bound(blocks, alignment)
    orders = [[i for _, i in sorted((key(block), i) for i, block in enumerate(blocks))] for key in GREEDY]
    candidates = [(packing.offsets(order), order) for order in orders]
    candidates.append((pack(blocks, alignment), orders[0]))
    offsets, order = min(candidates, key=lambda candidate: packing.end(candidate[0]))
    if not search:
        return offsets
    end, current = packing.end(offsets), offsets
    rng = generator(0, "placement")
    for _ in range(ROUNDS):
        if end <= goal:
            break
        last = [i for i in order if current[i] + packing.sizes[i] == packing.end(current)]
        moved = last[int(rng.integers(len(last)))]
        rest = [i for i in order if i != moved]
        rest.insert(int(rng.integers(order.index(moved) + 1)), moved)
        tried = packing.offsets(rest)
        if packing.end(tried) <= packing.end(current):
            order, current = rest, tried
            if packing.end(tried) < end:
                end, offsets = packing.end(tried), tried
    return offsets


class _Packing:
    """First fit of blocks in a given order; who meets whom is computed once."""

    def __init__(self, blocks: Sequence[Block], alignment: int) -> None:
        self.sizes = [aligned(block.nbytes, alignment) for block in blocks]
        self.meets = [[j for j, b in enumerate(blocks) if b.nbytes and j != i and a.meets(b)]
                      for i, a in enumerate(blocks)]  # fmt: skip

    def end(self, offsets: Sequence[int]) -> int:
        """Bytes of the arena."""
        return max((o + size for o, size in zip(offsets, self.sizes, strict=True)), default=0)

    def offsets(self, order: Sequence[int]) -> list[int]:
        """Each block at the lowest offset that is free during its whole life."""
        offsets = [-1] * len(self.sizes)
        for i in order:
            at = 0
            if self.sizes[i]:
                for start, end in sorted((offsets[j], offsets[j] + self.sizes[j]) for j in self.meets[i]
                                         if offsets[j] >= 0):  # fmt: skip
                    if start - at >= self.sizes[i]:
                        break
                    at = max(at, end)
            offsets[i] = at
        return offsets
