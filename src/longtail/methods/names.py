"""From what a person names to a recipe: a method, a recipe, a loss or a finished run."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import os
import pathlib
import re
from collections.abc import Callable, Sequence
from typing import Any

from longtail.augment import HorizontalFlip, Views, simclr
from longtail.data import Data
from longtail.errors import InputError, unknown
from longtail.methods import ce
from longtail.methods.protocols import Protocol, applied, protocol_for
from longtail.recipes import Part, Recipe, part, sources, text
from longtail.recipes.fields import change
from longtail.recipes.part import address, options_of, parameters_of
from longtail.recipes.stages import check_parts, stored_recipe

METHODS = {
    "ce": "ce:recipe",
    "balanced-softmax": "balanced_softmax:recipe",
    "logit-adjustment": "logit_adjustment:recipe",
    "logit-adjustment-post-hoc": "logit_adjustment:post_hoc",
    "tuned": "tuned:recipe",
    "class-weights": "class_weights:recipe",
    "class-balanced-sampling": "sampling:balanced",
    "square-root-sampling": "sampling:square_root",
    "progressive-sampling": "sampling:progressive",
    "focal": "focal:recipe",
    "cb-focal": "focal:class_balanced",
    "ldam-drw": "ldam_drw:recipe",
    "vector-scaling": "vector_scaling:recipe",
    "crt": "crt:recipe",
    "tau-norm": "heads:tau_norm",
    "lws": "heads:lws",
    "ncm": "heads:ncm",
    "samn": "heads:samn",
    "los": "heads:los",
    "weight-balancing": "weight_balancing:recipe",
    "mixup": "mixing:mixup",
    "cutmix": "mixing:cutmix",
    "remix": "mixing:remix",
    "mislas": "mislas:recipe",
    "cmo": "cmo:recipe",
    "glmc": "glmc:recipe",
    "ride": "experts:ride",
    "sade": "experts:sade",
    "bcl": "beside:bcl",
    "proco": "beside:proco",
    "sam": "sam:recipe",
    "lift": "lift:recipe",
    "kcl": "balanced_contrast:kcl",
    "tsc": "balanced_contrast:tsc",
    "sbcl": "balanced_contrast:sbcl",
    "dro-lt": "dro_lt:recipe",
    "ip-dpp": "ip_dpp:recipe",
    "bns-ipdpp": "bns_ipdpp:recipe",
    "bns-probe": "contrastive:probe",
    "supcon-probe": "contrastive:supcon_probe",
    "simclr-probe": "contrastive:simclr_probe",
    "released-probe": "contrastive:released_probe",
}
"""The methods of this library by name: module and function."""

SUPPORTED = {
    "tuned": "records/cifar100-lt-if100-frozen/heads/tuned@of=logit-adjustment",
    **{
        name: f"records/cifar100-lt-if100-frozen/heads/{name}"
        for name in (
            "ce",
            "balanced-softmax",
            "crt",
            "ldam-drw",
            "logit-adjustment",
            "logit-adjustment-post-hoc",
            "lws",
            "ncm",
            "vector-scaling",
            "class-weights",
            "class-balanced-sampling",
            "square-root-sampling",
            "progressive-sampling",
            "cb-focal",
            "weight-balancing",
            "lift",
        )
    },
    "tau-norm": "records/cifar100-lt-if100-resnet32/plain/tau-norm",
    **{name: f"records/cifar100-lt-if100-frozen/experts/{name}" for name in ("ride", "sade")},
    **{name: f"records/cifar100-lt-if100-resnet8/small/{name}" for name in ("dro-lt", "bcl", "proco", "glmc")},
}
"""Methods with kept runs above those of ``ce`` in the folder beside them, as published; the others are experimental."""

NETWORKS = {
    "dro-lt": "resnet32 on CIFAR-LT, resnet50 on ImageNet-LT and iNaturalist 2018",
    **dict.fromkeys(
        ("bns-ipdpp", "ip-dpp", "bns-probe", "released-probe"),
        "resnet18-cifar on CIFAR-10-LT, resnet34-cifar on CIFAR-100-LT",
    ),
    "lift": "CLIP ViT-B/16",
    "weight-balancing": "ResNet-34",
    "glmc": "ResNet-32 of four times the width",
}
"""The networks of a method's paper, where its numbers need them; --model chooses."""

