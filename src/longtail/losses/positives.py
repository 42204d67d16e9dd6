"""Contrastive losses that choose their positives: k of the class (KCL), or by subclass (SBCL)."""

from __future__ import annotations

import torch
from torch import Tensor

from longtail.errors import InputError
from longtail.losses.labels import check_one_class
from longtail.losses.similarity import cosines
from longtail.shapes import Bool, Float, Int

__all__ = ["k_positive_contrastive", "subclass_contrastive"]


def k_positive_contrastive(
    queries: Float[Tensor, "N D"],
    keys: Float[Tensor, "N D"],
    target: Int[Tensor, " N"],
    *,
    temperature: float = 0.07,
    positives: int = 6,
    generator: torch.Generator | None = None,
) -> Float[Tensor, " N"]:
    r"""Contrastive loss with the same number of positives for every class (KCL).

    .. math:: \ell_i = -\frac{1}{k_i + 1} \sum_{p \in \{i\} \cup P_i}
        \log \frac{\exp(q_i \cdot v_p / \tau)}{\sum_b \exp(q_i \cdot v_b / \tau)}

    with :math:`P_i` up to k random other images of the class of i. So a head class does not dominate by its number of
    positives. The authors take keys from a queue behind a slowly moving encoder; here they are the other views of the
    batch. ``positives=0`` is instance discrimination. Use it as the balanced contrastive baseline.

    Args:
        queries: (N, D) one view of every image, of any length.
        keys: (N, D) the other views, row for row.
        target: (N,) class numbers.
        temperature: tau, above 0.
        positives: k, at least 0; fewer where the batch has fewer.
        generator: chooses the positives; None for torch's global one.

    Returns:
        (N,) losses in nats; at least 0.

    Raises:
        InputError: a temperature that is not above 0, a negative k, or views and labels of unequal number.

    Example:
        >>> views = torch.eye(2)
        >>> k_positive_contrastive(views, views, torch.tensor([0, 1]), temperature=0.5)  # log(1 + exp(-2))
        tensor([0.1269, 0.1269])

    References:
        Kang et al., *Exploring Balanced Feature Spaces for Representation Learning*, ICLR 2021.
    """
    if temperature <= 0 or positives < 0:
        raise InputError(f"temperature {temperature} must be above 0 and positives {positives} at least 0")
    check_one_class(target, queries.shape[0])
    number = target.shape[0]
    own = torch.eye(number, dtype=torch.bool, device=target.device)
    chosen = own
    if positives:
        same = (target[:, None] == target) & ~own
        order = torch.rand((number, number), generator=generator, device=target.device).masked_fill(~same, -1.0)
        best = order.topk(min(positives, number), dim=1)
        chosen = own | torch.zeros_like(own).scatter(1, best.indices, best.values >= 0)
    similarity = cosines(queries, keys) / temperature
    return _softmax_loss(similarity, chosen, torch.zeros_like(own))


def subclass_contrastive(
    queries: Float[Tensor, "N D"],
    keys: Float[Tensor, "N D"],
    target: Int[Tensor, " N"],
    *,
    subclass: Int[Tensor, " N"],
    class_temperature: Float[Tensor, " N"],
    temperature: float = 0.1,
    beta: float = 0.25,
) -> Float[Tensor, " N"]:
    r"""Supervised contrastive loss on subclasses, and on classes beyond their subclasses (SBCL).

    .. math:: \ell_a = \ell^{sup}_a(P_a = \text{same subclass}; \tau_1)
        + \beta \, \ell^{sup}_a(P_a = \{a'\} \cup \text{same class, other subclass}; \tau_2(y_a))

    over all 2N views a, with a' the other view of the same image; an image's loss is the mean of its views'. With one
    subclass a class the first term is supervised contrastive learning. Use it where head classes are large and diverse.

    Args:
        queries: (N, D) one view of every image, of any length.
        keys: (N, D) the other views, row for row.
        target: (N,) class numbers.
        subclass: (N,) numbers of subclasses, no two classes sharing one.
        class_temperature: tau_2 (N,) of each image's class, above 0.
        temperature: tau_1, above 0.
        beta: weight of the second term.

    Returns:
        (N,) losses in nats; at least 0.

    Raises:
        InputError: a temperature that is not above 0, or views and labels of unequal number.

    Example:
        >>> views, ones = torch.eye(2), torch.ones(2)
        >>> numbers = torch.tensor([0, 1])
        >>> options = {"subclass": numbers, "class_temperature": ones, "temperature": 1.0, "beta": 0.0}
        >>> subclass_contrastive(views, views, numbers, **options)
        tensor([0.5514, 0.5514])

    References:
        Hou et al., *Subclass-balancing Contrastive Learning for Long-tailed Recognition*, ICCV 2023.
    """
    if temperature <= 0:
        raise InputError(f"temperature is {temperature}: it must be above 0")
    check_one_class(target, queries.shape[0])
    views = torch.cat([queries, keys])
    similarity = cosines(views, views)
    label, cluster, second = target.repeat(2), subclass.repeat(2), class_temperature.repeat(2)
    place = torch.arange(label.shape[0], device=label.device)
    itself = place[:, None] == place
    other_view = (place[:, None] % target.shape[0] == place % target.shape[0]) & ~itself
    alike = (cluster[:, None] == cluster) & ~itself
    beyond = (label[:, None] == label) & (cluster[:, None] != cluster) | other_view
    first = _softmax_loss(similarity / temperature, alike, itself)
    rest = _softmax_loss(similarity / second[:, None].to(similarity), beyond, itself)
    return (first + beta * rest).view(2, -1).mean(0)


def _softmax_loss(similarity: Float[Tensor, "N M"], positive: Bool[Tensor, "N M"], left_out: Tensor) -> Tensor:
    """Minus the mean log-softmax (N,) of the positives of each row, over all columns that are not left out."""
    everything = similarity.masked_fill(left_out, -torch.inf).logsumexp(1)
    return everything - (similarity * positive).sum(1) / positive.sum(1)
