"""Your own sampler and your own network, in one file, in a recipe of ours; nothing to subclass, nothing to register.

python examples/own_sampler_and_model.py
longtail train crt --model own_sampler_and_model.py:Net@width=32 --set stages.0.sampler=own_sampler_and_model.py:half
"""

from collections.abc import Iterator

import torch
from rich import print
from torch import Tensor, nn

import longtail


class Net(nn.Sequential):
    """Two layers: the last nn.Linear is the head, and what it reads are the features."""

    def __init__(self, num_classes: int, channels: int, image_size: int, width: int = 64) -> None:
        pixels = channels * image_size**2
        super().__init__(nn.Flatten(), nn.Linear(pixels, width), nn.ReLU(), nn.Linear(width, num_classes))


def half(target: Tensor, generator: torch.Generator, share: float = 0.5) -> Iterator[int]:
    """Yield a random share of the images, another one in each epoch."""
    order = torch.randperm(len(target), generator=generator)
    yield from order[: int(share * len(target))].tolist()


def main() -> None:
    data = longtail.load("digits-lt", imbalance=50)
    options = {"model": Net, "epochs": 30}
    whole = longtail.recipe("ce", data, **options)
    halved = longtail.recipe("half=ce", data, **options, changes=[f"stages.0.sampler={__file__}:half@share=0.5"])
    print(longtail.results.table(longtail.compare([whole, halved], data, seeds=3, out="runs")))
    steps = [
        longtail.train(recipe, data, seed=9, out=f"alone/{recipe.name}").budget["steps"] for recipe in (whole, halved)
    ]
    assert steps[1] < 0.6 * steps[0], "half of the images are about half of the steps"


if __name__ == "__main__":
    main()
