"""How good features are, by classifiers that are not trained with them: linear probes and nearest neighbours."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from longtail import metrics
from longtail.data import Data
from longtail.models import Output
from longtail.training import seeds

NEIGHBOURS = 20


def balanced_subset(target: Tensor, per_class: int, generator: torch.Generator) -> Tensor:
    """Up to ``per_class`` random items of each class, all of a smaller class: positions, ascending."""
    order = torch.randperm(len(target), generator=generator)
    labels = target[order]
    # The rank of each item within its class, in the random order.
    same = torch.argsort(labels, stable=True)
    counts = torch.bincount(labels)
    starts = torch.cumsum(counts, 0) - counts
    rank = torch.empty_like(order)
    rank[same] = torch.arange(len(order)) - starts[labels[same]]
    return order[rank < per_class].sort().values


def evaluate_features(
    train: Output, test: Output, data: Data, *, per_class: int, seed: int
) -> dict[str, metrics.Report]:
    """Score the features of a trained network; each protocol is named in full, for they are not comparable.

    Features are standardised by the mean and deviation of the training features; the linear classifiers are
    scikit-learn's logistic regression (L2, C = 1). Nearest neighbours vote with weight 1 / cosine distance: were votes
    equal, a class of ten images could hardly win among 20, however good the features.

    Args:
        train: features of the training split.
        test: features of the test split.
        data: data set that the splits belong to.
        per_class: images of each class in the balanced subset (100 on CIFAR-10-LT and 50 on CIFAR-100-LT in the
            released BNS code; smaller classes are taken whole).
        seed: draws the subset.

    Returns:
        Reports on the test split by the name of the protocol.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    subset = balanced_subset(data.train.target, per_class, seeds.generator(seed, "probe"))
    everything = torch.arange(len(data.train))
    neighbours = min(NEIGHBOURS, len(data.train))

    def linear() -> Any:
        return make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))

    classifiers = {
        "linear probe, full training set": (linear(), everything),
        f"linear probe, balanced subset of up to {per_class} a class": (linear(), subset),
        f"{neighbours} nearest neighbours, weighted by cosine distance": (
            KNeighborsClassifier(n_neighbors=neighbours, metric="cosine", weights="distance"),
            everything,
        ),
    }
    reports = {}
    for name, (classifier, index) in classifiers.items():
        classifier.fit(train.features[index].numpy(), data.train.target[index].numpy())
        prediction = torch.from_numpy(np.asarray(classifier.predict(test.features.numpy())))
        reports[name] = metrics.evaluate(data.test.target, prediction, counts=data.counts, many=data.many, few=data.few)
    return reports
