"""Re-balancing a trained network without training it again: scikit-learn estimators on its logits or features.

``fit(...)`` returns the estimator, then ``predict`` and ``predict_proba``. Those on features take
``fit(features, target, *, weight=None, bias=None, counts=None)`` and, where the result is a linear head, give it back
as ``weight_`` (K, D) and ``bias_`` (K,).
"""

from longtail.rebalance.alignment import DisAlign
from longtail.rebalance.classifiers import (
    ClassifierRetraining,
    LearnableWeightScaling,
    NearestClassMean,
    TauNormalization,
)
from longtail.rebalance.logit_adjustment import LogitAdjustment
from longtail.rebalance.monotonic import SAMN
from longtail.rebalance.smoothing import LabelOverSmoothing
from longtail.rebalance.temperature import GroupTemperatureScaling, TemperatureScaling

__all__ = [
    "SAMN",
    "ClassifierRetraining",
    "DisAlign",
    "GroupTemperatureScaling",
    "LabelOverSmoothing",
    "LearnableWeightScaling",
    "LogitAdjustment",
    "NearestClassMean",
    "TauNormalization",
    "TemperatureScaling",
]
