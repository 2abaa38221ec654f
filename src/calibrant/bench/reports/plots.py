"""Pictures of a protocol's rows: accuracy over windows, against memory and against time; one set per bit-width."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.bench.reports.label_placement import apart, beside

Row = Mapping[str, Any]

INK, FAINT, GRID = "#333333", "#666666", "#e8e8e8"
# One color for one updater in every picture: ours green and blue, controls gray, back-propagation warm.
COLORS = {
    "none": "#8c8c8c",
    "bn": "#5f6b7a",
    "bias": "#a08c72",
    "flip-random": "#b8b8b8",
    "flip": "#0a7d5a",
    "flip-pooled": "#2fa6a0",
    "flip-taps": "#1b4f9c",
    "flip-true": "#57a639",
    "flip-fixed": "#74b49b",
    "reset": "#5b8bd0",
    "bp": "#c2571a",
    "er": "#d62f4b",
    "derpp": "#e08a00",
    "er-ace": "#9c3b2e",
    "a-gem": "#e377a4",
    "camel": "#8a6d00",
    "qcore-paper": "#7a3fa0",
}
OTHERS = ("#7a5195", "#00708a", "#b0413e", "#556b2f", "#c71585", "#3d5a80")  # for names not above, in turn
MARKERS = "osD^vPX*"  # settings of one updater
WORDS = {"coreset": "coreset {}", "delay": "delay {}", "capacity": "keeps {}", "gate": "gate {}"}


@dataclass(frozen=True)
class Series:
    """One updater under one setting, over all its runs."""

    label: str
    color: str
    marker: str
    rows: tuple[Row, ...]

    def values(self, key: str) -> NDArray[np.float64]:
        """A number of each run, float64[runs]."""
        return np.array([row[key] for row in self.rows], np.float64)


def draw(out: Path, rows: Sequence[Row], settings: Sequence[str] = ()) -> None:
    """Write accuracy-BITSbit.png, bytes-BITSbit.png and seconds-BITSbit.png.

    Parameters
    ----------
    out : Path
        A folder, made where it is missing.
    rows : sequence of mappings
        As in rows.json.
    settings : sequence of str
        Keys of rows, beside bits and updater, that set series apart.
    """
    out.mkdir(parents=True, exist_ok=True)
    for bits in sorted({row["bits"] for row in rows}):
        chosen = [row for row in rows if row["bits"] == bits]
        series = series_of(chosen, settings)
        for name, paint in (("accuracy", _over_windows), ("bytes", _against_bytes), ("seconds", _against_seconds)):
            paint(out / f"{name}-{bits}bit.png", series, _title(chosen))


def series_of(rows: Sequence[Row], settings: Sequence[str]) -> list[Series]:
    """The rows by updater and setting, in order of appearance."""
    names = list(dict.fromkeys(row["updater"] for row in rows))
    unknown = [name for name in names if name not in COLORS]
    found = []
    for name in names:
        own = [row for row in rows if row["updater"] == name]
        varied = [setting for setting in settings if len({row[setting] for row in own}) > 1]
        groups: dict[str, list[Row]] = {}
        for row in own:
            label = " ".join([name, *(_word(setting, row[setting]) for setting in varied)])
            groups.setdefault(label, []).append(row)
        color = COLORS.get(name) or OTHERS[unknown.index(name) % len(OTHERS)]
        for i, (label, members) in enumerate(groups.items()):
            found.append(Series(label, blend(color, i / (2 * len(groups))), MARKERS[i % len(MARKERS)], tuple(members)))
    return found


def _word(setting: str, value: object) -> str:
    """A setting in the name of a series."""
    if setting != "labels":
        return WORDS.get(setting, "{}").format(value)
    text = str(value)
    if "." in text:
        return f"{100 * float(text):g} % labels"
    return "no labels" if text == "0" else f"{text} labels"


def blend(color: str, share: float) -> str:
    """A color with a share of white.

    Examples
    --------
    >>> blend("#000000", 0.5), blend("#0a7d5a", 0)
    ('#808080', '#0a7d5a')
    """
    parts = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(part + (255 - part) * share):02x}" for part in parts)


def _over_windows(path: Path, series: Sequence[Series], title: tuple[str, str]) -> None:
    """Target accuracy after each window: mean over runs, one deviation shaded; the last value named at the right."""
    from matplotlib.ticker import MaxNLocator

    with canvas(path, (8.4, 5.0), title, "target's test split; mean over runs, ± one deviation shaded") as figure:
        axes = figure.add_axes((0.075, 0.11, 0.66, 0.73))
        ends = []
        for one in series:
            length = min(len(row["accuracy_target"]) for row in one.rows)
            runs = np.array([[row["accuracy_target_before"], *row["accuracy_target"][:length]] for row in one.rows])
            at, mean, deviation = np.arange(length + 1), runs.mean(axis=0), runs.std(axis=0)
            axes.fill_between(at, mean - deviation, mean + deviation, color=one.color, alpha=0.1, linewidth=0)
            axes.plot(at, mean, color=one.color, linewidth=1.8, marker=one.marker, markersize=3.2)
            ends.append((float(mean[-1]), at[-1], f"{one.label}  {runs[:, 1:].mean():.1%}", one.color))
        last = max(end[1] for end in ends)
        low, high = axes.get_ylim()
        high = min(high, 1.01)
        axes.set(xlim=(0, last), ylim=(low, high))
        ends.sort()
        heights = apart([end[0] for end in ends], 0.042 * (high - low), low, high)
        for height, (value, end, label, color) in zip(heights, ends, strict=True):
            axes.plot([end, last * 1.03], [value, height], color=color, linewidth=0.6, alpha=0.6, clip_on=False)
            axes.text(last * 1.04, height, label, color=color, fontsize=8.5, va="center", clip_on=False)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(8, steps=(1, 2, 5, 10)))
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.4g}%")
        axes.set_xlabel("windows seen; at the right: mean over windows", color=INK, fontsize=9)
        bare(axes)


def _against_bytes(path: Path, series: Sequence[Series], title: tuple[str, str]) -> None:
    def size(value: float, _: object = None) -> str:
        return f"{value / 1e6:g} MB" if value >= 1e6 else f"{value / 1e3:g} kB"

    _against(path, series, title, "bytes_added", 1.0, "memory that learning adds to predicting", size)


def _against_seconds(path: Path, series: Sequence[Series], title: tuple[str, str]) -> None:
    def time(value: float, _: object = None) -> str:
        return f"{value:g} s" if value >= 1 else f"{value * 1000:g} ms"

    _against(path, series, title, "seconds_per_window", 1e-3, "time to learn from a window", time)


def _against(
    path: Path,
    series: Sequence[Series],
    title: tuple[str, str],
    key: str,
    nothing: float,
    what: str,
    form: Callable[..., str],
) -> None:
    """Target and source accuracy against a cost on a logarithmic axis; what costs less than `nothing` stands at 0."""
    from matplotlib.ticker import MaxNLocator

    costs = np.array([one.values(key).mean() for one in series])
    paid = costs[costs >= nothing]
    low, high = (float(paid.min()), float(paid.max())) if paid.size else (1.0, 10.0)
    zero = low / 3
    at = np.where(costs >= nothing, costs, zero)
    with canvas(path, (8.4, 8.2), title, f"mean over runs ± one deviation, against {what}") as figure:
        for row, (name, measure) in enumerate(
            (("target, mean over windows", "accuracy_target_mean"), ("source, after the last", "accuracy_source_final"))
        ):
            axes = figure.add_axes((0.085, 0.515 - 0.445 * row, 0.89, 0.365))
            mean = np.array([one.values(measure).mean() for one in series])
            deviation = np.array([one.values(measure).std() for one in series])
            for x, y, spread, one in zip(at, mean, deviation, series, strict=True):
                axes.errorbar(x, y, spread, color=one.color, marker=one.marker, markersize=6, linewidth=1, alpha=0.9)
            axes.set_xscale("log")
            margin = (high / zero) ** 0.09
            axes.set_xlim(zero / margin, high * margin)
            bottom, top = axes.get_ylim()
            axes.set_ylim(bottom - 0.05 * (top - bottom), top + 0.05 * (top - bottom))
            _ticks(axes, zero if (costs < nothing).any() else None, low, high, form)
            bare(axes)
            axes.set_title(name, loc="left", fontsize=10, color=INK)
            axes.yaxis.set_major_locator(MaxNLocator(8, steps=(1, 2, 5, 10)))
            axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.4g}%")
            name_points(figure, axes, at, mean, deviation, series)
        axes.set_xlabel(what, color=INK, fontsize=9)


def name_points(
    figure: Any,
    axes: Any,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    deviation: NDArray[np.float64],
    series: Sequence[Series],
) -> None:
    """Write each series' name beside its point, with a thin line where it had to stand off."""
    from matplotlib.patheffects import withStroke

    figure.canvas.draw()
    points, low, high = (axes.transData.transform(np.column_stack([x, y + d])) for d in (0, -deviation, deviation))
    bars = [(a - 1.0, bottom, a + 1.0, top) for (a, bottom), (_, top) in zip(low, high, strict=True)]
    texts = [axes.text(0, 0, one.label, color=one.color, fontsize=8.5, ha="center", va="center") for one in series]
    for text in texts:
        text.set_path_effects([withStroke(linewidth=2.5, foreground="white")])
    extents = [text.get_window_extent(figure.canvas.get_renderer()) for text in texts]
    sizes = np.array([(extent.width + 4, extent.height + 1) for extent in extents])
    frame = axes.get_window_extent()
    centers = beside(points, sizes, (frame.x0 + 2, frame.y0 + 2, frame.x1 - 2, frame.y1 - 2), bars)
    back = axes.transData.inverted()
    for text, point, center, size, one in zip(texts, points, centers, sizes, series, strict=True):
        text.set_position(back.transform(center))
        # The line ends where the label begins.
        nearest = np.clip(point, np.array(center) - size / 2, np.array(center) + size / 2)
        if np.hypot(*(nearest - point)) > 14:
            axes.plot(*back.transform(np.array([point, nearest])).T, color=one.color, linewidth=0.6, alpha=0.7)


