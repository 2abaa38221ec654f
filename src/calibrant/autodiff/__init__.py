"""A program becomes a training step: what to train, which gradients that needs, and what it costs."""

from calibrant.autodiff.contribution import Contributions, analyze
from calibrant.autodiff.differentiation import differentiate
from calibrant.autodiff.memory import ExtraMemory, extra_memory
from calibrant.autodiff.published import PUBLISHED, published
from calibrant.autodiff.schemes import Scheme, bias_only, classifier, full, last, named
from calibrant.autodiff.search import Found, random_search, search

__all__ = [
    "PUBLISHED",
    "Contributions",
    "ExtraMemory",
    "Found",
    "Scheme",
    "analyze",
    "bias_only",
    "classifier",
    "differentiate",
    "extra_memory",
    "full",
    "last",
    "named",
    "published",
    "random_search",
    "search",
]
