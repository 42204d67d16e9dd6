"""Contrastive pre-training that looks at the whole training set between epochs: targets on the sphere, subclasses."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from longtail import losses
from longtail.errors import InputError
from longtail.recipes import text
from longtail.recipes.contract import Batch, Context
from longtail.recipes.objectives import Contrastive
from longtail.recipes.part import part
from longtail.shapes import Float, Int

KCL = part(losses.k_positive_contrastive)
ROUNDS = 10
"""Iterations of k-means."""


class Targeted(Contrastive):
    r"""Contrastive pre-training whose classes are pulled to targets that lie evenly on the sphere (TSC).

    .. math:: \ell_i = \ell^{KCL}_i
        - \lambda \log \frac{\exp(q_i \cdot t_{y_i} / \tau)}{\sum_c \exp(q_i \cdot t_c / \tau)}

    The targets are assigned to classes anew before each epoch, by the best matching (Hungarian) with a moving average
    of the class means; for a first share of the epochs there are none. Use it where KCL's class means crowd together.

    Args:
        counts: training images of each class (K,).
        widths: features of each level of the network; the projector reads the last.
        device: of the network.
        projector_generator: draws the projector's first weights and the targets.
        loss: of pairs.
        weight: lambda.
        temperature: tau.
        after: share of the epochs without targets, in [0, 1].
        momentum: of the class means, in [0, 1).
        hidden: width of the projector's hidden layer.
        out: E, dimension of the embedding.

    Raises:
        InputError: a share outside [0, 1].

    References:
        Li et al., *Targeted Supervised Contrastive Learning for Long-Tailed Recognition*, CVPR 2022.
    """

    looks = True
    targets: Tensor
    means: Tensor
    assigned: Tensor

    def __init__(
        self,
        *,
        counts: Tensor,
        widths: tuple[int, ...],
        device: torch.device,
        projector_generator: torch.Generator,
        loss: text.PairLoss | Callable[..., Tensor] = KCL,
        weight: float = 0.2,
        temperature: float = 0.07,
        after: float = 0.5,
        momentum: float = 0.9,
        hidden: int = 2048,
        out: int = 128,
    ) -> None:
        super().__init__(
            widths=widths, device=device, projector_generator=projector_generator, loss=loss, hidden=hidden, out=out
        )
        if not 0 <= after <= 1:
            raise InputError(f"after {after:g}: the share of the epochs without targets, from 0 to 1")
        self._weight, self._temperature, self._after, self._momentum = weight, temperature, after, momentum
        self._active = False
        targets = even_targets(len(counts), self.out, generator=projector_generator)
        self.register_buffer("targets", targets.to(device))
        self.register_buffer("means", torch.zeros(len(counts), self.out, device=device))
        self.register_buffer("assigned", torch.arange(len(counts), device=device))

    def start_epoch(self, context: Context) -> None:
        """Assign the targets to the classes, once the first share of the epochs is over."""
        from scipy.optimize import linear_sum_assignment

        self._active = context.epoch >= self._after * context.epochs
        if not self._active:
            return
        embeddings = embedded(context, self.projector)
        sums = torch.zeros_like(self.means).index_add_(0, context.target, embeddings)
        fresh = functional.normalize(sums, dim=1)
        begun = bool(self.means.any())
        self.means = torch.lerp(fresh, self.means, self._momentum) if begun else fresh
        rows, columns = linear_sum_assignment(-(self.means @ self.targets.T).double().cpu().numpy())
        self.assigned[torch.from_numpy(rows).to(self.assigned)] = torch.from_numpy(columns).to(self.assigned)

    def pair_losses(self, queries: Tensor, keys: Tensor, batch: Batch) -> Tensor:
        """The losses (N,) of the pairs and, once there are targets, of the images' distance from theirs."""
        values = super().pair_losses(queries, keys, batch)
        if not self._active:
            return values
        logits = functional.normalize(queries.float(), dim=1) @ self.targets.T / self._temperature
        return values + self._weight * functional.cross_entropy(logits, self.assigned[batch.target], reduction="none")