def _ticks(axes: Any, zero: float | None, low: float, high: float, form: Callable[..., str]) -> None:
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    decades = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    marks = [m for m in np.outer(decades, (1, 2, 5)).ravel() if low / 1.3 <= m <= high * 1.3]
    if len(marks) > 8:
        marks = [m for m in decades if low / 1.3 <= m <= high * 1.3]
    names = [form(m) for m in marks]
    if zero is not None:
        marks, names = [zero, *marks], ["nothing", *names]
        axes.axvline(zero * 1.6, color=GRID, linewidth=0.8, linestyle=":")
    axes.xaxis.set_major_locator(FixedLocator(marks))
    axes.xaxis.set_major_formatter(FixedFormatter(names))
    axes.xaxis.set_minor_locator(NullLocator())


def bare(axes: Any) -> None:
    """Leave a faint grid and no frame."""
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, length=0, labelsize=8.5)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _title(rows: Sequence[Row]) -> tuple[str, str]:
    first = rows[0]
    pairs = {(row["source"], row["target"]) for row in rows}
    seeds = len({row["seed"] for row in rows})
    scope = f"{len(pairs)} subject pairs" if len(pairs) > 1 else f"subject {first['source']} to {first['target']}"
    return f"{first['bits']}-bit {first['network']}, {first['dataset']}", f"{scope}, {seeds} seed{'s' * (seeds > 1)}"


@contextmanager
def canvas(path: Path, inches: tuple[float, float], title: tuple[str, str], note: str) -> Iterator[Any]:
    """A figure under a title, saved at the end of the ``with`` statement."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=inches, dpi=150)
    FigureCanvasAgg(figure)
    yield figure
    line = 0.17 / inches[1]
    figure.text(0.075, 1 - 2.2 * line, title[0], fontsize=13, weight="bold", color=INK)
    figure.text(0.075, 1 - 3.5 * line, f"{title[1]}; {note}", fontsize=8, color=FAINT)
    figure.savefig(path)
