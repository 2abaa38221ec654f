"""The only place that sees foreign models: torch in, graph of stage ``float`` out."""

from calibrant.frontend.torch_export import from_torch

__all__ = ["from_torch"]
