"""Are domains told apart? False alarms at home, detection elsewhere, and streams over several domains in turns.

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/contexts.py --data ../shared/data --out OUT/contexts

Networks are prepared as `calibrant bench stream` does, at 4 bits, and kept in OUT: some seven minutes the first time,
then one. Per source subjects, by what `prepare` knows of home with the data set's own segments as blocks, and without:

    wander, kept  of `core.recognition.Recognition`; off: too few left-out windows were recognized, a device would know
                  no contexts
    alarms        share of windows of home's held samples that are not taken for home, one at a time
    streams       the same in streams of such windows, where small strangeness adds up
    found, least  share of other subjects' windows that are not taken for home, and of the subject found least often
    alarms/4, found/4  the same of windows of a quarter of the size
    first, then   share of windows of streams in turns (legs of three windows: home, three others, each three times)
                  that went to a context of their own domain: the first of a leg that comes back, those after the first.
                  A context belongs to the domain that most of its windows are of
    pure, whole   share of windows that are of their context's commonest domain; in their domain's commonest context

Constants of `policy.contexts`, `policy.signature` and `pipeline.recognition` were chosen on DSA with the sources 2, 4
and 6, most of them by the design before anything was run; rows of other sources report.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant import artifact, data
from calibrant.bench.harness.workspace import Workspace
from calibrant.bench.stream import network
from calibrant.bench.stream.cases import Case
from calibrant.bench.stream.families import FAMILIES, SUBJECTS
from calibrant.bench.stream.jobs import Preparation
from calibrant.core.recognition import Recognition
from calibrant.core.rng import generator
from calibrant.core.window import encode
from calibrant.engine import Engine
from calibrant.pipeline import recognition
from calibrant.policy.contexts import HOME, Contexts
from calibrant.policy.place import Place
from calibrant.policy.signature import Signatures

CHOSEN = {"dsa": ((2,), (4,), (6,))}
REPORTED = {
    "dsa": ((1,), (3,), (5,)),
    "usc_had": tuple((n,) for n in SUBJECTS),
    "fsdd": ((1, 2), (5, 6)),
    "gas_drift": ((1,),),
}
ROUNDS, SEEDS, LEG = 20, 10, 3
TURNS = (0, 1, 0, 2, 1, 3, 0, 2, 3, 1, 0)  # home and three others
COLUMNS = (
    "wander",
    "kept",
    "alarms",
    "streams",
    "found",
    "least",
    "alarms/4",
    "found/4",
    "first",
    "then",
    "pure",
    "whole",
)

Subjects = dict[int, tuple[NDArray[np.int16], NDArray[np.int16]]]  # signatures of training samples and of held ones


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--datasets", nargs="+", choices=REPORTED, default=list(REPORTED))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    root, rows = data.folder(options.data), list[dict[str, Any]]()
    for title, sources in (("chosen on", CHOSEN), ("reported", REPORTED)):
        print(f"{title:28}" + "".join(f"{column:>9}" for column in COLUMNS))
        for family in options.datasets:
            for source in sources.get(family, ()):
                for row in measured(root, Workspace(options.out), family, source):
                    rows.append(row)
                    about = f"{family} {'+'.join(map(str, source))}, {row['blocks']}"
                    off = "" if row["recognizes"] else "  off"
                    print(f"{about:28}" + "".join(f"{row[column]:>9.3f}" for column in COLUMNS) + off, flush=True)
    if options.json:
        options.json.write_text(json.dumps({"benchmark": "contexts", "results": rows}, indent=1) + "\n")


def measured(root: Path, workspace: Workspace, family: str, source: tuple[int, ...]) -> Iterator[dict[str, Any]]:
    """The rows of one artifact: with segments as blocks, and without any."""
    case = Case(family, "", source, ())
    job = Preparation(family, source, False, None, network.digest(root, case), 4, 0)
    if not workspace.has_prepared(asdict(job)):
        network.prepare(workspace, root, job)
    made = artifact.read(workspace.artifact_path(asdict(job)))
    assert made.recognition is not None
    for blocks, home in (("segments", made.recognition), ("none", without_segments(root, family, source, made))):
        known = signed(root, family, source, made, home)
        row = asdict(home) | scores(known, source, FAMILIES[family].window, home)
        kept = {name: value for name, value in row.items() if not isinstance(value, np.ndarray)}
        yield {"family": family, "source": source, "blocks": blocks, "recognizes": home.recognizes, **kept}


def codes_of(domain: data.Domain, made: artifact.Artifact) -> NDArray[np.int8]:
    """Input codes of a subject."""
    return encode(domain.x, made.program.tensors[made.program.input], made.preprocess, made.input_shape)


def without_segments(root: Path, family: str, source: tuple[int, ...], made: artifact.Artifact) -> Recognition:
    """What `prepare` would have said of home, had it not been told the segments of the training samples."""
    engine, part = Engine(made.program, made.constants), made.program.layers[-1].pooled_slice
    codes, last, y = [], [], []
    for number in source:
        domain = data.load(FAMILIES[family].dataset, root, number)
        rows, _ = data.split(domain)
        codes.append(codes_of(domain, made)[rows])
        last.append(engine.observe(codes[-1]).pooled[:, part])
        y.append(domain.y[rows])
    home = recognition.of(made.program, *(np.concatenate(arrays) for arrays in (codes, last, y)))
    assert home is not None
    return home


def signed(root: Path, family: str, source: tuple[int, ...], made: artifact.Artifact, home: Recognition) -> Subjects:
    """All subjects by what an artifact makes of them."""
    dataset = FAMILIES[family].dataset
    engine, signatures, found = Engine(made.program, made.constants), Signatures.of(made.program, home), {}
    for number in data.subjects(dataset, root):
        if number in source or number in SUBJECTS or dataset == "gas_drift":
            domain = data.load(dataset, root, number)
            codes = codes_of(domain, made)
            all_of_it = signatures(codes, engine.observe(codes))
            rows, held = data.split(domain)
            found[number] = all_of_it[rows], all_of_it[held]
    return found


def scores(known: Subjects, source: tuple[int, ...], size: int, home: Recognition) -> dict[str, float]:
    """The columns that are measured."""
    held = np.concatenate([known[number][1] for number in source])
    others = {number: train for number, (train, _) in known.items() if number not in source}
    fresh, rng = Contexts.of(home), generator(0, "windows")
    full, short = (
        (
            np.mean([strange(fresh, held, count, rng) for _ in range(ROUNDS)]),
            [np.mean([strange(fresh, train, count, rng) for _ in range(2)]) for train in others.values()],
        )
        for count in (size, size // 4)
    )
    turns = np.mean([in_turns(fresh, held, list(others.values()), size, seed) for seed in range(SEEDS)], axis=0)
    return {
        "alarms": float(full[0]),
        "streams": at_home(fresh, held, size),
        "found": float(np.mean(full[1])),
        "least": float(np.min(full[1])),
        "alarms/4": float(short[0]),
        "found/4": float(np.mean(short[1])),
    } | dict(zip(("first", "then", "pure", "whole"), turns.tolist(), strict=True))


def cut(samples: NDArray[np.int16], size: int, rng: np.random.Generator) -> list[NDArray[np.int16]]:
    """All of a subject's samples, shuffled, in windows; one where they are fewer."""
    order = rng.permutation(len(samples))
    return [samples[order[i : i + size]] for i in range(0, max(1, len(order) - size + 1), size)]


