"""One step of training, from the indices of a batch to changed weights.

It is what an epoch repeats, what a GPU captures and what ``bench`` takes apart. A step waits for nothing: whatever it
keeps is a tensor on the device, changed in place, so the same step can be recorded once and replayed
(``train.capture``).
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from longtail.data import Data
from longtail.errors import InputError
from longtail.models import Network
from longtail.recipes.contract import Batch, Forward, Objective, Share
from longtail.training.compute import Compute
from longtail.training.passes import as_input, images_of
from longtail.training.processes import (
    ALONE,
    Division,
    Ranks,
    Statistics,
    Synchronised,
    Together,
    divided,
    ends,
    normalising,
)


@dataclasses.dataclass
class Step:
    """Augmentation, forward pass, loss, backward pass and update of one batch.

    Args:
        network: being trained, in the mode its stage wants.
        objective: what is minimised.
        optimizer: over whatever moves; its learning rates become tensors on the device.
        data: on the device.
        compute: precision and compilation.
        augmentation: operations applied to every batch, in order.
        generator: of the augmentation.
        size: images of a full batch. A compiled backbone is compiled for full batches and run as it is for others.
        frozen_backbone: no gradient enters the backbone.
        sharpness: rho of sharpness-aware minimisation; 0 for none.
        accumulate: pieces in which a batch passes through the network; their gradients are added up.
        clip: largest norm of the gradient; 0 for none.
        average: of the network's weights, moved along after every update; None for none.
        ranks: the processes among which a batch is divided.
    """

    network: Network
    objective: Objective
    optimizer: torch.optim.Optimizer
    data: Data
    compute: Compute
    augmentation: tuple[Any, ...]
    generator: torch.Generator
    size: int
    frozen_backbone: bool = False
    accumulate: int = 1
    clip: float = 0.0
    average: Average | None = None
    sharpness: float = 0.0
    ranks: Ranks = ALONE

    def __post_init__(self) -> None:
        device = self.data.train.target.device
        self.pyramid = bool(getattr(self.objective, "pyramid", False))
        self.sums = Sums(device)
        self.scaler = self.compute.scaler()
        if self.scaler is not None:
            _begin_momentum(self.optimizer)
        groups = self.optimizer.param_groups
        self.base = [float(group["lr"]) for group in groups]
        # A fused update reads its rate on the device; another one may not take a tensor at all.
        self.on_device = all(group.get("fused") for group in groups)
        if self.on_device:
            for group in groups:
                group["lr"] = torch.tensor(float(group["lr"]), device=device)
        self._statistics: Statistics | None = None
        self._together: list[Together] = []
        if self.ranks.size > 1:
            layers = normalising(self.network.backbone)
            self._together = [held.together for held in layers if isinstance(held, Synchronised)]
            if not self._together:
                self._statistics = Statistics(layers, self.ranks)

    def rate(self, factor: float) -> float:
        """Set the learning rates of the steps to come to ``factor`` times the optimiser's own; return the first."""
        for group, base in zip(self.optimizer.param_groups, self.base, strict=True):
            if self.on_device:
                group["lr"].fill_(base * factor)
            else:
                group["lr"] = base * factor
        return self.base[0] * factor

    def division(self, number: int) -> Division:
        """How a batch of so many images is divided among processes; one whose images are pairs is taken whole."""
        return divided(number, self.accumulate, self.ranks, whole=bool(getattr(self.objective, "whole", False)))

    def batch(self, index: Tensor, read: Tensor | None = None, division: Division | None = None) -> Batch:
        """The images at ``index`` (N,) of the training split, augmented and normalised.

        Args:
            index: positions in the training split.
            read: those images, uint8, where workers have read and augmented them already; of this process's part.
            division: of the batch among processes; None in one.
        """
        train = self.data.train
        inputs = self.network.inputs
        if read is None:
            images = images_of(
                train,
                index,
                self.data,
                operations=self.augmentation,
                generator=self.generator,
                inputs=inputs,
                division=division,
            )
        else:
            pictures = read.to(train.target.device, non_blocking=True)
            images = as_input(pictures, inputs, self.data.mean, self.data.std)
        share = None if division is None or len(division.sizes) > 1 else division.share(0)
        return Batch(images, train.target[index], index, share)

    def forward(self, batch: Batch) -> Tensor:
        """The mean loss of a batch, in nats, which also enters the sums of the epoch."""
        loss, logits = self.loss(batch)
        self.sums.add(loss.detach(), batch.target, logits)
        return loss

    def loss(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """The mean loss of a batch, in nats, and the logits (N, K) if the objective looked at them."""
        model = Forward(self.network, pyramid=self.pyramid, frozen_backbone=self.frozen_backbone, share=batch.share)
        for together in self._together:
            together.on = batch.share is not None
        with self.compute.autocast():
            values = self.objective(model, batch)
        if values.shape != batch.target.shape:
            raise InputError(f"the objective returned {tuple(values.shape)} for {len(batch.target)} images, not (N,)")
        return values.float().mean(), None if model.logits is None else model.logits.detach()

    def backward(self, loss: Tensor) -> None:
        """The gradients of the loss."""
        self.optimizer.zero_grad(set_to_none=True)
        self._scaled(loss).backward()  # type: ignore[no-untyped-call]
        self.ranks.average(self._moving())

    def _moving(self) -> list[Tensor]:
        return [weight for group in self.optimizer.param_groups for weight in group["params"]]

    def _scaled(self, loss: Tensor) -> Tensor:
        return loss if self.scaler is None else self.scaler.scale(loss)

    def in_pieces(self, batch: Batch, division: Division | None = None) -> None:
        """The gradients of the mean loss of a batch that passes through the network piece by piece.

        Args:
            batch: its images, and of several processes those of this one.
            division: of the batch among processes; None in one.
        """
        if batch.images.ndim in (3, 5):
            raise InputError("accumulate: the views of a batch are compared with each other, so it cannot be divided")
        if getattr(self.objective, "whole", False):
            raise InputError("accumulate: the images of a batch belong together in pairs, so it cannot be divided")
        self.optimizer.zero_grad(set_to_none=True)
        size, total, said = len(batch.target), torch.zeros((), device=batch.target.device), []
        for cut, own, share in _pieces(size, self.accumulate, division):
            piece = Batch(batch.images[own], batch.target[cut], batch.index[cut], share)
            with self._normalised(piece):
                loss, logits = self.loss(piece)
                part = loss * (len(piece.target) / size)
                self._scaled(part).backward()  # type: ignore[no-untyped-call]
            total += part.detach()
            said += [] if logits is None else [logits]
        self.ranks.average(self._moving())
        self.sums.add(total, batch.target, torch.cat(said) if said else None)

    def sharpen(self, batch: Batch) -> None:
        """Replace the gradients by those at the weights moved by rho along them (SAM; Foret et al., ICLR 2021, Eq. 2).

        Running statistics of batch normalisation are those of the weights as they are. Gradients that overflow in
        float16 move nothing uphill, and the scaler leaves out their update.
        """
        moving = [held for group in self.optimizer.param_groups for held in group["params"] if held.grad is not None]
        norms = torch.nn.utils.get_total_norm([held.grad for held in moving])
        uphill = [held.grad * (self.sharpness / (norms + 1e-12)) for held in moving]
        kept: list[Tensor] = []
        if self.scaler is not None:
            uphill = [torch.where(norms.isfinite(), held, 0.0) for held in uphill]
            kept = [held.detach().clone() for held in moving]
        normalising = [
            held for held in self.network.modules() if isinstance(held, torch.nn.modules.batchnorm._BatchNorm)
        ]
        before = [held.momentum for held in normalising]
        with torch.no_grad():
            torch._foreach_add_(moving, uphill)
        for held in normalising:
            held.momentum = 0.0
        self.backward(self.loss(batch)[0])
        for held, momentum in zip(normalising, before, strict=True):
            held.momentum = momentum
        with torch.no_grad():
            if kept:
                torch._foreach_copy_(moving, kept)
            else:
                torch._foreach_sub_(moving, uphill)

    def update(self) -> None:
        """Move the weights, by a gradient that is shortened if it is too long, and their average along with them."""
        if self.clip:
            if self.scaler is not None:
                self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(self._moving(), self.clip)
        if self.scaler is None:
            self.optimizer.step()
        else:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        if self.average is not None:
            self.average.move()

    @contextlib.contextmanager
    def _normalised(self, batch: Batch) -> Iterator[None]:
        """Keep running statistics alike in all processes where each normalises its own part of a batch."""
        apart = self._statistics is not None and batch.share is not None
        if apart:
            self._statistics.remember()  # type: ignore[union-attr]
        yield
        if apart:
            self._statistics.merge()  # type: ignore[union-attr]

    def __call__(self, index: Tensor, read: Tensor | None = None, division: Division | None = None) -> None:
        """All of it; the arguments are those of ``batch``."""
        if self.ranks.size > 1 and division is None:
            division = self.division(len(index))
        with torch.compiler.set_stance("default" if len(index) == self.size else "force_eager"):
            batch = self.batch(index, read, division)
            if self.accumulate > 1:
                self.in_pieces(batch, division)
            else:
                with self._normalised(batch):
                    self.backward(self.forward(batch))
            if self.sharpness:
                self.sharpen(batch)
        self.update()


def _begin_momentum(optimizer: torch.optim.Optimizer) -> None:
    """Let the momentum of a fused SGD begin at zero, for gradients that can overflow.

    torch allocates it in the first step, and writes nothing into it if a gradient of that step is not finite; its other
    fused optimisers begin at zero by themselves.
    """
    for group in optimizer.param_groups if isinstance(optimizer, torch.optim.SGD) else ():
        if group["fused"] and group["momentum"]:
            for weight in group["params"]:
                optimizer.state[weight].setdefault("momentum_buffer", torch.zeros_like(weight))


def _pieces(size: int, pieces: int, division: Division | None) -> Iterator[tuple[slice, slice, Share | None]]:
    """The pieces of a batch: their places in it, those of this process's images among its own, and its share."""
    if division is None:
        yield from ((slice(start, end), slice(start, end), None) for start, end in ends(size, pieces))
        return
    start = first = 0
    for number, (sizes, own) in enumerate(zip(division.sizes, division.own, strict=True)):
        end, last = start + sum(sizes), first + own.stop - own.start
        yield slice(start, end), slice(first, last), division.share(number)
        start, first = end, last


class Average:
    r"""An exponential moving average of a network's weights and statistics.

    .. math:: \bar w \leftarrow \delta_t \bar w + (1 - \delta_t) w, \qquad \delta_t = \min(\delta, (1 + t) / (10 + t))

    In a short run the first weights would count too much under the decay alone; so it grows with the updates t.

    Args:
        network: being trained; its tensors are read where they are.
        decay: delta, in (0, 1).

    Example:
        >>> network = torch.nn.Linear(1, 1)
        >>> average = Average(network, 0.9)
        >>> _ = network.weight.data.add_(1.0)
        >>> average.move()  # t = 0: a tenth is kept
        >>> bool(torch.isclose(average.tensors["weight"], network.weight - 0.1).all())
        True
    """

    def __init__(self, network: torch.nn.Module, decay: float) -> None:
        self.network, self.decay = network, decay
        self.still = {name for name, weight in network.named_parameters() if not weight.requires_grad}
        self.tensors: dict[str, Tensor] = {}
        self.updates = torch.zeros((), device=next(network.parameters()).device)
        self.restart()

    def restart(self) -> None:
        """Begin at the weights as they are now; those that do not move are left out."""
        self.updates.zero_()
        self.tensors = {name: tensor.detach().clone() for name, tensor in self._moving()}

    def _moving(self) -> Iterator[tuple[str, Tensor]]:
        return ((name, tensor) for name, tensor in self.network.state_dict().items() if name not in self.still)

    @torch.no_grad()
    def move(self) -> None:
        """Take the weights as they are now into the average; nothing here waits for the device."""
        keep = ((1 + self.updates) / (10 + self.updates)).clamp(max=self.decay)
        self.updates.add_(1)
        for name, tensor in self._moving():
            held = self.tensors[name]
            if held.is_floating_point():
                held.lerp_(tensor, (1 - keep).to(held.dtype))
            else:
                held.copy_(tensor)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the network have the averaged weights for as long as the context lasts."""
        own = {name: tensor.detach().clone() for name, tensor in self._moving()}
        self.network.load_state_dict(self.tensors, strict=False)
        try:
            yield
        finally:
            self.network.load_state_dict(own, strict=False)


class Sums:
    """What an epoch adds up, on the device: nothing here is read before its end.

    Attributes:
        loss: sum over images, in nats (0-d).
        correct: images whose largest logit was the right one (0-d).
        first_bad: the step, from 0, at which the loss was not finite; ``steps`` if it always was (0-d int64).
        steps: steps so far (0-d int64).
        looked: whether the objective looked at the logits; else ``correct`` means nothing.
    """

    def __init__(self, device: torch.device) -> None:
        self.loss, self.correct = torch.zeros((), device=device), torch.zeros((), device=device)
        self.steps = torch.zeros((), dtype=torch.int64, device=device)
        self.first_bad = torch.zeros((), dtype=torch.int64, device=device)
        self.looked = False

    def totals(self) -> dict[str, Tensor]:
        """The sums by name, as they are: who changes one changes the sum."""
        return {"loss": self.loss, "correct": self.correct, "steps": self.steps, "first_bad": self.first_bad}

    def reset(self) -> None:
        """Begin an epoch."""
        for total in self.totals().values():
            total.zero_()

    def add(self, loss: Tensor, target: Tensor, logits: Tensor | None) -> None:
        """One more step with its mean loss (0-d), its labels (N,), and its logits (N, K) if there are any."""
        # As long as every loss was finite, first_bad keeps up with the number of steps.
        keeps_up = torch.isfinite(loss) & (self.first_bad == self.steps)
        self.steps.add_(1)
        self.first_bad.copy_(torch.where(keeps_up, self.steps, self.first_bad))
        self.loss.add_(loss, alpha=len(target))
        if logits is not None:
            self.looked = True
            self.correct.add_((logits.argmax(dim=1) == target).sum())
