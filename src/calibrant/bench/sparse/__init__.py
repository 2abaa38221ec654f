"""Training under 256 KB (Lin et al., "On-Device Training Under 256KB Memory", NeurIPS 2022).

A published int8 network meets a new task with a new classifier. Update schemes, from the classifier alone to all
parameters, are trained in integers with quantization-aware scaling, in integers without, and in float32; each row says
what it reaches on test samples, and what memory and work it takes.
"""

from calibrant.bench.sparse.options import Options
from calibrant.bench.sparse.protocol import run

__all__ = ["Options", "run"]
