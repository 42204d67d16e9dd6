"""``mixup``, ``cutmix``, ``remix``: any loss on images that are mixed with others of their batch.

Papers: Zhang et al., *mixup: Beyond Empirical Risk Minimization*, ICLR 2018; Yun et al., *CutMix*, ICCV 2019; Chou et
al., *Remix: Rebalanced Mixup*, ECCV 2020 workshops.
Command: ``longtail compare ce mixup cutmix remix --data cifar100-lt --imbalance 100 --root DATA``
Cost: that of ``ce``.
Expect: nothing for these alone in the sources at hand; with ``mislas``, which begins with mixup, 47.0 % on CIFAR-100-LT
IF 100.
"""

from __future__ import annotations

from longtail.losses import cross_entropy
from longtail.methods.ce import classify
from longtail.methods.protocols import Protocol
from longtail.recipes import CutMix, MixUp, Part, Recipe, Remix, part
from longtail.recipes.text import Loss

CE = part(cross_entropy)


def mixup(protocol: Protocol, *, alpha: float = 1.0, loss: Loss = CE) -> Recipe:
    """Images averaged with others of their batch.

    Args:
        protocol: model and training.
        alpha: of the Beta distribution of the weights, positive.
        loss: of each of the two labels.
    """
    return _mixed("mixup", protocol, part(MixUp, alpha=alpha, loss=loss))


def cutmix(protocol: Protocol, *, alpha: float = 1.0, loss: Loss = CE) -> Recipe:
    """A box of another image pasted in.

    Args:
        protocol: model and training.
        alpha: of the Beta distribution of the areas, positive.
        loss: of each of the two labels.
    """
    return _mixed("cutmix", protocol, part(CutMix, alpha=alpha, loss=loss))


def remix(
    protocol: Protocol, *, alpha: float = 1.0, kappa: float = 3.0, threshold: float = 0.5, loss: Loss = CE
) -> Recipe:
    """Mixup whose label goes to the rarer class where the other is ``kappa`` times as frequent.

    Args:
        protocol: model and training.
        alpha: of the Beta distribution of the weights, positive.
        kappa: ratio of frequencies, at least 1.
        threshold: share of an image below which it may lose its label; 0 is mixup.
        loss: of each of the two labels.
    """
    return _mixed("remix", protocol, part(Remix, alpha=alpha, kappa=kappa, threshold=threshold, loss=loss))


def _mixed(name: str, protocol: Protocol, objective: Part) -> Recipe:
    return Recipe(name, protocol.model, (classify(protocol, objective),))
