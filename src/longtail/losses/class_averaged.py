"""Supervised contrastive learning in which every class weighs the same and has a place in every batch (BCL)."""

from __future__ import annotations

import torch
from torch import Tensor

from longtail.errors import InputError
from longtail.losses.labels import check_one_class
from longtail.losses.similarity import cosines
from longtail.shapes import Float, Int

__all__ = ["class_averaged_contrastive"]


def class_averaged_contrastive(
    queries: Float[Tensor, "N D"],
    keys: Float[Tensor, "N D"],
    target: Int[Tensor, " N"],
    *,
    prototypes: Float[Tensor, "K D"] | None = None,
    temperature: float = 0.1,
) -> Float[Tensor, " N"]:
    r"""Balanced contrastive loss: each class enters the denominator by its mean, and by a prototype of its own.

    .. math:: \ell_a = -\frac{1}{|P(a)|} \sum_{p \in P(a)} \log \frac{\exp(z_a \cdot z_p / \tau)}
        {\sum_c \frac{1}{|B_c \setminus \{a\}|} \sum_{b \in B_c \setminus \{a\}} \exp(z_a \cdot z_b / \tau)}

    over all 2N views a. :math:`B_c` are the views of class c and its prototype (*class complement*), P(a) those of the
    class of a without a itself. The mean over a class (*class averaging*) keeps head classes from making up most of the
    denominator: where the views of each class coincide, the loss is a softmax over classes, whatever their sizes. Use
    it beside a classification loss, with prototypes made from the classifier's weights.

    Args:
        queries: (N, D) one view of every image, of any length: rows are scaled to length 1 here.
        keys: (N, D) the other views, row for row.
        target: (N,) class numbers.
        prototypes: (K, D) one for each class, of any length; none for views alone.
        temperature: tau, above 0.

    Returns:
        (N,) losses in nats, the mean of an image's two views.

    Raises:
        InputError: a temperature that is not above 0, or views and labels of unequal number.

    Example:
        >>> views, prototypes = torch.eye(2), torch.eye(2)
        >>> options = {"prototypes": prototypes, "temperature": 0.5}
        >>> class_averaged_contrastive(views, views, torch.tensor([0, 1]), **options)  # log(1 + exp(-2))
        tensor([0.1269, 0.1269])

    References:
        Zhu et al., *Balanced Contrastive Learning for Long-Tailed Visual Recognition*, CVPR 2022, arXiv:2207.09052.
    """
    if temperature <= 0:
        raise InputError(f"temperature is {temperature}: it must be above 0")
    check_one_class(target, queries.shape[0])
    others, label = [queries, keys], target.repeat(2)
    anchors = label
    if prototypes is not None:
        others.append(prototypes)
        label = torch.cat([label, torch.arange(len(prototypes), device=label.device)])
    similarity = cosines(torch.cat(others[:2]), torch.cat(others)) / temperature
    place = torch.arange(len(label), device=label.device)
    itself = place[: len(anchors), None] == place
    alike = (anchors[:, None] == label) & ~itself
    size = (label[:, None] == label).sum(dim=1)  # of the class of each column, from which the anchor is left out
    below = (
        (similarity - (size - alike.long()).to(similarity.dtype).log()).masked_fill(itself, -torch.inf).logsumexp(dim=1)
    )
    positives = alike.sum(dim=1)
    values = below - (similarity * alike).sum(dim=1) / positives
    return values.view(2, -1).mean(dim=0)
