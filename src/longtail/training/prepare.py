"""From descriptions to what trains: data on the device, the untrained network, and the parts of a stage."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from longtail.data import Data, Split
from longtail.models import Network, identity
from longtail.recipes.contract import Chunk, Context, Objective, Setting
from longtail.recipes.stages import Recipe, Stage
from longtail.training import capture, seeds
from longtail.training import compute as computing
from longtail.training.passes import chunks
from longtail.training.step import Step


def on_device(data: Data, device: str) -> Data:
    """The data with images and labels of all splits on a device."""

    def moved(split: Split) -> Split:
        return Split(split.images.to(device), split.target.to(device), split.index)

    validation = None if data.validation is None else moved(data.validation)
    return dataclasses.replace(data, train=moved(data.train), test=moved(data.test), validation=validation)


def untrained(recipe: Recipe, data: Data, *, seed: int, compute: computing.Compute) -> Network:
    """The network of a recipe before any training, on its device."""
    shape = data.train.images.shape
    network: Network = recipe.model.build(
        num_classes=data.num_classes,
        channels=shape[1],
        image_size=shape[2],
        generator=seeds.generator(seed, "model"),
    ).to(compute.device, memory_format=torch.channels_last)
    if compute.compiled:
        # Each kind of stage compiles its own variant. Past its limit the compiler would quietly run the rest as it is,
        # and a run's numbers would depend on what the process had trained before.
        torch._dynamo.config.recompile_limit = 64
        network.backbone.compile(dynamic=False)
    return network


@dataclasses.dataclass
class Prepared:
    """A stage ready to be trained: its parts built, nothing done yet."""

    objective: Objective
    sampler: Any
    optimizer: torch.optim.Optimizer
    step: Step
    generators: dict[str, torch.Generator]
    context: Callable[[int], Context]

    def start_epoch(self, epoch: int) -> bool:
        """Let the parts look at the training set; whether the objective did."""
        for part in (self.objective, self.sampler):
            if hasattr(part, "start_epoch"):
                part.start_epoch(self.context(epoch))
        return hasattr(self.objective, "start_epoch")


def prepare(
    recipe: Recipe, position: int, network: Network, data: Data, *, seed: int, compute: computing.Compute
) -> Prepared:
    """Build the parts of a stage for a network, whose head is drawn anew if the stage says so.

    Args:
        recipe: that the stage is part of.
        position: of the stage, from 0.
        network: on the device, in the state in which the stage before left it.
        data: on the device.
        seed: of the run.
        compute: of the run.
    """
    stage, device = recipe.stages[position], compute.device
    generators = {
        purpose: seeds.generator(seed, "stage", position, purpose, device=device)
        for purpose in ("parts", "sampler", "augment", "epoch")
    }
    if stage.fresh_head:
        head: Any = network.head
        head.reset(seeds.generator(seed, "stage", position, "head", device=device))
    shape = data.train.images.shape
    widths = tuple(identity(network, channels=shape[1], image_size=shape[2])["widths"])
    setting = Setting(data.counts.to(device), widths, torch.device(device), generators["parts"])
    objective: Objective = stage.objective.build(setting)
    parameters: list[nn.Module] = [network]
    if isinstance(objective, nn.Module):
        parameters.append(objective.to(device))
    sampler = stage.sampler.build(dataclasses.replace(setting, generator=generators["sampler"]), data.train.target)
    _freeze(network, stage)
    optimizer = stage.optimizer.build(parameters)
    step = Step(
        network,
        objective,
        optimizer,
        data,
        compute,
        stage.augmentation,
        generators["augment"],
        size=getattr(sampler, "batch_size", stage.sampler.batch_size),  # a quota shrinks with the number of classes
        frozen_backbone=stage.trains == "classifier",
    )

    def stream(index: Tensor, augmented: bool, levels: bool) -> Iterator[Chunk]:
        operations = stage.augmentation if augmented else ()
        generator = generators["epoch"]
        return chunks(network, data.train, data, index, levels=levels, operations=operations, generator=generator)

    def context(epoch: int) -> Context:
        return Context(epoch, stage.epochs, data.train.target, setting.counts, generators["epoch"], stream)

    return Prepared(objective, sampler, optimizer, step, generators, context)


def advance(prepared: Prepared) -> Step | capture.Recorded:
    """What takes the steps of a stage: the step itself, or on a GPU its recording."""
    record = capture.recorder(prepared.step.compute.device)
    if record is None or getattr(prepared.objective, "eager", False):
        return prepared.step
    generators = prepared.generators
    return capture.Recorded(prepared.step, (generators["augment"], generators["parts"]), record)


def batches_of(sampler: Any, size: int, device: str) -> list[Tensor]:
    """The indices of an epoch, batch by batch; a last batch of one image is left out, as batch norm needs two."""
    index = sampler.draw() if hasattr(sampler, "draw") else torch.tensor(list(sampler), device=device)
    return [part for part in torch.split(index, size) if len(part) > 1 or len(index) == 1]


def _freeze(network: Network, stage: Stage) -> None:
    """Let only the stage's own part of the network move; a frozen backbone keeps its running statistics too."""
    network.train()
    network.backbone.requires_grad_(stage.trains != "classifier")
    network.head.requires_grad_(stage.trains != "backbone")
    if stage.trains == "classifier":
        network.backbone.eval()
