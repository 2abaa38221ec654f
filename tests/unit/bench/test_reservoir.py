"""The memory over a stream: its size never changes, and every row has the same chance to stay."""

import numpy as np
import pytest
import torch

from calibrant.bench.baselines.reservoir import Reservoir
from calibrant.core.errors import DataError
from calibrant.core.rng import generator


def test_every_row_is_as_likely_to_be_kept():
    kept = np.zeros(60)
    for seed in range(600):
        memory = Reservoir(torch.arange(6), seen=6, rng=generator(seed, "test"))
        for part in torch.arange(6, 60).split(9):
            memory.add(part)
            assert len(memory) == 6
        kept[memory.fields[0].numpy()] += 1
    assert memory.seen == 60
    for third in kept.reshape(3, 20):  # 600 * 6 / 60 = 60 a row, 1200 a third, deviation about 33
        assert 1080 < third.sum() < 1320


def test_rows_that_stand_for_many_are_displaced_slowly():
    left = []
    for seen in (6, 60):
        total = 0
        for seed in range(200):
            memory = Reservoir(torch.arange(6), seen=seen, rng=generator(seed, "test"))
            memory.add(torch.arange(6, 66))
            total += int((memory.fields[0] < 6).sum())
        left.append(total / 200)
    assert left[0] == pytest.approx(6 * 6 / 66, abs=0.15)
    assert left[1] == pytest.approx(6 * 60 / 120, abs=0.3)


def test_fields_stay_together_and_are_copies():
    x, y = torch.arange(8.0), torch.arange(8)
    memory = Reservoir(x, y, seen=8, rng=generator(0, "test"))
    memory.add(torch.arange(8.0, 40), torch.arange(8, 40))
    assert torch.equal(memory.fields[0].long(), memory.fields[1])
    assert memory.fields[1].max() > 7
    assert torch.equal(y, torch.arange(8))


@pytest.mark.parametrize(("size", "seen"), [(0, 5), (3, 2)])
def test_impossible_memories_are_refused(size, seen):
    with pytest.raises(DataError, match="memory: expected at least one sample, drawn from as many or more"):
        Reservoir(torch.zeros(size), seen=seen, rng=generator(0, "test"))
