"""Every way an artifact file can be wrong has its own named error; nothing wrong is ever accepted."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifacts import at_home, make_artifact, recognizing
from calibrant.artifact import Artifact, generate_keys, layout, read, write
from calibrant.artifact.manifest import canonical
from calibrant.artifact.read import KEY, parse
from calibrant.artifact.write import to_bytes
from calibrant.core import nibbles
from calibrant.core.errors import (
    ArtifactError,
    HashError,
    LayoutError,
    ManifestError,
    SignatureError,
    TruncatedError,
    VersionError,
)
from calibrant.core.rng import generator
from tampering import Edit, put_together, taken_apart, with_manifest, with_tensor


def refused(raw: bytes) -> ArtifactError:
    """The error, after checking that it is one clear line."""
    with pytest.raises(ArtifactError) as error:
        parse(raw, "har.cal", None)
    text = str(error.value)
    assert text.startswith("har.cal: section '")
    assert "\n" not in text
    assert len(text) < 400
    return error.value


@pytest.fixture
def raw(artifact: Artifact) -> bytes:
    return to_bytes(artifact)


@pytest.fixture
def raw_at_home(artifact: Artifact) -> bytes:
    return to_bytes(at_home(artifact, by_class=True))


@pytest.mark.parametrize("name", ["mean", "square_spread", "class_mean", "class_std"])
def test_home_is_whole_or_not_there(raw_at_home: bytes, name: str):
    header, data = taken_apart(raw_at_home)
    section = header.pop(f"home/{name}")
    begin, end = section["data_offsets"]
    for other in header.values():
        if "data_offsets" in other and other["data_offsets"][0] >= end:
            other["data_offsets"] = [place - (end - begin) for place in other["data_offsets"]]
    manifest = json.loads(header["__metadata__"][KEY])
    manifest["tensors"].pop(f"home/{name}")
    header["__metadata__"][KEY] = canonical(manifest)
    raw = with_manifest(put_together(header, data[:begin] + data[end:]), lambda m: None)
    error = refused(raw)
    assert type(error) is ManifestError
    assert f"'home/{name}' is missing" in str(error)


def test_truncated_anywhere(raw: bytes):
    start = layout.parse(raw, "har.cal").start
    ends = [s.end + start for s in layout.parse(raw, "har.cal").sections.values()]
    places = {0, 1, 7, 8, 9, start - 1, start, *ends, *(e - 1 for e in ends)} - {len(raw)}
    places |= set(generator(0, "cuts").integers(0, len(raw), 200).tolist())
    for place in places:
        assert type(refused(raw[:place])) is TruncatedError


def test_the_message_names_section_and_sizes(raw: bytes):
    sections = layout.parse(raw, "x").sections
    last = max(sections.values(), key=lambda s: s.end)
    size = last.end - last.begin
    said = str(refused(raw[:-2]))
    assert (
        said == f"har.cal: section {last.name!r} has {size - 2:,} bytes, manifest says {size:,} (truncated download?)"
    )


def test_every_single_flipped_bit_is_noticed(build_artifact: Callable[..., Artifact]):
    raw = bytearray(to_bytes(build_artifact(channels=1, length=2, hidden=1, classes=2, coreset=1)))
    accepted = []
    for position in range(len(raw)):
        for bit in range(8):
            raw[position] ^= 1 << bit
            try:
                parse(bytes(raw), "har.cal", None)
                accepted.append((position, bit))
            except ArtifactError:
                pass
            raw[position] ^= 1 << bit
    assert accepted == []


def test_flipped_bits_of_a_signature_are_noticed_without_the_key(artifact: Artifact, tmp_path: Path):
    generate_keys(tmp_path / "k", tmp_path / "p")
    raw = to_bytes(artifact, sign=tmp_path / "k")
    at = raw.index(b"signature") + 20
    assert type(refused(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])) is HashError


@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_random_damage_gives_a_named_error_or_the_same_artifact(raw_once: bytes, data: st.DataObject):
    damaged = bytearray(raw_once)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        piece = data.draw(st.binary(max_size=6))
        damaged[at : at + data.draw(st.integers(0, 6))] = piece
    if bytes(damaged) != raw_once:
        with pytest.raises(ArtifactError):
            parse(bytes(damaged), "har.cal", None)


@pytest.fixture(scope="module")
def raw_once() -> bytes:
    return to_bytes(make_artifact())


@given(st.binary(max_size=64))
def test_random_bytes_are_no_artifact(junk: bytes):
    refused(junk)


@given(st.binary(max_size=64))
def test_random_bytes_are_no_header(junk: bytes):
    refused(put_together(junk, b""))


def test_trailing_bytes(raw: bytes):
    assert type(refused(raw + b"\0")) is LayoutError


@pytest.mark.parametrize("length", [10**8 + 1, 2**32, 2**63, 2**64 - 1])
def test_a_huge_header_length(raw: bytes, length: int):
    assert type(refused(length.to_bytes(8, "little") + raw[8:])) is LayoutError


@pytest.mark.parametrize(
    "header",
    [
        b"\xff\xfe{}",
        b"not json",
        b"[]",
        b"3",
        b"{}",
        b'{"__metadata__": {}}',
        b'{"__metadata__": 3}',
        b'{"__metadata__": {"calibrant": 3}}',
        b'{"__metadata__": {"calibrant": "[]"}}',
        b'{"__metadata__": {"calibrant": "{}"}}',
        b'{"__metadata__": {"calibrant": "{"}}',
        b'{"a": NaN}',
        b'{"a": 1, "a": 2}',
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1], "more": 0}}',
        b'{"a": {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]}}',
        b'{"a": {"dtype": ["U8"], "shape": [1], "data_offsets": [0, 1]}}',
        b'{"a": {"dtype": "U8", "shape": 1, "data_offsets": [0, 1]}}',
        b'{"a": {"dtype": "U8", "shape": [-1], "data_offsets": [0, 1]}}',
        b'{"a": {"dtype": "U8", "shape": [true], "data_offsets": [0, 1]}}',
        b'{"a": {"dtype": "U8", "shape": [1.0], "data_offsets": [0, 1]}}',
        b'{"a": {"dtype": "U8", "shape": [1,1,1,1,1], "data_offsets": [0, 1]}}',
        b'{"a": {"dtype": "U8", "shape": [1], "data_offsets": [0]}}',
        b'{"a": {"dtype": "U8", "shape": [1], "data_offsets": [-1, 0]}}',
        b'{"a": {"dtype": "U8", "shape": [1], "data_offsets": "01"}}',
        b'{"a": null}',
    ],
)
def test_a_header_that_is_not_what_it_should_be(header: bytes):
    assert type(refused(put_together(header, b"\0"))) in (ManifestError, LayoutError)


def edited_header(raw: bytes, edit: Edit) -> bytes:
    header, data = taken_apart(raw)
    edit(header)
    return put_together(header, data)


def test_overlap_hole_and_length_mismatch(raw: bytes):
    def move(name: str, by: int) -> Edit:
        def edit(header: dict[str, Any]) -> None:
            header[name]["data_offsets"] = [v + by for v in header[name]["data_offsets"]]

        return edit

    for by in (-4, 4, 2**40, 2**70):
        assert type(refused(edited_header(raw, move("bias", by)))) is LayoutError
    said = str(refused(edited_header(raw, lambda h: h["bias"].update(shape=[2**62, 2**62]))))
    assert "section 'bias'" in said
    assert type(refused(edited_header(raw, lambda h: h["bias"].update(shape=[1])))) is LayoutError
    assert type(refused(edited_header(raw, lambda h: h["bias"].update(data_offsets=[4, 0])))) is LayoutError


def test_a_hole_that_the_file_really_has(raw: bytes):
    header, data = taken_apart(raw)
    for entry in (v for k, v in header.items() if k != "__metadata__"):
        entry["data_offsets"] = [v + 8 for v in entry["data_offsets"]]
    error = refused(put_together(header, b"\0" * 8 + data))
    assert type(error) is LayoutError
    assert "hole" in str(error)


def test_two_sections_on_the_same_bytes(raw: bytes):
    header, data = taken_apart(raw)
    header["shift"]["data_offsets"] = header["multiplier"]["data_offsets"]
    error = refused(put_together(header, data))
    assert type(error) is LayoutError


def test_a_missing_and_an_unknown_tensor(raw: bytes):
    header, data = taken_apart(raw)
    last = max((k for k in header if k != "__metadata__"), key=lambda k: header[k]["data_offsets"][1])
    begin = header.pop(last)["data_offsets"][0]
    assert f"'{last}' is missing" in str(refused(put_together(header, data[:begin])))
    assert "is missing" in str(
        refused(with_manifest(put_together(header, data[:begin]), lambda m: m["tensors"].pop(last)))
    )
    header, data = taken_apart(raw)
    header["extra"] = {"dtype": "U8", "shape": [1], "data_offsets": [len(data), len(data) + 1]}
    more = put_together(header, data + b"\0")
    assert "'extra'" in str(refused(more))
    digest = hashlib.sha256(b"\0").hexdigest()
    assert "'extra'" in str(refused(with_manifest(more, lambda m: m["tensors"].update(extra=digest))))


def test_wrong_hash(raw: bytes):
    error = refused(raw[:-1] + bytes([raw[-1] ^ 1]))
    assert type(error) is HashError
    header, data = taken_apart(raw)
    manifest = json.loads(header["__metadata__"][KEY])
    manifest["report"]["note"] = "changed"
    header["__metadata__"][KEY] = canonical(manifest)
    assert type(refused(put_together(header, data))) is HashError


@pytest.mark.parametrize("version", [0, 1, 5, 99, True, "2", None, 2.0])
def test_wrong_version(raw: bytes, version: object):
    assert type(refused(with_manifest(raw, lambda m: m.update(format_version=version)))) is VersionError


def test_a_version_that_is_not_the_first_to_know_what_the_file_holds(
    artifact: Artifact, raw: bytes, raw_at_home: bytes
):
    knowing = to_bytes(recognizing(artifact))
    for file, right, wrong in ((raw, 2, 3), (raw_at_home, 3, 2), (raw_at_home, 3, 4), (knowing, 4, 3), (knowing, 4, 2)):
        error = refused(with_manifest(file, lambda m, v=wrong: m.update(format_version=v)))
        assert type(error) is ManifestError
        assert f"expected {right} for what the file holds, got {wrong}" in str(error)


def test_json_that_is_not_canonical(raw: bytes):
    header, data = taken_apart(raw)
    text = header["__metadata__"][KEY]
    for other in (text + " ", text.replace(":", ": ", 1), text.replace('"checksum"', '"\\u0063hecksum"')):
        header["__metadata__"][KEY] = other
        assert type(refused(put_together(header, data))) is ManifestError
    header["__metadata__"][KEY] = text.replace('"note":"made by tests"', '"note":1e999')
    assert "canonical" in str(refused(put_together(header, data)))


WRONG: list[tuple[str, Edit]] = [
    ("'more'", lambda m: m.update(more=1)),
    ("'classes'", lambda m: m.pop("classes")),
    ("classes", lambda m: m.update(classes="abc")),
    ("classes", lambda m: m.update(classes=["a", "b"])),
    ("classes", lambda m: m.update(classes=["a", "b", 3])),
    ("classes", lambda m: m.update(classes=["a", "b", ""])),
    ("classes", lambda m: m.update(classes=["a", "b", "\ud800"])),
    ("report", lambda m: m.update(report=[])),
    ("tensors", lambda m: m.update(tensors=[])),
    ("signature", lambda m: m.update(signature=3)),
    ("tool_version", lambda m: m.update(tool_version=None)),
    ("input_shape", lambda m: m.update(input_shape=[3, 9])),
    ("input_shape", lambda m: m.update(input_shape=[8, 3])),
    ("input_shape", lambda m: m.update(input_shape=[3, 8, 1])),
    ("input_shape", lambda m: m.update(input_shape=[])),
    ("input_shape", lambda m: m.update(input_shape=[3.0, 8])),
    ("'usual'", lambda m: m.pop("usual")),
    ("'usual'", lambda m: m.update(usual=[])),
    ("'usual'", lambda m: m["usual"].pop("spread")),
    ("'error'", lambda m: m["usual"].update(error=1.5)),
    ("'error'", lambda m: m["usual"].update(error=None)),
    ("'distance'", lambda m: m["usual"].update(distance=-0.5)),
    ("'spread'", lambda m: m["usual"].update(spread=1e300)),
    ("settings", lambda m: m["settings"].update(form="another one")),
    ("settings", lambda m: m["settings"].update(steps=True)),
    ("settings", lambda m: m["settings"].update(steps=-1)),
    ("settings", lambda m: m["settings"].update(fraction="0.1")),
    ("settings", lambda m: m["settings"].update(fraction=2.0)),
    ("settings", lambda m: m["settings"].pop("bias")),
    ("settings", lambda m: m.update(settings=None)),
    ("thresholds", lambda m: m.update(thresholds=[])),
    ("thresholds", lambda m: m["thresholds"].update(coreset_drop=-0.5)),
    ("thresholds", lambda m: m["thresholds"].update(coreset_drop=None)),
    ("thresholds", lambda m: m["thresholds"].update(coreset_drop=10**400)),
    ("program", lambda m: m.update(program=None)),
    ("program", lambda m: m["program"].pop("offsets")),
    ("tensors", lambda m: m["program"].update(tensors={})),
    ("tensors/0", lambda m: m["program"]["tensors"].__setitem__(0, 5)),
    ("'scale'", lambda m: m["program"]["tensors"][0].update(scale=0.0)),
    ("'scale'", lambda m: m["program"]["tensors"][0].update(scale=-1.0)),
    ("'zero_point'", lambda m: m["program"]["tensors"][0].update(zero_point=200)),
    ("'bits'", lambda m: m["program"]["tensors"][0].update(bits=32)),
    ("'height'", lambda m: m["program"]["tensors"][0].update(height=0)),
    ("'width'", lambda m: m["program"]["tensors"][0].update(width=2**31)),
    ("tensors/0", lambda m: m["program"]["tensors"][0].update(width=2**23, height=2**23)),
    ("'name'", lambda m: m["program"]["tensors"][0].update(name="a\nb")),
    ("input", lambda m: m["program"].update(input=4)),
    ("input", lambda m: m["program"].update(input=-1)),
    ("'bits'", lambda m: m["program"].update(output=99)),
    ("'bits'", lambda m: m["program"].update(output=2)),
    ("offsets", lambda m: m["program"]["offsets"].pop()),
    ("offsets/1", lambda m: m["program"]["offsets"].__setitem__(1, -64)),
    ("offsets/3", lambda m: m["program"]["offsets"].__setitem__(3, 2**30)),
    ("offsets/0", lambda m: m["program"].update(arena_bytes=0)),
    ("arena_bytes", lambda m: m["program"].update(arena_bytes="big")),
    ("layers/0", lambda m: m["program"]["layers"][0].update(bits=3)),
    ("layers/0", lambda m: m["program"]["layers"][0].update(groups=2)),
    ("layers/0", lambda m: m["program"]["layers"][0].update(groups=0)),
    ("layers/0", lambda m: m["program"]["layers"][0].update(weight_offset=1)),
    ("layers/1", lambda m: m["program"]["layers"][1].update(weight_offset=0)),
    ("layers/1", lambda m: m["program"]["layers"][1].update(channel_offset=5)),
    ("layers/1", lambda m: m["program"]["layers"][1].update(pooled_offset=4)),
    ("layers/1", lambda m: m["program"]["layers"][1].update(name="first")),
    ("weights/last", lambda m: m["program"]["layers"][1].update(bits=8)),
    ("'layer'", lambda m: m["program"]["layers"].pop()),
    ("ops/0", lambda m: m["program"]["ops"][0].update(kind="exec")),
    ("ops/0", lambda m: m["program"]["ops"][0].update(inputs=[1])),
    ("ops/0", lambda m: m["program"]["ops"][0].update(inputs=[])),
    ("ops/0", lambda m: m["program"]["ops"][0].update(inputs=[0] * 9)),
    ("ops/0", lambda m: m["program"]["ops"][0].update(inputs=[-1])),
    ("ops/0", lambda m: m["program"]["ops"][0].update(output=0)),
    ("ops/0", lambda m: m["program"]["ops"][0].update(output=7)),
    ("ops/0", lambda m: m["program"]["ops"][0].update(layer=2)),
    ("ops/0", lambda m: m["program"]["ops"][0].update(layer=-1)),
    ("ops/1", lambda m: m["program"]["ops"][1].update(layer=0)),
    ("ops/0", lambda m: m["program"]["ops"][0]["attrs"].update(kernel_h=1.5)),
    ("ops/0", lambda m: m["program"]["ops"][0]["attrs"].update(kernel_h=2**31)),
    ("ops/0", lambda m: m["program"]["ops"][0].update(attrs=[])),
    ("ops/1", lambda m: m["program"]["ops"].pop(1)),
    ("program", lambda m: m["program"].update(ops=[])),
]


@pytest.mark.parametrize(("said", "edit"), WRONG, ids=range(len(WRONG)))
def test_a_lie_in_the_manifest(raw: bytes, said: str, edit: Edit):
    error = refused(with_manifest(raw, edit))
    assert type(error) is ManifestError
    assert said in str(error)


BAD_TENSORS: list[tuple[str, Callable[[np.ndarray], None]]] = [
    ("weights/first", lambda a: a.__setitem__(0, 0x88)),  # -8 at 4 bits
    ("weights/first", lambda a: a.__setitem__(3, 0x80)),
    ("scale", lambda a: a.__setitem__(0, 0.0)),
    ("scale", lambda a: a.__setitem__(1, np.nan)),
    ("scale", lambda a: a.__setitem__(2, np.inf)),
    ("shift", lambda a: a.__setitem__(0, 0)),
    ("shift", lambda a: a.__setitem__(0, 63)),
    ("multiplier", lambda a: a.__setitem__(0, -1)),
    ("feedback/scale", lambda a: a.__setitem__(0, np.nan)),
    ("coreset/y", lambda a: a.__setitem__(0, 3)),
    ("coreset/y", lambda a: a.__setitem__(0, -1)),
    ("reference/mean", lambda a: a.__setitem__(0, np.nan)),
    ("reference/mean", lambda a: a.__setitem__(3, -np.inf)),
    ("reference/std", lambda a: a.__setitem__(0, -1.0)),
    ("reference/std", lambda a: a.__setitem__(8, np.inf)),
    ("preprocess/std", lambda a: a.__setitem__(0, 0.0)),
    ("preprocess/std", lambda a: a.__setitem__(0, np.inf)),
    ("preprocess/mean", lambda a: a.__setitem__(0, np.nan)),
    ("home/mean", lambda a: a.__setitem__(0, np.nan)),
    ("home/variance", lambda a: a.__setitem__(0, -1.0)),
    ("home/mean_spread", lambda a: a.__setitem__(1, np.inf)),
    ("home/square_spread", lambda a: a.__setitem__(1, -0.5)),
    ("home/class_mean", lambda a: a.__setitem__(1, np.inf)),
    ("home/class_std", lambda a: a.__setitem__(19, -0.5)),
]


@pytest.mark.parametrize(("name", "edit"), BAD_TENSORS, ids=range(len(BAD_TENSORS)))
def test_a_tensor_with_impossible_values(raw_at_home: bytes, name: str, edit: Callable[[np.ndarray], None]):
    error = refused(with_tensor(raw_at_home, name, edit))
    assert type(error) is ManifestError
    assert name.split("/")[0] in str(error)


def test_padding_bits_must_be_zero(build_artifact: Callable[..., Artifact]):
    raw = to_bytes(build_artifact(channels=1, hidden=3, classes=3))  # 9 weights at 4 bits: half a byte is padding
    assert "padding" in str(refused(with_tensor(raw, "weights/first", lambda a: a.__setitem__(-1, a[-1] | 0x10))))


@pytest.mark.parametrize(
    ("name", "edit"),
    [
        ("coreset/step", lambda a: a.__setitem__(0, 0)),
        ("coreset/step", lambda a: a.__setitem__(0, 255)),
        ("coreset/low", lambda a: a.__setitem__(0, 127)),
        ("coreset/x", lambda a: a.__setitem__(slice(0, 11), 0x11)),  # no level 0: not from the lowest code
        ("coreset/x", lambda a: a.__setitem__(10, a[10] | 0x10)),  # padding
    ],
)
def test_a_packed_coreset_is_packed_in_one_way(build_artifact: Callable[..., Artifact], name: str, edit: Any):
    artifact = build_artifact(length=7)  # 21 values: half a byte is padding
    kept = dataclasses.replace(artifact.coreset, x=nibbles.rounded(artifact.coreset.x), bits=4)
    raw = to_bytes(dataclasses.replace(artifact, coreset=kept))
    assert "expected samples packed at 4 bits" in str(refused(with_tensor(raw, name, edit)))
    said = str(refused(edited_header(raw, lambda h: h.pop("coreset/low"))))
    assert "coreset/low" in said or "hole" in said


def test_a_tensor_of_another_dtype_or_shape(raw: bytes):
    said = str(refused(edited_header(raw, lambda h: h["bias"].update(dtype="F32"))))
    assert "expected I32[9], got F32[9]" in said
    assert "coreset/x" in str(refused(edited_header(raw, lambda h: h["coreset/x"].update(shape=[9, 8, 1, 3]))))


def test_signatures(artifact: Artifact, tmp_path: Path):
    key, public, path = tmp_path / "k", tmp_path / "p", tmp_path / "a.cal"
    generate_keys(key, public)
    write(path, artifact, sign=key)
    signed = path.read_bytes()
    edits: list[Edit] = [
        lambda m: m["report"].update(note="forged"),
        lambda m: m.update(signature="00" * 64),
        lambda m: m.update(signature="zz"),
        lambda m: m.update(signature=""),
        lambda m: m.update(signature="é"),
        lambda m: m.update(signature=None),
    ]
    for edit in edits:
        path.write_bytes(with_manifest(signed, edit))
        read(path)  # well-formed: only the key's owner can tell
        with pytest.raises(SignatureError):
            read(path, verify=public)
    path.write_bytes(with_tensor(signed, "bias", lambda a: a.__setitem__(0, 7)))
    with pytest.raises(SignatureError, match="does not verify"):
        read(path, verify=public)
