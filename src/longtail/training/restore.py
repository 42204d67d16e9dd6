"""From a finished run back to its network, for everything that looks at features afterwards."""

from __future__ import annotations

import dataclasses
import pathlib
import shutil
import types
from typing import Any

import torch

from longtail import augment, models
from longtail.data import Data
from longtail.errors import InputError
from longtail.files import write_atomically
from longtail.models import Network, Output
from longtail.recipes import adjustments, config, objectives, optimizers, sampling
from longtail.recipes import stages as recipes
from longtail.results import Loaded
from longtail.training import checkpoint, seeds
from longtail.training.loop import load_network
from longtail.training.passes import outputs


def _descriptions(*modules: types.ModuleType) -> dict[str, type]:
    """The frozen dataclasses of these modules: all that a stored recipe may be made of."""
    found = [
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and value.__module__.startswith(module.__name__)
    ]
    return {kind.__name__: kind for kind in found if dataclasses.is_dataclass(kind)}


KINDS = _descriptions(adjustments, augment, models, objectives, optimizers, recipes, sampling)


def recipe_of(loaded: Loaded) -> recipes.Recipe:
    """The recipe that a record describes.

    Raises:
        InputError: a part that this version does not know, such as a user's own.
    """
    found = config.revive(loaded.record.config, KINDS)
    if not isinstance(found, recipes.Recipe):
        raise InputError(f"{loaded.folder}: its config is no recipe")
    return found


def network_of(loaded: Loaded, data: Data) -> Network:
    """The trained network of a run, in eval mode on the CPU.

    Raises:
        InputError: other data than the run's, a model that this version does not know, or no ``model.safetensors``
            beside the record.
    """
    check_data(loaded, data)
    if "model" not in loaded.record.config:
        raise InputError(f"{loaded.folder}: its config names no model")
    shape = data.train.images.shape
    # The model alone: a stage may hold a part of the user's own, and nothing of it is needed here.
    network: Network = config.revive(loaded.record.config["model"], KINDS).build(
        num_classes=data.num_classes,
        channels=shape[1],
        image_size=shape[2],
        generator=seeds.generator(0, "replaced"),
    )
    load_network(network, state_of(loaded)[0])
    # The layout it was trained and evaluated in: another one rounds otherwise.
    return network.to(memory_format=torch.channels_last).eval()


def state_of(loaded: Loaded) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tensors and facts of the state a run ended with.

    Raises:
        InputError: no ``model.safetensors`` beside the record, or one that is not the record's.
    """
    path = pathlib.Path(loaded.folder) / "model.safetensors"
    tensors, facts = checkpoint.load(path)
    if facts.get("address") != loaded.record.numerics.get("state"):
        raise InputError(f"{path} is not the state that {loaded.folder}/record.json was made from")
    return tensors, facts


def check_data(loaded: Loaded, data: Data) -> None:
    """Refuse other data than a run's own.

    Raises:
        InputError: the fingerprints differ.
    """
    wanted = loaded.record.data["fingerprint"]
    if data.fingerprint != wanted:
        raise InputError(
            f"{loaded.folder} was trained on {loaded.record.data['name']} with fingerprint {wanted[:16]}, but "
            f"{data.name} as given has {data.fingerprint[:16]}: give the same data set, imbalance and split seed"
        )


def features_of(loaded: Loaded, data: Data) -> tuple[Output, Output]:
    """Features and logits of the training and of the test split, clean images, float32."""
    network = network_of(loaded, data)
    return outputs(network, data.train, data), outputs(network, data.test, data)


def continued(loaded: Loaded, data: Data, second: recipes.Recipe, store: pathlib.Path) -> recipes.Recipe:
    """The last stage of ``second`` on top of a finished run, whose state is put where training will find it.

    Args:
        loaded: the finished run.
        data: its data set.
        second: a recipe whose last stage is wanted.
        store: folder of states of the run to come.

    Returns:
        All stages of the run and that stage, with the run's own model.

    Raises:
        InputError: other data, no state beside the record, or a state that another version or a validation split made.
    """
    check_data(loaded, data)
    state_of(loaded)
    first = recipe_of(loaded)
    name = f"{first.name}+{second.name}"
    recipe = dataclasses.replace(first, name=name, stages=(*first.stages, second.stages[-1]), adjustment=None)
    numerics = loaded.record.numerics
    key = recipes.address(
        recipe,
        len(first.stages) - 1,
        fingerprint=data.fingerprint,
        seed=loaded.record.seed,
        compute={name: numerics[name] for name in ("device", "precision", "compiled")},
    )
    if key != numerics["state"]:
        raise InputError(
            f"{loaded.folder} cannot be continued: it was selected on a validation split or made by another version of "
            f"the numerics ({numerics['version']}, now {recipes.NUMERICS}); train its recipe again"
        )
    state = store / key[:24] / "state.safetensors"
    if not state.exists():
        source = pathlib.Path(loaded.folder) / "model.safetensors"
        write_atomically(state, lambda file: shutil.copyfile(source, file))
    return recipe
