from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from longtail.errors import InputError
from longtail.models import small_conv_net
from longtail.recipes.part import part


def test_learns_the_digits():
    """About 370 images of a tail of 20 to 1: well above a nearest-mean guess on the raw pixels after 30 epochs."""
    sklearn_datasets = pytest.importorskip("sklearn.datasets")
    digits = sklearn_datasets.load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16 - 0.3
    target = torch.tensor(digits.target)
    order = torch.randperm(len(target), generator=torch.Generator().manual_seed(0))
    test, rest = order[:540], order[540:]
    counts = [int(110 * 20 ** (-c / 9)) for c in range(10)]
    train = torch.cat([rest[target[rest] == c][: counts[c]] for c in range(10)])

    generator = torch.Generator().manual_seed(1)
    network = part(small_conv_net).build(num_classes=10, channels=1, image_size=8, generator=generator)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, weight_decay=2e-4)
    for _ in range(30):
        for batch in train[torch.randperm(len(train), generator=generator)].split(64):
            optimizer.zero_grad()
            cross_entropy(network(images[batch]).logits, target[batch]).backward()
            optimizer.step()

    def balanced(prediction: torch.Tensor) -> float:
        return sum(float((prediction[target[test] == c] == c).float().mean()) for c in range(10)) / 10

    with torch.no_grad():
        learned = balanced(network.eval()(images[test]).logits.argmax(1))
    assert learned > 0.80


def test_every_stage_halves_the_size():
    network = part(small_conv_net, widths=(3, 4, 5)).build(
        num_classes=2, channels=1, image_size=8, generator=torch.Generator().manual_seed(0)
    )
    sizes = []
    maps = torch.zeros(2, 1, 8, 8)
    for stage in network.backbone.stages:
        maps = stage(maps)
        sizes.append(tuple(maps.shape[1:]))
    assert sizes == [(3, 4, 4), (4, 2, 2), (5, 1, 1)]


def build(**options):
    generator = torch.Generator().manual_seed(0)
    return part(small_conv_net, **options).build(num_classes=2, channels=1, image_size=8, generator=generator)


@pytest.mark.parametrize("widths", [(), (16, 0)])
def test_impossible_widths_are_refused(widths):
    with pytest.raises(InputError, match="at least one width"):
        build(widths=widths)


def test_other_widths_have_another_name():
    assert build().name == "small"
    assert build(widths=(4,)).name == "small-4"
