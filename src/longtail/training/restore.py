"""From a finished run back to its network, for everything that looks at features afterwards."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import torch

from longtail.data import Data
from longtail.errors import InputError
from longtail.files import same_file
from longtail.models import Network, Output, identity, sides_of
from longtail.recipes.part import Part, address, revive
from longtail.recipes.stages import NUMERICS, Recipe, changes_head, state_address, stored_recipe
from longtail.results import Loaded
from longtail.training import checkpoint, seeds
from longtail.training import compute as computing
from longtail.training.head import replace_head
from longtail.training.passes import outputs
from longtail.training.places import STATE
from longtail.training.prepare import network_of
from longtail.training.run import MODEL
from longtail.training.store import OPTIMIZER, load_network
from longtail.wording import counted

ALIKE = 0.99
"""Share of the test answers that a network must repeat under other versions or on another machine."""


def restored(loaded: Loaded, data: Data, model: Part | None = None) -> Network:
    """Return the trained network of a run, in eval mode on the CPU.

    Args:
        loaded: the finished run.
        data: its data set.
        model: the run's own network, where that is in a file of somebody's own and so must be named.

    Raises:
        InputError: other data than the run's, another model, one that nobody named, or weights that are not the
            record's.
    """
    check_data(loaded, data)
    made = model_of(loaded, model)
    shape = tuple(data.train.images.shape[1:])
    network = network_of(
        made, num_classes=data.num_classes, shape=shape, generator=seeds.generator(0, "replaced"), first_weights=False
    )
    replace_head(network, adjustment_of(loaded))
    load_network(network, state_of(loaded)[0])
    # The layout it was trained and evaluated in: another one rounds otherwise.
    return network.to(memory_format=torch.channels_last).eval()


def model_of(loaded: Loaded, model: Part | None = None) -> Part:
    """Return the part that the record's network was built from.

    Raises:
        InputError: the config names none, or the one given is another.
    """
    stored = loaded.record.config.get("model")
    try:
        made = revive(stored)
    except InputError as error:
        raise InputError(f"{loaded.folder}: {error}") from None
    if not isinstance(made, Part):
        raise InputError(f"{loaded.folder}: its config names no model of this version; train its recipe again")
    if model is not None and address(model) != address(made):
        raise InputError(f"{loaded.folder} holds the model {made.name}, not the one named here: {model.name}")
    return made


def adjustment_of(loaded: Loaded) -> Part | None:
    """Return what was fitted after the last stage of a run, if anything was."""
    stored = loaded.record.config.get("adjustment")
    return None if stored is None else revive(stored)


def state_of(loaded: Loaded) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return tensors and facts of the state a run ended with.

    Raises:
        InputError: no ``model.safetensors`` beside the record, or one that is not the record's.
    """
    path = pathlib.Path(loaded.folder) / MODEL
    tensors, facts = checkpoint.load(path, expected=str(loaded.record.digests.get("model")))
    if facts.get("address") != loaded.record.numerics.get("state"):
        raise InputError(f"{path} is not the state that {loaded.folder}/record.json was made from")
    return tensors, facts


def check_data(loaded: Loaded, data: Data) -> None:
    """Refuse other data than a run's own.

    Raises:
        InputError: the fingerprints differ.
    """
    there = loaded.record.data
    if data.fingerprint != there["fingerprint"]:
        shape = data.train.images.shape[1:]
        raise InputError(
            f"{loaded.folder} was trained on {_told(there['name'], sum(there['counts']), there.get('shape'))}, and "
            f"{_told(data.name, len(data.train), shape)} are not the same images: give the same data set, drawn and "
            "read as it was for training (--data, --image-size, --leave-out-classes-below, --drop-duplicates, ...)"
        )


def _told(name: str, number: int, shape: Sequence[int] | None) -> str:
    size = f" of {' x '.join(map(str, shape))}" if shape else ""
    return f"{name}, {counted(number, 'training image')}{size}"


