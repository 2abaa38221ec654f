"""Streaming tests: has what this stream of numbers measures changed? One file each."""

from calibrant.policy.drift.adwin import Adwin
from calibrant.policy.drift.ddm import Ddm
from calibrant.policy.drift.kswin import Kswin
from calibrant.policy.drift.page_hinkley import PageHinkley
from calibrant.policy.drift.stream import DriftTest

__all__ = ["Adwin", "Ddm", "DriftTest", "Kswin", "PageHinkley"]
