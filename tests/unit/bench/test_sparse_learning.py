"""What learns in `bench sparse`: programs cut in two, the float32 twin, both learners, the loop, costs, views."""

import numpy as np
import pytest
import torch

from calibrant import plan, zoo
from calibrant.autodiff import Scheme, differentiate, named
from calibrant.bench.sparse import augment, costs
from calibrant.bench.sparse.fit import Recipe, diverged, fit, rate_at
from calibrant.bench.sparse.float_learner import RealLearner
from calibrant.bench.sparse.float_network import Twin, real
from calibrant.bench.sparse.integer_learner import IntegerLearner
from calibrant.core.errors import ModelError
from calibrant.core.program import Op
from calibrant.engine import Engine, Trainer
from calibrant.plan.cut import cut, position, split
from tinyml import BACKBONE, SIZE, write_network


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tinyml")
    write_network(folder)
    return plan.lower(zoo.load_tinyml(folder / "mcunet-5fps", 4))


@pytest.fixture(scope="module")
def samples():
    rng = np.random.default_rng(0)
    y = np.arange(24) % 4
    x = rng.integers(-40, 40, (24, SIZE, SIZE, 3))
    for row, label in enumerate(y):
        x[row, ..., label % 3] += 80 if label < 3 else -80
    return x.astype(np.int8), y


def test_two_parts_compute_what_the_whole_does(network, samples):
    program, constants = network
    whole = Engine(program, constants).infer(samples[0])
    places = {layer: position(program, layer) for layer in range(BACKBONE + 1)}
    assert places == {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 4, 6: 4, 7: 9}  # nothing can be cut inside the shortcut's block
    for at in {*places.values()} - {0}:
        first, second = cut(program, constants, at)
        entry = second[0].tensors[second[0].input]
        codes = Engine(*first).infer(samples[0]).astype(np.int8).reshape(-1, entry.height, entry.width, entry.channels)
        assert not (Engine(*second).infer(codes) != whole).any()
        assert len(first[0].layers) + len(second[0].layers) == BACKBONE + 1


def test_a_cut_that_several_tensors_cross_is_refused(network):
    with pytest.raises(ValueError, match="cut before op 5: expected one tensor to cross, got 2"):
        cut(*network, 5)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    "scheme", [Scheme(2, {6: 1.0}), Scheme(3, {5: 0.5, 4: 0.25}), Scheme(0), Scheme(None, {0: 1.0})]
)
def test_the_part_that_learns_learns_as_in_one_piece(network, samples, scheme):
    program, constants = network
    x, y = samples
    engine = Engine(program, constants)
    whole = Trainer(engine, plan.schedule(differentiate(program, constants, scheme, head="float32"), program))
    learner = IntegerLearner(program, constants, scheme)
    features = learner.features(x)
    for rows in (slice(0, 8), slice(8, 16), slice(16, 24)):
        loss = float(whole.step(x[rows], y[rows], 1.0).sum(dtype=np.float64))
        assert learner.step(features[rows], y[rows], 1.0) == loss
    assert not (learner.scores(features) != whole.logits(x)).any()
    held = split(program, constants, scheme)
    kept = 0 if held.frozen is None else held.frozen[0].weight_count
    assert not (learner.engine.parameters.weights != engine.parameters.weights[kept:]).any()
    assert (engine.parameters.weights != constants.weights).any() == bool(scheme.weights)


def test_the_twin_is_the_network_in_reals(network, samples):
    program, constants = network
    at = position(program, BACKBONE)  # before the classifier, which is zero
    features, _ = cut(program, constants, at)
    codes = Engine(*features).infer(samples[0])
    tensor = features[0].tensors[features[0].output]
    with torch.no_grad():
        values = Twin(*features)(real(samples[0], program)).flatten(1).numpy()
    error = values - (codes - tensor.zero_point) * tensor.scale
    assert np.abs(error).max() < 4 * tensor.scale
    assert np.abs(values).max() > 10 * tensor.scale


def test_the_twin_refuses_other_ops(network):
    program, constants = network
    with pytest.raises(ModelError, match="float network: expected conv2d, add and mean, got max_pool2d"):
        Twin(type(program)(**{**vars(program), "ops": (Op("max_pool2d", (0,), 1, {}),)}), constants)


