"""One step of training, from the indices of a batch to changed weights.

It is what an epoch repeats, what a GPU captures and what ``bench`` takes apart. A step waits for nothing: whatever it
keeps is a tensor on the device, changed in place, so the same step can be recorded once and replayed
(``train.capture``).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from longtail.data import Data
from longtail.errors import InputError
from longtail.models import Network
from longtail.recipes.contract import Batch, Forward, Objective
from longtail.training.compute import Compute
from longtail.training.passes import images_of, normalized


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

    def __post_init__(self) -> None:
        device = self.data.train.target.device
        self.pyramid = bool(getattr(self.objective, "pyramid", False))
        self.sums = Sums(device)
        groups = self.optimizer.param_groups
        self.base = [float(group["lr"]) for group in groups]
        # A fused update reads its rate on the device; another one may not take a tensor at all.
        self.on_device = all(group.get("fused") for group in groups)
        if self.on_device:
            for group in groups:
                group["lr"] = torch.tensor(float(group["lr"]), device=device)

    def rate(self, factor: float) -> float:
        """Set the learning rates of the steps to come to ``factor`` times the optimiser's own; return the first."""
        for group, base in zip(self.optimizer.param_groups, self.base, strict=True):
            if self.on_device:
                group["lr"].fill_(base * factor)
            else:
                group["lr"] = base * factor
        return self.base[0] * factor

    def batch(self, index: Tensor, read: Tensor | None = None) -> Batch:
        """The images at ``index`` (N,) of the training split, augmented and normalised.

        Args:
            index: positions in the training split.
            read: those images, uint8, where workers have read and augmented them already.
        """
        train = self.data.train
        if read is None:
            images = images_of(train, index, self.data, operations=self.augmentation, generator=self.generator)
        else:
            images = normalized(read, self.data, device=train.target.device)
        return Batch(images, train.target[index], index)

    def forward(self, batch: Batch) -> Tensor:
        """The mean loss of a batch, in nats, which also enters the sums of the epoch."""
        model = Forward(self.network, pyramid=self.pyramid, frozen_backbone=self.frozen_backbone)
        with self.compute.autocast():
            values = self.objective(model, batch)
        if values.shape != batch.target.shape:
            raise InputError(f"the objective returned {tuple(values.shape)} for {len(batch.target)} images, not (N,)")
        loss = values.float().mean()
        self.sums.add(loss.detach(), batch.target, None if model.logits is None else model.logits.detach())
        return loss

    def backward(self, loss: Tensor) -> None:
        """The gradients of the loss."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]

    def update(self) -> None:
        """Move the weights."""
        self.optimizer.step()

    def __call__(self, index: Tensor, read: Tensor | None = None) -> None:
        """All of it; the arguments are those of ``batch``."""
        with torch.compiler.set_stance("default" if len(index) == self.size else "force_eager"):
            self.backward(self.forward(self.batch(index, read)))
        self.update()


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
