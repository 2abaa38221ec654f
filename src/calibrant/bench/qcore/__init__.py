"""The continual-calibration protocol of QCore (PVLDB 17(11), 2024).

One subject, the source, trains a float network; it is quantized with its coreset and meets another subject, the
target, as a stream of windows with labels, with a few or without. After each window accuracy is taken on the target's
and on the source's test split. Channels are standardized with source statistics. Every table has a row that does not
adapt. The source may be its own target: it trains on its earlier segments and streams the later ones, without drift.
"""

from calibrant.bench.qcore.jobs import Cell, Counting, Quantization, Training
from calibrant.bench.qcore.network import train
from calibrant.bench.qcore.options import WINDOWS, Options
from calibrant.bench.qcore.preparation import prepare
from calibrant.bench.qcore.protocol import run
from calibrant.bench.qcore.row import adapt

__all__ = [
    "WINDOWS",
    "Cell",
    "Counting",
    "Options",
    "Quantization",
    "Training",
    "adapt",
    "prepare",
    "run",
    "train",
]