def strange(contexts: Contexts, samples: NDArray[np.int16], size: int, rng: np.random.Generator) -> float:
    """Share of windows that are not taken for home, each for itself."""
    return float(np.mean([contexts.recognize(Place.of(window)).context != HOME for window in cut(samples, size, rng)]))


def at_home(contexts: Contexts, held: NDArray[np.int16], size: int) -> float:
    """Share of windows of a stream that never leaves home that are not taken for it."""
    rng, found = generator(0, "home"), list[bool]()
    for _ in range(ROUNDS):
        for window in cut(held, size, rng):
            found.append(contexts.recognize(Place.of(window)).context != HOME)
            contexts = contexts.seen(Place.of(window), HOME)
    return float(np.mean(found))


def in_turns(
    contexts: Contexts, held: NDArray[np.int16], others: list[NDArray[np.int16]], size: int, seed: int
) -> tuple[float, float, float, float]:
    """How well a stream's windows are sorted: first ones of legs that come back, later ones, purity, completeness."""
    rng = generator(seed, "turns")
    places = [held, *(others[i] for i in rng.permutation(len(others))[:3])]
    left: list[list[NDArray[np.int16]]] = [[] for _ in places]
    domains, numbers, nth = list[int](), list[int](), list[int]()
    for place in TURNS:
        for i in range(LEG):
            left[place] = left[place] or cut(places[place], size, rng)
            window = left[place].pop()
            found = contexts.recognize(Place.of(window)).context
            contexts = contexts.seen(Place.of(window), found)
            nth.append(i if place in domains or place == 0 else -1)
            domains.append(place)
            numbers.append(contexts.latest if found is None else found)
    owner = {number: commonest(domains, numbers, number) for number in numbers} | {HOME: 0}
    own = {place: commonest(numbers, domains, place) for place in domains}
    right = np.array([owner[number] == place for number, place in zip(numbers, domains, strict=True)])
    first, later = np.array(nth) == 0, np.array(nth) > 0
    whole = np.mean([own[place] == number for number, place in zip(numbers, domains, strict=True)])
    pure = np.mean([commonest(domains, numbers, n) == place for n, place in zip(numbers, domains, strict=True)])
    return float(right[first].mean()), float(right[later].mean()), float(pure), float(whole)


def commonest(values: list[int], keys: list[int], key: int) -> int:
    """What most of the values beside a key are."""
    return Counter(value for value, k in zip(values, keys, strict=True) if k == key).most_common(1)[0][0]


if __name__ == "__main__":
    main()
