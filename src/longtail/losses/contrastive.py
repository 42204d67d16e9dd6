"""Supervised contrastive learning: every view against all the others, those of its class pulled in by a softmax."""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor
from torch.nn import functional

from longtail.errors import InputError
from longtail.losses.labels import check_one_class
from longtail.shapes import Float, Int

__all__ = ["instance_contrastive", "supervised_contrastive"]


def supervised_contrastive(
    queries: Float[Tensor, "N D"],
    keys: Float[Tensor, "N D"],
    target: Int[Tensor, " N"],
    *,
    temperature: float,
) -> Float[Tensor, " N"]:
    r"""Supervised contrastive loss with the sum outside the logarithm (Eq. 2, :math:`L^{sup}_{out}`).

    .. math:: \ell_a = -\frac{1}{|P(a)|} \sum_{p \in P(a)} \log
        \frac{\exp(z_a \cdot z_p / \tau)}{\sum_{b \neq a} \exp(z_a \cdot z_b / \tau)}, \quad
        P(a) = \{ p \neq a : y_p = y_a \}

    Use it as the standard contrastive baseline with labels. All 2N views are anchors, and an image's loss is the mean
    of the losses of its two views, so the mean over images is the paper's mean over views. The views come as two
    tensors, the shape in which :func:`~longtail.losses.balanced_negative_sampling` takes them, for which this loss is
    the natural control; unlike there the two are interchangeable. An anchor always has a positive, its own other view.
    The factor tau / (base temperature) of the authors' code, which is 1 at its defaults, is left out.

    The arithmetic is in float32 at least, whatever the features come in, and under autocast as well.

    Args:
        queries: (N, D) one view of every image, of any length: rows are scaled to length 1 here.
        keys: (N, D) the other views, row for row.
        target: (N,) class numbers.
        temperature: divisor tau of the similarities, above 0.

    Returns:
        (N,) losses in nats; at least 0.

    Raises:
        InputError: a temperature that is not above 0, or views and labels of unequal number.

    Example:
        >>> views = torch.eye(2)
        >>> supervised_contrastive(views, views, torch.tensor([0, 1]), temperature=0.5)  # log(1 + 2 exp(-2))
        tensor([0.2395, 0.2395])

    References:
        Khosla et al., Supervised Contrastive Learning, NeurIPS 2020, arXiv:2004.11362.
    """
    if temperature <= 0:
        raise InputError(f"temperature is {temperature}: it must be above 0")
    if not queries.shape[0] == keys.shape[0] == target.shape[0]:
        raise InputError(
            f"{queries.shape[0]} queries, {keys.shape[0]} keys, {target.shape[0]} labels: give one of each per image"
        )
    check_one_class(target, queries.shape[0])
    views = torch.cat([queries, keys])
    # In half precision the similarities of close views would be lost, and autocast would turn the product back to it.
    views = functional.normalize(views.to(torch.promote_types(views.dtype, torch.float32)), dim=1)
    label = target.repeat(2)
    place = torch.arange(label.shape[0], device=label.device)
    rest = place[:, None] != place
    positive = rest & (label[:, None] == label)

    kind = views.device.type
    with contextlib.nullcontext() if kind == "meta" else torch.autocast(kind, enabled=False):
        similarity = views @ views.T / temperature
        everything = similarity.masked_fill(~rest, -torch.inf).logsumexp(1)
        attraction = (similarity * positive).sum(1) / positive.sum(1)
        return (everything - attraction).view(2, -1).mean(0)


def instance_contrastive(
    queries: Float[Tensor, "N D"],
    keys: Float[Tensor, "N D"],
    target: Int[Tensor, " N"],
    *,
    temperature: float,
) -> Float[Tensor, " N"]:
    r"""SimCLR's loss: the other view of the same image against all other views, no labels (NT-Xent, Eq. 1).

    .. math:: \ell_a = -\log \frac{\exp(z_a \cdot z_{a'} / \tau)}{\sum_{b \neq a} \exp(z_a \cdot z_b / \tau)}

    for each of the 2N views a with the other view a' of its image; an image's loss is the mean of those of its two
    views. It is :func:`supervised_contrastive` with every image a class of its own. Use it where a first stage should
    not see the imbalance of the labels, or where there are none.

    Args:
        queries: (N, D) one view of every image, of any length: rows are scaled to length 1 here.
        keys: (N, D) the other views, row for row.
        target: (N,) class numbers, which are not read.
        temperature: divisor tau of the similarities, above 0.

    Returns:
        (N,) losses in nats; at least 0.

    Raises:
        InputError: a temperature that is not above 0, or views of unequal number.

    Example:
        >>> views = torch.eye(2)
        >>> instance_contrastive(views, views, torch.tensor([0, 0]), temperature=0.5)  # log(1 + 2 exp(-2))
        tensor([0.2395, 0.2395])

    References:
        Chen et al., A Simple Framework for Contrastive Learning of Visual Representations, ICML 2020, arXiv:2002.05709.
    """
    own = torch.arange(target.shape[0], device=target.device)
    return supervised_contrastive(queries, keys, own, temperature=temperature)
