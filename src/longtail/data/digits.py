"""``digits-lt``: scikit-learn's handwritten digits with a long tail, so that everything works without a download.

1,797 grey images of 8 x 8 pixels, of which the fixed test split holds 74 of each digit (740 in all) and the training
pool the other 1,057 (100 to 109 of each). The largest class of a drawn subset has 100 images, so that imbalance 100 is
exactly 100..1 (242 images) and imbalance 50 exactly 100..2. Shot groups: many above 30 training images, few below 5.
"""

from __future__ import annotations

import numpy as np
import torch

from longtail.data.dataset import Source
from longtail.data.images import Split
from longtail.data.splits import held_out

TEST_PER_CLASS = 74
LARGEST = 100
MANY, FEW = 30, 5


FINGERPRINT = "54725f7afc7932853b031ee41cf357cc075172a3e4f72dd09e89267874e09af2"
"""Of all 1,797 images in scikit-learn's order, as train and as test."""


def original() -> Split:
    """All digits in scikit-learn's order; pixels scaled from 0..16 to 0..255, rounded to the nearest."""
    from sklearn.datasets import load_digits

    pixels, target = load_digits(return_X_y=True)
    grey = (pixels.astype(np.int64) * 255 + 8) // 16
    images = torch.from_numpy(grey.astype(np.uint8)).view(-1, 1, 8, 8)
    return Split(images, torch.from_numpy(target.astype(np.int64)), torch.arange(len(target)))


def read() -> Source:
    """The digits with their fixed test split."""
    whole = original()
    train, test = held_out(whole.target, torch.full((10,), TEST_PER_CLASS), seed=0)
    return Source(
        name="digits-lt",
        train=whole.at(train),
        test=whole.at(test),
        class_names=tuple(str(digit) for digit in range(10)),
        imbalance=100,
        largest=LARGEST,
        many=MANY,
        few=FEW,
        flips=False,
    )
