"""`calibrant export` as a user types it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
from shell import calibrant
from test_bad_input import contents, refused

from calibrant.artifact import read
from calibrant.core.window import encode
from calibrant.engine import Engine


def test_firmware_of_this_machine(project: Path, tmp_path: Path) -> None:
    """From the artifact to a program that gives the engine's outputs, its table held against the image."""
    folder = tmp_path / "firmware"
    asked = ("export", project / "model.cal", "--board", "generic", "--ram", "256KB", "-o", folder)
    outcome = calibrant(*asked, "--build", "--json")
    assert outcome.status == 0, outcome.err
    facts = json.loads(outcome.out)
    assert facts["board"] == "generic"
    assert facts["updater"] == "flip"
    assert facts["code_bytes"] > 0
    assert (
        facts["arena_bytes"] + facts["mutable_bytes"] + facts["samples_bytes"] + facts["workspace_bytes"]
        <= (facts["ram_bytes"])
    )
    refused(calibrant(*asked), "--force")
    shown = calibrant(*asked, "--force", "--updater", "none")
    assert shown.status == 0, shown.err
    assert "arena of activations" in shown.out
    artifact = read(project / "model.cal")
    x = np.load(project / "stream.npz")["x"][:3]
    codes = encode(x, artifact.program.tensors[artifact.program.input], artifact.preprocess, artifact.input_shape)
    (folder / "stream.bin").write_bytes(np.array([1, 3], "<i4").tobytes() + codes.tobytes())
    subprocess.run(["make", "-s", "-C", str(folder), "run"], check=True)
    results = np.frombuffer((folder / "results.bin").read_bytes()[:-4], "<i4").reshape(3, -1)
    assert np.array_equal(results[:, 1:], Engine(artifact.program, artifact.constants).infer(codes))


def test_refusals(project: Path, tmp_path: Path) -> None:
    """One line, status 2, and nothing left behind."""
    model = project / "model.cal"
    asked = ("export", model, "-o", tmp_path / "firmware")
    refused(calibrant(*asked, "--board", "uno", "--ram", "64KB"), "--board", "mps2-an386", "'uno'")
    refused(calibrant(*asked, "--board", "mps2-an386", "--ram", "6KB"), "grants 5,984", "over", "would fit")
    refused(calibrant(*asked, "--board", "mps3-an547", "--ram", "1MB"), "mps3-an547 has 524,288")
    refused(
        calibrant(*asked, "--board", "generic", "--ram", "64KB", "--updater", "magic"), "sparse, flip, affine, none"
    )
    refused(calibrant(*asked, "--board", "generic", "--ram", "64KB", "--updater", "sparse"), "--form sparse")
    refused(calibrant("export", tmp_path / "gone", "-o", tmp_path / "f", "--board", "generic", "--ram", 1), "gone")
    assert contents(tmp_path) == {}
    assert list(tmp_path.iterdir()) == []
