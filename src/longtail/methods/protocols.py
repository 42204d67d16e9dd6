"""Protocols: everything about training that is not the method, so that methods are compared on equal terms.

A recipe is a method applied to a protocol. ``plain-200`` is LDAM's setting, ``strong-400`` PaCo's (facts in
docs/protocols.md); ``digits`` is a small one for scikit-learn's digits, chosen here so that a comparison with seeds
ends within a minute. ``linear-probe``, ``fine-tune`` and ``peft`` are for a network that is trained already; they have
options, typed as those of any part.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from longtail.augment import ColorJitter, FeatureDropout, FeatureNoise, RandomCrop, RandomResizedCrop, Views
from longtail.data import Data
from longtail.errors import InputError, unknown
from longtail.models import HeadKind, cifar_resnet, cifar_stem_resnet, linear, projected, small_conv_net, timm_model
from longtail.models.bridge import WEIGHTS, lacks_weights
from longtail.recipes import Recipe, Stage, adamw, adamw_by_layer, cosine, part, sgd, steps, text
from longtail.recipes.augmentations import FINE_TUNE, PLAIN, SIMCLR, STRONG
from longtail.recipes.part import Part, options_of, parts_in


@dataclasses.dataclass(frozen=True)
class Protocol:
    """The setting in which a method is trained.

    Args:
        name: how it is listed.
        model: the network.
        epochs: of the first stage, passes over the training set; later stages scale with it.
        batch_size: images in a step of natural sampling.
        optimizer: of supervised training.
        schedule: of supervised training.
        augmentation: of supervised training.
        quota_classes: classes in a class-aware batch.
        quota_images: images of each.
        contrastive_epochs: of a contrastive first stage, as a multiple of ``epochs``.
        contrastive_batch_size: images in a step of contrastive pre-training.
        views: the two views of contrastive pre-training.
        fine_tune_lr: of AdamW after pre-training.
        fine_tune_batch_size: images in a step after pre-training.
        fine_tune_beta2: decay of AdamW's second moment after pre-training.
        fine_tune_views: augmentation after pre-training; none for that of supervised training.
        fine_tune_resample: share of the fine-tuning between two draws of a subset.
        stronger: the other augmentation among which ``tuned`` chooses.
        stated_epochs: of the first stage, as the source of the protocol has them.
        network: options that the network gets where it has them and they were not set: its head, adapters.
        stage: fields that every stage gets, such as ``clip``.
        label_smoothing: of every loss that has it.
        class_means: whether a classifier begins with the means of its classes.
        frozen: whether the network stays as it is and only the classifier is trained.
        project: width of the layer on a frozen network that a method trains which needs a representation of its own.
    """

    name: str
    model: text.Model
    epochs: int
    batch_size: int
    optimizer: text.Optimizer
    schedule: text.Schedule
    augmentation: text.Augmentation
    stated_epochs: int
    quota_classes: int = 32
    quota_images: int = 4
    contrastive_epochs: float = 5.0
    contrastive_batch_size: int = 512
    views: text.Augmentation = SIMCLR
    fine_tune_lr: float = 2.5e-4
    fine_tune_batch_size: int = 64
    fine_tune_beta2: float = 0.999
    fine_tune_views: text.Augmentation | None = None
    fine_tune_resample: float = 0.2
    stronger: text.Augmentation = STRONG
    network: tuple[tuple[str, Any], ...] = ()
    stage: tuple[tuple[str, Any], ...] = ()
    label_smoothing: float = 0.0
    class_means: bool = False
    frozen: bool = False
    project: int = 0

    @property
    def after_pretraining(self) -> tuple[Part, ...]:
        """The augmentation of a classifier that follows contrastive pre-training."""
        return self.augmentation if self.fine_tune_views is None else self.fine_tune_views

    def share(self, share: float) -> int:
        """Return that share of ``epochs``, at least one."""
        return max(1, round(share * self.epochs))


RELEASED: dict[str, Any] = {"fine_tune_beta2": 0.95, "fine_tune_views": FINE_TUNE}
"""What the released BNS + IP-DPP does after pre-training on CIFAR."""
PROTOCOLS = {
    "plain-200": Protocol(
        name="plain-200",
        model=part(cifar_resnet, depth=32),
        epochs=200,
        stated_epochs=200,
        batch_size=128,
        optimizer=part(sgd, lr=0.1, momentum=0.9, weight_decay=2e-4),
        schedule=part(steps, warmup=0.025, at=(0.8, 0.9), factor=0.01),
        augmentation=PLAIN,
        **RELEASED,
    ),
    "strong-400": Protocol(
        name="strong-400",
        model=part(cifar_resnet, depth=32),
        epochs=400,
        stated_epochs=400,
        batch_size=128,
        optimizer=part(sgd, lr=0.05, momentum=0.9, weight_decay=5e-4),
        schedule=part(steps, warmup=0.025, at=(0.8, 0.9), factor=0.1),
        augmentation=STRONG,
        **RELEASED,
    ),
    "digits": Protocol(
        name="digits",
        model=part(small_conv_net),
        epochs=60,
        stated_epochs=60,
        batch_size=32,
        optimizer=part(sgd, lr=0.05, momentum=0.9, weight_decay=5e-4),
        schedule=part(steps, warmup=0.025, at=(0.8, 0.9), factor=0.1),
        augmentation=(part(RandomCrop, padding=1),),
        quota_classes=10,
        quota_images=4,
        contrastive_epochs=2.0,
        contrastive_batch_size=128,
        # A flipped digit is another sign, and a small part of one could be any: milder views than for photographs.
        views=(
            part(
                Views,
                operations=(
                    part(RandomResizedCrop, scale=(0.6, 1.0)),
                    part(ColorJitter, brightness=0.4, contrast=0.4),
                ),
            ),
        ),
        # A few steps an epoch instead of a hundred.
        fine_tune_lr=5e-3,
        fine_tune_batch_size=16,
        stronger=(part(RandomCrop, padding=2),),
    ),
    # The head of a frozen network, or a table of numbers: steps of a millisecond, so that ten seeds take minutes.
    "features": Protocol(
        name="features",
        model=part(linear, head="cosine", scale=25.0),
        epochs=30,
        stated_epochs=30,
        batch_size=512,
        optimizer=part(sgd, lr=1.0, momentum=0.9, weight_decay=5e-5),
        schedule=part(cosine),
        augmentation=(),
        contrastive_epochs=2.0,
        # Two views of a vector that is all there is: noise and dropout on it (SimCSE has dropout alone).
        views=(part(Views, operations=(part(FeatureNoise, scale=0.2), part(FeatureDropout, probability=0.1))),),
        stronger=(part(FeatureNoise, scale=0.2),),
        fine_tune_lr=1e-3,
        fine_tune_batch_size=512,
    ),
}


PROJECTED_LR = 0.1
"""Learning rate where two linear layers lie on given features: at that of one alone, 1.0, the loss becomes NaN."""

CIFAR10: dict[str, Any] = {"contrastive_batch_size": 1024, "fine_tune_resample": 0.1}
"""What the released BNS + IP-DPP does otherwise on CIFAR-10-LT: batches of pre-training, and draws of a subset."""

FROM_SCRATCH = (cifar_resnet, cifar_stem_resnet, small_conv_net)
"""Networks of ours, for which there are no weights."""


def linear_probe(
    *,
    head: HeadKind = "linear",
    scale: float = 30.0,
    lr: float = 1e-3,
    weight_decay: float = 1e-4,
    class_means: bool = False,
    label_smoothing: float = 0.0,
    ema: float = 0.0,
    clip: float = 0.0,
    accumulate: int = 1,
    project: int = 256,
) -> Protocol:
    """Return the protocol in which a network with weights stays as it is and a classifier is trained on its features.

    Pictures are not augmented, so their features are computed once where a run can use them. A method that trains a
    representation (DRO-LT, contrastive pre-training) trains one layer between the features and the classifier. Use it
    first: it takes minutes on a CPU, and few images of a class suffice.

    Args:
        head: ``linear``, or ``cosine``, whose logits do not depend on the norm that frequent classes give themselves.
        scale: factor of the cosine head, 25 to 30.
        lr: learning rate of AdamW.
        weight_decay: of the classifier.
        class_means: begin with the mean of each class's features as its weights.
        label_smoothing: share of each label that is spread over the classes.
        ema: decay of the average of the weights, 0 for none.
        clip: largest norm of the gradient, 0 for none.
        accumulate: pieces in which a batch passes through the network.
        project: width of that layer.

    Example:
        >>> linear_probe(head="cosine").network
        (('head', 'cosine'), ('scale', 30.0))
    """
    return Protocol(
        name="linear-probe",
        model=part(timm_model, timm_name="efficientnet_lite0"),
        epochs=30,
        stated_epochs=30,
        batch_size=128,
        optimizer=part(adamw, lr=lr, beta2=0.999, weight_decay=weight_decay),
        schedule=part(cosine, warmup=0.05),
        augmentation=(),
        stronger=(),  # pictures that change cannot be seen once
        fine_tune_lr=lr,
        contrastive_epochs=1.0,
        network=(("head", head), ("scale", scale)) if head == "cosine" else (),
        stage=_stage_fields(ema=ema, clip=clip, accumulate=accumulate),
        label_smoothing=label_smoothing,
        class_means=class_means,
        frozen=True,
        project=project,
    )


def fine_tune(
    *,
    head: HeadKind = "linear",
    scale: float = 30.0,
    lr: float = 5e-4,
    weight_decay: float = 0.05,
    layer_decay: float = 0.75,
    class_means: bool = False,
    label_smoothing: float = 0.0,
    ema: float = 0.999,
    clip: float = 1.0,
    accumulate: int = 1,
    checkpointing: bool = False,
) -> Protocol:
    """Return the protocol in which everything moves: AdamW, warm-up, cosine, smaller steps for lower layers, EMA.

    Use it where a linear probe is not good enough and there are hours, or a GPU.

    Args:
        head: ``linear`` or ``cosine``.
        scale: factor of the cosine head, 25 to 30.
        lr: learning rate of the classifier.
        weight_decay: of weights with more than one axis.
        layer_decay: factor on the learning rate from each layer to the one below it.
        class_means: begin with the mean of each class's features as its weights.
        label_smoothing: share of each label that is spread over the classes.
        ema: decay of the average of the weights, 0 for none.
        clip: largest norm of the gradient, 0 for none.
        accumulate: pieces in which a batch passes through the network.
        checkpointing: compute activations again instead of keeping them.

    Example:
        >>> fine_tune().optimizer["layer_decay"]
        0.75
    """
    return Protocol(
        name="fine-tune",
        model=part(timm_model, timm_name="efficientnet_lite0"),
        epochs=20,
        stated_epochs=20,
        batch_size=64,
        optimizer=part(adamw_by_layer, lr=lr, weight_decay=weight_decay, layer_decay=layer_decay),
        schedule=part(cosine, warmup=0.1),
        augmentation=PLAIN,
        fine_tune_lr=lr / 2,
        contrastive_epochs=1.0,
        contrastive_batch_size=128,
        network=_network_options(head, scale, checkpointing=checkpointing),
        stage=_stage_fields(ema=ema, clip=clip, accumulate=accumulate),
        label_smoothing=label_smoothing,
        class_means=class_means,
    )


def peft(
    *,
    lora: int = 8,
    head: HeadKind = "linear",
    scale: float = 30.0,
    lr: float = 1e-3,
    weight_decay: float = 0.01,
    class_means: bool = False,
    label_smoothing: float = 0.0,
    ema: float = 0.0,
    clip: float = 1.0,
    accumulate: int = 1,
    checkpointing: bool = False,
) -> Protocol:
    """Return the protocol in which low-rank adapters (LoRA, by the ``peft`` library) and the classifier move.

    Use it for a large transformer whose optimiser state would not fit, and for a tail of a few images, on which full
    fine-tuning over-fits.

    Args:
        lora: rank of the adapters.
        head: ``linear`` or ``cosine``.
        scale: factor of the cosine head, 25 to 30.
        lr: learning rate of AdamW.
        weight_decay: of weights with more than one axis.
        class_means: begin with the mean of each class's features as its weights.
        label_smoothing: share of each label that is spread over the classes.
        ema: decay of the average of the weights, 0 for none.
        clip: largest norm of the gradient, 0 for none.
        accumulate: pieces in which a batch passes through the network.
        checkpointing: compute activations again instead of keeping them.

    Example:
        >>> dict(peft(lora=4).network)["lora"]
        4
    """
    if lora < 1:
        raise InputError(f"protocol peft: lora {lora}; the rank of the adapters is at least 1")
    return Protocol(
        name="peft",
        model=part(timm_model, timm_name="vit_small_patch16_224"),
        epochs=20,
        stated_epochs=20,
        batch_size=64,
        optimizer=part(adamw, lr=lr, beta2=0.999, weight_decay=weight_decay),
        schedule=part(cosine, warmup=0.1),
        augmentation=PLAIN,
        fine_tune_lr=lr / 2,
        contrastive_epochs=1.0,
        contrastive_batch_size=128,
        network=(("lora", lora), *_network_options(head, scale, checkpointing=checkpointing)),
        stage=_stage_fields(ema=ema, clip=clip, accumulate=accumulate),
        label_smoothing=label_smoothing,
        class_means=class_means,
    )


def _network_options(head: str, scale: float, *, checkpointing: bool) -> tuple[tuple[str, Any], ...]:
    cosine_head = (("head", head), ("scale", scale)) if head == "cosine" else ()
    return (*cosine_head, ("checkpointing", True)) if checkpointing else cosine_head


def _stage_fields(**values: Any) -> tuple[tuple[str, Any], ...]:
    """The fields that are not at their default."""
    defaults = {field.name: field.default for field in dataclasses.fields(Stage)}
    return tuple((name, value) for name, value in values.items() if value != defaults[name])


PRETRAINED: Mapping[str, Callable[..., Protocol]] = {
    "linear-probe": linear_probe,
    "fine-tune": fine_tune,
    "peft": peft,
}
"""Protocols for a network with weights; each is a function of its options."""


def names() -> tuple[str, ...]:
    """Return the names of the protocols.

    Example:
        >>> "linear-probe" in names()
        True
    """
    return (*PROTOCOLS, *PRETRAINED)


def named(typed: str) -> Protocol:
    """Return a protocol by its name and options, as in ``fine-tune@head=cosine,layer-decay=0.8``.

    Raises:
        InputError: a name, option or value that is not known.

    Example:
        >>> named("linear-probe@head=cosine,scale=25").network
        (('head', 'cosine'), ('scale', 25.0))
    """
    base, options = text.split(typed)
    if base in PROTOCOLS:
        if options:
            raise InputError(f"protocol {base!r} has no options; got {', '.join(sorted(options))}")
        return PROTOCOLS[base]
    if base not in PRETRAINED:
        raise unknown("protocol", base, names())
    function = PRETRAINED[base]
    return function(**text.values(function, options, f"protocol {base!r}"))


def protocol_for(
    data: Data | None,
    *,
    protocol: str | None = None,
    model: str | Part | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    augmentation: str | tuple[Part, ...] | None = None,
    image_size: int | None = None,
) -> Protocol:
    """Return the protocol for a data set, with the few things changed that a user changes.

    Args:
        data: decides the default: ``features`` for features, ``digits`` for images of 8 pixels, else ``plain-200``.
        protocol: its name instead, with options where it has some.
        model: the network, by name or as a part.
        epochs: another number of epochs; schedules and later stages scale with it.
        batch_size: another batch size; the learning rate is left as it is.
        augmentation: ``none``, ``plain`` (crop and flip), ``strong`` (and AutoAugment and Cutout), or parts; then also
            that of a classifier after pre-training.
        image_size: side in pixels of the pictures that the network gets, where it can choose (a network of timm).

    Raises:
        InputError: a name that is not known, or a network without what the protocol needs.
    """
    released = CIFAR10 if data is not None and data.name.startswith("cifar10-lt") and not _small(data) else {}
    setting = dataclasses.replace(named(protocol or _usual(data)), **released)
    if _small(data) and setting.augmentation == PLAIN:  # a flipped digit is another sign
        setting = dataclasses.replace(setting, augmentation=PROTOCOLS["digits"].augmentation)
    changes: dict[str, Any] = {
        "model": text.read(model, "model") if isinstance(model, str) else model,
        "epochs": epochs,
        "batch_size": batch_size,
        "augmentation": text.augmentation(augmentation) if isinstance(augmentation, str) else augmentation,
    }
    if augmentation is not None:
        changes["fine_tune_views"] = changes["augmentation"]
    setting = dataclasses.replace(setting, **{key: value for key, value in changes.items() if value is not None})
    if setting.name == "features" and setting.model.function is projected:
        setting = dataclasses.replace(setting, optimizer=setting.optimizer.with_arguments(lr=PROJECTED_LR))
    wanted = dict(setting.network)
    if image_size is not None and "size" in _options(setting.model):
        wanted["size"] = image_size
    return dataclasses.replace(setting, model=_with_options(setting, wanted))


def _small(data: Data | None) -> bool:
    """Whether these are pictures of 8 pixels, as scikit-learn's digits are."""
    return data is not None and len(data.train.images.shape) == 4 and data.train.images.shape[-1] == 8


