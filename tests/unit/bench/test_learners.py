"""Every back-propagation baseline learns, keeps to its memory, repeats itself, and does what its paper says."""

from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from calibrant.bench.adaptation import core
from calibrant.bench.baselines import LEARNERS, BackPropagation, Rehearsal
from calibrant.bench.baselines.a_gem import projected
from calibrant.bench.baselines.camel import cover
from calibrant.bench.baselines.er_ace import restricted
from calibrant.bench.baselines.learner import BATCH, BYTES_PER_PARAMETER, saved_bytes
from calibrant.core.rng import generator
from calibrant.pipeline import float_training
from deployments import deployment

CORE = 12


@pytest.fixture(autouse=True)
def one_thread():
    with float_training.threads(1):  # several are slower on networks this small
        yield


@pytest.fixture(scope="module")
def small():
    return deployment()


def learner(small, name, **options):
    weights = {"alpha": 0.3, "beta": 0.5} if name == "derpp" else {}
    return LEARNERS[name](
        small.prepared.net, *core(small.prepared.artifact), **{"lr": 2e-2, "steps": 8, "seen": 150} | weights | options
    )


def windows(small, count=3):
    x, y = small.standardized(small.target)
    return list(zip(np.split(x, count), np.split(y, count), strict=True))


def held(learner):
    """Samples that a baseline keeps."""
    return learner.memory.fields[1] if isinstance(learner, Rehearsal) else learner.core[1]


@pytest.mark.parametrize("name", LEARNERS)
def test_it_learns_keeps_to_its_memory_and_leaves_the_given_network_alone(small, name):
    before = {key: value.clone() for key, value in small.prepared.net.state_dict().items()}
    x, y = small.standardized(small.target)
    subject = learner(small, name)
    first = (subject.predict(x) == y).mean()
    for window in windows(small):
        subject.observe(*window)
        assert len(held(subject)) == CORE if name != "bp-replay" else CORE < len(held(subject)) <= 200
    assert (subject.predict(x) == y).mean() > first + (0.15 if name == "bias" else 0.5)
    for key, value in small.prepared.net.state_dict().items():
        assert torch.equal(value, before[key])


@pytest.mark.parametrize("name", LEARNERS)
def test_same_seed_same_parameters(small, name):
    large = [np.concatenate([part] * 2) for part in small.standardized(small.target)]  # minibatches are drawn
    assert len(large[1]) > BATCH
    results = {}
    for run, seed in (("first", 3), ("again", 3), ("other", 4)):
        subject = learner(small, name, steps=2, seed=seed)
        subject.observe(*large)
        results[run] = [p.clone() for p in subject.trained()]
    assert all(map(torch.equal, results["first"], results["again"]))
    assert not all(map(torch.equal, results["first"], results["other"]))


@pytest.mark.parametrize("name", LEARNERS)
def test_memory_in_bytes_is_reported(small, name):
    x, _ = small.standardized(small.target)
    subject = learner(small, name)
    parameters = sum(p.numel() for p in subject.trained())
    kept = CORE * (x[0].nbytes + 8)
    extra = {"derpp": 4 * 3 * CORE, "camel": 4 * CORE, "a-gem": 4 * parameters}.get(name, 0)
    added, smaller = subject.added_bytes(x[:20]), subject.added_bytes(x[:10])
    assert smaller > BYTES_PER_PARAMETER * parameters + kept + extra
    assert added > smaller
    assert subject.kept_bytes() == kept + (0 if name == "a-gem" else extra)


@pytest.mark.parametrize("name", LEARNERS)
def test_unlabeled_samples_are_left_out(small, name):
    (x, y), *_ = windows(small)
    some, none = learner(small, name, steps=2), learner(small, name, steps=2)
    some.observe(x, np.where(np.arange(len(y)) < 9, y, -1))
    none.observe(x[:9], y[:9])
    assert all(map(torch.equal, some.trained(), none.trained()))
    before = [p.clone() for p in none.trained()]
    none.observe(x, np.full(len(y), -1))
    assert all(map(torch.equal, before, none.trained()))


