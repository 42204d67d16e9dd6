"""Several experts in one network: their parts of it, and the objective that trains each by a loss of its own."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from longtail import losses
from longtail.errors import InputError
from longtail.models import Backbone, Network, as_network, cifar_resnet, initialise
from longtail.recipes import text
from longtail.recipes.contract import Batch, Forward
from longtail.recipes.part import Part, part
from longtail.shapes import Float

RESNET = part(cifar_resnet)
CE = part(losses.cross_entropy)


class Branches(nn.Module):
    """The last stages of a backbone, once for each expert.

    Args:
        branches: E modules from the same feature maps to feature maps or features of equal width D.
    """

    def __init__(self, branches: list[nn.Module]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, maps: Float[Tensor, " N *any"]) -> Float[Tensor, "N ED"]:
        """The pooled features of all experts side by side."""
        found = [branch(maps) for branch in self.branches]
        return torch.cat([held if held.ndim == 2 else held.mean(dim=(2, 3)) for held in found], dim=1)


class ExpertHead(nn.Module):
    """A classifier for each expert; the logits are the mean of theirs.

    Args:
        heads: E modules from features (N, D) to logits (N, K).
        apart: whether each expert has features of its own, side by side (N, E D), rather than the same (N, D).
    """

    def __init__(self, heads: list[nn.Module], *, apart: bool) -> None:
        super().__init__()
        self.heads = nn.ModuleList(heads)
        self.apart = apart

    def each(self, features: Float[Tensor, "N D"]) -> Float[Tensor, "N E K"]:
        """The logits of every expert."""
        own = features.chunk(len(self.heads), dim=1) if self.apart else (features,) * len(self.heads)
        return torch.stack([head(held) for head, held in zip(self.heads, own, strict=True)], dim=1)

    def forward(self, features: Float[Tensor, "N D"]) -> Float[Tensor, "N K"]:
        """The mean of the experts' logits."""
        return self.each(features).mean(dim=1)


def experts(
    *,
    num_classes: int,
    channels: int,
    image_size: int,
    generator: torch.Generator,
    of: text.Model | Callable[..., Any] = RESNET,
    number: int = 3,
    private: int = 2,
) -> Network:
    """Return a network of several experts: a common trunk, then stages and a classifier of each one's own.

    The first stages of a network are shared, the last ``private`` ones and the head are there once for each expert,
    each with first weights of its own; one stage at least is shared. A network that is one piece (of timm, somebody's
    own, a classifier of features) is shared whole, and the experts are classifiers of its features. The logits are the
    mean of the experts', so that everything that reads a network reads this one. It costs, for a ResNet of three stages
    and three experts, little more than twice the multiply-adds of one.

    Args:
        num_classes: K.
        channels: C of the images, or the number of features.
        image_size: H = W of the images, in pixels; 0 for features.
        generator: gives the first weights.
        of: network whose parts are taken.
        number: E, of experts, at least 2.
        private: stages of each expert's own, counted from the last.

    Returns:
        The network: images to the features of all experts, side by side, and the mean logits (N, K).

    Raises:
        InputError: fewer than two experts.

    Example:
        >>> from longtail.models import cifar_resnet
        >>> source = torch.Generator().manual_seed(0)
        >>> one = cifar_resnet(num_classes=10, channels=3, image_size=32, generator=source, depth=8)
        >>> network = experts(of=one, num_classes=10, channels=3, image_size=32, generator=source)
        >>> output = network(torch.zeros(2, 3, 32, 32))
        >>> network.name, output.features.shape, output.logits.shape
        ('resnet8, 3 experts', torch.Size([2, 192]), torch.Size([2, 10]))
    """
    if number < 2 or private < 0:
        raise InputError(f"{number} experts with {private} stages of their own: at least 2 experts, and 0 stages")
    one = as_network(of, "experts", num_classes=num_classes, channels=channels, image_size=image_size)
    stages = list(one.backbone.stages)
    own = min(private, len(stages) - 1)
    backbone, heads = one.backbone, [one.head, *(_anew(one.head, generator) for _ in range(number - 1))]
    if own:
        last = nn.Sequential(*stages[len(stages) - own :])
        branches = [last, *(_anew(last, generator) for _ in range(number - 1))]
        width = number * one.backbone.width
        backbone = Backbone([*stages[: len(stages) - own], Branches(branches)], width)
    name = f"{one.name}, {number} experts"
    return Network(
        backbone, ExpertHead(heads, apart=bool(own)), name, inputs=one.inputs, fixed=one.fixed, notes=one.notes
    )


def _anew(module: nn.Module, generator: torch.Generator) -> nn.Module:
    made = copy.deepcopy(module)
    initialise(made, generator=generator)
    return made


class PerExpert(nn.Module):
    r"""A loss for each expert of a network, and their diversity.

    .. math:: \ell = \sum_e \ell_e(f_e, y) - \lambda \, E \, d(f_1, \dots, f_E)

    with the diversity d of :func:`longtail.losses.expert_diversity`. RIDE has one loss for all experts and
    :math:`\lambda = 0.2`, SADE three losses and no diversity term.

    Args:
        counts: training images of each class (K,).
        experts: one loss for each expert in their order, or one for all.
        diversity: lambda, at least 0.
        temperature: alpha of the diversity, above 0.
        share: gamma of the diversity, in [0, 1].

    Raises:
        InputError: no loss, or a negative diversity.

    References:
        Wang et al., *Long-tailed Recognition by Routing Diverse Distribution-Aware Experts*, ICLR 2021; Zhang et al.,
        *Self-Supervised Aggregation of Diverse Experts for Test-Agnostic Long-Tailed Recognition*, NeurIPS 2022.
    """

    on_features = True

    def __init__(
        self,
        *,
        counts: Tensor,
        experts: tuple[text.Loss | Callable[..., Any], ...] = (CE,),
        diversity: float = 0.0,
        temperature: float = 1.0,
        share: float = 0.05,
    ) -> None:
        super().__init__()
        if not experts or not diversity >= 0:
            raise InputError(f"experts need a loss at least, and a diversity of at least 0, not {diversity:g}")
        self._losses: Any = tuple(held.build() if isinstance(held, Part) else held for held in experts)
        self._counts, self._diversity = counts, diversity
        self._softening = {"temperature": temperature, "share": share}

    def forward(self, model: Forward, batch: Batch) -> Tensor:
        """The losses (N,) of a batch."""
        head = model.network.head
        if not isinstance(head, ExpertHead):
            raise InputError(
                f"this objective trains experts, and {model.network.name} has none: use the model "
                "longtail.recipes:experts@of=resnet32"
            )
        if len(self._losses) not in (1, len(head.heads)):
            raise InputError(f"{len(self._losses)} losses for {len(head.heads)} experts: give one each, or one for all")
        each = head.each(model.features(batch.images))
        model.logits = each.mean(dim=1)
        own = self._losses * len(head.heads) if len(self._losses) == 1 else self._losses
        values = [loss(logits, batch.target) for loss, logits in zip(own, each.unbind(dim=1), strict=True)]
        total = torch.stack(values).sum(dim=0)
        if self._diversity:
            apart = losses.expert_diversity(each, counts=self._counts, **self._softening)
            total = total - self._diversity * len(head.heads) * apart
        return total
