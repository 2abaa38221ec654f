"""Input codes of the device as the fake-quantized network sees them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrant.core.errors import DataError


def decode(codes: NDArray[np.int8], scale: float, zero_point: int, input_shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Samples int8[n, h, w, c] to float32[n, *input_shape].

    Raises
    ------
    DataError
        If the codes do not hold samples of `input_shape`.

    Examples
    --------
    >>> decode(np.array([[[[1, 2], [3, 4]]]], np.int8), 0.5, 1, (2, 2)).tolist()
    [[[0.0, 1.0], [0.5, 1.5]]]
    """
    if int(np.prod(codes.shape[1:])) != int(np.prod(input_shape)):
        raise DataError(f"samples: expected shape {input_shape}, got {codes.shape[1:]}")
    real = (codes.astype(np.float32) - zero_point) * np.float32(scale)
    return np.ascontiguousarray(real.transpose(0, 3, 1, 2).reshape(len(codes), *input_shape))
