"""What a target may be: class numbers with an ignored one, soft labels, label smoothing; refused by shape alone."""

from __future__ import annotations

import torch
from torch import Tensor

from longtail.errors import InputError
from longtail.shapes import Float, Int, Shaped

IGNORED = -100
"""The class number of a sample that has no label, as in PyTorch."""


def check_labels(logits: Shaped[Tensor, ...], target: Shaped[Tensor, ...], *, soft: bool = True) -> Shaped[Tensor, ...]:
    """Refuse a target that does not fit the logits; class numbers of any integer type become int64.

    Args:
        logits: (N, K).
        target: (N,) class numbers, or (N, K) soft labels.
        soft: whether soft labels have a meaning for the loss.

    Returns:
        (N,) int64 or (N, K) floating-point.

    Raises:
        InputError: shapes or types that do not fit together, or soft labels where they have no meaning.

    Example:
        >>> check_labels(torch.zeros(2, 3), torch.tensor([0, 2], dtype=torch.int32))
        tensor([0, 2])
    """
    if logits.ndim != 2:
        raise InputError(f"logits must be (N, K), not {tuple(logits.shape)}: flatten further axes into N")
    if target.is_floating_point():
        if target.shape != logits.shape:
            raise InputError(
                f"target must be (N,) whole class numbers or (N, K) soft labels for logits {tuple(logits.shape)}, "
                f"not {target.dtype} {tuple(target.shape)}"
            )
        if not soft:
            raise InputError(
                "this loss needs one true class for each sample, (N,), not soft labels (N, K): for mixed images add "
                "the losses of the two labels, each times its share"
            )
        return target
    if target.shape != logits.shape[:1] or target.dtype == torch.bool:
        raise InputError(
            f"target must be ({logits.shape[0]},) class numbers for logits {tuple(logits.shape)}, "
            f"not {target.dtype} {tuple(target.shape)}"
        )
    return target.long()


def check_one_class(target: Shaped[Tensor, ...], number: int) -> None:
    """Refuse a target that is not one class number for each of the features.

    Args:
        target: (N,) class numbers.
        number: N, the rows of features.

    Raises:
        InputError: another shape, or soft labels, for which classes in a batch cannot be matched.

    Example:
        >>> check_one_class(torch.tensor([0, 2]), 2)
    """
    if target.ndim != 1 or target.is_floating_point() or target.shape[0] != number:
        raise InputError(
            f"a loss on features needs one class number for each of the {number} samples, ({number},), "
            f"not {target.dtype} {tuple(target.shape)}"
        )


def known_classes(target: Int[Tensor, " N"], ignore_index: int) -> Int[Tensor, " N"]:
    """Class numbers in which the ignored one is replaced by 0, so that it can index a row of K numbers.

    Args:
        target: (N,) class numbers.
        ignore_index: the number that says that a sample has no label.

    Returns:
        (N,) class numbers.

    Example:
        >>> known_classes(torch.tensor([2, -100]), -100)
        tensor([2, 0])
    """
    return torch.where(target == ignore_index, 0, target)


def expected_cost(
    cost: Float[Tensor, "N K"], target: Shaped[Tensor, ...], *, label_smoothing: float, ignore_index: int
) -> Float[Tensor, " N"]:
    r"""The expected cost of each sample over the labels that its target allows.

    .. math:: \ell_i = (1 - \epsilon) \sum_c t_{ic} \, \mathrm{cost}_{ic}
        + \frac{\epsilon}{|F_i|} \sum_{c \in F_i} \mathrm{cost}_{ic}

    with t the soft label, one-hot for a class number, and :math:`F_i` the classes of finite cost: no share of the
    smoothing goes to a class that the loss leaves out, such as one without training images.

    Args:
        cost: (N, K), what each class would cost if it were the true one.
        target: (N,) int64 class numbers, or (N, K) soft labels.
        label_smoothing: epsilon, in [0, 1].
        ignore_index: a sample of this class number costs 0.

    Returns:
        (N,) in the unit of ``cost``.

    Example:
        >>> cost = torch.tensor([[1.0, 3.0]])
        >>> expected_cost(cost, torch.tensor([0]), label_smoothing=0.5, ignore_index=-100)
        tensor([1.5000])
        >>> expected_cost(cost, torch.tensor([[0.25, 0.75]]), label_smoothing=0.0, ignore_index=-100)
        tensor([2.5000])
    """
    soft = target.is_floating_point()
    if soft:
        value = torch.where(target > 0, target.to(cost.dtype) * cost, 0.0).sum(dim=1)
    else:
        value = cost.gather(1, known_classes(target, ignore_index)[:, None]).squeeze(1)
    if label_smoothing:
        finite = cost < torch.inf
        spread = torch.where(finite, cost, 0.0).sum(dim=1) / finite.sum(dim=1)
        value = (1 - label_smoothing) * value + label_smoothing * spread
    return value if soft else torch.where(target == ignore_index, 0.0, value)


def check_smoothing(label_smoothing: float) -> None:
    """Refuse a share of label smoothing outside [0, 1].

    Args:
        label_smoothing: the share of a label that is spread over all classes.

    Raises:
        InputError: outside [0, 1].

    Example:
        >>> check_smoothing(0.1)
    """
    if not 0 <= label_smoothing <= 1:
        raise InputError(f"label_smoothing must lie in [0, 1], not {label_smoothing}")
