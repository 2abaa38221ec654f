"""What `import calibrant` gives and what it must not load."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import calibrant

HEAVY = ("torch", "onnx", "onnxruntime", "scipy", "sklearn", "typer", "rich", "cryptography", "matplotlib")


def loaded_after(code: str) -> set[str]:
    probe = f"{code}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    return set(subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.parametrize("code", ["import calibrant", "from calibrant import Session, Budget, load, write"])
def test_a_device_loads_nothing_heavy(code: str):
    assert loaded_after(code).isdisjoint(HEAVY)


def test_a_network_of_integers_is_prepared_without_torch():
    assert loaded_after("import calibrant.pipeline.integer_model").isdisjoint(HEAVY)


def test_every_public_name_resolves_and_unknown_ones_do_not():
    for name in calibrant.__all__:
        assert getattr(calibrant, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = calibrant.nonsense


def test_prepare_without_torch_says_what_to_install():
    code = (
        "import sys; sys.modules['torch'] = None\nimport calibrant\n"
        "try:\n    calibrant.prepare\nexcept calibrant.ModelError as error:\n    print(error)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "pip install 'calibrant[server]'" in said


def test_the_version_is_the_projects():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert calibrant.__version__ == project["version"]
