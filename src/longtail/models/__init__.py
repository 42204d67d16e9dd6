"""Networks that give features and logits, described by small frozen dataclasses."""

from longtail.models.bridge import TimmModel
from longtail.models.heads import CosineHead, HeadKind, LinearHead, Projector
from longtail.models.initial import initialise, materialise
from longtail.models.names import Model, by_name, names
from longtail.models.network import Backbone, Network, Output, identity
from longtail.models.residual import CifarResNet, CifarStemResNet
from longtail.models.small import SmallConvNet

__all__ = [
    "Backbone",
    "CifarResNet",
    "CifarStemResNet",
    "CosineHead",
    "HeadKind",
    "LinearHead",
    "Model",
    "Network",
    "Output",
    "Projector",
    "SmallConvNet",
    "TimmModel",
    "by_name",
    "identity",
    "initialise",
    "materialise",
    "names",
]
