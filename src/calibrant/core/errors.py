"""One exception tree. A message is one line: what, where, expected, got."""

from __future__ import annotations

from collections.abc import Iterable


class CalibrantError(Exception):
    """Base of every error that a user can cause or mend; the command line turns it into one line and exit status 2."""


class ModelError(CalibrantError):
    """The model cannot be taken: an unsupported op, a dynamic shape, a graph that breaks a rule of its stage."""


class DataError(CalibrantError):
    """A window, label or data file is malformed."""


class BudgetError(CalibrantError):
    """A RAM, storage or energy budget would be exceeded."""


class PlanError(CalibrantError):
    """A memory plan or program breaks an invariant (overlap, out of range, accumulator overflow)."""


class ArtifactError(CalibrantError):
    """Base of all ways an artifact file can be wrong."""


class TruncatedError(ArtifactError):
    """The file ends before its header says."""


class LayoutError(ArtifactError):
    """Tensors overlap, leave holes, or lie outside the file."""


class ManifestError(ArtifactError):
    """The manifest is not JSON, lacks a field, or contradicts the tensors."""


class VersionError(ArtifactError):
    """The format version is not one this release reads."""


class HashError(ArtifactError):
    """A tensor's bytes do not hash to what the manifest says."""


class SignatureError(ArtifactError):
    """The signature is missing, malformed, or does not verify."""


class StateError(CalibrantError):
    """The state database is missing, foreign, damaged, or could not be written."""


def check_known(what: str, name: str, known: Iterable[str], error: type[CalibrantError] = DataError) -> None:
    """Refuse a name that a table does not have, with those it has.

    Examples
    --------
    >>> check_known("split", "fold", ("segment", "random"))
    Traceback (most recent call last):
    calibrant.core.errors.DataError: split: expected one of segment, random, got 'fold'
    """
    known = tuple(known)
    if name not in known:
        raise error(f"{what}: expected one of {', '.join(known)}, got {name!r}")