def test_reals_learn_what_the_scheme_says(network, samples):
    program, constants = network
    x, y = samples
    learner = RealLearner(program, constants, Scheme(2, {6: 0.25, 5: 0.5}))
    twin = learner.twin
    before = {name: value.clone() for name, value in twin.state_dict().items()}
    features = learner.features(x)
    losses = [learner.step(features, y, 1.0) / len(y) for _ in range(60)]
    assert losses[0] == pytest.approx(np.log(4))
    assert losses[-1] < 0.9 * losses[0]
    changed = {name: (value != before[name]) for name, value in twin.state_dict().items()}
    count = len(twin.program.layers)
    pointwise, depthwise = changed[f"weights.{count - 2}"], changed[f"weights.{count - 3}"]
    assert pointwise.any(dim=(0, 2, 3)).sum() == int(0.25 * 24)  # input channels
    assert depthwise.any(dim=(1, 2, 3)).sum() <= 12
    assert not changed[f"weights.{count - 4}"].any()
    assert changed[f"biases.{count - 2}"].any()
    assert not changed[f"biases.{count - 4}"].any()
    assert changed[f"weights.{count - 1}"].any()


def test_integers_with_scaling_follow_reals(network, samples):
    program, constants = network
    x, y = samples
    scheme, recipe = named("last-2", BACKBONE), Recipe(epochs=8, warmup=1, batch=8, rate=1.0)
    losses = {}
    for name, learner in (
        ("int8", IntegerLearner(program, constants, scheme)),
        ("float", RealLearner(program, constants, scheme)),
        ("plain", IntegerLearner(program, constants, scheme, scaling=False)),
    ):
        features = learner.features(x)
        losses[name] = fit(learner, lambda epoch, held=features: held, y, recipe, seed=0)
    assert losses["int8"][-1] < 0.8 * losses["int8"][0]
    assert losses["int8"][-1] == pytest.approx(losses["float"][-1], rel=0.15)
    assert losses["plain"][-1] > losses["int8"][-1] + 0.1


class Recorder:
    """A learner that only notes what it is shown."""

    def __init__(self, losses):
        self.losses, self.seen = iter(losses), []

    def features(self, codes):
        return codes

    def step(self, features, y, rate):
        self.seen.append((features.tolist(), y.tolist(), rate))
        return next(self.losses)

    def scores(self, features):
        return features


def test_every_sample_once_an_epoch_at_the_rate_of_the_step():
    x, recipe = np.arange(5), Recipe(epochs=2, warmup=1, batch=2, rate=1.0)
    learner = Recorder([1.0] * 9)
    losses = fit(learner, lambda epoch: x + 10 * epoch, x, recipe, seed=3)
    assert losses == [3 / 5] * 3
    for epoch in range(3):
        shown = learner.seen[3 * epoch : 3 * epoch + 3]
        assert sorted(n for features, _, _ in shown for n in features) == [10 * epoch + n for n in range(5)]
        assert all(y == [n % 10 for n in features] for features, y, _ in shown)
    assert [rate for _, _, rate in learner.seen] == [rate_at(recipe, step, 3) for step in range(9)]
    assert learner.seen[-1][2] < 0.1


def test_a_loss_that_is_no_number_ends_the_training():
    losses = fit(Recorder([1.0, float("inf")]), lambda epoch: np.arange(2), np.arange(2), Recipe(9, 0, 1, 1.0), seed=0)
    assert len(losses) == 1
    assert diverged(losses, 10) == "loss inf"


def test_costs_by_hand(network):
    program, constants = network
    assert costs.forward_macs(program) == (
        8 * 8 * 8 * 27 + 8 * 8 * 8 * 16 + 4 * 4 * 16 * 9 + 4 * 4 * 16 * 8 + 4 * 4 * (8 * 24 + 24 * 9 + 24 * 8) + 8 * 4
    )
    training = differentiate(program, constants, Scheme(2, {6: 0.5}), head="float32")
    # gradient through the classifier and b3, weights of half of b3 and the classifier's, its bias too
    assert costs.backward_macs(program, training) == 8 * 4 + 16 * 24 * 8 + 16 * 12 * 8 + 8 * 4 + 4
    assert costs.trained_bytes(training) == 12 * 8 + 4 * (8 + 24) + 4 * (8 * 4 + 4)
    plain = program.weight_count + 12 * program.channel_count
    assert costs.flash_bytes(program, training) == plain + 3 * 32 + 4 * (8 + 24) + 4 * (8 + 8 + 24)


def test_views_are_drawn_by_seed_and_epoch():
    x = np.random.default_rng(0).integers(0, 256, (3, 3, 32, 32), dtype=np.uint8)
    first = augment.views(x, 16, seed=1, epoch=0)
    assert first.shape == (3, 16, 16, 3)
    assert first.dtype == np.int8
    assert np.array_equal(first, augment.views(x, 16, seed=1, epoch=0))
    assert not np.array_equal(first, augment.views(x, 16, seed=1, epoch=1))
    assert not np.array_equal(first, augment.views(x, 16, seed=2, epoch=0))


def test_a_gray_picture_stays_gray():
    x = np.full((8, 3, 32, 32), 128, np.uint8)
    views = augment.views(x, 8, seed=0, epoch=0)
    assert np.ptp(views.astype(int), axis=(1, 2, 3)).max() <= 1
    assert len(np.unique(views)) > 3  # brighter and darker
