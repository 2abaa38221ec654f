"""The way of a user through the commands, on small data."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from shell import calibrant, preparation

from calibrant import artifact as artifacts

COMMANDS = (
    "prepare",
    "inspect",
    "predict",
    "run",
    "log",
    "rollback",
    "forget",
    "demo",
    "doctor",
    "keygen",
    "bench qcore",
    "bench report",
)


@pytest.fixture
def state(project: Path, tmp_path: Path) -> Path:
    """A state that has seen the project's stream."""
    path = tmp_path / "device.db"
    ran = calibrant("run", project / "model.cal", "--state", path, "--stream", project / "stream.npz", "--window", 40)
    assert ran.status == 0, ran.err
    return path


def versions(state: Path) -> list[dict]:
    """The log, newest first."""
    return json.loads(calibrant("log", state, "--json").out)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command: str) -> None:
    shown = calibrant(*command.split(), "--help")
    assert shown.status == 0
    assert f"Example: calibrant {command}" in shown.out


def test_same_seed_gives_the_same_bytes(project: Path, tmp_path: Path) -> None:
    again, other = tmp_path / "again.cal", tmp_path / "other.cal"
    assert calibrant(*preparation(project, again)).status == 0
    assert again.read_bytes() == (project / "model.cal").read_bytes()
    assert calibrant(*preparation(project, other, "--seed", 1)).status == 0
    assert other.read_bytes() != again.read_bytes()