def test_saved_tensors_are_counted_once_each():
    linear = nn.Linear(6, 3, bias=False)
    x = torch.zeros(10, 6)
    assert saved_bytes(linear, lambda: linear(x)) == 10 * 6 * 4  # the input; weights are no addition
    assert saved_bytes(linear, lambda: linear(x).relu() + linear(x).relu()) == (10 * 6 + 2 * 10 * 3) * 4


def test_the_coreset_counts(small):
    (x, y), (other_x, other_y), _ = windows(small)
    agreement = []
    for size in (len(y), 0):
        subject = BackPropagation(small.prepared.net, x[:size], y[:size], lr=2e-2)
        subject.observe(other_x, (other_y + 1) % 3)  # labels that contradict the coreset
        agreement.append((subject.predict(x) == y).mean())
    assert agreement[0] > agreement[1]


def test_bias_only_moves_biases_alone(small):
    subject = learner(small, "bias")
    subject.observe(*windows(small)[0])
    changed = {
        name.split(".")[-1]
        for (name, now), before in zip(subject.net.named_parameters(), small.prepared.net.parameters(), strict=True)
        if not torch.equal(now, before)
    }
    assert changed == {"bias"}
    assert learner(small, "bias").added_bytes(windows(small)[0][0]) < learner(small, "bp").added_bytes(
        windows(small)[0][0]
    )


def test_experience_replay_weighs_memory_and_window_alike(small):
    (x, y), *_ = windows(small)
    subject = learner(small, "er")
    x, y = torch.from_numpy(x), torch.from_numpy(y)
    past_x, past_y = subject.memory.fields
    with torch.no_grad():
        parts = [nn.functional.cross_entropy(subject.net(a), b) for a, b in ((x, y), (past_x, past_y))]
        assert subject.loss(x, y).item() == pytest.approx(sum(p.item() for p in parts) / 2, rel=1e-5)


def test_dark_replay_stores_logits_at_insertion(small):
    (x, y), *_ = windows(small)
    subject = learner(small, "derpp", seen=CORE)
    core_x = subject.memory.fields[0].clone()
    with torch.no_grad():
        torch.testing.assert_close(subject.memory.fields[2], small.prepared.net(core_x))
    subject.observe(x, y)
    memory_x, _, stored = subject.memory.fields
    old = torch.stack([(core_x == sample).flatten(1).all(1).any() for sample in memory_x])
    assert 0 < int(old.sum()) < CORE
    with torch.no_grad():
        torch.testing.assert_close(stored[old], small.prepared.net(memory_x[old]))  # as they were when it was deployed
        torch.testing.assert_close(stored[~old], subject.net(memory_x[~old]))
    stored = stored.clone()
    subject.memory.seen = 10**9  # the memory no longer changes, so neither do its logits, while the network learns on
    subject.observe(x, y)
    assert torch.equal(subject.memory.fields[2], stored)
    with torch.no_grad():
        assert not torch.allclose(stored, subject.net(memory_x))


def test_dark_replay_adds_distance_and_cross_entropy(small):
    (x, y), *_ = windows(small)
    x, y = torch.from_numpy(x), torch.from_numpy(y)

    def loss(alpha, beta):
        subject = learner(small, "derpp", alpha=alpha, beta=beta)
        subject.memory.fields[2] += 2.0
        with torch.no_grad():
            return subject.loss(x, y).item()

    subject = learner(small, "derpp")
    with torch.no_grad():
        past = nn.functional.cross_entropy(subject.net(subject.memory.fields[0]), subject.memory.fields[1]).item()
    assert loss(0.5, 0.0) - loss(0.0, 0.0) == pytest.approx(0.5 * 4.0, rel=1e-4)
    assert loss(0.0, 0.7) - loss(0.0, 0.0) == pytest.approx(0.7 * past, rel=1e-3)


