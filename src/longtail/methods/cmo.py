"""``cmo``: boxes of images of rare classes pasted into images as they come.

Paper: Park et al., *The Majority Can Help the Minority: Context-rich Minority Oversampling for Long-tailed
Classification*, CVPR 2022.
Command: ``longtail compare balanced-softmax cutmix cmo cmo@loss=balanced-softmax --data cifar100-lt --root DATA``
Cost: that of ``ce``, and augmentation of twice as many images.
Expect: not stated in the sources at hand for CIFAR-LT; 52.3 % with balanced softmax and ResNet-50 on ImageNet-LT
(authors' code page).

Chosen here: every image has a box and a coin of its own (the authors draw one for a batch), in all epochs (they leave
out the first and the last three). It pastes pictures, so features are refused.
"""

from __future__ import annotations

import dataclasses

from longtail.losses import cross_entropy
from longtail.methods.ce import classify
from longtail.methods.protocols import Protocol
from longtail.recipes import Pasted, Recipe, part
from longtail.recipes.text import Loss
from longtail.samplers import Paired

CE = part(cross_entropy)


def recipe(
    protocol: Protocol, *, power: float = 1.0, alpha: float = 1.0, probability: float = 0.5, loss: Loss = CE
) -> Recipe:
    """CutMix whose pasted images come from a distribution that favours rare classes.

    Args:
        protocol: model and training.
        power: r, of the weights n_c^-r of the images that are pasted; 0 draws them as they come, the control.
        alpha: of the Beta distribution of the areas, positive.
        probability: of an image being pasted into, in [0, 1].
        loss: of each of the two labels.
    """
    stage = classify(protocol, part(Pasted, loss=loss, alpha=alpha, probability=probability))
    return Recipe("cmo", protocol.model, (dataclasses.replace(stage, sampler=part(Paired, power=power)),))
