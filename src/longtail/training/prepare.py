"""From a stage's description to what runs it: parts built from what is known, random streams by purpose."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from longtail.data import Data, Split
from longtail.errors import InputError, failure
from longtail.models import CosineHead, Network, as_network, drawing_from, identity, initialise, sides_of
from longtail.recipes.contract import Chunk, Context, Objective
from longtail.recipes.experts import ExpertHead
from longtail.recipes.objectives import check_built, looks_at_training_set, objective_of
from longtail.recipes.optimizers import by_name
from longtail.recipes.part import Part, built, parts_in
from longtail.recipes.stages import Recipe, Stage
from longtail.recipes.text import short
from longtail.training import capture, seeds
from longtail.training import compute as computing
from longtail.training.passes import chunks
from longtail.training.processes import ALONE, Ranks, draws, normalising, synchronise
from longtail.training.step import Average, Step

STREAMS = ("order", "subset", "augment", "pairs", "epoch")
"""What a stage draws, each from a random stream of its own: the order of the images, a subset of them, their
augmentation, pairs within a step, and whatever a pass over the training set draws. First weights have theirs, too."""


def on_device(data: Data, device: str) -> Data:
    """Return the data with images and labels of all splits on a device."""

    def moved(split: Split) -> Split:
        return Split(split.images.to(device), split.target.to(device), split.index)

    validation = None if data.validation is None else moved(data.validation)
    return dataclasses.replace(data, train=moved(data.train), test=moved(data.test), validation=validation)


def network_of(
    model: Part, *, num_classes: int, shape: tuple[int, ...], generator: torch.Generator, first_weights: bool = True
) -> Network:
    """Return the network that a part builds, ours or one in a file of somebody's own, with its first weights.

    Args:
        model: a callable that gets those of ``num_classes``, ``channels`` / ``in_chans``, ``image_size`` /
            ``img_size`` and ``generator`` that it has parameters for.
        num_classes: K.
        shape: (C, H, W) of the images, or (D,) of features.
        generator: gives the first weights, also to a network that draws them from torch's global generator.
        first_weights: False where all weights are replaced afterwards: no file of weights is read then.
    """
    channels, size = sides_of(shape)
    given = {
        "num_classes": num_classes,
        "channels": channels,
        "in_chans": channels,
        "image_size": size,
        "img_size": size,
        "generator": generator,
        "first_weights": first_weights,
    }
    with drawing_from(generator) if model.foreign else contextlib.nullcontext():
        network = model.build(**given)
        return as_network(network, short(model), num_classes=num_classes, channels=channels, image_size=size)


def settled(compute: computing.Compute, recipe: Recipe, data: Data, ranks: Ranks) -> computing.Compute:
    """Return how a recipe is computed by so many processes: in ``divided`` it says whether its numbers depend on them.

    They do where each process normalises its own part of a batch, or a layer of the backbone draws at random (dropout,
    stochastic depth; what a module of somebody's own draws by itself is not seen). Else several processes compute what
    one does, up to rounding, and such a run is the same run.

    Args:
        compute: as it was chosen.
        recipe: what is trained.
        data: what it is trained on.
        ranks: the processes.

    Raises:
        InputError: compilation together with synchronised batch normalisation.
    """
    if ranks.size == 1:
        return dataclasses.replace(compute, divided=1)
    if compute.compiled and compute.sync_batch_norm:
        raise InputError("--compile and --sync-batch-norm do not go together: leave one of them out")
    shape, anything = tuple(data.train.images.shape[1:]), seeds.generator(0, "replaced")
    network = network_of(
        recipe.model, num_classes=data.num_classes, shape=shape, generator=anything, first_weights=False
    )
    still = bool(network.fixed) or all(stage.trains == "classifier" for stage in recipe.stages)
    apart = bool(normalising(network.backbone)) and not compute.sync_batch_norm
    depends = not still and (apart or draws(network.backbone))
    return dataclasses.replace(compute, divided=ranks.size if depends else 1)


def untrained(recipe: Recipe, data: Data, *, seed: int, compute: computing.Compute, ranks: Ranks = ALONE) -> Network:
    """Return the network of a recipe before any training, on its device."""
    shape, generator = tuple(data.train.images.shape[1:]), seeds.generator(seed, "model")
    network = network_of(recipe.model, num_classes=data.num_classes, shape=shape, generator=generator)
    if ranks.size > 1 and compute.sync_batch_norm:
        synchronise(network.backbone)
    network = network.to(compute.device).to(memory_format=torch.channels_last)
    if compute.compiled:
        # Each kind of stage compiles its own variant. Past its limit the compiler would quietly run the rest as it is,
        # and a run's numbers would depend on what the process had trained before.
        torch._dynamo.config.recompile_limit = 64
        network.backbone.compile(dynamic=False)
    return network


@dataclasses.dataclass
class Prepared:
    """A stage ready to be trained: its parts built, nothing done yet.

    Args:
        stage: what was prepared.
        position: number of the stage in its recipe, from 0.
        objective: what is minimised.
        sampler: which images an epoch sees.
        optimizer: optimiser of the parameters that move.
        factor: learning-rate factor of the schedule, from epoch, share of the epoch done, and epochs.
        step: one step of training.
        generators: the stage's random streams by purpose.
        context: what parts may ask of the training set before an epoch.
    """

    stage: Stage
    position: int
    objective: Objective
    sampler: Any
    optimizer: torch.optim.Optimizer
    factor: Callable[[int, float, int], float]
    step: Step
    generators: dict[str, torch.Generator]
    context: Callable[[int], Context]

    def start_epoch(self, epoch: int) -> bool:
        """Let the parts look at the training set; return whether the objective did."""
        for held in (self.objective, self.sampler):
            if looks_at_training_set(held):
                held.start_epoch(self.context(epoch))  # type: ignore[union-attr]
        return looks_at_training_set(self.objective)

    @property
    def notes(self) -> list[str]:
        """What the parts say of the run."""
        return [note for held in (self.objective, self.sampler) for note in getattr(held, "notes", ())]

    def history(self) -> dict[str, Any]:
        """What the parts report of an epoch."""
        rows = [held.history() for held in (self.objective, self.sampler) if hasattr(held, "history")]
        return {key: value for row in rows for key, value in row.items()}


def prepare(
    recipe: Recipe,
    position: int,
    network: Network,
    data: Data,
    *,
    seed: int,
    compute: computing.Compute,
    ranks: Ranks = ALONE,
) -> Prepared:
    """Build the parts of a stage for a network, whose head is drawn anew if the stage says so.

    Args:
        recipe: recipe that the stage is part of.
        position: number of the stage, from 0.
        network: network on the device, as the stage before left it.
        data: data set, its images on the device.
        seed: random seed of the run.
        compute: device, precision and compilation.
        ranks: the processes among which batches and passes over the training set are divided.
    """
    stage, device = recipe.stages[position], torch.device(compute.device)
    streams = {name: seeds.generator(seed, "stage", position, name, device=compute.device) for name in STREAMS}
    before = any(held.trains != "backbone" for held in recipe.stages[:position])
    scorer = copy.deepcopy(network.head) if before else None
    if stage.fresh_head:
        initialise(network.head, generator=seeds.generator(seed, "stage", position, "head", device=compute.device))
    channels, size = sides_of(tuple(data.train.images.shape[1:]))
    counts = data.counts.to(device)
    widths = tuple(identity(network, channels=channels, image_size=size)["widths"])
    given = {
        "target": data.train.target,
        "counts": counts,
        "num_classes": data.num_classes,
        "widths": widths,
        "device": device,
        "batch_size": stage.batch_size,
        "rank": 0,
        "world_size": 1,
        "subset_generator": streams["subset"],
        "projector_generator": seeds.generator(seed, "stage", position, "projector"),
    }
    _check_head(stage, network)
    with drawing_from(seeds.generator(seed, "stage", position, "objective")):
        made = _built(stage, "objective", generator=streams["pairs"], **given)
        objective = objective_of(made)
        check_built(stage.objective, made, num_classes=data.num_classes, width=widths[-1], device=device)
    modules: list[nn.Module] = [network]
    if isinstance(objective, nn.Module):
        modules.append(objective.to(device))
    sampler = _built(stage, "sampler", generator=streams["order"], **given)
    if isinstance(sampler, Iterator):  # a function with yield: an epoch each time it is called
        sampler = _Anew(lambda: stage.sampler.build(generator=streams["order"], **given))
    elif not hasattr(sampler, "__iter__"):
        raise InputError(f"sampler {stage.sampler.name!r} gave a {type(sampler).__name__}; it must give indices")
    _freeze(network, stage)
    if getattr(objective, "pictures", False) and len(data.train.images.shape) == 2:
        raise InputError(
            f"{short(stage.objective)} mixes pictures, and {data.name} holds features: use a loss or a sampler instead"
        )
    learns = stage.trains == "backbone" or getattr(objective, "representation", False)
    if learns and next(network.backbone.parameters(), None) is None:
        raise InputError(
            f"stage {stage.name!r} trains a representation, and {network.name} has none: use "
            "--model projected@width=64 or --model mlp"
        )
    moving = [weight for module in modules for weight in module.parameters() if weight.requires_grad]
    optimizer = _built(stage, "optimizer", modules=modules, params=moving)
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise InputError(f"optimizer {stage.optimizer.name!r} gave a {type(optimizer).__name__}, not a torch Optimizer")
    schedule, operations = _built(stage, "schedule"), _built(stage, "augmentation")
    if not callable(schedule):
        raise InputError(
            f"schedule {stage.schedule.name!r} gave a {type(schedule).__name__}; it must be a function of epoch, "
            "progress and epochs, or of some of them"
        )
    step = Step(
        network,
        objective,
        optimizer,
        data,
        compute,
        operations,
        streams["augment"],
        size=int(getattr(sampler, "batch_size", None) or stage.batch_size),  # a quota has a size of its own
        frozen_backbone=stage.trains == "classifier",
        sharpness=stage.sharpness,
        accumulate=stage.accumulate,
        clip=stage.clip,
        average=Average(network, stage.ema) if stage.ema else None,
        ranks=ranks,
    )

    def stream(index: Tensor, augmented: bool, levels: bool) -> Iterator[Chunk]:
        applied = operations if augmented else ()
        return chunks(
            network,
            data.train,
            data,
            index,
            levels=levels,
            operations=applied,
            generator=streams["epoch"],
            ranks=ranks,
        )

    def trained(features: Tensor) -> Tensor:
        return _logits_of(scorer, features, data.train.target, data.num_classes)

    def context(epoch: int) -> Context:
        return Context(epoch, stage.epochs, data.train.target, counts, streams["epoch"], stream, trained)

    return Prepared(stage, position, objective, sampler, optimizer, by_name(schedule), step, streams, context)


def _check_head(stage: Stage, network: Network) -> None:
    """Refuse a loss that trains only on another head: LDAM on an ordinary linear one stays at chance."""
    for held in parts_in(stage.objective):
        wanted = None if held.foreign else getattr(held.function, "head", None)
        heads = list(network.head.heads) if isinstance(network.head, ExpertHead) else [network.head]
        if wanted == "cosine" and not all(isinstance(head, CosineHead) and head.scale == 1.0 for head in heads):
            raise InputError(
                f"{short(held)} needs a cosine head of scale 1, since it scales by itself: add head=cosine,scale=1 to "
                "the model, as in --model resnet32@head=cosine,scale=1"
            )


def _built(stage: Stage, field: str, **given: Any) -> Any:
    """Build a field of a stage; what a callable refuses is said in one line."""
    part = getattr(stage, field)
    try:
        return built(part, given)
    except InputError:
        raise
    except Exception as error:
        if not any(held.foreign for held in parts_in(part)) and not isinstance(error, (ValueError, OverflowError)):
            raise
        raise InputError(f"stage {stage.name!r}, {field} {getattr(part, 'name', '')}: {failure(error)}") from error


def _logits_of(head: nn.Module | None, features: Tensor, target: Tensor, num_classes: int) -> Tensor:
    """Logits (N, K) by the head that an earlier stage trained, or by one fitted to the features (N, D)."""
    if head is not None:
        with torch.no_grad():
            logits: Tensor = head(features)
        return logits
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    fitted = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    fitted.fit(features.cpu().numpy(), target.cpu().numpy())
    found = torch.full((len(features), num_classes), -1e4)
    found[:, fitted.classes_] = torch.from_numpy(fitted.predict_log_proba(features.cpu().numpy())).float()
    return found.to(features.device)


@dataclasses.dataclass(frozen=True)
class _Anew:
    epoch: Callable[[], Iterator[int]]

    def __iter__(self) -> Iterator[int]:
        return self.epoch()


def advance(prepared: Prepared) -> Step | capture.Recorded:
    """Return the function that runs one step: the eager one, or its CUDA graph."""
    step = prepared.step
    record = capture.recorder(step.compute.device)
    waits = getattr(prepared.objective, "eager", False) or step.scaler is not None or step.sharpness > 0
    read = step.data.train.streamed  # the batch then comes from outside, so there is nothing to replay
    if record is None or waits or read or not step.on_device or step.ranks.size > 1:
        return step
    return capture.Recorded(step, (prepared.generators["augment"], prepared.generators["pairs"]), record)


def batches_of(sampler: Any, size: int, device: str) -> list[Tensor]:
    """Return the indices of an epoch by batches; a last batch of one image is left out, as batch norm needs two."""
    index = sampler.draw() if hasattr(sampler, "draw") else torch.tensor(list(sampler), dtype=torch.int64)
    return [held for held in torch.split(index.to(device), size) if len(held) > 1 or len(index) == 1]


@torch.no_grad()
def class_mean_head(network: Network, data: Data, ranks: Ranks = ALONE) -> None:
    r"""Give a classifier the mean of each class's features, in one pass over the clean training images.

    A cosine head gets the direction of the mean direction. A linear one gets the classifier by the nearest mean,

    .. math:: w_c = \mu_c / \tau, \qquad b_c = -\lVert\mu_c\rVert^2 / (2 \tau),

    where :math:`\tau` is the mean squared distance of the features from the mean of their class. A class without
    images keeps the weights it has.

    Args:
        network: whose head is set, in place.
        data: on the network's device.
        ranks: the processes that share the pass.

    Raises:
        InputError: a head that is neither linear nor a cosine one.
    """
    head, target = network.head, data.train.target
    cosine = isinstance(head, CosineHead)
    if not isinstance(head, (CosineHead, nn.Linear)):
        raise InputError(f"class means need a linear or a cosine head; {network.name} has a {type(head).__name__}")
    sums = torch.zeros(head.weight.shape, dtype=torch.float64, device=target.device)
    squares = torch.zeros((), dtype=torch.float64, device=target.device)
    for chunk in chunks(network, data.train, data, torch.arange(len(target), device=target.device), ranks=ranks):
        features = chunk.levels[-1].double()
        features = functional.normalize(features) if cosine else features
        sums.index_add_(0, chunk.target, features)
        squares += features.square().sum()
    counts = data.counts.to(target.device)[:, None]
    means, present = sums / counts.clamp(min=1), counts.flatten() > 0
    if isinstance(head, CosineHead):
        head.weight[present] = functional.normalize(means[present]).to(head.weight.dtype)
        return
    spread = (squares - (counts * means.square()).sum()).clamp(min=1e-12) / len(target)
    head.weight[present] = (means[present] / spread).to(head.weight.dtype)
    if head.bias is not None:
        head.bias[present] = (means[present].square().sum(dim=1) / (-2 * spread)).to(head.bias.dtype)


def _freeze(network: Network, stage: Stage) -> None:
    """Let only the stage's own part of the network move; a frozen backbone keeps its running statistics too."""
    network.train()
    network.backbone.requires_grad_(stage.trains != "classifier")
    network.head.requires_grad_(stage.trains != "backbone")
    for name, weight in network.backbone.named_parameters():
        if name in network.fixed:
            weight.requires_grad_(False)
    if stage.trains == "classifier" or network.fixed:
        network.backbone.eval()
