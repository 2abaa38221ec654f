"""Data sets as domains, their splits, and streams of windows."""

from calibrant.data.archive import folder
from calibrant.data.catalog import DATASETS, DataSet, digest, load, subjects
from calibrant.data.domain import SPLITS, Domain, split
from calibrant.data.stream import windows
from calibrant.data.task import TASKS, Task, load_task, task_digest

__all__ = [
    "DATASETS",
    "SPLITS",
    "TASKS",
    "DataSet",
    "Domain",
    "Task",
    "digest",
    "folder",
    "load",
    "load_task",
    "split",
    "subjects",
    "task_digest",
    "windows",
]
