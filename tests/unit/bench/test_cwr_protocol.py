"""`bench cwr` on made-up digits: what the backbone may see, rows, resuming, refusing, and the float references."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibrant.artifact import read
from calibrant.bench import cwr
from calibrant.bench.cwr import network, scene
from calibrant.bench.cwr.float_head import FloatHead
from calibrant.bench.cwr.jobs import Preparation
from calibrant.bench.cwr.options import command, plan
from calibrant.bench.cwr.remembered import Remembered, shares
from calibrant.bench.harness.workspace import Workspace
from calibrant.bench.recipes import Recipe
from calibrant.core.errors import DataError
from calibrant.heads import CwrSettings, Lesson
from calibrant.heads.cwr import Cwr

SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")


def write_digits(root: Path, *, spoiled: tuple[int, ...] = ()) -> Path:
    """Six speakers of ten digits, four takes, one of them a test: a tone a digit; of spoiled digits takes that train
    are noise."""
    folder = root / "fsdd"
    folder.mkdir(parents=True)
    for at, name in enumerate(SPEAKERS):
        rng = np.random.default_rng(at)
        y, take = np.tile(np.arange(10), 4), np.repeat([0, 5, 6, 7], 10)
        t = np.arange(900)
        clips = [6000 * np.sin(t * (0.1 + 0.25 * c)) + rng.normal(0, 300, t.size) for c in y]
        for i in range(len(y)):
            if y[i] in spoiled and take[i] >= 5:
                clips[i] = np.random.default_rng(99 + i).normal(0, 9000, t.size)
        audio = np.concatenate(clips).astype(np.int16)
        offset = np.arange(len(y) + 1) * t.size
        np.savez(folder / f"{name}.npz", audio=audio, offset=offset.astype(np.int32), y=y.astype(np.uint8), take=take)
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_digits(tmp_path_factory.mktemp("digits"))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("calibrant.bench.cwr.network.recipe", lambda _: Recipe(steps=20, finetune={8: 1}))
    monkeypatch.setitem(scene.KINDS, "fsdd", scene.Kind("mlp", (1, 2), 4, 3))


def options(folder, out, **changes):
    plain = cwr.Options(out, folder, "fsdd", qb=(16,), rounding=("nearest",), jobs=1)
    return replace(plain, **changes)


def test_classes_come_in_an_order_of_the_seed(folder):
    seen, again, other = (scene.load(folder, "fsdd", (1, 2), 4, 3, seed) for seed in (0, 0, 1))
    assert seen.classes == again.classes != other.classes
    assert seen.sizes == (4, 2, 2, 2)
    assert list(seen.experience(2)) == [6, 7]
    assert set(seen.y[seen.home].tolist()) == {0, 1, 2, 3}
    assert len(seen.y) == 2 * 30
    assert len(seen.test_y) == 2 * 10
    true = scene.load(folder, "fsdd", (1,), 4, 3, 0)
    at = int(np.flatnonzero(true.test_y == 0)[0])
    digit = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine").index(true.classes[0])
    assert (true.test_x[at] == scene.load(folder, "fsdd", (1,), 4, 3, 5).test_x[digit]).all()  # names follow samples


@pytest.mark.parametrize(("first", "more"), [(1, 3), (4, 7), (4, 0)])
def test_classes_that_cannot_be_dealt_out_are_refused(first, more):
    with pytest.raises(DataError, match="experiences: expected two classes first and one each of 10"):
        scene.sizes(10, first, more)


def test_the_backbone_never_sees_a_class_of_a_later_experience(folder, tmp_path):
    """Whatever later classes look like, the artifact is the same to the byte; what it holds is of the first classes."""
    job = Preparation("fsdd", "mlp", (1, 2), 4, 3, "", 8, 0)
    names = scene.load(folder, "fsdd", (1,), 4, 3, 0).classes
    digits = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    later = write_digits(tmp_path / "later", spoiled=tuple(digits.index(name) for name in names[4:]))
    earlier = write_digits(tmp_path / "earlier", spoiled=(digits.index(names[0]),))
    found = []
    for name, root in (("a", folder), ("b", later), ("c", earlier)):
        workspace = Workspace(tmp_path / name)
        network.prepare(workspace, root, job)
        found.append(workspace.artifact_path(vars(job)).read_bytes())
    assert found[0] == found[1]
    assert found[0] != found[2]  # so the comparison can fail
    artifact = read(Workspace(tmp_path / "a").artifact_path(vars(job)))
    assert artifact.classes == names[:4]
    assert artifact.program.layers[-1].c_out == 4
    assert int(artifact.coreset.y.max()) < 4


def test_rows_resume_and_say_what_happened(folder, tmp_path):
    every = options(folder, tmp_path, replay=("none", "latent"), memory=2000, qb=(8, 16))
    made = cwr.run(every)
    assert not made["failures"]
    assert [row["label"] for row in made["rows"]] == [
        *("cwr-float", "cwr-float, latent replay"),
        *("cwr 8/8 nearest", "cwr 8/8 nearest, latent replay", "cwr 8/16 nearest", "cwr 8/16 nearest, latent replay"),
        *("naive", "naive, latent replay", "joint", "ncm", "slda", "slda-coreset"),
    ]
    for row in made["rows"]:
        assert row["sizes"] == [4, 2, 2, 2]
        assert [len(part) for part in row["accuracy_experience"]] == [1, 2, 3, 4]
        assert row["accuracy"][-1] == pytest.approx(
            np.average(row["accuracy_experience"][-1], weights=row["sizes"]), abs=1e-9
        )
        assert set(row["few"]) == {"1", "5", "20"}
        assert (row["remembered"] == 0) == (row["replay"] == "none" and row["method"] != "joint")
        assert row["remembered"] <= 2000 // 64 or row["method"] == "joint"
    assert [row["head_bits"][-1] for row in made["rows"][2:5:2]] == [8, 16]
    assert made["rows"][0]["predicted_lost"][-1]["8"] >= made["rows"][0]["predicted_lost"][-1]["16"]
    assert json.loads((tmp_path / "rows.json").read_text(encoding="utf-8")) == made
    assert (tmp_path / "accuracy.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert page.count("\n| cwr 8/16 nearest, latent replay | 2 | 4 |") == 2
    assert cwr.run(every)["rows"] == made["rows"]  # seconds too: nothing ran


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dataset": "mnist"}, "data set: expected one of dsa, fsdd, cifar10, got 'mnist'"),
        ({"methods": ("magic",)}, "method: expected one of cwr-float"),
        ({"methods": ()}, "methods: expected at least one, got none"),
        ({"rounding": ("up",)}, "rounding: expected one of nearest"),
        ({"replay": ("some",)}, "replay: expected one of none, raw, latent, got 'some'"),
        ({"qb": (64,)}, "cwr: expected backward_bits 2 to 32, got 64"),
        ({"rates": (0.0,)}, "cwr: expected rate"),
        ({"bits": 3}, "bits: expected one of 2, 4, 8, got 3"),
        ({"seeds": (-1,)}, "seeds: expected no negative number, got -1"),
        ({"first": 9, "experiences": 2}, "experiences: expected two classes first"),
    ],
)
def test_options_are_checked(folder, tmp_path, change, message):
    with pytest.raises(DataError, match=message):
        cwr.run(options(folder, tmp_path, **change))


def test_rows_that_come_to_the_same_are_run_once(folder, tmp_path):
    twice = options(
        folder, tmp_path, methods=("ncm", "cwr"), qb=(8, 16, 32), rounding=("nearest", "widen"), rates=(2, 1)
    )
    cells = plan(twice, folder)
    assert sum(cell.method == "ncm" for cell in cells) == 1
    assert sum(cell.method == "cwr" for cell in cells) == 2 * 5  # 32 bits cannot widen
    assert command(twice).startswith("calibrant bench cwr --dataset fsdd --methods ncm,cwr --rounding nearest,widen")


def test_two_later_classes_at_a_time_by_every_reference():
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(6), 20)
    x = np.clip(rng.integers(0, 200, (6, 12))[y] + rng.normal(0, 15, (120, 12)), 0, 255).astype(np.int32)
    names, how = tuple("abcdef"), CwrSettings(rate=2.0, epochs=6)
    lessons = [Lesson(x[rows], y[rows], names) for k in (0, 2, 4) if (rows := (y // 2 == k // 2)).any()]
    ends = {}
    for mode in ("cwr", "naive", "joint"):
        head = FloatHead(mode, how)
        for each in [Lesson(x, y, names)] if mode == "joint" else lessons:
            head = head.learn(each)
        ends[mode] = float((head.predict(x) == y).mean())
    exact, whole = FloatHead("cwr", how), Cwr.new(how)
    for each in lessons:
        exact, whole = exact.learn(each), whole.learn(each)
    assert abs(whole.kept * whole.grid.step - exact.kept).max() < 0.02 * abs(exact.kept).max()
    assert whole.classes == exact.classes
    assert ends["joint"] > 0.95
    assert ends["naive"] < ends["cwr"] <= ends["joint"]


@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.integers(0, 80))
def test_remembered_samples_are_shared_out_evenly(counts, capacity):
    kept = shares(counts, capacity)
    assert sum(kept) == min(capacity, sum(counts))
    assert all(a <= b for a, b in zip(kept, counts, strict=True))
    short = [a for a, b in zip(kept, counts, strict=True) if a < b]
    assert not short or max(kept) - min(short) <= 1


def test_what_is_remembered_stays_within_its_capacity():
    memory, names = Remembered(10, 0), ("a", "b", "c")
    for c in range(3):
        new = Lesson(np.full((20, 2), c, np.int32), np.full(20, c), names)
        assert len(memory.before(new).y) == 20 + memory.count
        memory = memory.after(new)
        assert memory.count == 10
    assert memory.lesson is not None
    assert np.bincount(memory.lesson.y).tolist() == [4, 3, 3]
    assert Remembered(0, 0).after(new).lesson is None