def test_asymmetric_loss_leaves_absent_classes_alone(small):
    logits = torch.randn(5, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    y = torch.tensor([1, 3, 3, 1, 1])
    torch.autograd.backward(nn.functional.cross_entropy(restricted(logits, y), y))
    assert torch.equal(logits.grad[:, [0, 2]], torch.zeros(5, 2))
    assert (logits.grad[:, [1, 3]] != 0).all()
    subject = learner(small, "er-ace")
    x = torch.from_numpy(windows(small)[0][0])
    one = torch.ones(len(x), dtype=torch.int64)  # a window of one class teaches nothing but rehearsal
    with torch.no_grad():
        past = nn.functional.cross_entropy(subject.net(subject.memory.fields[0]), subject.memory.fields[1])
        assert subject.loss(x, one).item() == pytest.approx(past.item(), rel=1e-5)


def test_projection_never_points_against_the_memory():
    rng = torch.Generator().manual_seed(0)
    conflicts = 0
    for _ in range(50):
        gradient, reference = ([torch.randn(shape, generator=rng) for shape in ((3, 2), (4,))] for _ in range(2))
        dot = sum((g * r).sum() for g, r in zip(gradient, reference, strict=True))
        result = projected(gradient, reference)
        after = sum((g * r).sum() for g, r in zip(result, reference, strict=True))
        assert after >= -1e-5
        if dot >= 0:
            assert all(map(torch.equal, result, gradient))
        else:
            conflicts += 1
            assert abs(after) < 1e-5
    assert 10 < conflicts < 40


def test_a_gem_gives_the_optimizer_the_projected_gradient(small):
    (x, y), *_ = windows(small)
    subject = learner(small, "a-gem")
    x, y = torch.from_numpy(x), torch.from_numpy((y + 1) % 3)  # contradicts what the memory says
    reference = torch.autograd.grad(subject.loss(*subject.memory.fields), subject.trained())
    plain = torch.autograd.grad(subject.loss(x, y), subject.trained())
    subject.backward(x, y)
    given = [p.grad for p in subject.trained()]
    dots = [sum(float((g * r).sum()) for g, r in zip(a, reference, strict=True)) for a in (plain, given)]
    assert dots[0] < 0
    assert dots[1] >= -1e-5 * sum(float((r * r).sum()) for r in reference)


def test_every_step_is_counted(small):
    (x, y), *_ = windows(small)
    for name in LEARNERS:
        subject = learner(small, name, steps=5)
        seen = Counter()
        hook = register_optimizer_step_post_hook(lambda *_, seen=seen: seen.update(steps=1))
        subject.observe(x, y)
        hook.remove()
        assert seen["steps"] == 5


def test_camel_keeps_old_data_their_share(small):
    subject = learner(small, "camel", seen=150)
    assert float(subject.weight.sum()) == pytest.approx(150)
    source = subject.core[0].clone()
    for window in windows(small):
        subject.observe(*window)
    assert float(subject.weight.sum()) == pytest.approx(150 + 96)
    kept = [(source == sample).flatten(1).all(1).any() for sample in subject.core[0]]
    assert 0 < sum(map(int, kept)) < CORE


def test_cover_is_greedy_and_weighted():
    rng = generator(0, "cover")
    x, weight = rng.normal(size=(30, 3)).astype(np.float32), rng.uniform(0.5, 3, 30).astype(np.float32)
    chosen, nearest = cover(x, weight, 4)
    distance = np.square(x[:, None] - x).sum(axis=2)

    def cost(rows):
        return float(weight @ distance[:, rows].min(axis=1))

    for i in range(1, 4):  # each is the best addition to those before it
        best = min(cost([*chosen[:i], row]) for row in range(30))
        assert cost(chosen[: i + 1]) == pytest.approx(best, rel=1e-5)
    assert (nearest == distance[:, chosen].argmin(axis=1)).all()
    heavy = np.where(np.arange(30) == 7, 1e6, weight).astype(np.float32)
    assert cover(x, heavy, 1)[0].tolist() == [7]
    same, _ = cover(np.zeros((5, 2), np.float32), np.ones(5, np.float32), 3)
    assert len(set(same.tolist())) == 3
