"""The planner never lets two blocks that meet overlap, and reuses memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibrant.plan import lower
from calibrant.plan.arena import ALIGNMENT, pack, place
from calibrant.plan.check import check
from calibrant.plan.lifetimes import Block
from calibrant.quantize import to_integer
from random_graphs import random_annotated

BLOCKS = st.lists(
    st.builds(
        lambda n, a, b: Block(n, min(a, b), max(a, b)), st.integers(0, 700), st.integers(0, 9), st.integers(0, 9)
    ),
    max_size=20,
)


@given(BLOCKS)
def test_blocks_in_use_together_are_apart(blocks: list[Block]) -> None:
    offsets = pack(blocks)
    for i, (a, at) in enumerate(zip(blocks, offsets, strict=True)):
        assert at % ALIGNMENT == 0
        for b, other in zip(blocks[:i], offsets[:i], strict=True):
            shared = {op for op in range(10) if a.first <= op <= a.last and b.first <= op <= b.last}
            if shared and a.nbytes and b.nbytes:
                assert at + a.nbytes <= other or other + b.nbytes <= at


@given(BLOCKS)
def test_no_larger_than_without_reuse_and_no_smaller_than_the_peak(blocks: list[Block]) -> None:
    end = max((o + b.nbytes for o, b in zip(pack(blocks), blocks, strict=True)), default=0)
    assert end <= sum(b.nbytes + ALIGNMENT for b in blocks)
    assert end >= max(sum(b.nbytes for b in blocks if b.first <= op <= b.last) for op in range(10))


def test_a_block_goes_to_the_tightest_gap() -> None:
    """Gaps of 128 and 64 bytes are free while the last block lives: it takes the smaller."""
    wall = [Block(320, 0, 9), Block(256, 0, 9), Block(192, 0, 9)]
    gaps = [Block(128, 0, 0), Block(64, 0, 0)]
    offsets = pack([*wall, *gaps, Block(64, 5, 5)])
    assert offsets[:5] == [0, 320, 576, 768, 896]
    assert offsets[5] == 768  # both gaps are behind the wall, where free memory has no end
    fenced = pack([Block(640, 0, 9), Block(512, 1, 1), Block(320, 0, 0), Block(128, 3, 9), Block(64, 5, 5)])
    assert fenced == [0, 640, 640, 640, 768]


@pytest.mark.parametrize("seed", range(30))
def test_plans_of_random_graphs_pass_the_checker(seed: int) -> None:
    program, _ = lower(to_integer(random_annotated(seed)[0]))
    check(program)
    again = place(program.tensors, program.ops, program.layers, program.input, program.output)
    assert again == program


def test_memory_is_reused_along_a_chain() -> None:
    program, _ = lower(to_integer(random_annotated(3)[0]))
    everything = sum(t.nbytes for t in program.tensors) + sum(op.attrs["scratch_bytes"] for op in program.ops)
    assert program.arena_bytes < everything
