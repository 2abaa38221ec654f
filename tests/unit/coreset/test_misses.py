"""Quantization misses: what counts as one, per width, what the snapshots are, and what a check leaves behind."""

import numpy as np
import pytest
import torch
from torch import nn

from calibrant import zoo
from calibrant.core.dtype import weight_range
from calibrant.core.errors import DataError, ModelError
from calibrant.core.rng import generator
from calibrant.coreset import MissCounter, count_misses, parallel, relearning
from calibrant.coreset.snapshot import quantized_weights
from calibrant.quantize import weight_scales


@pytest.fixture(autouse=True)
def repeatable():
    """One torch thread, and the same random weights in whatever order tests run."""
    with parallel.threads(1), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def samples(count=90, noise=1.2):
    rng = generator(0, "test")
    y = np.arange(count) % 3
    x = rng.normal(0, noise, size=(count, 3, 24)).astype(np.float32)
    x[np.arange(count), y] += 1
    return x, y


def counted(sequence, widths=(2, 8)):
    """A counter after checks whose answers are given as sequence[check][width][sample]."""
    answers = np.array(sequence, bool)
    counter = MissCounter(np.zeros((answers.shape[2], 1)), np.zeros(answers.shape[2], np.int64), widths)
    for right in answers:
        counter.record(right)
    return counter


def test_a_miss_is_right_then_wrong_at_the_same_width():
    two = [[1, 1, 0], [0, 0, 0], [1, 1, 1], [0, 1, 1]]
    eight = [[0, 1, 0], [1, 1, 0], [1, 1, 0], [1, 0, 0]]
    counter = counted([[a, b] for a, b in zip(two, eight, strict=True)])
    assert counter.counts.tolist() == [[2, 1, 0], [0, 1, 0]]
    assert counter.never.tolist() == [[False, False, False], [False, False, True]]
    assert counter.checks == 4


def test_what_the_widest_never_learned_is_unknown_and_not_hard():
    # The second sample is hit by chance at 2 bits, again and again; the widest never has it.
    counter = counted([[[1, 1], [1, 0]], [[0, 0], [1, 0]], [[1, 1], [0, 0]], [[0, 0], [1, 0]]])
    assert counter.counts.tolist() == [[2, 2], [1, 0]]
    assert counter.misses().tolist() == [3, -1]


def test_the_widest_width_is_the_guard_in_whatever_order_widths_come():
    counter = counted([[[1, 0], [0, 1]], [[0, 0], [0, 1]]], widths=(8, 2))
    assert counter.widths == (2, 8)
    assert counter.misses().tolist() == [-1, 0]


def test_one_check_has_no_transition():
    with pytest.raises(DataError, match="at least two checks during training, got 1"):
        counted([[[1, 0], [0, 1]]]).misses()


def test_counts_are_copies():
    counter = counted([[[1], [1]], [[0], [0]]])
    counter.counts[:] = 9
    assert counter.counts.tolist() == [[1], [1]]


def test_snapshots_use_the_projects_scales_for_every_kind_of_layer():
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.Flatten(2),
        nn.Conv1d(4, 6, 3, groups=2),
        nn.Flatten(),
        nn.Linear(6, 2),
    )
    layers = {"0.weight": net[0].weight, "3.weight": net[3].weight, "5.weight": net[5].weight}
    for bits in (2, 4, 8):
        rounded = quantized_weights(net, bits)
        assert rounded.keys() == layers.keys()
        for name, weight in layers.items():
            real, got = weight.detach().numpy(), rounded[name].numpy()
            scale = weight_scales(real, bits).reshape(-1, *[1] * (real.ndim - 1))
            codes = np.rint(got / scale)
            assert np.abs(codes).max() <= weight_range(bits)[1]
            assert np.array_equal((codes * scale).astype(np.float32), got)
            # Nearest code but for the clipped ones.
            assert ((np.abs(got - real) <= scale * 0.5001) | (np.abs(codes) == weight_range(bits)[1])).all()


def test_folding_batch_norm_changes_no_code():
    rng = generator(0, "test")
    net = nn.Conv1d(3, 5, 3, bias=False)
    gain = torch.from_numpy(rng.choice([-4.0, 0.25, 0.5, 2.0], 5).astype(np.float32)).reshape(-1, 1, 1)
    folded = nn.Conv1d(3, 5, 3, bias=False)
    folded.weight.data = net.weight.data * gain
    for bits in (2, 4, 8):
        assert torch.equal(quantized_weights(net, bits)["weight"] * gain, quantized_weights(folded, bits)["weight"])


