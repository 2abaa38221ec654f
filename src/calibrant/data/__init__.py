"""Data sets as domains, their splits, and streams of windows."""

from calibrant.data.archive import folder
from calibrant.data.catalog import DATASETS, DataSet, digest, load, subjects
from calibrant.data.domain import SPLITS, Domain, split
from calibrant.data.stream import windows

__all__ = ["DATASETS", "SPLITS", "DataSet", "Domain", "digest", "folder", "load", "split", "subjects", "windows"]
