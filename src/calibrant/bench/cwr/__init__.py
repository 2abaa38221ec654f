"""Class after class: heads on a frozen backbone that has seen the first classes only, experience by experience.

CWR* in floats and at all widths, what forgets (naive), what sees everything again (joint), class means with and without
a shared covariance; each with no memory of samples, or with raw or latent ones.
"""

from calibrant.bench.cwr.options import Options
from calibrant.bench.cwr.protocol import run

__all__ = ["Options", "run"]