CONTROLS = {
    "dro-lt": {"robust": "0"},
    "ip-dpp": {"arm": "uniform"},
    "bns-ipdpp": {"arm": "uniform"},
    "weight-balancing": {"share": "1"},
    "remix": {"threshold": "0"},
    "lift": {"means": "false"},
    "cmo": {"power": "0"},
    "glmc": {"consistency": "0"},
    "ride": {"diversity": "0"},
    "sade": {"tau": "0"},
    "bcl": {"contrast": "0"},
    "proco": {"contrast": "0"},
}
"""The options that turn a method into its own control, which differs from it in one thing."""

SELECTIONS: dict[str, Any] = {"last": "last epoch", "validation": "best on validation"}


def method(name: str) -> Callable[..., Recipe]:
    """Return a method of this library.

    Raises:
        InputError: an unknown name (the nearest is suggested).
    """
    if name not in METHODS:
        raise unknown("recipe", name, METHODS)
    module, _, attribute = METHODS[name].partition(":")
    found: Callable[..., Recipe] = getattr(importlib.import_module(f"longtail.methods.{module}"), attribute)
    return found


def recipe(
    name: str | Recipe | Part | Callable[..., Any],
    data: Data | None,
    *,
    protocol: str | None = None,
    model: str | Part | Callable[..., Any] | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    augmentation: str | tuple[Part, ...] | None = None,
    image_size: int | None = None,
    patience: int = 0,
    accumulate: int | None = None,
    select: str | None = None,
    changes: Sequence[str] = (),
) -> Recipe:
    """Return the recipe that a person names, applied to the protocol of a data set.

    A recipe that is complete, as that of a finished run, knows no protocol: it takes none of the options from
    ``protocol`` to ``augmentation``, but for a ``model`` that is its own and so names the code of one's own in it.

    Args:
        name: ``ce``; with options ``dro-lt@radius=shared,temperature=0.1``; ``module:attribute`` or
            ``file.py:attribute`` of a recipe, of a function from a protocol to a recipe, or of a loss or objective;
            ``SHORT=NAME`` to list it as SHORT; the folder of a finished run; or, from Python, such an object itself.
        data: decides the protocol, unless it is named; None only to check names and options before data are read.
        protocol: ``plain-200``, ``strong-400``, ``digits``, ``features``, or for a network with weights
            ``linear-probe``, ``fine-tune`` or ``peft``, with options as in ``linear-probe@head=cosine``.
        model: another network, by name, as a part or as a callable of your own.
        epochs: epochs of the first stage; later stages and schedules scale with them.
        batch_size: images in a step of natural sampling.
        augmentation: ``none``, ``plain``, ``strong``, operations joined by ``+``, or parts.
        image_size: side in pixels of the pictures that a network of timm gets; others take them as they are.
        patience: epochs without a better one on validation after which the last stage ends, its best epoch counting;
            0 for all its epochs.
        accumulate: pieces in which a batch of any stage passes through the network; None for what the recipe says.
        select: which epoch of the last stage counts: ``last``, or ``validation`` for the best on validation; None for
            what the recipe says, which of a method is the last.
        changes: fields of the finished recipe, each ``PATH=VALUE``, such as ``stages.0.optimizer=adamw@lr=1e-3``.

    Raises:
        InputError: a name, option, field or value that is not known, or an option that a complete recipe does not take.

    Example:
        >>> from longtail.data import load
        >>> found = recipe("logit-adjustment@tau=0.5", load("digits-lt"), epochs=10)
        >>> found.name, found.stages[0].objective["tau"], found.epochs, found.stated
        ('logit-adjustment@tau=0.5', 0.5, 10, 60)
    """
    if select is not None and select not in SELECTIONS:
        raise unknown("selection", select, SELECTIONS)
    short, wanted = _short_name(name) if isinstance(name, str) else (None, name)
    network = part(model) if callable(model) and not isinstance(model, Part) else model
    complete = ready(wanted)
    if complete is not None:
        changing = {"protocol": protocol, "epochs": epochs, "batch_size": batch_size, "augmentation": augmentation}
        _refuse_changes(complete, name, network, changing)
        found = complete
    else:
        setting = protocol_for(
            data,
            protocol=protocol,
            model=network,
            epochs=epochs,
            batch_size=batch_size,
            augmentation=augmentation,
            image_size=image_size,
        )
        found = named(wanted, setting) if isinstance(wanted, str) else _around(wanted, setting)
    _check_size(image_size, found.model if complete else setting.model, data)
    selection = found.selection if select is None else SELECTIONS[select]
    found = dataclasses.replace(found, selection=selection, name=short or found.name)
    if patience:
        if found.trials:
            raise InputError("a tuned recipe chooses among trials of full length: leave --patience out")
        last = dataclasses.replace(found.stages[-1], patience=patience)
        found = dataclasses.replace(found, stages=(*found.stages[:-1], last), selection=SELECTIONS["validation"])
    pieces = (
        ()
        if accumulate is None
        else tuple(f"stages.{place}.accumulate={accumulate}" for place in range(len(found.stages)))
    )
    for setting_text in (*pieces, *changes):
        trials = tuple(change(trial, setting_text) for trial in found.trials)
        found = dataclasses.replace(change(found, setting_text), trials=trials)
    if data is not None and not data.flips:
        found = without_flips(found)
    check_parts(found)
    return found


