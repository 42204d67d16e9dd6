"""Losses as pure functions, unreduced: ``(logits (N, K), target (N,)) -> (N,)`` and their kin on features."""

from longtail.losses.centroids import CentroidSums
from longtail.losses.class_averaged import class_averaged_contrastive
from longtail.losses.contrastive import instance_contrastive, supervised_contrastive
from longtail.losses.cross_entropy import cross_entropy
from longtail.losses.experts import expert_diversity, inverse_softmax
from longtail.losses.label_aware import label_aware_smoothing
from longtail.losses.margin import ldam, ldam_margins
from longtail.losses.negative_sampling import (
    balanced_negative_sampling,
    negative_sampling,
    released_balanced_negative_sampling,
)
from longtail.losses.positives import k_positive_contrastive, subclass_contrastive
from longtail.losses.prior import adjust_logits, balanced_softmax, logit_adjusted_cross_entropy, vector_scaling
from longtail.losses.reweighting import (
    class_balanced,
    class_balanced_focal,
    class_weighted_cross_entropy,
    effective_number_weights,
    focal,
    inverse_frequency_weights,
    relative_frequency_weights,
)
from longtail.losses.robust import (
    LearnedRadii,
    class_mean,
    no_radius,
    radius_from_gaussian_kl,
    radius_from_wasserstein,
    robustness_loss,
    shared_radius,
    standard_error_radius,
)
from longtail.losses.von_mises_fisher import concentrations, log_normaliser, probabilistic_contrastive

__all__ = [
    "CentroidSums",
    "LearnedRadii",
    "adjust_logits",
    "balanced_negative_sampling",
    "balanced_softmax",
    "class_averaged_contrastive",
    "class_balanced",
    "class_balanced_focal",
    "class_mean",
    "class_weighted_cross_entropy",
    "concentrations",
    "cross_entropy",
    "effective_number_weights",
    "expert_diversity",
    "focal",
    "instance_contrastive",
    "inverse_frequency_weights",
    "inverse_softmax",
    "k_positive_contrastive",
    "label_aware_smoothing",
    "ldam",
    "ldam_margins",
    "log_normaliser",
    "logit_adjusted_cross_entropy",
    "negative_sampling",
    "no_radius",
    "probabilistic_contrastive",
    "radius_from_gaussian_kl",
    "radius_from_wasserstein",
    "relative_frequency_weights",
    "released_balanced_negative_sampling",
    "robustness_loss",
    "shared_radius",
    "standard_error_radius",
    "subclass_contrastive",
    "supervised_contrastive",
    "vector_scaling",
]
