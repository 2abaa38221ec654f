"""Float references against torch.nn.functional, on awkward shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.nn import functional as F

from calibrant.core.errors import ModelError
from calibrant.core.rng import generator
from calibrant.ops import SCHEMAS

WINDOWS = [  # size, kernel, stride, padding, dilation
    ((1, 1), (1, 1), (1, 1), (0, 0), (1, 1)),
    ((1, 13), (1, 5), (1, 3), (0, 2), (1, 2)),
    ((7, 5), (3, 2), (2, 1), (1, 1), (1, 1)),
    ((9, 8), (2, 3), (3, 4), (1, 0), (3, 2)),
    ((4, 4), (4, 4), (1, 1), (0, 0), (1, 1)),
    ((6, 11), (3, 3), (1, 2), (1, 1), (2, 3)),
]


def attributes(stride: Any, padding: Any, dilation: Any = None) -> dict[str, int]:
    names = {"stride_h": stride[0], "stride_w": stride[1]}
    names |= dict(zip(("pad_top", "pad_left"), padding, strict=True))
    names |= dict(zip(("pad_bottom", "pad_right"), padding, strict=True))
    return names | ({"dilation_h": dilation[0], "dilation_w": dilation[1]} if dilation else {})


def reference(op: str, *inputs: NDArray[Any], params: dict[str, NDArray[Any]] | None = None, **attrs: Any) -> Any:
    schema = SCHEMAS[op]
    complete, params = schema.complete(**attrs), params or {}
    out = schema.float_reference(complete, params, inputs)
    assert out.dtype == np.float32
    assert out.shape[1:] == schema.shape(complete, params, tuple(x.shape[1:] for x in inputs))
    return out


def assert_close(op: str, found: NDArray[Any], expected: torch.Tensor) -> None:
    wanted = expected.numpy()
    assert found.shape == wanted.shape
    limit = SCHEMAS[op].tolerance * max(1.0, float(np.abs(wanted).max()))
    assert np.abs(found - wanted).max() <= limit


def normal(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return generator(seed, str(shape)).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize(("channels", "c_out", "groups"), [(1, 1, 1), (4, 6, 2), (3, 3, 3), (2, 6, 2), (5, 7, 1)])
def test_conv2d(window: Any, channels: int, c_out: int, groups: int) -> None:
    size, kernel, stride, padding, dilation = window
    x, weight, bias = normal(3, channels, *size), normal(c_out, channels // groups, *kernel), normal(c_out)
    params = {"weight": weight, "bias": bias}
    found = reference("conv2d", x, params=params, groups=groups, **attributes(stride, padding, dilation))
    tensors = [torch.from_numpy(a) for a in (x, weight, bias)]
    assert_close("conv2d", found, F.conv2d(*tensors, stride, padding, dilation, groups))


@pytest.mark.parametrize("width", [4, 7])
@pytest.mark.parametrize("kernel", [1, 2, 5, 6])
def test_conv2d_with_uneven_padding_is_same(kernel: int, width: int) -> None:
    x, weight, bias = normal(2, 3, 1, width), normal(4, 3, 1, kernel), normal(4)
    pads = {"pad_left": (kernel - 1) // 2, "pad_right": kernel - 1 - (kernel - 1) // 2}
    found = reference("conv2d", x, params={"weight": weight, "bias": bias}, **pads)
    series = [torch.from_numpy(a) for a in (x[:, :, 0], weight[:, :, 0], bias)]
    assert_close("conv2d", found[:, :, 0], F.conv1d(*series, padding="same"))


def test_conv2d_unfolds_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    x, params = normal(7, 3, 4, 5), {"weight": normal(2, 3, 3, 3), "bias": normal(2)}
    whole = reference("conv2d", x, params=params)
    monkeypatch.setattr("calibrant.ops.conv.COLUMN_BYTES", 1)
    assert np.allclose(reference("conv2d", x, params=params), whole, atol=1e-6)


def test_fused_clamp_bounds_the_output() -> None:
    x, params = normal(2, 3, 4, 5), {"weight": normal(2, 3, 3, 3), "bias": normal(2)}
    plain = reference("conv2d", x, params=params)
    clamped = reference("conv2d", x, params=params, clamp_low=-0.5, clamp_high=0.25)
    assert (clamped == np.clip(plain, -0.5, 0.25)).all()


@pytest.mark.parametrize("shape", [(1, 1), (3, 8), (5, 17)])
def test_linear(shape: tuple[int, int]) -> None:
    x, weight, bias = normal(4, shape[1]), normal(*shape), normal(shape[0])
    found = reference("linear", x, params={"weight": weight, "bias": bias})
    assert_close("linear", found, F.linear(*(torch.from_numpy(a) for a in (x, weight, bias))))


@pytest.mark.parametrize("window", [w for w in WINDOWS if w[3][0] <= w[1][0] // 2 and w[3][1] <= w[1][1] // 2])
def test_pools(window: Any) -> None:
    size, kernel, stride, padding, dilation = window
    x = normal(2, 3, *size)
    shape = {"kernel_h": kernel[0], "kernel_w": kernel[1]}
    found = reference("max_pool2d", x, **shape, **attributes(stride, padding, dilation))
    assert_close("max_pool2d", found, F.max_pool2d(torch.from_numpy(x), kernel, stride, padding, dilation))
    for counted in (0, 1):
        found = reference("avg_pool2d", x, **shape, **attributes(stride, padding), count_include_pad=counted)
        expected = F.avg_pool2d(torch.from_numpy(x), kernel, stride, padding, count_include_pad=bool(counted))
        assert_close("avg_pool2d", found, expected)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), st.integers(1, 9))
def test_adaptive_avg_pool2d(height: int, width: int, output_h: int, output_w: int) -> None:
    x = normal(2, 3, height, width)
    found = reference("adaptive_avg_pool2d", x, output_h=output_h, output_w=output_w)
    expected = F.adaptive_avg_pool2d(torch.from_numpy(x), (output_h, output_w))
    assert_close("adaptive_avg_pool2d", found, expected)


@pytest.mark.parametrize("shape", [(2, 3, 1, 1), (2, 3, 1, 9), (1, 5, 4, 3)])
def test_pointwise_and_moves(shape: tuple[int, ...]) -> None:
    x, y = normal(*shape), normal(*shape, seed=1)
    tx, ty = torch.from_numpy(x), torch.from_numpy(y)
    scale, offset = normal(shape[1]), normal(shape[1], seed=2)
    params = {"scale": scale, "offset": offset}
    zeros, ones = torch.zeros(shape[1]), torch.ones(shape[1])
    normed = F.batch_norm(tx, zeros, ones, torch.from_numpy(scale), torch.from_numpy(offset), eps=0.0)
    assert_close("batch_norm", reference("batch_norm", x, params=params), normed)
    assert_close("relu", reference("relu", x), F.relu(tx))
    assert_close("clamp", reference("clamp", x, low=0.0, high=0.5), tx.clamp(0.0, 0.5))
    assert_close("add", reference("add", x, y), tx + ty)
    assert_close("concat", reference("concat", x, y, x), torch.cat([tx, ty, tx], 1))
    assert_close("flatten", reference("flatten", x), tx.flatten(1))
    assert_close("mean", reference("mean", x), tx.mean((2, 3)))
    assert_close("dropout", reference("dropout", x), F.dropout(tx, training=False))


@pytest.mark.parametrize(
    ("op", "shapes", "attrs", "params", "message"),
    [
        ("conv2d", [(3,)], {}, {"weight": (4, 3, 1, 1), "bias": (4,)}, "feature map"),
        ("conv2d", [(3, 1, 5)], {}, {"weight": (4, 3, 1), "bias": (4,)}, "kernel_h, kernel_w"),
        ("conv2d", [(3, 1, 5)], {}, {"weight": (4, 2, 1, 1), "bias": (4,)}, "3 channels"),
        ("conv2d", [(4, 1, 5)], {"groups": 2}, {"weight": (3, 2, 1, 1), "bias": (3,)}, "2 groups"),
        ("conv2d", [(3, 1, 5)], {}, {"weight": (4, 3, 1, 1), "bias": (3,)}, "bias"),
        ("conv2d", [(3, 1, 5)], {}, {"weight": (4, 3, 1, 6), "bias": (4,)}, "6 positions, padded input width is 5"),
        ("conv2d", [(3, 2, 5)], {"dilation_h": 2}, {"weight": (4, 3, 2, 1), "bias": (4,)}, "height is 2"),
        ("linear", [(3, 1, 5)], {}, {"weight": (4, 15), "bias": (4,)}, "vector"),
        ("linear", [(3,)], {}, {"weight": (4, 2), "bias": (4,)}, "weight"),
        ("linear", [(3,)], {}, {"weight": (4, 3), "bias": (1,)}, "bias"),
        ("max_pool2d", [(3, 1, 1)], {"kernel_h": 1, "kernel_w": 2, "pad_left": 2}, {}, "padding alone"),
        ("mean", [(3,)], {}, {}, "feature map"),
        ("add", [(3, 1, 1), (3, 1, 2)], {}, {}, "two equal shapes"),
        ("concat", [(3, 1, 1), (3, 1, 2)], {}, {}, "more than channels"),
        ("batch_norm", [(3, 1, 1)], {}, {"scale": (3,), "offset": (1,)}, "offset"),
        ("clamp", [(3,)], {"low": 1.0, "high": 0.0}, {}, "low <= high"),
    ],
)
def test_shape_rules_refuse(
    op: str, shapes: list[tuple[int, ...]], attrs: dict[str, Any], params: dict[str, tuple[int, ...]], message: str
) -> None:
    arrays = {name: np.zeros(shape, np.float32) for name, shape in params.items()}
    with pytest.raises(ModelError, match=message):
        SCHEMAS[op].shape(SCHEMAS[op].complete(**attrs), arrays, tuple(shapes))
