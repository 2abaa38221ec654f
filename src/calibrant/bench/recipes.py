"""How long and how the protocols' float networks are trained and their quantized forms fine-tuned, by data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Recipe:
    """What `float_training.train` and `torch_model.prepare` are told.

    `steps` of 64 samples at rate `rate`; augmentation `shift` and `mirror`; `finetune` epochs by weight bits, where
    they are not the pipeline's own. The defaults suit a thousand series: the networks are at their plateau by then.
    """

    steps: int = 250
    rate: float = 2e-3
    shift: int = 0
    mirror: bool = False
    finetune: Mapping[int, int] = field(default_factory=dict)


# Pictures vary more than a wearer's movements, and there are eight times as many: 15 epochs, but fewer of fine-tuning.
RECIPES: Mapping[str, Recipe] = {
    "cifar10": Recipe(steps=1750, shift=2, mirror=True, finetune={8: 1, 4: 1, 2: 8}),
}


def recipe(dataset: str) -> Recipe:
    """The recipe of a data set.

    Examples
    --------
    >>> recipe("dsa").steps, recipe("cifar10").steps
    (250, 1750)
    """
    return RECIPES.get(dataset, Recipe())
