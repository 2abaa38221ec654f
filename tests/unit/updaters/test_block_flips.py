"""The block updater: its blocks meet every weight once, it learns with one of them at a time, and has no state."""

from dataclasses import replace

import numpy as np
import pytest

from calibrant import updaters
from calibrant.core.errors import DataError
from calibrant.core.rng import generator
from calibrant.engine import Engine
from calibrant.updaters.block_flips import BlockFlips, blocks, stride


@pytest.fixture
def drifted(artifact):
    rng = generator(0, "drift")
    x = np.repeat(artifact.coreset.x, 6, axis=0) * 0.8 + 12 + rng.normal(0, 6, (54, *artifact.coreset.x.shape[1:]))
    return np.clip(np.rint(x), -128, 127).astype(np.int8), np.repeat(artifact.coreset.y, 6)


def _updated(artifact, drifted, entries, steps=40, **settings):
    engine = Engine(artifact.program, artifact.constants)
    told = replace(artifact.settings, fraction_max=0.3, **settings)
    updater = BlockFlips(artifact.program, artifact.constants, artifact.feedback, told, entries)
    return engine, updater.update(engine, *drifted, np.ones(len(drifted[1]), np.int64), steps)  # type: ignore[call-arg]


@pytest.mark.parametrize("entries", [1, 4, 7, 1000])
def test_blocks_meet_every_weight_once_and_are_small(artifact, entries):
    met = [np.zeros((layer.c_out, layer.c_in // layer.groups), int) for layer in artifact.program.layers]
    for block in blocks(artifact.program, entries):
        met[block.layer][block.rows, block.columns] += 1
        assert met[block.layer][block.rows, block.columns].size <= entries
    assert all((layer == 1).all() for layer in met)


@pytest.mark.parametrize("count", [1, 2, 3, 10, 407, 1000])
def test_strides_meet_every_block(count):
    assert sorted(i * stride(count) % count for i in range(count)) == list(range(count))


@pytest.mark.parametrize("entries", [3, 1000])
def test_loss_falls_and_the_engine_holds_what_is_told(artifact, drifted, entries):
    engine, outcome = _updated(artifact, drifted, entries)
    assert outcome.loss_after < outcome.loss_before
    assert 0 < outcome.accepted <= outcome.steps <= 40
    assert outcome.flips == np.count_nonzero(engine.weights != artifact.constants.weights) > 0


def test_a_step_stays_in_its_block(artifact, drifted):
    engine, outcome = _updated(artifact, drifted, 3, steps=1)
    moved = np.flatnonzero(engine.weights != artifact.constants.weights)
    changed = {
        number
        for number, block in enumerate(blocks(artifact.program, 3))
        for layer in [artifact.program.layers[block.layer]]
        for own in [np.arange(layer.weight_count).reshape(layer.weight_shape)[block.rows, :, :, block.columns]]
        if np.isin(own + layer.weight_offset, moved).any()
    }
    assert outcome.accepted == 1
    assert len(changed) == 1


def test_same_samples_in_any_order_and_again_give_the_same_weights(artifact, drifted):
    order = generator(1, "order").permutation(len(drifted[1]))
    first, _ = _updated(artifact, drifted, 5)
    second, _ = _updated(artifact, (drifted[0][order], drifted[1][order]), 5)
    assert first.weights.tobytes() == second.weights.tobytes()
    assert first.bias.tobytes() == second.bias.tobytes()


def test_biases_stay_where_settings_say_so(artifact, drifted):
    engine, outcome = _updated(artifact, drifted, 5, bias=False)
    assert outcome.accepted > 0
    assert engine.bias.tobytes() == artifact.constants.bias.tobytes()


def test_a_block_needs_an_entry(artifact):
    with pytest.raises(DataError, match="at least 1 entry"):
        BlockFlips(artifact.program, artifact.constants, artifact.feedback, artifact.settings, 0)


def test_artifacts_may_ask_for_blocks(artifact):
    made = updaters.build(artifact, replace(artifact.settings, form="blocks"))
    assert (type(made), made.name) == (BlockFlips, "flip-blocks")
