"""Any image model of the timm library as a backbone, with our heads on top."""

from __future__ import annotations

import difflib
import typing
from types import ModuleType

import torch
from torch import nn

from longtail.errors import InputError
from longtail.models.heads import HeadKind, classifier_of
from longtail.models.initial import drawing_from, materialise
from longtail.models.network import Backbone, Network, check_shape


def timm_model(
    *,
    num_classes: int,
    channels: int,
    image_size: int,
    generator: torch.Generator,
    timm_name: str = "",
    pretrained: bool = False,
    weights: str = "",
    head: HeadKind = "linear",
    scale: float = 16.0,
) -> Network:
    """Return a model of timm by its name there, such as ``vit_base_patch16_224``, its classifier replaced by ours.

    The features are timm's pooled ones; the pyramid holds them alone. A transformer that is bound to one image size is
    built for the size of the data, its position embedding resampled. What is not pre-trained is drawn from
    ``generator`` with timm's own initialisation.

    Args:
        num_classes: K.
        channels: C of the images.
        image_size: H = W of the images, in pixels.
        generator: gives the first weights.
        timm_name: name as in ``timm.list_models()``, with a tag for particular weights (``name.tag``).
        pretrained: load timm's weights, from the local cache or the Hugging Face hub; they were trained on data of
            their own, so a result with them belongs to another track.
        weights: a safetensors file of timm's weights instead.
        head: ``linear`` or ``cosine``.
        scale: factor s of the cosine head, above 0; a linear head does not read it.

    Returns:
        The network, on the generator's device: images (N, C, H, W) to features (N, D) and logits (N, K).

    Raises:
        InputError: timm is not installed, does not know the name, cannot get the weights, or cannot build the model
            for such images.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> network = timm_model(
        ...     num_classes=10, channels=3, image_size=32, generator=generator, timm_name="resnet10t"
        ... )  # doctest: +SKIP
        >>> network(torch.zeros(2, 3, 32, 32)).features.shape  # doctest: +SKIP
        torch.Size([2, 512])

    References:
        Wightman, PyTorch Image Models, https://github.com/huggingface/pytorch-image-models.
    """
    check_shape(num_classes=num_classes, channels=channels, image_size=image_size)
    timm = _timm(f"the model {timm_name!r}")
    if not known_to_timm(timm_name):
        near = nearest_in_timm(timm_name)
        raise InputError(f"timm has no model {timm_name!r}" + (f": did you mean {near!r}?" if near else ""))
    settings = {"pretrained": pretrained, "num_classes": 0, "in_chans": channels}
    configuration = timm.get_pretrained_cfg(timm_name.partition(".")[0])
    if configuration is not None and configuration.fixed_input_size:
        settings["img_size"] = image_size
    with drawing_from(generator):
        try:
            model: nn.Module = timm.create_model(timm_name, **settings)
        except (AssertionError, OSError, RuntimeError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())
            weights = "with pretrained weights " if pretrained else ""
            raise InputError(
                f"timm cannot build {timm_name} {weights}for {channels}-channel images of "
                f"{image_size}x{image_size} pixels: {reason}"
            ) from error
    if weights:
        _load(model, weights)
    width = _width(model)
    classifier = materialise(lambda: classifier_of(head, width, num_classes, scale=scale), generator=generator)
    name = f"{timm_name} (pretrained)" if pretrained else timm_name
    return Network(Backbone([model.to(generator.device)], width), classifier, name)


def known_to_timm(name: str) -> bool:
    """Whether timm has a model called ``name`` (a tag after a dot is not looked at).

    Raises:
        InputError: timm is not installed.
    """
    known: bool = _timm(f"the model {name!r}").is_model(name)
    return known


def nearest_in_timm(name: str) -> str | None:
    """The name in timm that is most like ``name``, if any is."""
    near = difflib.get_close_matches(name.partition(".")[0], _timm(name).list_models(), n=1, cutoff=0.5)
    return near[0] if near else None


def _width(model: nn.Module) -> int:
    """The number of pooled features; some models pass them through one more layer, whose width then counts."""
    width = getattr(model, "head_hidden_size", None) or model.num_features
    return typing.cast(int, width)


def _load(model: nn.Module, path: str) -> None:
    """Put the weights of a safetensors file into a model without its classifier."""
    from safetensors.torch import load_file

    try:
        missing = model.load_state_dict(load_file(path), strict=False).missing_keys
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"{path}: no weights of this model ({' '.join(str(error).split())[:120]})") from None
    if missing:
        raise InputError(f"{path} lacks {missing[0]} and {len(missing) - 1} more of this model's weights")


def _timm(what: str) -> ModuleType:
    try:
        import timm
    except ImportError:
        raise InputError(f"{what} needs the timm library: pip install 'longtail[vision]'") from None
    return timm