def test_shared_weights_are_rounded_once():
    first = nn.Linear(3, 3)
    second = nn.Linear(3, 3)
    second.weight = first.weight
    net = nn.Sequential(first, second)
    counter = MissCounter(np.eye(3, dtype=np.float32), np.arange(3))
    counter.check(net)
    assert list(quantized_weights(net, 4)) == ["0.weight"]


def test_a_check_is_the_snapshots_accuracy_and_leaves_the_network_alone():
    x, y = samples()
    net = zoo.build("cnn", 3, 24, 3, seed=1).train()
    net.features[1].eval()  # a frozen batch norm stays frozen
    modes = [module.training for module in net.modules()]
    before = {name: value.clone() for name, value in net.state_dict().items()}
    random = torch.get_rng_state()
    counter = MissCounter(x, y, widths=(4,), batch=32)
    counter.check(net)
    assert [module.training for module in net.modules()] == modes
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert all(parameter.grad is None for parameter in net.parameters())

    by_hand = zoo.build("cnn", 3, 24, 3, seed=1)
    by_hand.load_state_dict(net.state_dict() | quantized_weights(net, 4))
    with torch.no_grad():
        right = by_hand(torch.from_numpy(x)).argmax(1).numpy() == y
    assert 0 < right.sum() < len(y)
    assert counter.never.tolist() == [(~right).tolist()]


def test_after_epoch_checks_every_kth():
    x, y = samples(6)
    counter = MissCounter(x, y, every=3)
    for epoch in range(8):
        counter.after_epoch(epoch, zoo.build("cnn", 3, 24, 3))
    assert counter.checks == 3


def test_each_width_sees_its_own_weights():
    # Weights 1 and 0.3: at 2 bits one output's small weight is lost, at 8 bits it decides.
    net = nn.Linear(2, 2, bias=False)
    net.weight.data = torch.tensor([[1.0, 0.1], [1.0, 0.0]])
    counter = MissCounter(np.array([[1.0, 1.0]], np.float32), np.array([0]), widths=(2, 8))
    counter.check(net)
    net.weight.data = torch.tensor([[1.0, 0.0], [1.0, 0.1]])
    counter.check(net)
    assert counter.counts.tolist() == [[0], [1]]  # two equal logits are the first class at 2 bits, before and after


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (nn.Sequential(nn.Flatten(), nn.ReLU()), "expected linear or convolution layers with weights"),
        (nn.utils.parametrizations.weight_norm(nn.Conv1d(3, 3, 3)), "expected plain weights to quantize"),
        (nn.Conv1d(3, 3, 3), r"expected logits of shape \[6, classes\], got \(6, 3, 22\)"),
    ],
)
def test_networks_that_cannot_be_counted_are_refused(net, message):
    with pytest.raises(ModelError, match=message):
        MissCounter(*samples(6)).check(net)


def test_bad_arguments_are_refused():
    x, y = samples(6)
    with pytest.raises(DataError, match="expected one class a sample, got 6 samples, y"):
        MissCounter(x, y[:5])
    with pytest.raises(DataError, match=r"expected widths of \(2, 4, 8\), got \(3,\)"):
        MissCounter(x, y, widths=(3,))
    with pytest.raises(DataError, match="expected positive every and batch, got 0 and 256"):
        MissCounter(x, y, every=0)
    with pytest.raises(DataError, match=r"expected right or wrong for \(3, 6\), got \(2, 6\)"):
        MissCounter(x, y).record(np.zeros((2, 6), bool))


def test_a_trained_network_is_counted_while_a_copy_trains_on(monkeypatch):
    monkeypatch.setattr(relearning, "EPOCHS", 5)
    x, y = samples(150, noise=8.0)
    net = nn.Sequential(nn.Conv1d(3, 8, 5), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 3))
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(torch.from_numpy(x)), torch.from_numpy(y)).backward()
        optimizer.step()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    random = torch.get_rng_state()
    steps = []
    first = count_misses(net, x, y, seed=4, progress=lambda *call: steps.append(call))
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert steps == [("misses", i, 5) for i in range(1, 6)]
    assert first.dtype == np.int64
    assert (first > 0).sum() >= 5
    assert np.array_equal(first, count_misses(net, x, y, seed=4))
    assert not np.array_equal(first, count_misses(net, x, y, seed=5))
