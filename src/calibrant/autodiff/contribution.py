"""Contribution analysis: how much accuracy the biases of the last layers, and each layer's weights, bring."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from calibrant.autodiff.schemes import Scheme, classifier
from calibrant.core.errors import DataError, ModelError
from calibrant.core.files import write_text

SHARES = (1 / 8, 1 / 4, 1 / 2, 1.0)  # the published ones

Evaluate = Callable[[Scheme], float]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Contributions:
    """Gains in accuracy.

    `classifier` is the accuracy of training the head alone; `biases` by count what training so many biases adds to it;
    `weights` by (layer, share) what training these weights too adds to training biases alone.
    """

    classifier: float
    biases: Mapping[int, float]
    weights: Mapping[tuple[int, float], float]

    @property
    def layers(self) -> tuple[int, ...]:
        """Layers whose weights were analyzed, ascending."""
        return tuple(sorted({layer for layer, _ in self.weights}))

    def shares(self, layer: int) -> tuple[float, ...]:
        """Analyzed shares of a layer, ascending."""
        return tuple(sorted(share for i, share in self.weights if i == layer))

    def bias_gain(self, count: int) -> float:
        """What the biases of the last `count` layers add, interpolated between analyzed counts; 0 for none."""
        known = {0: 0.0, **self.biases}
        counts = sorted(known)
        return float(np.interp(count, counts, [known[n] for n in counts]))

    def gain(self, scheme: Scheme, backbone: int) -> float:
        """Predicted accuracy of a scheme minus that of the head alone, all contributions being additive.

        Raises
        ------
        ModelError
            If the scheme trains weights that were not analyzed.

        Examples
        --------
        >>> table = Contributions(0.5, {4: 0.1}, {(3, 0.5): 0.05})
        >>> round(table.gain(Scheme(2, {3: 0.5}), backbone=4), 3)
        0.1
        """
        total = self.bias_gain(backbone if scheme.biases is None else scheme.biases)
        for layer, share in sorted(scheme.weights.items(), key=lambda item: item[0]):
            if isinstance(share, tuple) or (layer, share) not in self.weights:
                raise ModelError(
                    f"contributions: layer {layer}: expected an analyzed share of its weights, got {share}"
                )
            total += self.weights[layer, share]
        return total


def analyze(
    evaluate: Evaluate,
    layers: Sequence[int],
    counts: Sequence[int],
    *,
    shares: Sequence[float] = SHARES,
    settings: Mapping[str, Any] | None = None,
    cache: str | Path | None = None,
    progress: Progress | None = None,
) -> Contributions:
    """Measure the contributions: one fine-tuning for the head, one a count, one a layer and share.

    Parameters
    ----------
    evaluate : callable
        Accuracy after fine-tuning under a scheme, in 0..1 or percent; should depend on nothing but the scheme and
        `settings`, so it is seeded by what these say.
    layers : sequence of int
        Layers of the backbone whose weights are analyzed.
    counts : sequence of int
        How many biases, at least one count; the largest is what the weights are trained with.
    shares : sequence of float
    settings : mapping
        Everything that accuracies depend on and JSON can say: network, data, seed, epochs, rate.
    cache : path, optional
        JSON file in which every accuracy is kept as soon as it is known, under its settings; an analysis that was
        interrupted, or asks for more, goes on from there.
    progress : callable, optional
        Called with how many accuracies are known and how many are wanted.

    Raises
    ------
    ModelError
        If no count is given, or layers, counts or shares are not distinct.
    DataError
        If the cache is no such file.

    References
    ----------
    J. Lin et al., "On-Device Training Under 256KB Memory", NeurIPS 2022, section 3.2 and equation 5.
    """
    for what, values in (("layers", layers), ("counts", counts), ("shares", shares)):
        if len(set(values)) != len(values) or (what == "counts" and (not values or min(values) < 1)):
            raise ModelError(f"contributions: {what}: expected distinct values, counts from 1, got {list(values)}")
    wanted = [classifier(), *(Scheme(count) for count in counts), *_cells(layers, shares, max(counts))]
    table = _Table(cache, settings or {})
    for done, scheme in enumerate(wanted):
        table.find(scheme, evaluate)
        if progress is not None:
            progress(done + 1, len(wanted))
    base, most = table.find(classifier(), evaluate), table.find(Scheme(max(counts)), evaluate)
    return Contributions(
        base,
        {count: table.find(Scheme(count), evaluate) - base for count in counts},
        {
            (layer, share): table.find(Scheme(max(counts), {layer: share}), evaluate) - most
            for layer in layers
            for share in shares
        },
    )


def _cells(layers: Iterable[int], shares: Sequence[float], biases: int) -> Iterator[Scheme]:
    for layer in layers:
        for share in shares:
            yield Scheme(biases, {layer: share})


class _Table:
    """Accuracies by scheme under one choice of settings, on disk if there is a file."""

    def __init__(self, path: str | Path | None, settings: Mapping[str, Any]) -> None:
        self.path = None if path is None else Path(path)
        text = json.dumps(settings, sort_keys=True)
        self.key = hashlib.sha256(text.encode()).hexdigest()
        self.file = self._read()
        entry = self.file.setdefault(self.key, {"settings": json.loads(text), "accuracies": {}})
        self.accuracies: dict[str, float] = entry["accuracies"]

    def find(self, scheme: Scheme, evaluate: Evaluate) -> float:
        name = scheme.summary()
        if name not in self.accuracies:
            self.accuracies[name] = float(evaluate(scheme))
            self._write()
        return self.accuracies[name]

    def _read(self) -> dict[str, Any]:
        if self.path is None or not self.path.exists():
            return {}
        try:
            file = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"{self.path}: expected a table of contributions, got something else ({error})") from error
        entries = list(file.values()) if isinstance(file, dict) else [None]
        if not all(isinstance(entry, dict) and isinstance(entry.get("accuracies"), dict) for entry in entries):
            raise DataError(f"{self.path}: expected a table of contributions, got other JSON")
        return dict(file)

    def _write(self) -> None:
        if self.path is None:
            return
        write_text(self.path, json.dumps(self.file, indent=1, sort_keys=True))
