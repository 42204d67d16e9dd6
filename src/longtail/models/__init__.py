"""Networks that give features and logits: functions of the number of classes, the images and a generator."""

from longtail.models.adapt import as_network
from longtail.models.bridge import timm_model
from longtail.models.heads import CosineHead, HeadKind, LinearHead, Projector, classifier_of
from longtail.models.initial import drawing_from, initialise, materialise
from longtail.models.network import Backbone, Inputs, Network, Output, identity, shape_of, sides_of
from longtail.models.residual import cifar_resnet, cifar_stem_resnet
from longtail.models.shallow import linear, mlp, projected
from longtail.models.small import small_conv_net

__all__ = [
    "Backbone",
    "CosineHead",
    "HeadKind",
    "Inputs",
    "LinearHead",
    "Network",
    "Output",
    "Projector",
    "as_network",
    "cifar_resnet",
    "cifar_stem_resnet",
    "classifier_of",
    "drawing_from",
    "identity",
    "initialise",
    "linear",
    "materialise",
    "mlp",
    "projected",
    "shape_of",
    "sides_of",
    "small_conv_net",
    "timm_model",
]