def _usual(data: Data | None) -> str:
    """The protocol of a data set for which none is named."""
    if data is not None and len(data.train.images.shape) == 2:
        return "features"
    return "digits" if _small(data) else "plain-200"


def _options(model: Part) -> dict[str, Any]:
    """The options of a network with their defaults."""
    return {name: parameter.default for name, parameter in options_of(model.function).items()}


def _with_options(protocol: Protocol, wanted: Mapping[str, Any]) -> Part:
    """The network of a protocol with what it wants of it, unless that was set already."""
    model, known = protocol.model, _options(protocol.model)
    lacking = [name for name in wanted if name not in known]
    if lacking:
        raise InputError(
            f"protocol {protocol.name!r} sets {', '.join(lacking)}, which the model {text.short(model)} does not have; "
            "name a network of timm, as in --model vit_small_patch16_224@weights=FILE"
        )
    held = wanted.get("lora") or wanted.get("project") or protocol.frozen
    random = model.function in FROM_SCRATCH or lacks_weights(dict(model.arguments))
    if held and random:
        name = dict(model.arguments).get("timm_name") or text.short(model)
        raise InputError(
            f"protocol {protocol.name!r} keeps the network's weights, and those of {name} are random: give "
            f"--model {WEIGHTS}"
        )
    return model.with_arguments(**{name: value for name, value in wanted.items() if model[name] == known[name]})


