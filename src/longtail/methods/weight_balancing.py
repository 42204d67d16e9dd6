"""``weight-balancing``: strong weight decay for the network, then decay and MaxNorm for its classifier.

Paper: Alshammari et al., *Long-Tailed Recognition via Weight Balancing*, CVPR 2022.
Command: ``longtail compare ce weight-balancing weight-balancing@share=1 --data cifar100-lt --root DATA``
Cost: that of ``ce``, not shared with it, then a twentieth of its epochs for the classifier alone.
Expect: nothing in the sources at hand for ResNet-32; the paper trains a ResNet-34 with other epochs.

Chosen here: the decay of the first stage is 25 times that of plain-200, 5e-3, as the paper found best on CIFAR-100-LT;
the radius of the ball lies at ``share`` of the range of the weights' norms that the second stage begins with.
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