def ready(name: str | Recipe | Part | Callable[..., Any]) -> Recipe | None:
    """Return a recipe that is complete without a protocol: a finished run's, one in a file, or one that is handed over.

    Args:
        name: as for ``recipe``, without a short name.

    Returns:
        The recipe; None for a method, a loss or an objective.

    Raises:
        InputError: options, which such a recipe does not have, or a file or run that cannot be read.
    """
    if isinstance(name, Recipe):
        return name
    if not isinstance(name, str):
        return None
    base, options = text.split(name)
    if ":" not in base:
        return _stored(pathlib.Path(base), options) if os.path.isfile(pathlib.Path(base) / "record.json") else None
    found: Any = sources.find(base).function
    if not isinstance(found, Recipe):
        return None
    if options:
        raise InputError(f"recipe {base!r} takes no options; got {', '.join(sorted(options))}")
    return found


def _refuse_changes(found: Recipe, name: Any, model: str | Part | None, options: dict[str, Any]) -> None:
    """Refuse options of a protocol where there is none; the recipe's own model may be named, for its code."""
    asked = [option for option, value in options.items() if value is not None]
    if model is not None:
        made = text.read(model, "model") if isinstance(model, str) else model
        asked += ["model"] if address(made) != address(found.model) else []
    if asked:
        flags = " and ".join(f"--{option.replace('_', '-')}" for option in asked)
        raise InputError(
            f"{name if isinstance(name, str) else found.name!r} is a complete recipe, in which {flags} would change "
            "nothing; change its fields with --set, as in --set stages.0.epochs=20"
        )


def _around(loss: Any, protocol: Protocol) -> Recipe:
    """The recipe of a loss or objective that a program hands over."""
    made = part(loss)
    stages = (ce.classify(protocol, made),)
    return applied(protocol, Recipe(text.short(made), protocol.model, stages, stated=protocol.stated_epochs))


def _check_size(image_size: int | None, model: Part, data: Data | None) -> None:
    if image_size is None or data is None or "size" in options_of(model.function):
        return
    own = data.train.images.shape[-1]
    if own != image_size:
        raise InputError(
            f"{data.name} has images of {own} pixels, and {text.short(model)} takes them as they are: --image-size is "
            "for folder:PATH and for networks of timm"
        )


def without_flips(found: Recipe) -> Recipe:
    """Return a recipe that never mirrors an image, for data whose mirrored images do not show the same.

    Args:
        found: whatever was named.

    Example:
        >>> from longtail.data import load
        >>> plain = recipe("ce", None, augmentation="plain")
        >>> [made.name for made in without_flips(plain).stages[0].augmentation]
        ['longtail.augment:RandomCrop']
    """
    stages = [dataclasses.replace(stage, augmentation=_unflipped(stage.augmentation)) for stage in found.stages]
    trials = tuple(without_flips(trial) for trial in found.trials)
    return dataclasses.replace(found, stages=tuple(stages), trials=trials)