def applied(protocol: Protocol, recipe: Recipe) -> Recipe:
    """Return a method's recipe with what its protocol says of every stage, and with the head that its loss needs.

    Args:
        protocol: that the recipe was made for.
        recipe: as the method gives it.

    Raises:
        InputError: a method that trains a representation, on a frozen network that can have no layer behind it.
    """
    # A classifier begins in the first stage that trains it, and again where it is drawn anew.
    begins = next((place for place, stage in enumerate(recipe.stages) if stage.trains != "backbone"), None)
    stages = tuple(
        _applied(protocol, stage, protocol.class_means and (place == begins or stage.fresh_head))
        for place, stage in enumerate(recipe.stages)
    )
    model = recipe.model
    if protocol.frozen:
        if not any(map(_learns, stages)):
            stages = tuple(dataclasses.replace(stage, trains="classifier") for stage in stages)
        elif "project" not in _options(model):
            raise InputError(
                f"{recipe.name} trains a representation, and protocol {protocol.name!r} keeps that of "
                f"{text.short(model)}; name a network of timm, which gets a layer of its own (project)"
            )
        elif not model["project"]:
            model = model.with_arguments(project=protocol.project)
    wants = [getattr(held.function, "head", None) for held in parts_in(stages) if not held.foreign]
    if "cosine" in wants and _options(model).get("head") == "linear" == model["head"]:
        model = model.with_arguments(head="cosine", scale=1.0)  # such a loss scales by itself
    return dataclasses.replace(recipe, model=model, stages=stages)


