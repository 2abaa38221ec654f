"""A saved exported program is data: whatever is hidden in it, preparing it runs nothing.

Each attack is a file on which ``torch.export.load``, which `prepare` called before, does run the attacker's code.
"""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from calibrant.core.errors import ModelError  # noqa: E402
from calibrant.frontend import from_torch, source  # noqa: E402

Members = dict[str, bytes]
PROGRAM, WEIGHTS = "models/model.json", "data/weights/model_weights_config.json"
CONSTANTS = "data/constants/model_constants_config.json"


class Payload:
    """Whoever unpickles it writes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return exec, (f"open({str(self.marker)!r}, 'w').close()",)


def pickled(marker: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save(({"x": Payload(marker)},), buffer)
    return buffer.getvalue()


def call(marker: Path) -> str:
    return f"open({str(marker)!r}, 'w').close()"


def in_sample_inputs(held: Members, marker: Path) -> None:
    held["data/sample_inputs/model.pt"] = pickled(marker)


def in_weights(held: Members, marker: Path) -> None:
    config = json.loads(held[WEIGHTS])
    config["config"]["0.weight"]["use_pickle"] = True
    held |= {WEIGHTS: json.dumps(config).encode(), "data/weights/weight_0": pickled(marker)}


def in_legacy_weights(held: Members, marker: Path) -> None:
    held["data/weights/model.pt"] = pickled(marker)


def in_constants(held: Members, marker: Path) -> None:
    entry = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None}
    held |= {
        CONSTANTS: json.dumps({"config": {"c": entry}}).encode(),
        "data/constants/opaque_obj_0": pickle.dumps(Payload(marker)),
    }


def in_a_size(held: Members, marker: Path) -> None:
    program = json.loads(held[PROGRAM])
    sizes = program["graph_module"]["graph"]["tensor_values"]["input"]["sizes"]
    sizes[0]["as_expr"]["expr_str"] = f"__import__('builtins').exec({call(marker)!r})"
    held[PROGRAM] = json.dumps(program).encode()


ATTACKS: dict[str, Callable[[Members, Path], None]] = {
    attack.__name__: attack for attack in (in_sample_inputs, in_weights, in_legacy_weights, in_constants, in_a_size)
}


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> Members:
    """Of a sound program."""
    path = tmp_path_factory.mktemp("program") / "m.pt2"
    layers = (
        torch.nn.Conv1d(3, 4, 5),
        torch.nn.BatchNorm1d(4),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(24, 2),
    )
    net = torch.nn.Sequential(*layers)
    batch = ({0: torch.export.Dim("batch", min=1)},)
    torch.export.save(torch.export.export(net.eval(), (torch.zeros(2, 3, 10),), dynamic_shapes=batch), path)
    with zipfile.ZipFile(path) as archive:
        return {name.removeprefix("m/"): archive.read(name) for name in archive.namelist()}


def written(members: Members, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"m/{name}", content)
    return path


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_runs(members: Members, tmp_path: Path, attack: str) -> None:
    held, marker = dict(members), tmp_path / "owned"
    ATTACKS[attack](held, marker)
    path = written(held, tmp_path / "m.pt2")
    with contextlib.suppress(Exception):
        from_torch(torch.export.load(path), torch.zeros(1, 3, 10))
    assert marker.exists(), "the attack does not work on torch's own loader"
    marker.unlink()
    try:
        from_torch(source.load(str(path)), torch.zeros(1, 3, 10))
        refused = ""
    except ModelError as error:
        refused = str(error)
    assert not marker.exists()
    assert "\n" not in refused
    # Sample inputs and members of other names are left out; what the program needs is refused.
    assert (refused == "") == (attack in ("in_sample_inputs", "in_legacy_weights"))


def test_what_is_left_out_changes_nothing(members: Members, tmp_path: Path) -> None:
    from calibrant.graph import text

    path, x = written(members, tmp_path / "m.pt2"), torch.zeros(1, 3, 10)
    assert text.dump(from_torch(source.load(str(path)), x)) == text.dump(from_torch(torch.export.load(path), x))


@pytest.mark.parametrize(
    "target",
    ["torch.ops.aten.from_file.default", "torch.ops.aten.save.default", "torch.os.system", "#x:y", "_operator.call"],
)
def test_only_operators_on_tensors(members: Members, tmp_path: Path, target: str) -> None:
    held = dict(members)
    held[PROGRAM] = held[PROGRAM].replace(b"torch.ops.aten.relu.default", target.encode())
    with pytest.raises(ModelError, match="expected an operator"):
        source.load(str(written(held, tmp_path / "m.pt2")))


def test_no_module_is_imported_for_the_form_of_arguments(members: Members, tmp_path: Path) -> None:
    held = dict(members)
    context = json.dumps(json.dumps({"__enum__": True, "fqn": "this:x", "name": "y"}))
    program = json.loads(held[PROGRAM])
    program["graph_module"]["module_call_graph"][0]["signature"]["out_spec"] = (
        f'[1, {{"type": "builtins.list", "context": {context}, "children_spec": []}}]'
    )
    held[PROGRAM] = json.dumps(program).encode()
    with pytest.raises(ModelError, match="expected tuples, lists and dictionaries"):
        source.load(str(written(held, tmp_path / "m.pt2")))


def test_names_are_words(members: Members, tmp_path: Path) -> None:
    held = dict(members)  # torch writes names into Python that it compiles
    held[PROGRAM] = held[PROGRAM].replace(b'"name": "input"', b'"name": "input: exec(1)"')
    with pytest.raises(ModelError, match="expected a plain word"):
        source.load(str(written(held, tmp_path / "m.pt2")))


def test_tensors_are_no_larger_than_their_bytes(members: Members, tmp_path: Path) -> None:
    held = dict(members)
    config = json.loads(held[WEIGHTS])
    config["config"]["0.weight"]["tensor_meta"] |= {"sizes": [{"as_int": 2**40}], "strides": [{"as_int": 0}]}
    held[WEIGHTS] = json.dumps(config).encode()
    with pytest.raises(ModelError, match=r"tensor '0\.weight': expected a shape that its 240 bytes hold"):
        source.load(str(written(held, tmp_path / "m.pt2")))


def test_a_bomb_is_not_unpacked(members: Members, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.pt2", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"m/{name}", content)
    with pytest.raises(ModelError, match="expected it uncompressed"):
        source.load(str(tmp_path / "m.pt2"))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"nothing of the kind"])
def test_other_files(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.pt2").write_bytes(content)
    with pytest.raises(ModelError, match=r"m\.pt2: expected a program saved by torch\.export\.save"):
        source.load(str(tmp_path / "m.pt2"))


def test_fields_of_other_types_are_one_line(members: Members, tmp_path: Path) -> None:
    places = (
        lambda program: program,
        lambda program: program["graph_module"],
        lambda program: program["graph_module"]["graph"],
    )
    refused = []
    for place in places:
        for field in place(json.loads(members[PROGRAM])):
            program = json.loads(members[PROGRAM])
            place(program)[field] = 7
            path = written(members | {PROGRAM: json.dumps(program).encode()}, tmp_path / "m.pt2")
            try:
                source.load(str(path))
            except ModelError as error:
                refused.append(str(error))
    assert len(refused) > 10
    assert not any("\n" in message for message in refused)
