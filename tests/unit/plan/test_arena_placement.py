"""Blocks in use together are apart, in an arena no larger than plain packing gives."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from calibrant.plan.arena import pack
from calibrant.plan.lifetimes import Block
from calibrant.plan.placement import bound, place_blocks

BLOCKS = st.lists(
    st.builds(
        lambda n, a, b: Block(n, min(a, b), max(a, b)), st.integers(0, 300), st.integers(0, 9), st.integers(0, 9)
    ),
    max_size=16,
)


def end(blocks: list[Block], offsets: list[int]) -> int:
    return max((o + b.nbytes for o, b in zip(offsets, blocks, strict=True)), default=0)


@given(BLOCKS, st.sampled_from((4, 16, 64)), st.booleans())
def test_blocks_in_use_together_are_apart(blocks: list[Block], alignment: int, search: bool) -> None:
    offsets = place_blocks(blocks, alignment, search=search)
    for i, (a, at) in enumerate(zip(blocks, offsets, strict=True)):
        assert at % alignment == 0
        for b, other in zip(blocks[:i], offsets[:i], strict=True):
            if {*range(a.first, a.last + 1)} & {*range(b.first, b.last + 1)} and a.nbytes and b.nbytes:
                assert at + a.nbytes <= other or other + b.nbytes <= at


@given(BLOCKS, st.sampled_from((4, 16, 64)))
def test_between_the_bound_and_plain_packing(blocks: list[Block], alignment: int) -> None:
    offsets = place_blocks(blocks, alignment)
    assert offsets == place_blocks(blocks, alignment)
    in_use = max(sum(b.nbytes for b in blocks if b.first <= at <= b.last) for at in range(10))
    assert bound(blocks) == in_use <= end(blocks, offsets)
    assert end(blocks, offsets) <= end(blocks, pack(blocks, alignment)) + alignment - 1
    assert end(blocks, offsets) <= end(blocks, place_blocks(blocks, alignment, search=False)) + alignment - 1


def test_the_search_closes_a_gap_that_every_greedy_order_leaves() -> None:
    """Seven blocks that fit without a gap; each greedy order wastes some."""
    spans = ((31, 2, 5), (27, 3, 6), (69, 1, 6), (59, 5, 7), (56, 1, 3), (18, 0, 1), (68, 2, 2))
    blocks = [Block(*span) for span in spans]
    greedy = end(blocks, place_blocks(blocks, 1, search=False))
    assert end(blocks, place_blocks(blocks, 1)) == bound(blocks) < greedy
