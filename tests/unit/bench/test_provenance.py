"""A result's code digest changes with the code that decides it, and with nothing else."""

import pytest

from calibrant.bench.cwr import jobs as cwr
from calibrant.bench.harness import provenance
from calibrant.bench.harness.provenance import code_digest, meaning
from calibrant.bench.qcore import jobs
from calibrant.bench.sparse import jobs as sparse
from calibrant.bench.stream import jobs as stream

# What decides no row: it only runs, shows or serves the rest, or belongs to other commands.
BESIDE = {
    *("bench/__init__", "bench/qcore/__init__", "bench/qcore/options", "bench/qcore/protocol", "bench/qcore/jobs"),
    *(
        f"bench/harness/{name}"
        for name in ("__init__", "cluster", "job", "provenance", "sheet", "workers", "workspace")
    ),
    *(f"bench/reports/{name}" for name in ("__init__", "label_placement", "page", "plots", "tables")),
    *(
        f"bench/sparse/{name}"
        for name in ("__init__", "jobs", "options", "plots", "protocol", "rates", "search", "table")
    ),
    *(f"bench/cwr/{name}" for name in ("__init__", "jobs", "options", "plots", "protocol", "table")),
    *(f"bench/stream/{name}" for name in ("__init__", "jobs", "options", "protocol", "table")),
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path)
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "one.py").write_text('"""Doc."""\nx = 1  # why\n')
    (tmp_path / "two.py").write_text("y = 2\n")
    code_digest.cache_clear()
    yield tmp_path
    code_digest.cache_clear()


def digest(*parts):
    code_digest.cache_clear()
    return code_digest(*parts)


def test_code_counts_and_prose_does_not(package):
    before = digest("part")
    (package / "part" / "one.py").write_text('"""Other words."""\n\nx = (1)\n')
    assert digest("part") == before
    (package / "part" / "one.py").write_text("x = 3\n")
    assert digest("part") != before
    changed = digest("part")
    (package / "part" / "new.py").write_text("")
    assert digest("part") != changed


def test_only_the_named_parts_count(package):
    before, top, everything = digest("part"), digest("*"), digest()
    (package / "two.py").write_text("y = 4\n")
    assert digest("part") == before
    assert digest("*") != top
    assert digest() != everything
    assert digest("part", "two") != digest("part")


def test_a_part_that_is_gone_is_noticed(package):
    with pytest.raises(FileNotFoundError, match="expected a module or package calibrant/three"):
        digest("three")


def test_functions_and_classes_lose_their_docstrings_too():
    assert meaning('class A:\n    "a"\n    def f(self):\n        "f"\n        return 1') == meaning(
        "class A:\n    def f(self): return 1"
    )
    assert meaning("def f(): return 'text'") != meaning("def f(): return 'other'")


def test_the_engine_counts_where_asked():
    assert code_digest("core/rng", engine=True) != code_digest("core/rng")


def test_every_module_decides_some_result_or_is_known_not_to():
    parts = {
        *jobs.TRAINING,
        *jobs.COUNTING,
        *jobs.PREPARING,
        *jobs.ADAPTING,
        *sparse.CODE,
        *cwr.TRAINING,
        *cwr.PREPARING,
        *cwr.LEARNING,
        *stream.TRAINING,
        *stream.STREAMING,
        "cli",
        "export",
    }
    modules = {p.relative_to(provenance.PACKAGE).with_suffix("").as_posix() for p in provenance.PACKAGE.rglob("*.py")}
    stray = {m for m in modules - BESIDE if "/" in m and not any(m == p or m.startswith(p + "/") for p in parts)}
    assert stray == set()
    assert modules >= BESIDE
    for stage in (jobs.TRAINING, jobs.COUNTING, jobs.PREPARING, jobs.ADAPTING, sparse.CODE):
        assert len(code_digest(*stage)) == 16
