"""Trainings of one layer and what numpy, in float64 and without the package's help, says of its gradients."""

from __future__ import annotations

import numpy as np
from convolution import rng_of, unfolded

from calibrant.engine import Engine, Trainer, variants
from trainings import Draft, contents, slice_of

CLASSES = 5
TINY = 2.0**-70  # a rate that moves no code; a power of two, so the accumulators are exactly scaled
TOLERANCE = 1e-4  # of the largest magnitude; float32 sums against float64


def near(got, want):
    """Equal but for the rounding of float32."""
    want = np.asarray(want, np.float64)
    np.testing.assert_allclose(got, want.reshape(got.shape), rtol=0, atol=TOLERANCE * np.abs(want).max(initial=1e-30))


def weight_gradient(conv, x, g):
    """float64[c_out, kernel_h, kernel_w, c_in / groups] of one sample x [h, w, c] and gated gradient g."""
    seen, groups = unfolded(conv, x[None])[0], conv.groups
    seen = seen.reshape(*seen.shape[:4], groups, -1).astype(np.float64)
    grouped = g.astype(np.float64).reshape(*g.shape[:2], groups, -1)
    return np.einsum("hwgo,hwyxgi->goyxi", grouped, seen, optimize=True).reshape(conv.weight_shape)


def input_gradient(conv, weights, g):
    """float64[h, w, c_in]: every output adds to what it saw, in a padded map whose border is cut off."""
    (height, width), groups, (c_in, _) = conv.size, conv.groups, conv.channels
    top, left, bottom, right = conv.pad
    padded = np.zeros((height + top + bottom, width + left + right, groups, c_in // groups))
    kernels = weights.astype(np.float64).reshape(groups, -1, *conv.kernel, c_in // groups)
    grouped = g.astype(np.float64).reshape(*g.shape[:2], groups, -1)
    for row in range(g.shape[0]):
        for column in range(g.shape[1]):
            for ky in range(conv.kernel[0]):
                for kx in range(conv.kernel[1]):
                    y, x = row * conv.stride[0] + ky * conv.dilation[0], column * conv.stride[1] + kx * conv.dilation[1]
                    padded[y, x] += np.einsum("go,goi->gi", grouped[row, column], kernels[:, :, ky, kx])
    return padded[top : top + height, left : left + width].reshape(height, width, c_in)


def windows(size, outputs, kernel, stride, pad, dilation=(1, 1)):
    """Per output position in order: (row, column), and the real positions it covers in scan order."""
    for row in range(outputs[0]):
        for column in range(outputs[1]):
            ys = [row * stride[0] - pad[0] + k * dilation[0] for k in range(kernel[0])]
            xs = [column * stride[1] - pad[1] + k * dilation[1] for k in range(kernel[1])]
            yield (row, column), [(y, x) for y in ys for x in xs if 0 <= y < size[0] and 0 <= x < size[1]]


def adaptive_windows(size, outputs):
    """The same of adaptive pooling."""
    for row in range(outputs[0]):
        for column in range(outputs[1]):
            ys = range(row * size[0] // outputs[0], -(-(row + 1) * size[0] // outputs[0]))
            xs = range(column * size[1] // outputs[1], -(-(column + 1) * size[1] // outputs[1]))
            yield (row, column), [(y, x) for y in ys for x in xs]


def average_gradient(size, g, covered, count=None):
    """float64 gradient of the input of an average; `count` if it is not that of the positions covered."""
    dx = np.zeros((*size, g.shape[2]))
    for at, positions in covered:
        for position in positions:
            dx[position] += g[at].astype(np.float64) / (count or len(positions))
    return dx


def maximum_gradient(x, g, covered):
    """float64 gradient of the input of a maximum: all to the first largest code."""
    dx = np.zeros(x.shape)
    for at, positions in covered:
        for c in range(x.shape[2]):
            best = max(positions, key=lambda position: (x[position][c], -positions.index(position)))
            dx[best][c] += np.float64(g[at][c])
    return dx


def in_all_variants(program, constants, training, run, **options):
    """What `run` returns of a trainer (a dict of arrays), after it was found to be the same in all variants."""
    results = []
    for variant in variants():
        trainer = Trainer(Engine(program, constants, variant), training, **options)
        if training.head == "float32":
            rng = rng_of("head", training.arena_bytes)
            spread = 0.5 / np.sqrt(trainer.head_weight.shape[1])  # moderate scores: no class is certain
            trainer.head_weight = rng.normal(0, spread, trainer.head_weight.shape).astype(np.float32)
            trainer.head_bias = rng.standard_normal(trainer.head_bias.shape).astype(np.float32)
        results.append(run(trainer))
    for other in results[1:]:
        for name, values in results[0].items():
            assert not (values != other[name]).any(), name
    return results[0]


def trained(conv, channels=()):
    """A training of a convolution's weights and biases, gate in place; ids of its buffers and slices."""
    draft = Draft(conv.program())
    ids = {"x": 0, "y": 1}
    draft.forward()
    if conv.output_bits == 32:
        ids["g"] = draft.add("loss", (1,), draft.like("g", 1))
    else:
        ids["mask"] = draft.add("mask", (1,), draft.like("mask", 1, "mask"), op=0)
        ids["error"], ids["g"] = draft.head(CLASSES)
        draft.add("gate", (ids["g"], ids["mask"]), ids["g"], op=0)
    source, depth = 0, conv.channels[0] // conv.groups
    single = conv.groups == conv.channels[0] == conv.channels[1]
    count = int(np.prod(conv.weight_shape))
    if channels:
        count = count // (conv.channels[1] if single else depth) * len(channels)
    weight = draft.train(0, "weight", count, channels)
    bias = draft.train(0, "bias", conv.channels[1])
    if channels:
        kept = len(channels) * (1 if single else conv.groups)
        source = ids["kept"] = draft.buffer("kept", (*conv.size, kept), "int8")
        draft.add("gather", (0,), source, op=0, part=weight)
    draft.add("bias_update", (ids["g"],), op=0, part=bias)
    ids["dx"] = draft.add("conv2d_grad", (ids["g"],), draft.like("dx", 0), op=0)
    draft.add("weight_update", (source, ids["g"]), op=0, part=weight)
    return draft.training("int8" if conv.output_bits == 32 else "float32"), ids


def one_step(ids, x, rate=TINY):
    """Trains on the first sample and reads everything."""

    def run(trainer):
        losses = trainer.step(x[:1], np.zeros(1, np.int64), rate)
        seen = contents(trainer, ids) | {"losses": losses, "accumulators": trainer.accumulators}
        for i, part in enumerate(trainer.training.slices):
            seen[part.kind] = trainer.accumulators[slice_of(trainer, i)]
        return seen | {"weights": trainer.engine.parameters.weights, "biases": trainer.engine.parameters.bias}

    return run


def steps_of(gradient, scaling):
    """What one sample leaves in the accumulators, in float64 and for a rate of 1."""
    return -gradient * scaling.astype(np.float64).reshape(-1, *[1] * (gradient.ndim - 1))