def _unflipped(operations: Sequence[Part]) -> tuple[Part, ...]:
    kept = []
    for made in operations:
        if made.function is simclr:  # its operations are not options
            views = made.build()
            rest = [part(type(one), **dataclasses.asdict(one)) for one in views.operations]
            made = part(Views, operations=tuple(rest), count=views.count)
        if made.function is Views:
            inner = _unflipped([one if isinstance(one, Part) else part(one) for one in made["operations"]])
            made = made.with_arguments(operations=inner)
        if made.function is not HorizontalFlip:
            kept.append(made)
    return tuple(kept)


def controls_among(names: Sequence[str]) -> dict[str, str]:
    """Return each name whose own control is among the names, with that control, in whatever order its options stand.

    Example:
        >>> controls_among(["ce", "dro-lt@steps=30", "dro-lt@robust=0,steps=30"])
        {'dro-lt@steps=30': 'dro-lt@robust=0,steps=30'}
    """
    known: dict[str, tuple[str, dict[str, str]]] = {}
    for name in names:
        with contextlib.suppress(InputError):  # a name that somebody gave a row
            known[name] = text.split(name)
    found = {}
    for name, (base, options) in known.items():
        wanted = CONTROLS.get(base)
        if wanted is not None and not set(wanted) & set(options):
            own = [other for other in names if known.get(other) == (base, options | wanted)]
            if own:
                found[name] = own[0]
    return found


def _short_name(typed: str) -> tuple[str | None, str]:
    match = re.match(r"([\w.+-]+)=(?=.*:|[\w-]+(@|$))", typed)
    return (match[1], typed[match.end() :]) if match and ":" not in match[1] else (None, typed)


def named(typed: str, protocol: Protocol) -> Recipe:
    """Return the recipe that a text names, applied to a protocol.

    Args:
        typed: as for ``recipe``, without a short name.
        protocol: that it is applied to.

    Raises:
        InputError: a name, option or value that is not known.
    """
    complete = ready(typed)
    if complete is not None:
        return complete
    base, options = text.split(typed)
    function: Any = sources.find(base).function if ":" in base else method(base)
    if not callable(function):
        raise InputError(f"recipe {base!r} is a {type(function).__name__}; a recipe, method or loss is needed")
    if next(iter(parameters_of(function)), None) == "protocol":
        values = text.values(function, options, f"recipe {base!r}")
        found: Recipe = function(protocol, **values)
        stated = function(dataclasses.replace(protocol, epochs=protocol.stated_epochs), **values).epochs
    else:
        loss = text.read(typed, "objective")
        found, stated = Recipe(base, protocol.model, (ce.classify(protocol, loss),)), protocol.stated_epochs
    found = dataclasses.replace(found, name=_shown(found.name if ":" not in base else base, options), stated=stated)
    return applied(protocol, found)


def _shown(base: str, options: dict[str, str]) -> str:
    def wrapped(value: str) -> str:
        return f"({value})" if "=" in value or "(" in value else value

    listed = ",".join(f"{key.replace('_', '-')}={wrapped(value)}" for key, value in options.items())
    return f"{base}@{listed}" if listed else base


def _stored(folder: pathlib.Path, options: dict[str, str]) -> Recipe:
    import json

    if options:
        raise InputError(f"{folder}: a finished run takes no options; change fields with --set")
    try:
        record = json.loads((folder / "record.json").read_bytes())
        return dataclasses.replace(stored_recipe(record["config"]), name=str(record["recipe"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{folder}/record.json is damaged or no record: {str(error)[:80]}") from None


def options(name: str) -> dict[str, Any]:
    """Return the options of a method with their defaults.

    Example:
        >>> options("logit-adjustment")
        {'tau': 1.0}
    """
    return {key.replace("_", "-"): parameter.default for key, parameter in options_of(method(name)).items()}
