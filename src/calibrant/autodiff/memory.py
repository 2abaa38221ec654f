"""The published analytic measure of what a scheme needs beyond inference; the planner knows the true peak."""

from __future__ import annotations

from dataclasses import dataclass

from calibrant.autodiff.schemes import Scheme, check
from calibrant.autodiff.selection import depthwise, selected_count
from calibrant.core.program import Layer, Op, Program


@dataclass(frozen=True)
class ExtraMemory:
    """Bytes of copies of trained weights and biases (the originals are read-only) and of what forward saves."""

    copies: int
    saved: int

    @property
    def total(self) -> int:
        """Copies and saved activations."""
        return self.copies + self.saved


def extra_memory(program: Program, scheme: Scheme) -> ExtraMemory:
    """Extra memory of training one sample at a time.

    Of every layer whose bias is trained 4 bytes a channel and a mask of one bit an output; of every layer whose weights
    are trained these and the input channels they read; the head's input. The head's own parameters, gradients and
    everything that training computes meanwhile are not counted.

    Raises
    ------
    ModelError
        If the scheme does not fit the program.

    References
    ----------
    J. Lin et al., NeurIPS 2022, section 3.2; the function of this purpose in github mit-han-lab/tiny-training.
    """
    backbone = len(program.layers) - 1
    check(scheme, backbone)
    ops = {op.layer: op for op in program.ops if op.layer >= 0}
    copies = saved = 0
    for i, layer in enumerate(program.layers[:-1]):
        if scheme.trains_bias(i, backbone):
            copies += 4 * layer.c_out
            saved += -(-program.tensors[ops[i].output].elements // 8)
        if i in scheme.weights:
            weights, inputs = _sliced(program, layer, ops[i], selected_count(layer, scheme.weights[i]))
            copies, saved = copies + weights, saved + inputs
    if scheme.head:
        saved += program.tensors[ops[backbone].inputs[0]].elements
    return ExtraMemory(copies, saved)


def _sliced(program: Program, layer: Layer, op: Op, channels: int) -> tuple[int, int]:
    """Trained weights, and saved inputs, of so many channels."""
    source = program.tensors[op.inputs[0]]
    rows = 1 if depthwise(layer) else layer.c_out
    groups = 1 if depthwise(layer) else layer.groups
    return rows * layer.kernel_h * layer.kernel_w * channels, source.height * source.width * channels * groups
