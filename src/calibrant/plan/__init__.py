"""An integer graph becomes a program with a checked memory plan; a training step gets its order and its arena."""

from calibrant.plan.compact import compact
from calibrant.plan.lower import lower
from calibrant.plan.picture import picture
from calibrant.plan.report import MemoryReport, report
from calibrant.plan.schedule import schedule
from calibrant.plan.simulation import check_training

__all__ = ["MemoryReport", "check_training", "compact", "lower", "picture", "report", "schedule"]
