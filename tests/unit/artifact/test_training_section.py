"""A training step survives the file, and one that is not the program's is refused."""

from dataclasses import replace

import numpy as np
import pytest

from artifacts import make_artifact, make_sparse_artifact
from calibrant import autodiff, plan
from calibrant.artifact import read, write
from calibrant.core.errors import ManifestError
from calibrant.engine import Engine, Trainer


def test_a_training_step_comes_back_as_it_was(tmp_path):
    made = make_sparse_artifact()
    write(tmp_path / "a.cal", made)
    back = read(tmp_path / "a.cal")
    assert back.settings == made.settings
    assert (back.training.steps, back.training.slices) == (made.training.steps, made.training.slices)
    assert (back.training.buffers, back.training.offsets) == (made.training.buffers, made.training.offsets)
    for name in ("effective", "weight_scaling", "bias_scaling", "head_scale"):
        np.testing.assert_array_equal(getattr(back.training, name), getattr(made.training, name))
    Trainer(Engine(back.program, back.constants), back.training)
    write(tmp_path / "b.cal", back)
    assert (tmp_path / "a.cal").read_bytes() == (tmp_path / "b.cal").read_bytes()


def test_a_file_without_one_has_none(tmp_path):
    write(tmp_path / "a.cal", make_artifact())
    assert read(tmp_path / "a.cal").training is None


def test_plain_steps_come_back_plain(tmp_path):
    made = make_artifact()
    step = autodiff.differentiate(made.program, made.constants, autodiff.full(1), scaling=False)
    write(tmp_path / "a.cal", replace(made, training=plan.schedule(step, made.program)))
    assert (read(tmp_path / "a.cal").training.weight_scaling == 1).all()


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda t: replace(t, offsets=()), "expected a planned step over the artifact's program"),
        (lambda t: replace(t, buffers=t.buffers[1:]), "expected a planned step over the artifact's program"),
        (lambda t: replace(t, bias_scaling=t.bias_scaling * 2), "expected an int8 head and the scales"),
        (lambda t: replace(t, head="float32"), "expected an int8 head and the scales"),
    ],
)
def test_a_step_that_the_format_cannot_say_is_refused(tmp_path, edit, reason):
    made = make_sparse_artifact()
    with pytest.raises(ManifestError, match=reason):
        write(tmp_path / "a.cal", replace(made, training=edit(made.training)))
    assert not (tmp_path / "a.cal").exists()
