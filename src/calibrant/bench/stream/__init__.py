"""Streams as they come: a session with its defaults, scored on every window before anything is learned from it.

Families of real streams (other wearers, other speakers, ageing sensors, prices, weather, corrupted pictures), scenarios
over them (gradual change, returns, new classes, wrong labels) and random synthetic sequences; next to what people would
run instead.
"""

from calibrant.bench.stream.options import Options
from calibrant.bench.stream.protocol import run

__all__ = ["Options", "run"]
