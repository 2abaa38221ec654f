"""Real-valued class scores from a program's raw integer outputs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrant.core.program import Constants, Program


def logits(outputs: NDArray[np.int32], program: Program, constants: Constants) -> NDArray[np.float32]:
    """Scores float32[N, K] of raw outputs int32[N, K].

    32-bit outputs are accumulators at scale s_x * s_w[o] of the last layer; 8-bit outputs are codes of the output
    tensor.
    """
    tensor = program.tensors[program.output]
    if tensor.bits == 8:
        return (outputs - np.int32(tensor.zero_point)).astype(np.float32) * np.float32(tensor.scale)
    last = next(op for op in program.ops if op.output == program.output)
    weight_scale = constants.scale[program.layers[last.layer].channel_slice]
    scale = np.float32(program.tensors[last.inputs[0]].scale) * weight_scale.astype(np.float32)
    scores: NDArray[np.float32] = outputs.astype(np.float32) * scale
    return scores
