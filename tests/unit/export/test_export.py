"""Export as its caller sees it: what is written, what is refused and why, and that a refusal leaves nothing."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from artifacts import at_home, make_artifact, make_sparse_artifact
from calibrant.core.errors import BudgetError, CalibrantError, DataError, ModelError, PlanError
from calibrant.core.statistics import Coreset
from calibrant.export import BOARDS, UPDATERS, ExportOptions, export

ARTIFACT = make_artifact()


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def refused(error: type[CalibrantError], place: Path, *words: str, **changed: object) -> str:
    """The export is refused in one line with these words and leaves nothing."""
    asked: dict[str, object] = {"artifact": ARTIFACT, "board_name": "mps2-an386", "ram": "64KB", "updater": "flip"}
    before = files(place)
    with pytest.raises(error) as raised:
        export(**{**asked, "folder": place / "firmware", **changed})  # type: ignore[arg-type]
    line = str(raised.value)
    assert "\n" not in line
    for word in words:
        assert word in line, line
    assert files(place) == before
    assert not [path for path in place.iterdir() if path.name.startswith(".")]
    return line


@pytest.mark.parametrize("board", BOARDS)
@pytest.mark.parametrize("updater", UPDATERS)
def test_only_what_is_used(board: str, updater: str, tmp_path: Path) -> None:
    export(at_home(make_sparse_artifact()), board, "64KB", updater, tmp_path / "firmware")
    written = files(tmp_path / "firmware")
    assert {"Makefile", "README.md", "model.c", "model.h", "tables.h", "board.mk"} <= written
    kernels = {name for name in written if name.startswith("kernels/")}
    variant = BOARDS[board].kernels
    own = "kernels/conv2d.c" if variant == "ref" else f"kernels/{variant}/conv2d.c"
    assert {own, "kernels/mean.c"} <= kernels
    unused = ("add", "max_pool2d", "table", "conv2d_taps", "depthwise")
    assert not [name for name in kernels for kernel in unused if name.endswith(f"/{kernel}.c")]
    assert sum(name.endswith("/conv2d.c") for name in kernels) == 1
    assert ("firmware/calibration.c" in written) == ("updaters/guarded_flips.c" in written) == (updater == "flip")
    assert ("firmware/correction.c" in written) == ("updaters/affine_correction.c" in written) == (updater == "affine")
    assert ("firmware/training.c" in written) == ("kernels/loss.c" in written) == (updater == "sparse")
    text = (tmp_path / "firmware" / "model.c").read_text()
    assert "malloc" not in text
    assert f"conv2d_s8__{variant}(&calibrant_calls[0]);" in text


def test_tables_are_exact(tmp_path: Path) -> None:
    export(ARTIFACT, "generic", "64KB", "none", tmp_path / "firmware")
    text = (tmp_path / "firmware" / "model.c").read_text()
    held = re.search(r"calibrant_weights\[\d+\] = \{([^}]*)\}", text)
    assert held is not None
    assert [int(word) for word in held[1].replace(",", " ").split()] == ARTIFACT.constants.weights.tolist()
    scales = re.search(r"calibrant_score_scale\[\d+\] = \{([^}]*)\}", text)
    assert scales is not None
    got = [float.fromhex(word.strip().rstrip("f")) for word in scales[1].split(",") if word.strip()]
    expected = np.float32(ARTIFACT.program.tensors[2].scale) * ARTIFACT.constants.scale[-3:]
    assert got == expected.astype(np.float32).astype(float).tolist()


def test_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        export(make_artifact(), "mps2-an500", "64KB", "flip", tmp_path / name)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    for name in files(tmp_path / "a"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_report_adds_up(tmp_path: Path) -> None:
    report = export(ARTIFACT, "mps2-an386", "64KB", "flip", tmp_path / "firmware", options=ExportOptions(window=10))
    ram = sum(block.nbytes for block in report.blocks if block.memory == "ram")
    assert report.ram_bytes == -(-(ram + report.stack_bytes) // 32) * 32
    kinds = ("arena", "mutable", "samples", "workspace")
    assert sum(map(report.total, kinds)) == ram
    assert report.total("constants") == report.constant_bytes
    readme = (tmp_path / "firmware" / "README.md").read_text()
    for what, _, nbytes in report.rows():
        assert f"| {what} |" in readme
        assert f"{nbytes:,}" in readme


def test_bad_options(tmp_path: Path) -> None:
    refused(DataError, tmp_path, "--board", *BOARDS, "'uno'", board_name="uno")
    refused(DataError, tmp_path, "--updater", *UPDATERS, "'magic'", updater="magic")
    refused(DataError, tmp_path, "--ram", "mps3-an547 has 524,288", board_name="mps3-an547", ram="1MB")
    refused(DataError, tmp_path, "size", "'lots'", ram="lots")
    refused(DataError, tmp_path, "--window", "--updater flip", updater="none", options=ExportOptions(window=8))
    refused(DataError, tmp_path, "--batch", "--updater sparse", options=ExportOptions(batch=4))
    refused(DataError, tmp_path, "--block", "70000", options=ExportOptions(block=70000))
    refused(DataError, tmp_path, "no training step", "--form sparse", updater="sparse")
    sparse = {"artifact": make_sparse_artifact(), "updater": "sparse"}
    refused(DataError, tmp_path, "--window", **sparse, options=ExportOptions(window=8))
    refused(ModelError, tmp_path, "scheme", "'best'", **sparse, options=ExportOptions(scheme="best"))


def test_does_not_fit(tmp_path: Path) -> None:
    """It says by how much, and what it offers instead does fit."""
    line = refused(BudgetError, tmp_path, "mps2-an386 grants 6,400 bytes", "over", "stack 4,096", ram=6400,
                   options=ExportOptions(window=40))  # fmt: skip
    offered = re.findall(r"--(ram|window|block|updater) (\w+)", line)
    assert [name for name, _ in offered] == ["ram", "window", "block", "updater"]
    for name, value in offered:
        ram, updater = int(value) if name == "ram" else 6400, value if name == "updater" else "flip"
        more = {} if name == "updater" else {"window": 40} | ({name: int(value)} if name in ("window", "block") else {})
        report = export(ARTIFACT, "mps2-an386", ram, updater, tmp_path / name, options=ExportOptions(**more))
        assert report.ram_bytes <= report.ram_limit
    larger = ExportOptions(window=int(offered[1][1]) + 1)
    with pytest.raises(BudgetError):
        export(ARTIFACT, "mps2-an386", 6400, "flip", tmp_path / "more", options=larger)
    line = refused(BudgetError, tmp_path, "grants 4,096", ram=4096, updater="none")
    assert "--updater" not in line


def test_exact_limit(tmp_path: Path) -> None:
    """What the report needs is enough, and 32 bytes less are not."""
    needed = export(ARTIFACT, "mps2-an386", "64KB", "none", tmp_path / "a").ram_bytes
    assert export(ARTIFACT, "mps2-an386", needed, "none", tmp_path / "b").ram_bytes == needed
    refused(BudgetError, tmp_path, ram=needed - 1, updater="none")


def test_window_is_as_large_as_fits(tmp_path: Path) -> None:
    windows = [export(ARTIFACT, "generic", ram, "flip", tmp_path / str(ram)).window for ram in (2400, 3000, 9000)]
    assert 0 < windows[0] < windows[1] < windows[2] == 40


def test_folder_in_the_way(tmp_path: Path) -> None:
    target = tmp_path / "firmware"
    target.mkdir()
    export(ARTIFACT, "generic", "64KB", "none", target)
    refused(DataError, tmp_path, "-o", "--force replaces it")
    export(ARTIFACT, "generic", "64KB", "flip", target, force=True)
    assert "firmware/calibration.c" in files(target)
    (target / "board.mk").unlink()
    refused(DataError, tmp_path, "no exported project", force=True)
    (tmp_path / "file").write_text("mine")
    refused(DataError, tmp_path, "got the file", folder=tmp_path / "file", force=True)
    refused(DataError, tmp_path, "no folder", folder=tmp_path / "a" / "b")


def test_unfit_artifacts(tmp_path: Path) -> None:
    empty = replace(ARTIFACT, coreset=Coreset(ARTIFACT.coreset.x[:0], ARTIFACT.coreset.y[:0]))
    refused(DataError, tmp_path, "coreset", artifact=empty)
    export(empty, "generic", "64KB", "none", tmp_path / "inferring")
    wild = replace(ARTIFACT, constants=replace(ARTIFACT.constants, shift=ARTIFACT.constants.shift * 99))
    refused(PlanError, tmp_path, "shift", artifact=wild)


def test_missing_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    export(ARTIFACT, "mps3-an547", "64KB", "none", tmp_path / "firmware")  # writing needs no compiler
    words = ("arm-none-eabi-gcc and make not found", "gcc-arm-none-eabi libnewlib-arm-none-eabi")
    refused(DataError, tmp_path, *words, build=True, force=True)


def test_block_form(tmp_path: Path) -> None:
    """An artifact of the form 'blocks' gets them without asking."""
    blocks = replace(ARTIFACT, settings=replace(ARTIFACT.settings, form="blocks"))
    implied = export(blocks, "generic", "64KB", "flip", tmp_path / "a")
    asked = export(ARTIFACT, "generic", "64KB", "flip", tmp_path / "b", options=ExportOptions(block=64))
    assert implied == asked
    assert implied.total("workspace") < export(ARTIFACT, "generic", "64KB", "flip", tmp_path / "c").total("workspace")


def test_affine_correction(tmp_path: Path) -> None:
    """The window is as large as fits, constants and what is remembered lie in RAM, and no weight does."""
    artifact, channels = at_home(ARTIFACT), ARTIFACT.program.layers[-1].channel_offset
    reports = [export(artifact, "generic", ram, "affine", tmp_path / str(ram)) for ram in (800, 1200, 9000)]
    windows = [report.window for report in reports]
    assert 0 < windows[0] < windows[1] < windows[2] == 40
    assert all(report.ram_bytes <= report.ram_limit for report in reports)
    assert reports[0].total("mutable") == 6 * -(-4 * channels // 16) * 16 + 16
    text = (tmp_path / "9000" / "model.c").read_text()
    mean = re.search(rf"calibrant_home_mean\[{channels}\] = \{{([^}}]*)\}}", text)
    assert mean is not None
    assert artifact.home is not None
    held = [float.fromhex(word.strip().rstrip("f")) for word in mean[1].split(",") if word.strip()]
    assert held == artifact.home.mean[:channels].tolist()
    about = {"artifact": artifact, "updater": "affine"}
    line = refused(BudgetError, tmp_path, "over", **about, ram=6000, options=ExportOptions(window=90))
    offered = re.search(r"--window (\d+)", line)
    assert offered is not None
    export(artifact, "mps2-an386", 6000, "affine", tmp_path / "a", options=ExportOptions(window=int(offered[1])))
    refused(DataError, tmp_path, "--window", "1,023", "1,024", **about, options=ExportOptions(window=1024))
    for name, value in (("block", 8), ("batch", 2), ("scheme", "full")):
        refused(DataError, tmp_path, f"--{name}", "no use for it", **about, options=ExportOptions(**{name: value}))
    refused(DataError, tmp_path, "prepare the model again", updater="affine")


def test_picture_of_the_arena(tmp_path: Path) -> None:
    """Firmware that trains shows its arena; others have no steps to show, and nothing is left behind."""
    export(make_sparse_artifact(), "generic", "64KB", "sparse", tmp_path / "firmware", picture=tmp_path / "arena.png")
    assert (tmp_path / "arena.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(DataError, match="--picture: shows the steps of firmware that trains, this is of updater none"):
        export(make_artifact(), "generic", "64KB", "none", tmp_path / "other", picture=tmp_path / "other.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["arena.png", "firmware"]


@pytest.mark.parametrize("updater", UPDATERS)
def test_outputs_of_another_task_are_no_classes(updater: str, tmp_path: Path) -> None:
    other = replace(make_sparse_artifact(), task="flags")
    refused(DataError, tmp_path, "expected an artifact of task 'classes', got 'flags'", artifact=other, updater=updater)
