import numpy as np
from numpy.typing import NDArray

TENSOR_FIELDS: tuple[str, ...]
LAYER_FIELDS: tuple[str, ...]
OP_FIELDS: tuple[str, ...]
KINDS: tuple[str, ...]
KERNELS: tuple[str, ...]
MAX_INPUTS: int

def variants() -> tuple[str, ...]: ...
def instructions(variant: str) -> str: ...
def peak(variant: str, bits: int, rounds: int) -> int: ...
def scratch_bytes(op: NDArray[np.int32], input: NDArray[np.int32], output: NDArray[np.int32]) -> int: ...

class Engine:
    def __init__(
        self,
        tensors: NDArray[np.int32],
        layers: NDArray[np.int32],
        ops: NDArray[np.int32],
        input: int,
        output: int,
        arena_bytes: int,
        pooled_count: int,
        weights: NDArray[np.int8],
        bias: NDArray[np.int32],
        multiplier: NDArray[np.int32],
        shift: NDArray[np.int32],
        variant: str | None,
    ) -> None: ...
    def load(self, weights: NDArray[np.int8], bias: NDArray[np.int32]) -> None: ...
    def read(self, weights: NDArray[np.int8], bias: NDArray[np.int32]) -> None: ...
    def run(
        self,
        x: NDArray[np.int8],
        outputs: NDArray[np.int32],
        active: NDArray[np.int32] | None,
        pooled: NDArray[np.int32] | None,
        signal: NDArray[np.int32] | None,
        taps: NDArray[np.int64] | None,
    ) -> None: ...
    @property
    def variant(self) -> str: ...
    @property
    def memory_bytes(self) -> int: ...
