"""`calibrant demo`: handwritten digits under a camera that drifts, with and without Calibrant."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.text import Text

from calibrant.cli.console import out, plain, progress, size
from calibrant.cli.options import Seed
from calibrant.core.files import write_text
from calibrant.core.statistics import Preprocess

BITS = 4
EPOCHS = 30
HEADINGS = ("window", "camera turned", "without adaptation", "with Calibrant", "flips", "ms")


@dataclass(frozen=True)
class Row:
    """One window: accuracies on it before anything was learned from it."""

    window: int
    drift: dict[str, float]
    accuracy_no_adaptation: float
    accuracy_calibrant: float
    flips: int
    decision: str
    milliseconds: float


def demo(
    folder: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where report, plot and model go.")] = Path(
        "demo"
    ),
    seed: Seed = 0,
) -> None:
    """Train a small network on digits, quantize it to 4 bits, and stream pictures of a drifting camera through it.

    Example: calibrant demo --out demo
    """
    from calibrant import artifact, zoo
    from calibrant.cli.plot import draw
    from calibrant.data.digits import camera_stream
    from calibrant.pipeline import float_training, torch_model
    from calibrant.session import Session

    started = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    model_path, state = folder / "digits.cal", folder / "digits.db"
    for stale in folder.glob("digits.db*"):  # each demo starts from the fresh model
        stale.unlink()

    stream = camera_stream(seed=seed)
    train_x, train_y = stream.train
    test_x, test_y = stream.test
    preprocess = Preprocess.of(train_x)
    with progress() as show, float_training.threads(1):  # the same numbers however many cores there are
        net = zoo.build("small_cnn", 1, train_x.shape[2:], 10, seed)
        settings = float_training.TrainingSettings(epochs=EPOCHS)
        net = float_training.train(net, preprocess.apply(train_x), train_y, settings, seed=seed, progress=show)
        prepared = torch_model.prepare(
            net,
            train_x,
            train_y,
            bits=BITS,
            classes=tuple("0123456789"),
            seed=seed,
            validation=stream.test,
            progress=show,
        )
    artifact.write(model_path, prepared.artifact)
    accuracy_float = float_training.accuracy(net, preprocess.apply(test_x), test_y)
    out.print(f"{model_path}: {BITS}-bit weights, {size(model_path.stat().st_size)}")

    rows: list[Row] = []
    with Session.open(model_path) as fixed, Session.open(model_path, state=state) as adapting:
        accuracy_before = _share(fixed.predict(test_x), test_y)
        out.print(
            f"undrifted test pictures: accuracy {accuracy_float:.3f} in float, {accuracy_before:.3f} in {BITS} bits"
        )
        out.print("each window is scored before anything is learned from it")
        out.print()
        out.print("  ".join(HEADINGS), style="bold")
        for i, (x, y) in enumerate(stream.windows):
            without, with_calibrant = _share(fixed.predict(x), y), _share(adapting.predict(x), y)
            report = adapting.observe(x, y)
            rows.append(
                Row(i + 1, stream.drift[i], without, with_calibrant, report.flips, report.decision, report.milliseconds)
            )
            _print(rows[-1])
        accuracy_after = _share(adapting.predict(test_x), test_y)

    result = {
        "accuracy_before": accuracy_before,
        "accuracy_no_adaptation": float(np.mean([row.accuracy_no_adaptation for row in rows])),
        "accuracy_calibrant": float(np.mean([row.accuracy_calibrant for row in rows])),
        "accuracy_float_before": accuracy_float,
        "accuracy_undrifted_after": accuracy_after,
        "bits": BITS,
        "seed": seed,
        "artifact_bytes": model_path.stat().st_size,
        "seconds": time.perf_counter() - started,
        "windows": rows,
    }
    write_text(folder / "report.json", json.dumps(plain(result), indent=2) + "\n")
    draw(folder / "accuracy.png", rows, stream.windows, accuracy_before)
    mean = f"mean over {len(rows)} windows: {result['accuracy_no_adaptation']:.3f} without adaptation, "
    out.print()
    out.print(Text.assemble(mean, (f"{result['accuracy_calibrant']:.3f} with Calibrant", "bold")))
    out.print(f"wrote {folder / 'report.json'} and {folder / 'accuracy.png'}; history: calibrant log {state}")


def _share(predicted: NDArray[np.int64], y: NDArray[np.int64]) -> float:
    return float((predicted == y).mean())


def _print(row: Row) -> None:
    cells = (
        str(row.window),
        f"{row.drift['rotation']:.0f}°",
        f"{row.accuracy_no_adaptation:.3f}",
        f"{row.accuracy_calibrant:.3f}",
        str(row.flips) if row.decision == "committed" else row.decision,
        f"{row.milliseconds:.0f}",
    )
    out.print("  ".join(f"{cell:>{len(heading)}}" for cell, heading in zip(cells, HEADINGS, strict=True)))
