"""Torch layers that this project adds to torch's: binary ones, whose inputs and weights count by their signs alone."""

from calibrant.nn.binary import BinaryConv1d, BinaryConv2d, BinaryLinear

__all__ = ["BinaryConv1d", "BinaryConv2d", "BinaryLinear"]
