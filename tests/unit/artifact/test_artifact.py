"""What is written is what is read, byte for byte."""

from __future__ import annotations

import dataclasses
import os
import stat
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import load_file

from artifacts import at_home
from calibrant.artifact import Artifact, content_hash, generate_keys, read, summary, write
from calibrant.artifact.check import input_dims
from calibrant.artifact.write import to_bytes
from calibrant.core import nibbles
from calibrant.core.dtype import pack, unpack, weight_range
from calibrant.core.errors import ArtifactError, ManifestError, SignatureError
from calibrant.core.settings import FlipSettings
from calibrant.core.statistics import Coreset


def assert_same(a: object, b: object) -> None:
    if dataclasses.is_dataclass(a):
        assert type(a) is type(b)
        for field in dataclasses.fields(a):
            assert_same(getattr(a, field.name), getattr(b, field.name))
    elif isinstance(a, np.ndarray):
        assert isinstance(b, np.ndarray)
        assert a.dtype == b.dtype
        assert np.array_equal(a, b)
    elif isinstance(a, tuple):
        assert isinstance(b, tuple)
        assert len(a) == len(b)
        for left, right in zip(a, b, strict=True):
            assert_same(left, right)
    else:
        assert a == b


@given(
    bits=st.sampled_from([2, 4, 8]),
    data=st.data(),
)
def test_packing_round_trips(bits, data):
    low, high = weight_range(bits)
    codes = data.draw(hnp.arrays(np.int8, st.integers(0, 40), elements=st.integers(low, high)))
    packed = pack(codes, bits)
    assert packed.size == -(-codes.size * bits // 8)
    assert np.array_equal(unpack(packed, bits, codes.size), codes)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    bits=st.sampled_from([2, 4, 8]),
    channels=st.integers(1, 5),
    length=st.integers(1, 9),
    hidden=st.integers(1, 7),
    classes=st.integers(1, 5),
    coreset=st.integers(0, 4),
    seed=st.integers(0, 1000),
    report=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=6,
    ),
)
def test_any_artifact_round_trips(tmp_path_factory, build_artifact, report, **sizes):
    artifact = dataclasses.replace(build_artifact(**sizes), report={"free": report})
    path = tmp_path_factory.getbasetemp() / "any.cal"
    write(path, artifact)
    again = read(path)
    assert_same(again, artifact)
    assert to_bytes(again) == path.read_bytes() == to_bytes(artifact)


@pytest.mark.parametrize("by_class", [False, True])
def test_home_round_trips_in_format_3(artifact: Artifact, tmp_path: Path, by_class: bool):
    home = at_home(artifact, by_class=by_class)
    write(tmp_path / "a.cal", home)
    assert_same(read(tmp_path / "a.cal"), home)
    assert summary(tmp_path / "a.cal").format_version == 3
    write(tmp_path / "b.cal", artifact)
    assert summary(tmp_path / "b.cal").format_version == 2
    assert content_hash(home) == content_hash(artifact)


def test_half_a_home_by_class_is_refused(artifact: Artifact):
    home = at_home(artifact, by_class=True)
    assert home.home is not None
    for half in (
        dataclasses.replace(home.home, class_std=None),
        dataclasses.replace(home.home, class_mean=home.home.class_mean + np.float32(1 / 3)),
    ):
        with pytest.raises(ManifestError, match="section 'home/class_mean'"):
            to_bytes(dataclasses.replace(home, home=half))


def test_other_tools_can_open_it(artifact: Artifact, artifact_path: Path):
    tensors = load_file(artifact_path)
    assert np.array_equal(tensors["bias"], artifact.constants.bias)
    first = artifact.program.layers[0]
    assert tensors["weights/first"].nbytes == first.weight_count * first.bits // 8


def test_names_and_settings_survive(artifact: Artifact, tmp_path: Path):
    changed = dataclasses.replace(
        artifact,
        classes=("Gehen", "走る", "сидеть"),
        settings=FlipSettings("taps", 60, 0.01, 0.5, bias=False),
        thresholds={"coreset_drop": 0.25},
    )
    write(tmp_path / "a.cal", changed)
    assert_same(read(tmp_path / "a.cal"), changed)


def test_numpy_scalars_in_records_are_written_as_numbers(artifact: Artifact, tmp_path: Path):
    program = artifact.program
    tensors = tuple(dataclasses.replace(t, scale=np.float32(t.scale), width=np.int64(t.width)) for t in program.tensors)
    changed = dataclasses.replace(artifact, program=dataclasses.replace(program, tensors=tensors))
    write(tmp_path / "a.cal", changed)
    assert read(tmp_path / "a.cal").program.tensors[0].width == 8


def test_summary_says_where_the_bytes_are(artifact_path: Path):
    told = summary(artifact_path)
    assert told.file_bytes == artifact_path.stat().st_size
    assert told.sections["coreset/x"] == 9 * 8 * 3
    assert not told.signed


def test_the_content_hash_follows_the_weights_and_nothing_else(artifact: Artifact):
    weights = artifact.constants.weights.copy()
    weights[0] ^= 1
    other = dataclasses.replace(artifact, constants=dataclasses.replace(artifact.constants, weights=weights))
    assert content_hash(other) != content_hash(artifact)
    assert content_hash(dataclasses.replace(artifact, report={}, thresholds={})) == content_hash(artifact)


