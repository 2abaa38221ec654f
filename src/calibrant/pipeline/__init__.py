"""The server's compositions: a model and its training data go in, an artifact comes out."""

from calibrant.pipeline.torch_model import Prepared, prepare

__all__ = ["Prepared", "prepare"]