def _learns(stage: Stage) -> bool:
    """Whether a stage trains a representation, and so needs more than a classifier that moves."""
    made = [held for held in parts_in(stage.objective) if not held.foreign]
    return stage.trains == "backbone" or any(getattr(held.function, "representation", False) for held in made)


def smoothed(objective: Part, share: float, *, anew: bool = False) -> Part:
    """Return an objective with label smoothing in every loss within it that has it.

    Args:
        objective: a loss, or what holds losses.
        share: share of each label that is spread over the classes.
        anew: also where it is set already.

    Example:
        >>> from longtail.recipes import MixUp
        >>> smoothed(part(MixUp), 0.1)["loss"]["label_smoothing"]
        0.1
    """

    def within(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(within(item) for item in value)
        return smoothed(value, share, anew=anew) if isinstance(value, Part) else value

    changes = {key: within(value) for key, value in objective.arguments}
    if "label_smoothing" in changes and (anew or not changes["label_smoothing"]):
        changes["label_smoothing"] = share
    return objective if changes == dict(objective.arguments) else objective.with_arguments(**changes)


def _applied(protocol: Protocol, stage: Stage, means: bool) -> Stage:
    objective = smoothed(stage.objective, protocol.label_smoothing) if protocol.label_smoothing else stage.objective
    means = stage.class_means or means
    return dataclasses.replace(stage, objective=objective, class_means=means, **dict(protocol.stage))
