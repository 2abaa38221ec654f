"""Drives the C engine: a program with its constants runs, and trains."""

from calibrant.engine.engine import Engine, variants
from calibrant.engine.trainer import Trainer

__all__ = ["Engine", "Trainer", "variants"]
