import numpy as np
from numpy.typing import NDArray

TENSOR_FIELDS: tuple[str, ...]
LAYER_FIELDS: tuple[str, ...]
OP_FIELDS: tuple[str, ...]
KINDS: tuple[str, ...]
KERNELS: tuple[str, ...]
OP_KERNELS: tuple[str, ...]
MAX_INPUTS: int
BUFFER_FIELDS: tuple[str, ...]
SLICE_FIELDS: tuple[str, ...]
STEP_FIELDS: tuple[str, ...]
DTYPES: tuple[str, ...]
SLICE_KINDS: tuple[str, ...]
HEADS: tuple[str, ...]
STEP_KINDS: tuple[str, ...]
TRAINING_KERNELS: tuple[str, ...]
STEPS: dict[str, tuple[str, str]]  # kind -> the ops it can be of, the kind of slice that it trains
RECORDS: dict[str, tuple[tuple[str, str, int], ...]]  # struct -> C type, name, length of the array of each field
BINDINGS: dict[str, tuple[tuple[str, str], ...]]  # struct of arguments -> name of each field, what it belongs to

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
    def load(
        self,
        weights: NDArray[np.int8] | None = None,
        bias: NDArray[np.int32] | None = None,
        multiplier: NDArray[np.int32] | None = None,
        shift: NDArray[np.int32] | None = None,
    ) -> None: ...
    def read(
        self,
        weights: NDArray[np.int8] | None = None,
        bias: NDArray[np.int32] | None = None,
        multiplier: NDArray[np.int32] | None = None,
        shift: NDArray[np.int32] | None = None,
    ) -> None: ...
    def run(
        self,
        x: NDArray[np.int8],
        outputs: NDArray[np.int32],
        active: NDArray[np.int32] | None,
        pooled: NDArray[np.int32] | None,
        signal: NDArray[np.int32] | None,
        taps: NDArray[np.int64] | None,
    ) -> None: ...
    def moments(
        self,
        x: NDArray[np.int8],
        layers: NDArray[np.uint8],
        total: NDArray[np.int64],
        square: NDArray[np.int64],
    ) -> None: ...
    @property
    def variant(self) -> str: ...
    @property
    def memory_bytes(self) -> int: ...

class Trainer:
    def __init__(
        self,
        engine: Engine,
        buffers: NDArray[np.int32],
        slices: NDArray[np.int32],
        steps: NDArray[np.int32],
        channels: NDArray[np.int32],
        factor: NDArray[np.float32],
        effective: NDArray[np.float32],
        weight_scaling: NDArray[np.float32],
        bias_scaling: NDArray[np.float32],
        head_scale: NDArray[np.float32],
        input: int,
        logits: int,
        head: int,
        classes: int,
        features: int,
        arena_bytes: int,
        accumulator_count: int,
        accumulate: bool,
        variant: str | None,
    ) -> None: ...
    def train(
        self,
        x: NDArray[np.int8],
        labels: NDArray[np.int32],
        rate: float,
        bias_rate: float,
        carry: bool,
        losses: NDArray[np.float32],
    ) -> None: ...
    def evaluate(
        self,
        x: NDArray[np.int8],
        labels: NDArray[np.int32] | None,
        losses: NDArray[np.float32] | None,
        logits: NDArray[np.float32] | None,
    ) -> None: ...
    def read(self, what: str, to: NDArray[np.float32]) -> None: ...
    def read_arena(self, to: NDArray[np.uint8]) -> None: ...
    def write(self, what: str, values: NDArray[np.float32]) -> None: ...
    @property
    def memory_bytes(self) -> int: ...
