"""The paper's network learns, its flips last and stay in range, and the coreset is renewed by misses."""

import functools

import numpy as np
import pytest
import torch

import networks
from calibrant import frontend, passes
from calibrant.bench.qcore_paper import BitFlipNetwork, BitFlipping, Form, Settings, cache, covered, learn
from calibrant.bench.qcore_paper.calibration import calibrate, fit, layer_inputs
from calibrant.bench.qcore_paper.device import miss_weights, redraw
from calibrant.core.dtype import weight_range
from calibrant.core.errors import ModelError
from calibrant.core.rng import generator
from calibrant.pipeline import float_training
from calibrant.quantize import FakeQuantNet, annotate, observe_ranges

QUICK = Settings(trajectories=1, records=2, inner=2, updates=10)
CORE = 6


@pytest.fixture(autouse=True)
def one_thread():
    with float_training.threads(1):
        yield


@functools.cache
def quantized(name="cnn", bits=4):
    """A quantized network with a coreset of six and a window of thirty, labeled by chance."""
    model, example = networks.network(name)
    shape = tuple(example.shape[1:])
    x = generator(0, "test").normal(size=(36, *shape)).astype(np.float32)
    folded = passes.run(frontend.from_torch(model.eval(), torch.from_numpy(x[:2])))
    net = FakeQuantNet(annotate(folded, observe_ranges(folded, x), bits))
    y = np.arange(36) % 4
    return net, (x[:CORE], y[:CORE]), (x[CORE:], y[CORE:])


def learner(net, core, share=0.05, **settings):
    return BitFlipping(net, learn(net, *core, settings=QUICK), *core, share=share, **settings)


def test_layers_of_one_form_share_a_network():
    net, core, _ = quantized("inception")
    forms = covered(net)
    assert {form.kernel for form in forms.values()} == {8, 5, 3}
    assert len(forms) == 6  # two blocks of three branches; bottlenecks, shortcuts and the head have kernels of one
    assert len(learn(net, *core, settings=QUICK)) == 3
    grouped = covered(quantized("inverted")[0])
    assert grouped == {}  # depthwise and 1x1 only
    rows = covered(quantized("residual")[0])
    assert list(rows.values()) == [Form(2, 6, 9, 63), Form(6, 8, 9, 63)]


def test_a_network_emits_the_shape_of_the_weight_and_few_moves():
    network = BitFlipNetwork(Form(c_in=3, c_out=8, kernel=4, positions=11), samples=CORE)
    x = torch.from_numpy(generator(0, "x").normal(size=(CORE, 3, 11)).astype(np.float32))
    assert network(x).shape == (3, 8, 4)
    moves = network.moves(x, share=0.25)
    assert moves.shape == (8, 3, 4)
    assert set(moves.unique().tolist()) == {-1.0, 0.0, 1.0}
    assert int(moves.abs().sum()) == 24
    change = network(x).transpose(0, 1)
    assert change[moves != 0].abs().min() > change[moves == 0].abs().max()
    assert (change.sign() == moves)[moves != 0].all()
    assert int(network.moves(x, share=0.0).abs().sum()) == 1


def test_training_changes_every_parameter_and_lowers_the_error():
    form, rng = Form(c_in=5, c_out=4, kernel=3, positions=12), generator(0, "fit")
    truth = BitFlipNetwork(form, CORE)
    examples = []
    for _ in range(30):
        x = torch.from_numpy(rng.normal(size=(CORE, 5, 12)).astype(np.float32))
        examples.append((x, truth.moves(x, 0.1).transpose(0, 1)))
    network = BitFlipNetwork(form, CORE)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    fit(network, examples[:25], Settings(updates=400), rng)
    for key, value in network.state_dict().items():
        assert (value != before[key]).all(), key
    right = wrong = 0
    for x, moves in examples[25:]:
        predicted = network.moves(x, 0.1).transpose(0, 1)
        right += int(((predicted == moves) & (moves != 0)).sum())
        wrong += int(((predicted == -moves) & (moves != 0)).sum())
    assert right > 5 * max(wrong, 1)


