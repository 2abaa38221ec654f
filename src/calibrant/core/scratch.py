"""Scratch memory of kernels: one formula that bounds every variant, so a plan does not depend on the processor."""

from __future__ import annotations

from collections.abc import Mapping

from calibrant.core.program import Tensor, sign_words

SLACK_BYTES = 128  # aligning the copy to 64 bytes, and vector loads that end past its last value


def scratch_bytes(kind: str, source: Tensor, output: Tensor, attrs: Mapping[str, int]) -> int:
    """Scratch an op needs in the arena: a padded int16 copy of one group's input for conv2d, of all signs for
    binary_conv2d, nothing for others.

    Equal to `cal_scratch_bytes` in C, which refuses a program that grants less.

    Parameters
    ----------
    kind : str
        Kind of the op.
    source, output : Tensor
        First input and output of the op.
    attrs : mapping
        Integer attributes of the op.

    Examples
    --------
    >>> x, y = Tensor("x", 1, 125, 45, 0.1, 0), Tensor("y", 1, 125, 64, 0.1, 0)
    >>> same = dict(kernel_h=1, kernel_w=5, stride_h=1, stride_w=1, dilation_h=1, dilation_w=1, groups=1)
    >>> scratch_bytes("conv2d", x, y, same), scratch_bytes("add", x, y, {})
    (11738, 0)
    """
    if kind not in ("conv2d", "binary_conv2d"):
        return 0
    rows = (output.height - 1) * attrs["stride_h"] + (attrs["kernel_h"] - 1) * attrs["dilation_h"] + 1
    columns = (output.width - 1) * attrs["stride_w"] + (attrs["kernel_w"] - 1) * attrs["dilation_w"] + 1
    if kind == "binary_conv2d":
        return 4 * rows * columns * sign_words(source.channels) + SLACK_BYTES
    depthwise = attrs["groups"] == source.channels == output.channels
    channels = source.channels if depthwise else source.channels // attrs["groups"]
    return 2 * rows * columns * channels + SLACK_BYTES