def test_a_reference_of_more_precision_is_not_silently_cut(artifact: Artifact):
    mean = artifact.reference.mean.copy()
    for value in (np.float32(1 / 3), np.float32(1e6), np.float32(np.nan)):
        mean[1] = value
        changed = dataclasses.replace(artifact, reference=dataclasses.replace(artifact.reference, mean=mean))
        with pytest.raises(ManifestError, match=r"'reference/mean'.*half precision"):
            to_bytes(changed)


def test_a_failed_write_leaves_the_old_file_and_no_litter(artifact: Artifact, artifact_path: Path):
    before = artifact_path.read_bytes()
    weights = artifact.constants.weights.copy()
    weights[0] = 8  # 4 bits end at 7
    constants = dataclasses.replace(artifact.constants, weights=weights)
    with pytest.raises(ManifestError, match="expected codes -7 to 7"):
        write(artifact_path, dataclasses.replace(artifact, constants=constants))
    assert artifact_path.read_bytes() == before
    assert os.listdir(artifact_path.parent) == [artifact_path.name]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"report": {"accuracy": float("nan")}}, "JSON"),
        ({"report": {"accuracy": np.float32(0.5)}}, "JSON"),
        ({"classes": ("a", "b")}, "classes"),
        ({"classes": ("a", "b", "c\n")}, "printable"),
        ({"input_shape": (3, 9)}, "input_shape"),
        ({"input_shape": ()}, "input_shape"),
        ({"settings": FlipSettings(form="a guess")}, "form"),
        ({"settings": FlipSettings(fraction=0.0)}, "fraction"),
        ({"thresholds": {"coreset_drop": float("nan")}}, "coreset_drop"),
    ],
)
def test_an_artifact_that_breaks_a_rule_is_not_written(artifact: Artifact, tmp_path: Path, changes, said):
    with pytest.raises(ManifestError, match=said):
        write(tmp_path / "bad.cal", dataclasses.replace(artifact, **changes))
    assert os.listdir(tmp_path) == []


def test_places_that_cannot_be_written_or_read(artifact: Artifact, tmp_path: Path):
    for path in (tmp_path, tmp_path / "missing" / "a.cal"):
        with pytest.raises(ArtifactError, match=str(path)):
            write(path, artifact)
        with pytest.raises(ArtifactError, match="cannot be read"):
            read(path)


def test_signing(artifact: Artifact, tmp_path: Path):
    private, public, other, path = (tmp_path / n for n in ("a.key", "a.pub", "b.pub", "a.cal"))
    generate_keys(private, public)
    generate_keys(tmp_path / "b.key", other)
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    write(path, artifact, sign=private)
    assert summary(path).signed
    assert_same(read(path, verify=public), artifact)
    assert_same(read(path), artifact)
    with pytest.raises(SignatureError, match="does not verify"):
        read(path, verify=other)
    write(path, artifact)
    with pytest.raises(SignatureError, match="missing"):
        read(path, verify=public)


def test_keys_that_are_none(artifact: Artifact, tmp_path: Path):
    private, public, path = (tmp_path / n for n in ("a.key", "a.pub", "a.cal"))
    generate_keys(private, public)
    with pytest.raises(SignatureError, match="never overwritten"):
        generate_keys(private, tmp_path / "c.pub")
    with pytest.raises(SignatureError, match="cannot be written"):
        generate_keys(tmp_path / "no" / "a.key", tmp_path / "c.pub")
    (tmp_path / "junk").write_bytes(b"junk")
    for key in (public, tmp_path / "junk", tmp_path / "missing"):
        with pytest.raises(SignatureError):
            write(path, artifact, sign=key)
    write(path, artifact, sign=private)
    for key in (private, tmp_path / "junk", tmp_path / "missing"):
        with pytest.raises(SignatureError):
            read(path, verify=key)


def test_without_cryptography_it_says_what_to_install(
    artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(SignatureError, match=r"pip install 'calibrant\[sign\]'"):
        generate_keys(tmp_path / "a.key", tmp_path / "a.pub")
    with pytest.raises(SignatureError, match=r"pip install 'calibrant\[sign\]'"):
        write(tmp_path / "a.cal", artifact, sign=tmp_path / "a.key")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("shape", [(), (1, 2, 3, 4)])
def test_input_shapes_have_one_to_three_axes(shape):
    assert input_dims(shape) is None


@pytest.mark.parametrize(("coreset", "length"), [(0, 8), (1, 7), (9, 8), (3, 40)])
def test_a_coreset_of_four_bits_round_trips_in_half_the_bytes(build_artifact, tmp_path, coreset, length):
    plain = build_artifact(coreset=coreset, length=length)
    packed = dataclasses.replace(plain, coreset=Coreset(nibbles.rounded(plain.coreset.x), plain.coreset.y, bits=4))
    write(tmp_path / "four.cal", packed)
    again = read(tmp_path / "four.cal")
    assert_same(again, packed)
    assert to_bytes(again) == (tmp_path / "four.cal").read_bytes()
    told = summary(tmp_path / "four.cal").sections
    grids = nibbles.blocks(1, length, 3)
    assert told["coreset/x"] == coreset * -(-3 * length // 2)
    assert told["coreset/low"] == told["coreset/step"] == coreset * grids


def test_a_coreset_that_is_not_of_its_bits_is_not_written(artifact: Artifact, tmp_path: Path):
    for bits, said in ((4, "rounded to 4 bits"), (5, "8 or 4 bits, got 5")):
        wrong = dataclasses.replace(artifact, coreset=dataclasses.replace(artifact.coreset, bits=bits))
        with pytest.raises(ManifestError, match=said):
            write(tmp_path / "bad.cal", wrong)
