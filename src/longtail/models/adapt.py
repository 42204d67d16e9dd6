"""Somebody's own network as ours: a backbone that gives features and a head that reads them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from longtail.errors import InputError, failure
from longtail.models.heads import LinearHead
from longtail.models.network import Backbone, Network, shape_of


class Pooled(nn.Module):
    """A model that follows timm's contract, as a module from images (N, C, H, W) to its pooled features (N, D)."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module: Any = module

    def forward(self, images: Tensor) -> Tensor:
        """The features (N, D)."""
        features: Tensor = self.module.forward_head(self.module.forward_features(images), pre_logits=True)
        return features


def as_network(module: object, name: str, *, num_classes: int, channels: int, image_size: int) -> Network:
    """Return a network of ours around a module of somebody's own.

    It follows timm's contract (``forward_features``, ``forward_head``, ``num_features``), or is a plain ``nn.Module``
    whose last ``nn.Linear`` is the head. The module is tried on two blank images.

    Args:
        module: network with its first weights, on any device; one of ours is given back as it is.
        name: what records call it.
        num_classes: K.
        channels: C of the images.
        image_size: H = W of the images, in pixels; 0 for features, whose number is ``channels``.

    Returns:
        The network, in the module's mode (training or evaluation) and on its device, with a linear head of the same
        weights. It holds the module itself, whose last linear layer is replaced by an identity, in place.

    Raises:
        InputError: it is no module, fails, gives no logits (N, K), or its last linear layer does not give them.

    Example:
        >>> plain = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
        >>> network = as_network(plain, "mlp", num_classes=10, channels=1, image_size=8)
        >>> network(torch.zeros(2, 1, 8, 8)).features.shape
        torch.Size([2, 16])
    """
    if isinstance(module, Network):
        return module
    if not isinstance(module, nn.Module):
        raise InputError(f"model {name!r} gave a {type(module).__name__}: it must give a torch.nn.Module")
    training = module.training
    module.eval()
    device = next((held.device for held in module.parameters()), torch.device("cpu"))
    images = torch.zeros(2, *shape_of(channels, image_size), device=device)
    with torch.no_grad():
        logits = _called(module, images, name)
        if not isinstance(logits, Tensor) or logits.shape != (2, num_classes):
            shown = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise InputError(f"model {name!r} gave {shown} for 2 images: it must give logits (2, {num_classes})")
        network = _split(module, name, num_classes)
        again = _called(network, images, name).logits
    if again.shape != logits.shape or not torch.allclose(again, logits, rtol=1e-3, atol=1e-4):
        raise InputError(
            f"model {name!r}: its last nn.Linear does not give its output; let forward return what that layer returns, "
            f"or follow timm's contract (forward_features, forward_head, num_features)"
        )
    return network.train(training)


def _split(module: nn.Module, name: str, num_classes: int) -> Network:
    if all(hasattr(module, held) for held in ("forward_features", "forward_head", "num_features")):
        width = int(getattr(module, "head_hidden_size", None) or module.num_features)  # type: ignore[arg-type]
        get: Any = getattr(module, "get_classifier", None)
        linear = get() if get is not None else _last_linear(module, name)[1]
        if not isinstance(linear, nn.Linear):
            raise InputError(f"model {name!r}: its classifier is a {type(linear).__name__}; an nn.Linear is needed")
        stage: nn.Module = Pooled(module)
        path = next((key for key, held in module.named_modules() if held is linear), None)
    else:
        path, linear = _last_linear(module, name)
        width, stage = linear.in_features, module
    if path == "":
        stage = nn.Flatten()
    elif path is not None:
        parent = module.get_submodule(path.rpartition(".")[0])
        setattr(parent, path.rpartition(".")[2], nn.Identity())
    head = LinearHead(width, num_classes).to(linear.weight.device)
    with torch.no_grad():
        head.weight.copy_(linear.weight)
        bias = getattr(linear, "bias", None)
        head.bias.zero_() if bias is None else head.bias.copy_(bias)
    return Network(Backbone([stage], width), head, name)


def _last_linear(module: nn.Module, name: str) -> tuple[str, nn.Linear]:
    found = [(path, held) for path, held in module.named_modules() if isinstance(held, nn.Linear)]
    if not found:
        raise InputError(f"model {name!r} has no nn.Linear, so its head is not known: end it with one")
    return found[-1]


def _called(module: nn.Module, images: Tensor, name: str) -> Any:
    try:
        return module(images)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"model {name!r} failed on 2 blank images {tuple(images.shape)}: {failure(error)}") from error
