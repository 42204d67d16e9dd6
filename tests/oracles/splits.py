"""The CIFAR-LT index list and its class sizes, written as LDAM's code has them, and sizes in exact arithmetic."""

from __future__ import annotations

from fractions import Fraction

import numpy as np


def ldam_sizes(num_classes: int, largest: int, factor: float) -> list[int]:
    """``get_img_num_per_cls`` of LDAM's ``imbalance_cifar.py``; ``factor`` is 0.01 where we say 100."""
    sizes = []
    for class_index in range(num_classes):
        num = largest * (factor ** (class_index / (num_classes - 1.0)))
        sizes.append(int(num))
    return sizes


def ldam_index(target: list[int], sizes: list[int], seed: int) -> list[int]:
    """``gen_imbalanced_data`` of the same file, with a generator of its own in place of the global one."""
    generator = np.random.RandomState(seed)
    targets = np.array(target, dtype=np.int64)
    kept = []
    for the_class, the_size in enumerate(sizes):
        members = np.where(targets == the_class)[0]
        generator.shuffle(members)
        kept.extend(members[:the_size].tolist())
    return kept


def exact_sizes(num_classes: int, largest: int, imbalance: Fraction) -> list[int]:
    """floor(largest * imbalance^(-c / (K - 1))) in whole numbers: the largest m with m^(K-1) imb^c <= largest^(K-1)."""
    sizes, power = [], num_classes - 1
    for c in range(num_classes):
        low, high = 0, largest
        while low < high:
            middle = (low + high + 1) // 2
            if middle**power * imbalance**c <= largest**power:
                low = middle
            else:
                high = middle - 1
        sizes.append(low)
    return sizes
