"""The bit-flipping network: learned on the server, applied by `updaters.guarded_flips` on the device."""

from calibrant.feedback.perturb import perturb
from calibrant.feedback.regression import learn

__all__ = ["learn", "perturb"]
