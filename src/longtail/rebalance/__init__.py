"""Re-balancing a trained network without training it again: estimators on its logits or features.

All follow scikit-learn's conventions: ``fit(...)`` returns the estimator, then ``predict`` and ``predict_proba``.
"""

from longtail.rebalance.classifiers import (
    ClassifierRetraining,
    LearnableWeightScaling,
    NearestClassMean,
    TauNormalization,
)
from longtail.rebalance.logit_adjustment import LogitAdjustment
from longtail.rebalance.temperature import TemperatureScaling

__all__ = [
    "ClassifierRetraining",
    "LearnableWeightScaling",
    "LogitAdjustment",
    "NearestClassMean",
    "TauNormalization",
    "TemperatureScaling",
]
