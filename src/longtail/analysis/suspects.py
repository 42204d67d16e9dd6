"""Training images whose label the others of their class contradict: candidates for a wrong label, for a person to see.

None is dropped by itself. The rule is confident learning, with a linear model on a network's features that never saw
the image it judges.
"""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import torch
from torch import Tensor

from longtail.shapes import Float, Int

FOLDS = 5
"""Parts of the training set, each judged by a model of the others; a class needs as many images."""
SURE = 0.75
"""No class asks for more: where the classes are easy, its own mean is so near 1 that clear cases would fall short."""
LIMIT = 1_000_000_000
"""Images times features times classes up to which the folds are fitted; beyond, it would take hours."""
ITERATIONS = 100
"""Of the linear models at most: what ranks images need not be at its last digit."""


@dataclasses.dataclass(frozen=True, eq=False)
class Suspects:
    """What held-out folds contradict, the rarest group first and in it the clearest first.

    Args:
        position: (S,) places in the training split.
        other: (S,) class that the folds say.
        own_probability: (S,) of the given class, from a model that did not see the image.
        other_probability: (S,) of the other class.
        judged: number of images that were judged.
        small: classes with fewer than ``FOLDS`` images, which cannot be judged.
    """

    position: Int[Tensor, " S"]
    other: Int[Tensor, " S"]
    own_probability: Float[Tensor, " S"]
    other_probability: Float[Tensor, " S"]
    judged: int
    small: tuple[int, ...]


def contradicted(
    features: Float[Tensor, "N D"],
    target: Int[Tensor, " N"],
    *,
    counts: Int[Tensor, " K"],
    many: int = 100,
    few: int = 20,
    seed: int = 0,
) -> Suspects:
    r"""Find the training images that a linear model of the other folds puts into another class.

    An image of class y is suspect if, among the classes j with :math:`\hat p_j(x) \ge t_j`, the most probable one is
    not y; t_j is the mean of :math:`\hat p_j` over the images that are labelled j, 0.75 at most. The threshold of a
    class is its own, and the classes weigh alike in the fit, so that a rare class is not contradicted for being rare.
    Use it to look at labels before you trust a tail; what it finds is a question, not an answer.

    Args:
        features: (N, D) of the training images, by a network.
        target: (N,) their labels.
        counts: (K,) training images per class.
        many: more training images than this make a class "many", for the order.
        few: fewer than this make a class "few".
        seed: of the folds.

    Returns:
        The suspects. Classes with fewer than five images take no part.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> target = torch.arange(60) % 3
        >>> features = 3 * torch.eye(3)[target] + 0.3 * torch.randn(60, 3, generator=generator)
        >>> target[7] = 0  # it was 1
        >>> found = contradicted(features, target, counts=torch.bincount(target))
        >>> found.position.tolist(), found.other.tolist()
        ([7], [1])

    References:
        Northcutt, Jiang, Chuang, *Confident Learning: Estimating Uncertainty in Dataset Labels*, JAIR 2021.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    counts = counts.cpu()
    small = torch.nonzero(counts < FOLDS).flatten()
    places = torch.nonzero(~torch.isin(target.cpu(), small)).flatten()
    kept = torch.nonzero(counts >= FOLDS).flatten()
    if len(kept) < 2:
        empty = torch.zeros(0)
        return Suspects(empty.long(), empty.long(), empty, empty, 0, tuple(small.tolist()))
    rows = features.cpu()[places].double().numpy()
    labels = torch.searchsorted(kept, target.cpu()[places]).numpy()
    linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=ITERATIONS, class_weight="balanced"))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a fit that is not at its last digit ranks as well
        probability = np.asarray(cross_val_predict(linear, rows, labels, cv=folds, method="predict_proba"))
    own = probability[np.arange(len(labels)), labels]
    threshold = np.minimum(np.bincount(labels, weights=own) / np.bincount(labels), SURE)
    sure = np.where(probability >= threshold, probability, -1.0)
    best = sure.argmax(axis=1)
    odd = np.flatnonzero((sure.max(axis=1) >= 0) & (best != labels))
    size = counts[kept].numpy()[labels[odd]]
    group = np.where(size < few, 0, np.where(size > many, 2, 1))
    other = probability[odd, best[odd]]
    order = odd[np.lexsort((own[odd] - other, group))]
    return Suspects(
        position=places[torch.from_numpy(order)],
        other=kept[torch.from_numpy(best[order])],
        own_probability=torch.from_numpy(own[order]).float(),
        other_probability=torch.from_numpy(probability[order, best[order]]).float(),
        judged=len(labels),
        small=tuple(small.tolist()),
    )
