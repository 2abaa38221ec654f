"""The families by name. Settings were chosen on cases marked so; the others report."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations

from calibrant.bench.stream.cases import Case, Family, Leg

SUBJECTS = range(1, 7)
CHOSEN_PAIRS = ((2, 1), (4, 3), (6, 5))
BATCHES = (2, 3, 4, 5, 6, 8, 9)


def _pairs(family: str, chosen: tuple[tuple[int, int], ...]) -> tuple[Case, ...]:
    return tuple(
        Case(family, f"{a} to {b}", (a,), (Leg(b),), chosen=(a, b) in chosen) for a, b in permutations(SUBJECTS, 2)
    )


def _corruptions() -> tuple[Case, ...]:
    plain = [Case("cifar10", f"severity {n}", (0,), (Leg(n),), chosen=n in (2, 4)) for n in (1, 2, 3, 4, 5)]
    turns = tuple(Leg(n, 3) for n in (5, 3) * 3)
    return (*plain, Case("cifar10", "in turns", (0,), turns))


def _scenarios() -> tuple[Case, ...]:
    cases = []
    for home, first, second in ((1, 2, 3), (3, 4, 5), (5, 6, 1)):
        turns = tuple(Leg(n, 3) for n in (first, second) * 3)
        ways: dict[str, tuple[Leg, ...]] = {
            "home": (Leg(home, 5),),
            "return": (Leg(home, 2), Leg(first, 5), Leg(home, 3)),
            "abrupt": (Leg(first, 5), Leg(second, 5)),
            "gradual": (Leg(first, 2), Leg(first, 10, until=second), Leg(second, 3)),
            "turns": turns,
            "wrong 20 %": (Leg(first, wrong=0.2),),
            "wrong 30 %": (Leg(first, wrong=0.3),),
            "wrong 100 %": (Leg(first, wrong=1.0),),
        }
        cases += [
            Case("scenarios", f"{name}, {home} to {first} and {second}", (home,), legs, home=name in ("home", "return"))
            for name, legs in ways.items()
        ]
        new = (Leg(home, 2, classes=14), Leg(home, 4))
        cases.append(Case("scenarios", f"new classes, {home}", (home,), new, home=True, known=14))
    return tuple(cases)


FAMILIES: Mapping[str, Family] = {
    "dsa": Family("dsa", "cnn", 91, _pairs("dsa", CHOSEN_PAIRS), blocks=True),
    "usc_had": Family("usc_had", "cnn", 30, _pairs("usc_had", CHOSEN_PAIRS), blocks=True),
    "fsdd": Family(
        "fsdd",
        "cnn",
        50,
        (
            Case("fsdd", "two speakers, four others", (1, 2), tuple(Leg(n) for n in (3, 4, 5, 6))),
            Case("fsdd", "two others, four others", (5, 6), tuple(Leg(n) for n in (1, 2, 3, 4))),
            Case("fsdd", "in turns", (1, 2), tuple(Leg(n, 2) for n in (3, 5, 4, 6) * 2)),
        ),
        blocks=True,
    ),
    "gas_drift": Family(
        "gas_drift",
        "mlp",
        50,
        (Case("gas_drift", "batch after batch", (1,), tuple(Leg(n) for n in BATCHES)),),
        blocks=True,
    ),
    "elec2": Family(
        "elec2",
        "mlp",
        200,
        tuple(Case("elec2", f"half {n}", (n,), (Leg(n),), home=True, chosen=n == 1) for n in (1, 2)),
        ordered=True,
    ),
    "weather": Family(
        "weather",
        "mlp",
        100,
        tuple(Case("weather", f"half {n}", (n,), (Leg(n),), home=True) for n in (1, 2)),
        ordered=True,
    ),
    "cifar10": Family("cifar10", "resnet18-w16", 150, _corruptions()),
    "scenarios": Family("dsa", "cnn", 91, _scenarios(), blocks=True),
}
SYNTHETIC = "synthetic"  # a family of random sequences, see `bench.stream.synthetic`