def test_calibration_moves_codes_of_every_covered_layer_and_lowers_the_loss():
    net, (x, y), _ = quantized()
    before = net.codes()
    how = Settings(records=8, inner=5)
    records = list(calibrate(net, torch.from_numpy(x), torch.from_numpy(y), how, generator(0, "calibrate")))
    assert records[-1].loss < records[0].loss
    for name, form in covered(net).items():
        moves = torch.stack([record.moves[name] for record in records])
        assert moves.shape[1:] == (form.c_in, form.c_out, form.kernel)
        assert set(moves.unique().tolist()) == {-1.0, 0.0, 1.0}
        assert records[0].inputs[name].shape == (CORE, form.c_in, form.positions)
    for name, codes in net.codes().items():
        np.testing.assert_array_equal(codes, before[name])


def test_the_device_shows_a_network_what_training_showed_it():
    net, core, window = quantized()
    networks = learn(net, *core, settings=QUICK)
    subject = BitFlipping(net, networks, *core, share=0.05, passes=1)
    first, form = next(iter(covered(net).items()))
    seen = []
    networks[form].register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    subject.observe(*window)
    assert torch.equal(seen[0], layer_inputs(net, torch.from_numpy(core[0]))[first])
    assert torch.equal(seen[0], net.trace(torch.from_numpy(core[0]))[net.graph.input].flatten(2))


def test_flips_persist_whatever_the_batch_and_nothing_else_changes():
    net, core, window = quantized()
    subject = learner(net, core, passes=4)
    subject.observe(*window)
    flipped = subject.codes()
    assert all((flipped[name] != net.codes()[name]).any() for name in covered(net))
    assert all((flipped[name] == net.codes()[name]).all() for name in set(flipped) - set(covered(net)))
    for name, bias in net.bias_codes().items():
        np.testing.assert_array_equal(subject.net.bias_codes()[name], bias)
    x = generator(1, "test").normal(size=(300, *core[0].shape[1:])).astype(np.float32)
    together = subject.predict(x)
    assert len(together) == 300  # all, beyond any batch
    for size in (1, CORE, 7):
        np.testing.assert_array_equal(subject.predict(x[:size]), together[:size])
    deployed = FakeQuantNet(net.graph)  # codes are all there is to the calibrated network
    deployed.load_codes(flipped, net.bias_codes())
    with torch.no_grad():
        np.testing.assert_array_equal(deployed(torch.from_numpy(x)).argmax(1).numpy(), together)
    for name, codes in subject.codes().items():
        np.testing.assert_array_equal(codes, flipped[name])


@pytest.mark.parametrize("bits", [2, 8])
def test_codes_stay_in_range(bits):
    net, core, window = quantized(bits=bits)
    subject = learner(net, core, passes=140 if bits == 8 else 6, share=0.9)
    subject.observe(*window)
    low, high = weight_range(bits)
    moved = np.concatenate([subject.codes()[name].ravel() for name in covered(net)])
    assert moved.min() == low
    assert moved.max() == high


def test_the_device_has_no_backward_pass(monkeypatch):
    net, core, window = quantized()
    subject = learner(net, core, passes=2)

    def refuse(*args, **kwargs):
        raise AssertionError("backward pass on the device")

    monkeypatch.setattr(torch.autograd, "backward", refuse)
    monkeypatch.setattr(torch.autograd, "grad", refuse)
    before = subject.codes()
    subject.observe(*window)
    assert any((subject.codes()[name] != before[name]).any() for name in before)
    assert not any(p.requires_grad for p in subject.net.parameters())


def test_windows_enter_the_coreset_that_the_next_flips_come_from():
    net, core, (x, y) = quantized()
    subject = learner(net, core, passes=3)
    subject.observe(x, y)
    now = subject.core_x
    entered = [i for i in range(CORE) if not np.array_equal(now[i], core[0][i])]
    assert entered
    assert all(any(np.array_equal(now[i], sample) for sample in x) for i in entered)
    np.testing.assert_array_equal(subject.core_y, core[1])  # a place keeps its class
    # Without any label nothing is known of misses: such a window is left alone.
    codes = subject.codes()
    subject.observe(x, np.full(len(y), -1))
    for name, value in subject.codes().items():
        np.testing.assert_array_equal(value, codes[name])


