"""Offsets in an arena that is as small as a bounded search finds: several greedy orders, then moves within one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from calibrant.core.rng import generator
from calibrant.plan.arena import aligned, pack
from calibrant.plan.lifetimes import Block

ROUNDS = 1500  # orders tried after the greedy ones
WORSE = 0.02  # share of worse orders that the search goes on from, to leave dead ends
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
        Also try up to `ROUNDS` other orders of placement, each with a block moved forward that ends beyond the bound.
        Deterministic; stops at the bound.

    Examples
    --------
    >>> place_blocks([Block(100, 0, 1), Block(300, 1, 2), Block(64, 2, 3)], 4)
    [300, 0, 300]
    """
    packing = _Packing(blocks, alignment)
    goal = bound(blocks, alignment)
    orders = [[i for _, i in sorted((key(block), i) for i, block in enumerate(blocks))] for key in GREEDY]
    best = min([pack(blocks, alignment), *(packing.offsets(order) for order in orders)], key=packing.end)
    if not search or packing.end(best) <= goal:
        return best
    rng = generator(0, "placement")
    order, current = orders[0], packing.offsets(orders[0])
    for _ in range(ROUNDS):
        beyond = packing.beyond(current, goal)
        moved = beyond[int(rng.integers(len(beyond)))]
        rest = [i for i in order if i != moved]
        rest.insert(int(rng.integers(order.index(moved) + 1)), moved)
        tried = packing.offsets(rest)
        if packing.cost(tried, goal) <= packing.cost(current, goal) or rng.random() < WORSE:
            order, current = rest, tried
        if packing.end(current) < packing.end(best):
            best = current
        if packing.end(best) <= goal:
            break
    return best


class _Packing:
    """First fit of blocks in a given order; who meets whom is computed once."""

    def __init__(self, blocks: Sequence[Block], alignment: int) -> None:
        self.sizes = [aligned(block.nbytes, alignment) for block in blocks]
        self.meets = [[j for j, b in enumerate(blocks) if b.nbytes and j != i and a.meets(b)]
                      for i, a in enumerate(blocks)]  # fmt: skip

    def end(self, offsets: Sequence[int]) -> int:
        """Bytes of the arena."""
        return max((o + size for o, size in zip(offsets, self.sizes, strict=True)), default=0)

    def beyond(self, offsets: Sequence[int], goal: int) -> list[int]:
        """Blocks that end beyond `goal`."""
        return [i for i, o in enumerate(offsets) if o + self.sizes[i] > goal]

    def cost(self, offsets: Sequence[int], goal: int) -> tuple[int, int]:
        """Bytes of the arena, then how many blocks are in the way of a smaller one."""
        return self.end(offsets), len(self.beyond(offsets, goal))

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
