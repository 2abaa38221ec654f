"""The protocol on pictures: domains of growing corruption, from training to the last window."""

from dataclasses import replace

import pytest

from calibrant.bench import qcore, recipes
from calibrant.bench.harness.workspace import Workspace
from calibrant.bench.qcore.options import plan
from calibrant.bench.recipes import Recipe
from calibrant.core.dtype import WEIGHT_BITS
from calibrant.core.errors import DataError, ModelError
from calibrant.data import DATASETS
from calibrant.pipeline import float_training, torch_model
from pictures import write_pictures


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    (root / "cifar10").mkdir()
    write_pictures(root / "cifar10" / "train.npz", 40)
    write_pictures(root / "cifar10" / "test.npz", 12)
    return root


def options(folder, out, **changes):
    plain = qcore.Options(
        out=out,
        data=folder,
        dataset="cifar10",
        network="resnet18-w2",
        source=(0,),
        target=(5,),
        bits=(4,),
        updaters=("none", "flip", "bp"),
        steps=3,
        jobs=1,
    )
    return replace(plain, **changes)


def test_pictures_run_from_training_to_the_last_window(folder, tmp_path):
    result = qcore.run(options(folder, tmp_path, network="small_cnn", training_steps=40))
    assert [(row["updater"], row["source"], row["target"]) for row in result["rows"]] == [
        ("none", 0, 5),
        ("flip", 0, 5),
        ("bp", 0, 5),
    ]
    for row in result["rows"]:
        assert row["window_samples"] == 4
        assert row["accuracy_source_before"] > 0.25
        assert (row["bytes_added"] > 0) == (row["updater"] != "none")


def test_series_networks_are_refused_for_pictures(folder, tmp_path):
    with pytest.raises(DataError, match="expected one of small_cnn, resnet18, vgg16, got omniscale_cnn"):
        qcore.run(options(folder, tmp_path, network="omniscale_cnn"))
    with pytest.raises(ModelError, match="got 'resnet18-16'"):
        qcore.run(options(folder, tmp_path, network="resnet18-16"))
    with pytest.raises(DataError, match="network for dsa: expected one of cnn"):
        qcore.run(options(folder, tmp_path, dataset="dsa", network="resnet18"))


def test_recipes_are_for_data_sets_and_widths_that_exist():
    assert set(recipes.RECIPES) <= set(DATASETS)
    for name in DATASETS:
        assert set(recipes.recipe(name).finetune) <= set(WEIGHT_BITS)
    assert recipes.recipe("dsa") == Recipe() != recipes.recipe("cifar10")


def test_a_recipe_reaches_training_and_fine_tuning(folder, tmp_path, monkeypatch):
    told = {}

    def train(model, x, y, settings, **how):
        told["trained"] = settings
        return model

    def prepare(model, x, y, **how):
        told["tuned"] = how["epochs"]
        raise DataError("stop here")

    monkeypatch.setitem(recipes.RECIPES, "cifar10", Recipe(steps=5, rate=1e-3, shift=1, mirror=True, finetune={4: 9}))
    monkeypatch.setattr(float_training, "train", train)
    monkeypatch.setattr(torch_model, "prepare", prepare)
    job = plan(options(folder, tmp_path), folder)[0].quantization
    workspace = Workspace(tmp_path)
    qcore.train(workspace, folder, job.training)
    with pytest.raises(DataError, match="stop here"):
        qcore.prepare(workspace, folder, job)
    # 200 pictures are 3 batches of 64, so 5 steps are 2 epochs.
    settings = float_training.TrainingSettings(epochs=2, rate=1e-3, shift=1, mirror=True)
    assert told == {"trained": settings, "tuned": 9}
