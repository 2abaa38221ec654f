"""Training sections of a liar who knows the format: the file is refused, or the engine refuses what it says."""

import pytest

from artifacts import make_sparse_artifact
from calibrant import updaters
from calibrant.artifact.read import parse
from calibrant.artifact.write import to_bytes
from calibrant.core.errors import DataError, ManifestError, PlanError
from calibrant.engine import Engine, Trainer
from tampering import with_manifest


@pytest.fixture(scope="module")
def raw():
    return to_bytes(make_sparse_artifact())


def set_in(place, name, value):
    """An edit: `name` of the first record of a list of the section, or of the section itself."""

    def edit(manifest):
        section = manifest["training"]
        (section[place][0] if place else section)[name] = value

    return edit


MALFORMED = [
    (lambda m: m.update(training=[]), "'training'.*expected an object"),
    (lambda m: m["training"].pop("steps"), "field 'steps' is missing"),
    (lambda m: m["training"].update(more=1), "unknown field 'more'"),
    (set_in("", "scaled", 1), "scaled'.*expected bool"),
    (set_in("", "offsets", [0.5]), "offsets'.*expected int"),
    (set_in("", "arena_bytes", 2**40), "expected a 32-bit integer"),
    (set_in("buffers", "dtype", "float64"), "expected one of int8, int32, float32, mask"),
    (set_in("buffers", "height", "1"), "'height'.*expected int"),
    (set_in("steps", "kind", "system"), "expected one of forward, mask"),
    (set_in("steps", "inputs", "x"), "expected a list"),
    (set_in("steps", "factor", "1"), "'factor'.*expected float"),
    (set_in("steps", "attrs", {"address": 1}), "unknown field 'address'"),
    (set_in("slices", "kind", "head"), "expected one of weight, bias"),
    (set_in("slices", "channels", [True]), "expected int"),
]
FALSE = [
    set_in("", "arena_bytes", 64),
    set_in("", "offsets", []),
    set_in("steps", "inputs", [10**6]),
    set_in("steps", "output", -7),
    set_in("steps", "op", 99),
    set_in("slices", "layer", 99),
    set_in("slices", "count", 10**9),
    set_in("slices", "offset", -1),
    set_in("buffers", "height", 10**6),
]


@pytest.mark.parametrize(("edit", "reason"), MALFORMED)
def test_what_is_not_of_the_format_is_named(raw, edit, reason):
    with pytest.raises(ManifestError, match=reason) as error:
        parse(with_manifest(raw, edit), "har.cal", None)
    assert str(error.value).startswith("har.cal: section 'training")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("edit", FALSE)
def test_what_would_leave_its_memory_is_refused_before_it_runs(raw, edit):
    artifact = parse(with_manifest(raw, edit), "har.cal", None)
    with pytest.raises(PlanError):
        Trainer(Engine(artifact.program, artifact.constants), artifact.training)


def test_the_form_sparse_needs_a_step(raw):
    artifact = parse(with_manifest(raw, lambda m: m.pop("training")), "har.cal", None)
    with pytest.raises(DataError, match="updater sparse: the artifact has no training step"):
        updaters.build(artifact, artifact.settings)