class Subclassed(Contrastive):
    """Contrastive pre-training on subclasses, found by cosine k-means within each class every few epochs (SBCL).

    A class of n images has max(1, floor(n / max(smallest class, delta))) subclasses. The temperature of the term on
    classes is tau_1 times how spread a class is, over the mean of that. Until the first clustering every class is one.

    Args:
        counts: training images of each class (K,).
        widths: features of each level of the network; the projector reads the last.
        device: of the network.
        projector_generator: draws the projector's first weights.
        temperature: tau_1.
        beta: weight of the term on classes.
        delta: smallest size of a subclass.
        every: epochs between clusterings, and before the first.
        hidden: width of the projector's hidden layer.
        out: E, dimension of the embedding.

    Raises:
        InputError: a number below 1.

    References:
        Hou et al., *Subclass-balancing Contrastive Learning for Long-tailed Recognition*, ICCV 2023.
    """

    looks = True
    subclass: Tensor
    spread: Tensor

    def __init__(
        self,
        *,
        target: Tensor,
        counts: Tensor,
        widths: tuple[int, ...],
        device: torch.device,
        projector_generator: torch.Generator,
        temperature: float = 0.1,
        beta: float = 0.25,
        delta: int = 10,
        every: int = 10,
        hidden: int = 2048,
        out: int = 128,
    ) -> None:
        super().__init__(widths=widths, device=device, projector_generator=projector_generator, hidden=hidden, out=out)
        if min(delta, every) < 1:
            raise InputError(f"delta {delta} and every {every} must be at least 1")
        self._temperature, self._beta, self._delta, self._every = temperature, beta, delta, every
        self.register_buffer("subclass", target.clone().to(device))
        self.register_buffer("spread", torch.ones(len(counts), device=device))
        self.clustered = False

    def start_epoch(self, context: Context) -> None:
        """Find the subclasses anew, every so many epochs."""
        self.clustered = context.epoch >= self._every
        if not self.clustered or context.epoch % self._every:
            return
        embeddings = embedded(context, self.projector)
        smallest = int(context.counts[context.counts > 0].min())
        number = (context.counts // max(smallest, self._delta)).clamp(min=1).tolist()
        begun = 0
        for held, clusters in enumerate(number):
            index = torch.nonzero(context.target == held).flatten()
            if not len(index):
                continue
            own, distance = cosine_k_means(embeddings[index], clusters, generator=context.generator)
            self.subclass[index] = begun + own
            self.spread[held] = distance.mean() / torch.log(torch.tensor(len(index) + 10.0))
            begun += clusters
        present = self.spread[context.counts > 0]
        self.spread /= present.mean().clamp(min=1e-6)

    def pair_losses(self, queries: Tensor, keys: Tensor, batch: Batch) -> Tensor:
        """The losses (N,) on subclasses and classes; before the first clustering plain SupCon."""
        if not self.clustered:
            return losses.supervised_contrastive(queries, keys, batch.target, temperature=self._temperature)
        return losses.subclass_contrastive(
            queries,
            keys,
            batch.target,
            subclass=self.subclass[batch.index],
            class_temperature=self._temperature * self.spread[batch.target].clamp(min=0.1),
            temperature=self._temperature,
            beta=self._beta,
        )


@torch.no_grad()
def embedded(context: Context, projector: torch.nn.Module) -> Float[Tensor, "N E"]:
    """The embeddings, of length 1, of all clean training images."""
    index = torch.arange(len(context.target), device=context.target.device)
    found = [projector(chunk.levels[-1]) for chunk in context.outputs(index, False, False)]
    return functional.normalize(torch.cat(found).float(), dim=1)


def even_targets(number: int, width: int, *, generator: torch.Generator) -> Float[Tensor, "K E"]:
    r"""Points on the sphere that are as far from one another as they can be.

    They minimise the mean of :math:`\log \sum_{j \neq i} \exp(t_i \cdot t_j / \tau)`: the corners of a simplex in a
    random orientation where the dimension allows one, else what 500 steps of gradient descent find at tau = 0.07.

    Args:
        number: K, of the points.
        width: E, the dimension.
        generator: draws orientation or starting points, on the CPU.

    Returns:
        (K, E), rows of length 1.

    Example:
        >>> points = even_targets(4, 8, generator=torch.Generator().manual_seed(0))
        >>> [round(float(cosine), 4) for cosine in (points @ points.T)[0]]
        [1.0, -0.3333, -0.3333, -0.3333]
    """
    if 2 <= number <= width:
        basis = torch.linalg.qr(torch.randn(width, number, generator=generator, dtype=torch.float64)).Q
        corners = torch.eye(number, dtype=torch.float64) - 1.0 / number
        return functional.normalize(corners @ basis.T, dim=1).float()
    points = torch.randn(number, width, generator=generator).requires_grad_()
    optimizer, itself = torch.optim.Adam([points], lr=0.05), torch.eye(number, dtype=torch.bool)
    for _ in range(500):
        unit = functional.normalize(points, dim=1)
        optimizer.zero_grad()
        # Without each point's term with itself, which is constant and would drown the others.
        (unit @ unit.T / 0.07).masked_fill(itself, -torch.inf).logsumexp(1).mean().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return functional.normalize(points.detach(), dim=1)


def cosine_k_means(
    points: Float[Tensor, "n E"], clusters: int, *, generator: torch.Generator
) -> tuple[Int[Tensor, " n"], Float[Tensor, " n"]]:
    """Clusters of unit vectors by the largest cosine, from random ones of them as first centres.

    Args:
        points: (n, E), rows of length 1.
        clusters: how many, at least 1.
        generator: draws the first centres, on the device of the points.

    Returns:
        The cluster (n,) of each, from 0, and its distance (n,) from the centre.

    Example:
        >>> points = functional.normalize(torch.tensor([[1.0, 0.1], [1.0, 0.0], [0.0, 1.0]]), dim=1)
        >>> own, _ = cosine_k_means(points, 2, generator=torch.Generator().manual_seed(0))
        >>> bool(own[0] == own[1]) and bool(own[0] != own[2])
        True
    """
    order = torch.randperm(len(points), generator=generator, device=points.device)
    centres = points[order[:clusters]]
    own = torch.zeros(len(points), dtype=torch.int64, device=points.device)
    for _ in range(ROUNDS):
        own = (points @ centres.T).argmax(dim=1)
        sums = torch.zeros_like(centres).index_add_(0, own, points)
        empty = ~sums.any(dim=1, keepdim=True)
        centres = torch.where(empty, centres, functional.normalize(sums, dim=1))
    return own, (points - centres[own]).norm(dim=1)