def test_the_same_seed_gives_the_same_flips():
    net, core, window = quantized()
    results = []
    for seed in (0, 0, 1):
        subject = BitFlipping(net, learn(net, *core, settings=QUICK, seed=seed), *core, passes=2, share=0.05)
        subject.observe(*window)
        results.append(np.concatenate([codes.ravel() for codes in subject.codes().values()]))
    assert (results[0] == results[1]).all()
    assert (results[0] != results[2]).any()


def test_the_draw_follows_misses_within_a_class():
    core_y, pool_y = np.array([0, 0, 1, 2]), np.array([0, 0, 1, 2, 0, 0, 1, 1, 3])
    weights = np.array([0, 5, 0, 1, 0, 3, 0, 2, 9.0])
    for seed in range(20):
        rows = redraw(core_y, pool_y, weights, generator(seed, "redraw"))
        assert rows.tolist() == [5, 1, 7, 3]  # 1 and 3 keep their places, 3 (class 3) has none
    drawn = [redraw(core_y, pool_y, np.array([0, 0, 0, 0, 9, 1, 0, 0, 0.0]), generator(s, "redraw")) for s in range(9)]
    assert all(set(rows[:2]) == {4, 5} and rows[2:].tolist() == [2, 3] for rows in drawn)
    firsts = [
        redraw(np.array([0]), np.zeros(3, int), np.array([0, 9, 1.0]), generator(s, "one"))[0] for s in range(200)
    ]
    assert 160 < firsts.count(1) < 200
    assert set(firsts) == {1, 2}


def test_misses_are_falls_from_right_to_wrong():
    right = np.array([[1, 0, 1, 0, 0], [0, 0, 1, 1, 0], [1, 0, 1, 1, 0], [0, 0, 1, 0, 1]], bool)
    assert miss_weights(right).tolist() == [2, 50, 0, 1, 0]


def test_trained_networks_are_kept_beside_the_artifact(tmp_path, monkeypatch):
    net, core, _ = quantized("inception")
    path = tmp_path / "model.cal"
    path.write_bytes(b"one artifact")
    first = cache.load_or_learn(path, net, *core, settings=QUICK, seed=1)

    def refuse(*args, **kwargs):
        raise AssertionError("trained again")

    monkeypatch.setattr(cache, "learn", refuse)
    again = cache.load_or_learn(path, net, *core, settings=QUICK, seed=1)
    assert list(again) == list(first)
    for form in first:
        for key, value in first[form].state_dict().items():
            assert torch.equal(again[form].state_dict()[key], value)
    for changed in ({"seed": 2}, {"settings": Settings(updates=3)}):
        with pytest.raises(AssertionError, match="trained again"):
            cache.load_or_learn(path, net, *core, **{"settings": QUICK, "seed": 1} | changed)
    path.write_bytes(b"another")
    with pytest.raises(AssertionError, match="trained again"):
        cache.load_or_learn(path, net, *core, settings=QUICK, seed=1)


def test_added_bytes_count_networks_coreset_and_window():
    net, core, (x, _) = quantized()
    subject = learner(net, core)
    first, second = covered(net).values()
    parameters = sum(
        f.c_out * (CORE * 5 + 1) + f.kernel * (f.positions - 4 + 1)  # conv, linear
        for f in (first, second)
    )
    inner = max(f.c_in * f.c_out * (f.positions - 4 + 2 * f.kernel) for f in (first, second))
    samples = CORE * (3 * 29 * 4 + 8) + 30 * 3 * 29 + (30 + CORE) * 10
    assert subject.added_bytes(x) == 4 * parameters + 4 * inner + samples


def test_a_network_without_a_convolution_is_refused():
    net, core, _ = quantized("perceptron")
    with pytest.raises(ModelError, match="qcore-paper: expected a convolution with a kernel above 1"):
        learn(net, *core, settings=QUICK)
