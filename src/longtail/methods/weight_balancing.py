"""``weight-balancing``: strong weight decay for the network, then decay and MaxNorm for its classifier.

Paper: Alshammari et al., *Long-Tailed Recognition via Weight Balancing*, CVPR 2022.
Command: ``longtail compare ce weight-balancing weight-balancing@share=1 --data cifar100-lt --root DATA``
Cost: that of ``ce``, not shared with it, then a twentieth of its epochs for the classifier alone.
Expect: nothing in the sources at hand for ResNet-32; the authors' notebooks state over 52 % on CIFAR-100-LT IF 100 with
a ResNet-34, 320 epochs at batch 64 and learning rate 0.01.

As in these notebooks (github.com/ShadeAlsha/LTR-weight-balancing): decay 5e-3 in the first stage, found by grid search;
in the second the radius at a tenth of the range of the weights' norms that it begins with, learning rate 0.01, momentum
0.9, cosine, class-balanced loss with beta 0.9999, 10 epochs. Chosen here: the second stage's decay, 5e-3, where theirs
is 0.1 (``classifier-decay=0.1``). All of them belong to another network and length: choose them on validation data.
"""

from __future__ import annotations

import dataclasses

from longtail.losses import class_balanced, cross_entropy
from longtail.methods import ce
from longtail.methods.protocols import Protocol
from longtail.recipes import Recipe, cosine, max_norm_sgd, part


def recipe(
    protocol: Protocol,
    *,
    decay: float = 5e-3,
    share: float = 0.1,
    classifier_decay: float = 5e-3,
    beta: float = 0.9999,
) -> Recipe:
    """Cross-entropy under strong decay, then the classifier with class-balanced loss, decay and MaxNorm.

    Args:
        protocol: model and training.
        decay: weight decay of the first stage.
        share: where the radius lies between the smallest (0) and the largest (1) norm of a class's weights.
        classifier_decay: weight decay of the second stage.
        beta: base of the effective number in the second stage's loss, in [0, 1).
    """
    plain = ce.classify(protocol, part(cross_entropy))
    first = dataclasses.replace(plain, optimizer=plain.optimizer.with_arguments(weight_decay=decay))
    balance = dataclasses.replace(
        plain,
        name="balance",
        epochs=protocol.share(0.05),
        objective=part(class_balanced, beta=beta),
        optimizer=part(max_norm_sgd, lr=0.01, momentum=0.9, weight_decay=classifier_decay, share=share),
        schedule=part(cosine),
        trains="classifier",
    )
    return Recipe("weight-balancing", protocol.model, (first, balance))
