"""Any image model of timm as a backbone: its own inputs, weights from a file, features at several depths."""

from __future__ import annotations

import contextlib
import difflib
import pathlib
import socket
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from longtail.errors import InputError
from longtail.models import weights as stored
from longtail.models.adapters import add_adapters
from longtail.models.heads import HeadKind, LinearHead, classifier_of
from longtail.models.initial import drawing_from, materialise
from longtail.models.network import Backbone, Inputs, Network, check_shape, pool

LEVELS = 4
"""Levels of features that a network of timm gives at most: its last ones, and blocks of equal distance where all look
alike."""
TIMM = "timm"
"""In place of a file of weights: those that timm itself downloads."""
WEIGHTS = (
    "NAME@weights=FILE (a .safetensors or .pth file), NAME@weights=timm (timm's own download) or, if random ones are "
    "meant, NAME@init=random"
)
"""What is said where a network stays as it is and has random weights."""


class TimmBackbone(Backbone):
    """A model of timm, and behind it a layer of ours that brings its features to another width, if one is asked for.

    Args:
        model: without classifier.
        width: D, the number of features.
        depths: positions of the levels below the last among timm's own.
        projection: from timm's features to D; None for timm's features themselves.
    """

    def __init__(self, model: nn.Module, width: int, depths: tuple[int, ...], projection: nn.Module | None) -> None:
        super().__init__([model], width)
        self.depths = depths
        self.projection = nn.Identity() if projection is None else projection

    def forward(self, images: Tensor) -> Tensor:
        """Return the features (N, D) of images (N, C, H, W)."""
        features: Tensor = self.projection(self.stages[0](images))
        return features

    def pyramid(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the pooled output of the levels, the last of which are the features."""
        if not self.depths:
            return (self(images),)
        model: Any = self.stages[0]
        final, levels = model.forward_intermediates(images, indices=list(self.depths))
        features = self.projection(model.forward_head(final, pre_logits=True))
        return (*(pool(level) for level in levels), features)


def timm_model(
    *,
    num_classes: int,
    channels: int,
    image_size: int,
    generator: torch.Generator,
    first_weights: bool = True,
    timm_name: str = "",
    weights: Annotated[str, "file"] = "",
    init: Literal["", "random"] = "",
    size: int = 0,
    head: HeadKind = "linear",
    scale: float = 16.0,
    lora: int = 0,
    project: int = 0,
    checkpointing: bool = False,
) -> Network:
    """Return a model of timm by its name there, such as ``vit_base_patch16_224``, its classifier replaced by ours.

    The features are timm's pooled ones; the pyramid holds up to three levels below them. A model with weights takes
    pictures at its own size with its own mean, standard deviation and interpolation (``timm.data``): those of the data
    are resized a batch at a time. One without takes them as they are, with the statistics of the data. A transformer
    that is bound to one image size is built for the size it gets, its position embedding resampled. What is drawn is
    drawn from ``generator`` with timm's own initialisation.

    Args:
        num_classes: K.
        channels: C of the images.
        image_size: H = W of the images, in pixels.
        generator: gives the first weights.
        first_weights: whether the network needs any; False where all of them are replaced afterwards, and then no file
            is read.
        timm_name: name as in ``timm.list_models()``, with a tag for particular weights (``name.tag``).
        weights: a .safetensors or .pth file, or ``timm`` for timm's own download; empty for random ones. They come from
            other data, so a result with them belongs to another track.
        init: ``random`` says that random weights are meant, where a protocol freezes them.
        size: side in pixels of the pictures that the network gets; 0 for its own with weights, else that of the data.
        head: ``linear`` or ``cosine``.
        scale: factor s of the cosine head, above 0, for a cross-entropy 16 to 30; a linear head does not read it.
        lora: rank of the low-rank adapters on a frozen network; 0 for none, and everything moves.
        project: width of a layer (linear, ReLU) that is trained on the features of a frozen network; 0 for none.
        checkpointing: compute activations again in the backward pass instead of keeping them: less memory, more time.

    Returns:
        The network, on the generator's device: images (N, C, H, W) to features (N, D) and logits (N, K).

    Raises:
        InputError: timm is not installed, does not know the name, cannot get the weights, or cannot build the model
            for such images; weights of another architecture.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> network = timm_model(
        ...     num_classes=10, channels=3, image_size=32, generator=generator, timm_name="resnet10t"
        ... )  # doctest: +SKIP
        >>> network(torch.zeros(2, 3, 32, 32)).features.shape  # doctest: +SKIP
        torch.Size([2, 512])

    References:
        Wightman, PyTorch Image Models, https://github.com/huggingface/pytorch-image-models.
        Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, ICLR 2022.
    """
    check_shape(num_classes=num_classes, channels=channels, image_size=image_size)
    timm = _timm(f"the model {timm_name!r}")
    if not known_to_timm(timm_name):
        near = nearest_in_timm(timm_name)
        raise InputError(f"timm has no model {timm_name!r}" + (f": did you mean {near!r}?" if near else ""))
    if weights and init:
        raise InputError(f"{timm_name}: weights={weights} and init=random contradict each other; give one of them")
    if min(lora, project, size) < 0:
        raise InputError(f"{timm_name}: size, lora and project are 0 or more")
    configuration = _configuration(timm, timm_name)
    inputs = _inputs(configuration, image_size, channels, size=size, trained=bool(weights))
    model = _created(timm, timm_name, configuration, inputs.size, channels, generator, weights, first_weights)
    notes, taken = [], None
    if weights and weights != TIMM and first_weights:
        taken = _loaded(timm, timm_name, configuration, model, weights)
    width, depths = _shape_of(model, timm_name, channels, inputs.size)
    if checkpointing:
        _checkpointed(model, timm_name)
    fixed = [name for name, _ in model.named_parameters()] if lora or project else []
    if lora:
        with drawing_from(generator):
            adapted = add_adapters(model, timm_name, rank=lora)
        fixed = [adapted.get(name, name) for name in fixed]
    projection = None
    if project:
        layers = lambda: nn.Sequential(nn.Linear(width, project), nn.ReLU())  # noqa: E731
        projection, width = materialise(layers, generator=generator), project
    classifier = materialise(lambda: classifier_of(head, width, num_classes, scale=scale), generator=generator)
    if weights:
        notes.append(_told(timm_name, weights, taken, classifier, num_classes))
    if inputs.size != image_size or weights:
        notes.append(
            f"{timm_name} takes pictures of {inputs.size}x{inputs.size} pixels"
            + (
                f", resized from {image_size}x{image_size} ({inputs.interpolation})"
                if inputs.size != image_size
                else ""
            )
            + (", with the mean and deviation of its own training" if inputs.mean else "")
        )
    return Network(
        TimmBackbone(model.to(generator.device), width, depths, projection),
        classifier,
        f"{timm_name} (pretrained)" if weights else timm_name,
        inputs=inputs,
        fixed=[f"stages.0.{name}" for name in fixed],
        notes=notes,
    )


def lacks_weights(options: Mapping[str, Any]) -> bool:
    """Whether the options of a network leave it at random weights without saying that these are meant.

    Example:
        >>> lacks_weights({"weights": "", "init": ""}), lacks_weights({"init": "zeros"})
        (True, False)
    """
    return {"init", "weights"} <= options.keys() and not options["weights"] and options["init"] != "random"


def own_side(timm_name: str) -> int:
    """Return the side in pixels of the pictures that a model of timm was trained on.

    Raises:
        InputError: timm is not installed, or has no such weights.
    """
    timm = _timm(f"the model {timm_name!r}")
    return _inputs(_configuration(timm, timm_name), 0, 3, size=0, trained=True).size


def _configuration(timm: ModuleType, name: str) -> Any:
    try:
        return timm.get_pretrained_cfg(name)
    except RuntimeError:
        known = ", ".join(timm.list_pretrained(f"{name.partition('.')[0]}.*")[:4]) or "none"
        raise InputError(f"timm has no weights {name!r} (it has: {known}); leave out what follows the dot") from None


def _inputs(configuration: Any, image_size: int, channels: int, *, size: int, trained: bool) -> Inputs:
    """What the model's own configuration says of its pictures; without weights, the data decide size and statistics."""
    from timm.data.config import resolve_data_config

    resolve: Any = resolve_data_config
    found = resolve({}, pretrained_cfg=configuration.to_dict())
    interpolation: Literal["bilinear", "bicubic"] = "bilinear" if found["interpolation"] == "bilinear" else "bicubic"
    if not trained:
        return Inputs(size or image_size, interpolation)
    mean, std = (tuple(map(float, found[key])) for key in ("mean", "std"))
    if len(mean) != channels:  # the kernels of the colours are added up, so a grey picture is one of equal colours
        mean, std = ((sum(held) / len(held),) * channels for held in (mean, std))
    return Inputs(size or int(found["input_size"][-1]), interpolation, mean, std)


def _created(
    timm: ModuleType,
    name: str,
    configuration: Any,
    size: int,
    channels: int,
    generator: torch.Generator,
    weights: str,
    first_weights: bool,
) -> nn.Module:
    settings: dict[str, Any] = {"pretrained": weights == TIMM and first_weights, "num_classes": 0, "in_chans": channels}
    if configuration.fixed_input_size:
        settings["img_size"] = size
    with drawing_from(generator), _offline_without_network(settings["pretrained"]):
        try:
            model: nn.Module = timm.create_model(name, **settings)
        except Exception as error:
            reason = " ".join(str(error).split())[:110]
            if settings["pretrained"]:
                raise InputError(
                    f"timm cannot get the weights of {name} ({type(error).__name__}: {reason}): they need a network "
                    f"once; or fetch them elsewhere and give @weights=FILE, or say @init=random"
                ) from error
            if not isinstance(error, (ArithmeticError, AssertionError, OSError, RuntimeError, TypeError, ValueError)):
                raise
            raise InputError(
                f"timm cannot build {name} for {channels}-channel images of {size}x{size} pixels: {reason}"
            ) from error
    return model


@contextlib.contextmanager
def _offline_without_network(asked: bool) -> Iterator[None]:
    """Let a download that cannot begin fail at once, after a look at the cache, rather than be tried for a minute."""
    if not asked or urllib.request.getproxies():
        yield
        return
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    try:
        socket.getaddrinfo(urllib.parse.urlsplit(constants.ENDPOINT).hostname, 443)
    except OSError:
        constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _loaded(timm: ModuleType, name: str, configuration: Any, model: nn.Module, weights: str) -> stored.Loaded:
    with torch.device("meta"):  # the names alone
        whole = timm.create_model(name, num_classes=2)
    first = configuration.first_conv or ()
    return stored.load(
        model,
        pathlib.Path(weights).expanduser(),
        name,
        first=(first,) if isinstance(first, str) else tuple(first),
        classifier=set(whole.state_dict()) - set(model.state_dict()),
    )


def _told(name: str, weights: str, taken: stored.Loaded | None, classifier: nn.Module, num_classes: int) -> str:
    """Say where the weights come from, and take over the classifier in the file if it is one of these classes."""
    if taken is None:
        return f"{name}: the weights are {'those that timm has' if weights == TIMM else f'from {weights}'}"
    told = f"{name}: the weights are from {pathlib.Path(weights).name} (SHA-256 {taken.digest[:12]})"
    if taken.classes is None:
        return told
    if taken.classes == num_classes and isinstance(classifier, LinearHead):
        own = classifier.state_dict()
        if {key: held.shape for key, held in taken.head.items()} == {key: held.shape for key, held in own.items()}:
            classifier.load_state_dict(taken.head)
            return f"{told}, its classifier of {num_classes} classes included"
    return f"{told}; its classifier of {taken.classes} classes is left out, the one for these {num_classes} is new"


def _shape_of(model: nn.Module, name: str, channels: int, size: int) -> tuple[int, tuple[int, ...]]:
    """Run the model on shapes alone: the width of its features, and which of its levels are given.

    Raises:
        InputError: it cannot take pictures of this size.
    """
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    shapes = {key: tensor.detach().to("meta") for key, tensor in tensors.items()}
    images = torch.empty(2, channels, size, size, device="meta")
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            features: Tensor = functional_call(model, shapes, (images,))
            if features.numel() == 0 or features.ndim != 2:
                raise RuntimeError(f"features of shape {tuple(features.shape)}")
            depths = _depths(model, shapes, images, features.shape[1])
    except (ArithmeticError, AssertionError, IndexError, RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        patch = getattr(getattr(model, "patch_embed", None), "patch_size", None)
        why = f"its patches are {patch[0]} pixels wide" if patch and patch[0] > size else reason
        raise InputError(
            f"{name} cannot take pictures of {size}x{size} pixels ({why}): larger ones can be asked for with "
            f"--image-size, or another network"
        ) from error
    finally:
        model.train(training)
    return features.shape[1], depths


def _depths(model: Any, shapes: dict[str, Tensor], images: Tensor, width: int) -> tuple[int, ...]:
    """Positions of the levels that the pyramid gives below the features; none where the model tells of none."""
    if not hasattr(model, "forward_intermediates"):
        return ()
    levels = _Levels(model)
    named = {f"model.{key}": tensor for key, tensor in shapes.items()}
    try:
        _, found, features = functional_call(levels, named, (images,))
    except Exception:  # some models have the method and not the head that goes with it
        return ()
    if any(level.ndim != 4 for level in found) or features.shape[1:] != (width,):
        return ()
    count = len(found)
    if len({tuple(level.shape[1:]) for level in found}) == 1 and count > LEVELS:  # blocks that all look alike
        return tuple(round(count * (place + 1) / LEVELS) - 1 for place in range(LEVELS - 1))
    return tuple(range(max(0, count - LEVELS), count - 1))


class _Levels(nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model: Any = model

    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor], Tensor]:
        final, levels = self.model.forward_intermediates(images)
        return final, levels, self.model.forward_head(final, pre_logits=True)


def _checkpointed(model: Any, name: str) -> None:
    try:
        model.set_grad_checkpointing(True)
    except (AssertionError, AttributeError, NotImplementedError):
        raise InputError(f"{name} cannot recompute its activations in timm; leave out checkpointing=true") from None


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


def _timm(what: str) -> ModuleType:
    try:
        import timm
    except ImportError:
        raise InputError(f"{what} needs the timm library: pip install 'longtail[vision]'") from None
    return timm