def test_prepare_reports_each_width(project: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    target = tmp_path / "m.cal"
    made = calibrant(*preparation(project, target, "--compare", "2,8", "--report", report, "--json"))
    facts = json.loads(made.out)
    assert facts == json.loads(report.read_text())
    assert set(facts["bits"]) == {"4", "2", "8"}
    sizes = [facts["bits"][b]["weight_bytes"] for b in ("2", "4", "8")]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[2]
    assert facts["bits"]["8"]["accuracy_quantized"] > 0.9
    assert facts["bits"]["8"]["accuracy_held_out"]
    assert facts["bytes"] == target.stat().st_size


def test_prepare_counts_misses_while_it_trains(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("calibrant.pipeline.torch_model.count_misses")  # counted in training, not once more afterwards
    made = calibrant(*preparation(project, tmp_path / "m.cal", "--coreset-rule", "misses"))
    assert made.status == 0, made.err
    chosen, balanced = (artifacts.read(path).coreset for path in (tmp_path / "m.cal", project / "model.cal"))
    assert np.bincount(chosen.y).tolist() == [3, 3, 3]
    assert not np.array_equal(chosen.x, balanced.x)


def test_inspect_accounts_for_every_byte(project: Path) -> None:
    artifact = project / "model.cal"
    facts = json.loads(calibrant("inspect", artifact, "--json").out)
    assert sum(facts["bytes"].values()) == artifact.stat().st_size
    assert facts["classes"] == ["slow", "medium", "fast"]
    assert facts["input_shape"] == [2, 32]
    assert sum(layer["bytes"] for layer in facts["layers"]) == facts["bytes"]["weights"]
    shown = calibrant("inspect", artifact).out
    for word in ("slow, medium, fast", "Layers", "Where every byte goes", "signature"):
        assert word in shown


def test_signed_artifact(project: Path, tmp_path: Path) -> None:
    assert calibrant("keygen", tmp_path / "maker").status == 0
    assert calibrant("keygen", tmp_path / "stranger").status == 0
    signed = tmp_path / "signed.cal"
    assert calibrant(*preparation(project, signed, "--sign", tmp_path / "maker.key")).status == 0
    assert "verified with" in calibrant("inspect", signed, "--verify", tmp_path / "maker.pub").out
    for artifact, key in ((signed, "stranger.pub"), (project / "model.cal", "maker.pub")):
        refused = calibrant("inspect", artifact, "--verify", tmp_path / key)
        assert refused.status == 2
        assert "signature" in refused.err


def test_keygen_never_overwrites(tmp_path: Path) -> None:
    assert calibrant("keygen", tmp_path / "k").status == 0
    before = (tmp_path / "k.key").read_bytes()
    assert calibrant("keygen", tmp_path / "k").status == 2
    assert (tmp_path / "k.key").read_bytes() == before


def test_run_adapts_logs_and_continues(project: Path, state: Path) -> None:
    first = versions(state)
    stream = ("--stream", project / "stream.npz", "--window", 40)
    more = calibrant("run", project / "model.cal", "--state", state, *stream, "--limit", 2, "--json")
    lines = [json.loads(line) for line in more.out.splitlines()]
    assert [line["window"] for line in lines] == [0, 1]
    assert versions(state)[-len(first) :] == first
    assert all(0 <= line["report"]["accuracy_before"] <= 1 for line in lines)
    assert len(json.loads(calibrant("log", state, "--json", "-n", 1).out)) == 1
    shown = calibrant("log", state).out
    assert shown.startswith(f"version {versions(state)[0]['number']} (current)")


def test_adaptation_helps_and_is_deterministic(project: Path, state: Path, tmp_path: Path) -> None:
    stream, again = project / "stream.npz", tmp_path / "again.db"
    plain = calibrant("predict", project / "model.cal", "-i", stream, "--json")
    adapted = calibrant("predict", project / "model.cal", "-i", stream, "--state", state, "--json")
    y = np.load(stream)["y"][-40:]
    before, after = ((np.array(json.loads(r.out)["y"])[-40:] == y).mean() for r in (plain, adapted))
    assert after > before + 0.1
    calibrant("run", project / "model.cal", "--state", again, "--stream", stream, "--window", 40)
    assert [v["weights_sha256"] for v in versions(again)] == [v["weights_sha256"] for v in versions(state)]


def test_predict_writes_scores_and_leaves_the_state_alone(project: Path, state: Path, tmp_path: Path) -> None:
    target, before = tmp_path / "predicted.npz", versions(state)
    shown = calibrant("predict", project / "model.cal", "-i", project / "stream.npz", "--state", state, "-o", target)
    assert "accuracy" in shown.out
    assert versions(state) == before
    predicted = np.load(target)
    assert predicted["scores"].shape == (160, 3)
    assert np.array_equal(predicted["scores"].argmax(1), predicted["y"])


def test_rollback_restores_bit_for_bit(project: Path, state: Path, tmp_path: Path) -> None:
    history = versions(state)
    oldest = history[-1]
    done = calibrant("rollback", state, "--to", oldest["number"])
    assert done.status == 0, done.err
    newest = versions(state)[0]
    assert newest["weights_sha256"] == oldest["weights_sha256"]
    assert versions(state)[1:] == history
    assert f"back to version {oldest['number']}" in calibrant("log", state, "-n", 1).out
    scores = []
    for more in ((), ("--state", state)):
        target = tmp_path / "scores.npz"
        calibrant("predict", project / "model.cal", "-i", project / "stream.npz", "-o", target, *more)
        scores.append(np.load(target)["scores"])
    assert np.array_equal(*scores)


def test_windows_of_their_own_and_missing_labels(project: Path, tmp_path: Path) -> None:
    held = np.load(project / "stream.npz")
    y = held["y"].reshape(4, 40).copy()
    y[:, 10:] = -1
    np.savez(tmp_path / "w.npz", x=held["x"].reshape(4, 40, 2, 32), y=y)
    run = calibrant(
        "run", project / "model.cal", "--state", tmp_path / "s.db", "--stream", tmp_path / "w.npz", "--json"
    )
    reports = [json.loads(line)["report"] for line in run.out.splitlines()]
    assert [(r["labels"], r["samples"]) for r in reports] == [(10, 40)] * 4
    np.savez(tmp_path / "u.npz", x=held["x"])
    run = calibrant(
        "run", project / "model.cal", "--state", tmp_path / "u.db", "--stream", tmp_path / "u.npz", "--json"
    )
    assert run.status == 0, run.err
    assert {json.loads(line)["report"]["labels"] for line in run.out.splitlines()} == {0}


def test_exported_program(project: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from calibrant.frontend import source

    net = source.load(f"{project / 'model.py'}:build").eval()
    torch.export.save(torch.export.export(net, (torch.zeros(2, 2, 32),)), tmp_path / "net.pt2")
    data = ("--data", project / "train.npz", "--epochs", 1)
    made = calibrant("prepare", tmp_path / "net.pt2", *data, "-o", tmp_path / "n.cal", "--raw")
    assert made.status == 0, made.err
    refused = calibrant("prepare", tmp_path / "net.pt2", *data, "-o", tmp_path / "o.cal", "--train", 3)
    assert refused.status == 2
    assert "exported program" in refused.err


def test_data_from_a_function(project: Path, tmp_path: Path) -> None:
    archive = str(project / "train.npz")
    code = f"import numpy as np\n\ndef load():\n    held = np.load({archive!r})\n    return held['x'], held['y']\n"
    (tmp_path / "d.py").write_text(code)
    data = ("--data", f"{tmp_path / 'd.py'}:load", "--classes", "a,b,c", "--epochs", 1)
    made = calibrant("prepare", f"{project / 'model.py'}:build", *data, "-o", tmp_path / "f.cal")
    assert made.status == 0, made.err
    assert json.loads(calibrant("inspect", tmp_path / "f.cal", "--json").out)["classes"] == ["a", "b", "c"]


def test_prepare_takes_the_blocks_that_samples_are_of(project: Path, tmp_path: Path) -> None:
    held = dict(np.load(project / "train.npz"))
    made = {}
    for name, blocks in (("plain", None), ("blocks", np.arange(len(held["y"])) % 4), ("short", np.arange(3))):
        np.savez(tmp_path / f"{name}.npz", **held, **({} if blocks is None else {"blocks": blocks}))
        data = ("--data", tmp_path / f"{name}.npz", "--epochs", 1, "-o", tmp_path / f"{name}.cal")
        made[name] = calibrant("prepare", f"{project / 'model.py'}:build", *data)
    assert made["short"].status == 2
    assert "blocks: expected" in made["short"].err
    assert not (tmp_path / "short.cal").exists()
    plain, by_blocks = (artifacts.read(tmp_path / f"{name}.cal").recognition for name in ("plain", "blocks"))
    assert plain is not None
    assert by_blocks is not None
    assert plain.mean.tobytes() == by_blocks.mean.tobytes()
    assert (plain.wander, plain.usual) != (by_blocks.wander, by_blocks.usual)


def test_doctor_says_what_is_there() -> None:
    facts = json.loads(calibrant("doctor", "--json").out)
    assert "ref" in facts["engine"]["variants"]
    assert facts["packages"]["numpy"] == np.__version__
    assert facts["machine"]["cores"] >= 1
    assert calibrant("doctor").status == 0


def reports(*arguments: object) -> list[dict]:
    """What `run` says of its windows."""
    ran = calibrant("run", *arguments, "--json")
    assert ran.status == 0, ran.err
    return [json.loads(line)["report"] for line in ran.out.splitlines()]


def test_a_fraction_of_the_labels_and_late_labels(project: Path, tmp_path: Path) -> None:
    stream = (project / "model.cal", "--stream", project / "stream.npz", "--window", 40, "--state")
    few = reports(*stream, tmp_path / "few.db", "--labels", 0.25)
    assert sum(r["labels"] for r in few) == 40
    assert few != reports(*stream, tmp_path / "other.db", "--labels", 0.25, "--seed", 1)
    late = reports(*stream, tmp_path / "late.db", "--delay", 2)
    assert [r["labels"] for r in late] == [40] * 4
    reports(*stream, tmp_path / "now.db")
    assert [v["weights_sha256"] for v in versions(tmp_path / "late.db")] == [
        v["weights_sha256"] for v in versions(tmp_path / "now.db")
    ]


def test_the_coreset_grows_and_is_forgotten(project: Path, tmp_path: Path) -> None:
    state = tmp_path / "s.db"
    stream = ("--stream", project / "stream.npz", "--window", 40)
    reports(project / "model.cal", "--state", state, *stream, "--capacity", 30)
    newest = versions(state)[0]["metrics"]
    assert (newest["coreset"], newest["coreset_source"]) == (30, 9)
    assert "coreset 30: 9 of the artifact, 21 of the stream" in calibrant("log", state).out
    assert json.loads(calibrant("forget", state, "--json").out) == {"forgotten": 21}
    assert calibrant("forget", state).out.startswith("forgot 0 samples")
    assert calibrant("forget", tmp_path / "none.db").status == 2
    plain = tmp_path / "plain.db"
    reports(project / "model.cal", "--state", plain, *stream, "--no-upkeep")
    assert versions(plain)[0]["metrics"]["coreset_source"] == 9


def test_a_coreset_of_four_bits(project: Path, tmp_path: Path) -> None:
    target = tmp_path / "four.cal"
    assert calibrant(*preparation(project, target, "--coreset-bits", 4)).status == 0
    facts, whole = (json.loads(calibrant("inspect", p, "--json").out) for p in (target, project / "model.cal"))
    assert (facts["coreset_bits"], whole["coreset_bits"]) == (4, 8)
    assert facts["sections"]["coreset/x"] == whole["sections"]["coreset/x"] // 2
    assert facts["report"]["coreset_bytes"] == sum(
        size for name, size in facts["sections"].items() if name in ("coreset/x", "coreset/low", "coreset/step")
    )
    assert facts["bytes"]["weights"] == whole["bytes"]["weights"]
    assert facts["feedback_share"] == facts["bytes"]["feedback"] / target.stat().st_size
    assert "samples at 4 bits" in calibrant("inspect", target).out
    assert reports(target, "--state", tmp_path / "s.db", "--stream", project / "stream.npz", "--window", 40)
    refused = calibrant(*preparation(project, tmp_path / "no.cal", "--coreset-bits", 3))
    assert refused.status == 2
    assert "--coreset-bits: expected one of 8, 4, got '3'" in refused.err