def features_of(loaded: Loaded, data: Data, model: Part | None = None) -> tuple[Output, Output]:
    """Return features and logits of the training and of the test split, clean images, float32.

    Raises:
        InputError: as ``restored``, and a network whose answers are not those of the record.
    """
    network = restored(loaded, data, model)
    channels, size = sides_of(tuple(data.train.images.shape[1:]))
    work = identity(network, channels=channels, image_size=size)
    largest = max((stage.get("batch_size", 1) for stage in loaded.record.config.get("stages", [])), default=1)
    with computing.threads_for(work["multiply_adds"] * largest):
        found = outputs(network, data.test, data)
        _check_answers(loaded, data, found)
        learned = outputs(network, data.train, data)
    for split, output in (("training", learned), ("test", found)):
        if not bool(torch.isfinite(output.features).all()):
            raise InputError(f"{loaded.folder}: some features of the {split} images are not finite")
    if bool((learned.features == learned.features[0]).all()):
        raise InputError(f"{loaded.folder}: all training images have the same features, so there is nothing to look at")
    if len(learned.logits[0]) < 2:
        raise InputError(f"{loaded.folder}: its data has one class, so there is nothing to tell apart")
    return learned, found


def _check_answers(loaded: Loaded, data: Data, found: Output) -> None:
    """Refuse a network whose answers are not the record's: all of them where it was made, nearly all elsewhere."""
    logits = found.logits
    adjustment = adjustment_of(loaded)
    if adjustment is not None and not changes_head(adjustment):
        logits = adjustment.build().fit(counts=data.counts).adjust(logits)
    here, there = data.test.index.cpu().argsort(), loaded.index.argsort()
    same = float((logits.argmax(dim=1)[here] == loaded.prediction[there]).double().mean())
    record = loaded.record
    here_too = (record.packages, record.hardware) == (computing.packages(), computing.hardware("cpu"))
    wanted = 1.0 if here_too else ALIKE
    if same < wanted:
        raise InputError(
            f"{loaded.folder}: its network gives the record's answer on {100 * same:.2f} % of the test images, not on "
            f"{100 * wanted:.0f} %: model and record do not belong together"
        )


def continued(loaded: Loaded, data: Data, second: Recipe, store: pathlib.Path) -> Recipe:
    """Return the last step of ``second`` on top of a finished run, whose state is put where training will find it.

    The last step is what is fitted after its last stage, if anything is, else that stage.

    Args:
        loaded: the finished run.
        data: its data set.
        second: a recipe whose last step is wanted; its model must be the run's, if that is somebody's own.
        store: folder of states of the run to come.

    Returns:
        All stages of the run and that step, with the run's own model.

    Raises:
        InputError: other data, no state beside the record, or a state that another version or a validation split made,
            that was chosen among trials, or whose head was fitted after training.
    """
    check_data(loaded, data)
    state_of(loaded)
    first = stored_recipe(loaded.record.config)
    if first.trials or first.changes_head:
        made = "chosen among trials" if first.trials else f"given its head by {first.adjustment.name}"  # type: ignore[union-attr]
        raise InputError(f"{loaded.folder} cannot be continued: it was {made}; continue a run of its stages instead")
    if second.selection != "last epoch":
        raise InputError(f"{second.name}: what follows a finished run ends with its last epoch; leave --select out")
    if second.trials:
        raise InputError(f"{second.name}: trials begin with the first stage, so they cannot follow a finished run")
    added = () if second.adjustment is not None else second.stages[-1:]
    model_of(loaded, second.model if first.model.foreign else None)
    stated = None if first.stated is None else first.stated + sum(stage.epochs for stage in added)
    recipe = dataclasses.replace(
        first,
        name=f"{loaded.record.recipe}+{second.name}",
        model=second.model if first.model.foreign else first.model,
        stages=(*first.stages, *added),
        adjustment=second.adjustment,
        stated=stated,
    )
    numerics = loaded.record.numerics
    key = state_address(
        recipe,
        len(first.stages) - 1,
        data=data.identity,
        seed=loaded.record.seed,
        compute=computing.identity_of_record(numerics),
    )
    if key != numerics["state"]:
        raise InputError(
            f"{loaded.folder} cannot be continued: its record was changed, it was selected on a validation split or "
            f"made by another version of the numerics ({numerics['version']}, now {NUMERICS}); train its recipe again"
        )
    state = store / key[:24] / STATE
    if not state.exists():
        folder = pathlib.Path(loaded.folder).resolve()
        beside = [place / "stages" / key[:24] / OPTIMIZER for place in (folder, *folder.parents[:2])]
        for optimizer in [path for path in beside if path.exists()][:1]:
            same_file(optimizer, state.with_name(OPTIMIZER))
        same_file(folder / MODEL, state)
    return recipe
