"""The promises of a network: features and logits, each image judged alone, and a stored state."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from longtail.testing.contract import Check, ContractError, failing, global_generator_untouched, name_of


def check_model(model: nn.Module, *, num_classes: int, image: tuple[int, int, int] = (3, 32, 32)) -> None:
    """Check a network that returns ``.features`` and ``.logits``: run all of :func:`model_checks`.

    Args:
        model: the network.
        num_classes: number of classes, K.
        image: (C, H, W) of the images it takes.

    Raises:
        ContractError: naming the first thing that is wrong.

    Example:
        >>> from longtail.models import small_conv_net
        >>> generator = torch.Generator().manual_seed(0)
        >>> network = small_conv_net(num_classes=4, channels=3, image_size=32, generator=generator)
        >>> check_model(network, num_classes=4)
    """
    for check in model_checks(model, num_classes=num_classes, image=image):
        check()


def model_checks(model: nn.Module, *, num_classes: int, image: tuple[int, int, int] = (3, 32, 32)) -> Iterator[Check]:
    """Yield the promises of a network: a ``torch.nn.Module`` that maps images to ``.features`` and ``.logits``.

    Features are (N, D) and logits (N, K), finite float32; in eval mode an image has the same logits alone as in a
    batch, at every call, and after ``load_state_dict`` of its own state; every parameter gets a gradient; the images
    and the global random state are left alone.

    Args:
        model: the network; its mode, training or eval, is as before afterwards.
        num_classes: number of classes, K.
        image: (C, H, W) of the images it takes.

    Yields:
        Checks, to be called in any order.

    Example:
        >>> from longtail.models import small_conv_net
        >>> generator = torch.Generator().manual_seed(0)
        >>> network = small_conv_net(num_classes=4, channels=3, image_size=32, generator=generator)
        >>> print(next(model_checks(network, num_classes=4)))
        Network returns features and logits
    """
    probe = _ModelProbe(model, num_classes, image)
    promises = {
        "returns features and logits": probe.outputs,
        "leaves the images alone": probe.images_alone,
        "judges each image alone": probe.alone,
        "gives the same logits at every call": probe.repeated,
        "is its stored state": probe.state,
        "trains every parameter": probe.gradient,
        "draws nothing from the global generator": probe.global_generator,
    }
    for promise, run in promises.items():
        yield Check(probe.name, promise, run)


class _ModelProbe:
    """The images that a network is checked on, and a method for each promise."""

    def __init__(self, model: nn.Module, num_classes: int, image: tuple[int, int, int]) -> None:
        self.model, self.name, self.num_classes = model, name_of(model), num_classes
        self._images = torch.randn(4, *image, generator=torch.Generator().manual_seed(20210407))

    def call(self, images: Tensor, *, training: bool = False, model: nn.Module | None = None) -> Any:
        model = self.model if model is None else model
        before = model.training
        model.train(training)
        try:
            with failing(f"{self.name}: on images {tuple(images.shape)}", "a model is called as model(images)"):
                output = model(images)
                features, logits = output.features, output.logits
        finally:
            model.train(before)
        number = len(images)
        if features.ndim != 2 or len(features) != number or tuple(logits.shape) != (number, self.num_classes):
            raise ContractError(
                f"{self.name}: features {tuple(features.shape)} and logits {tuple(logits.shape)} for {number} images; "
                f"they are ({number}, D) and ({number}, {self.num_classes})"
            )
        return output

    def outputs(self) -> None:
        output = self.call(self._images.clone())
        for what, values in (("features", output.features), ("logits", output.logits)):
            if values.dtype != torch.float32 or not bool(torch.isfinite(values.detach()).all()):
                raise ContractError(f"{self.name}: {what} are {values.dtype} and not all finite float32 numbers")

    def alone(self) -> None:
        together = self.call(self._images.clone()).logits
        for i in range(len(self._images)):
            single = self.call(self._images[i : i + 1].clone()).logits
            if not torch.allclose(single[0], together[i], rtol=1e-3, atol=1e-4):
                raise ContractError(
                    f"{self.name}: in eval mode, image {i} has other logits alone than in a batch, by up to "
                    f"{float((single[0] - together[i]).detach().abs().max()):.2g}; use stored statistics"
                )

    def repeated(self) -> None:
        first, second = (self.call(self._images.clone()).logits for _ in range(2))
        if not torch.equal(first, second):
            raise ContractError(f"{self.name}: in eval mode, two calls on the same images differ")

    def state(self) -> None:
        expected = self.call(self._images.clone()).logits
        other = copy.deepcopy(self.model)
        with torch.no_grad():
            for parameter in other.parameters():
                parameter.zero_()
        with failing(f"{self.name}: load_state_dict", "a network loads what its state_dict holds"):
            other.load_state_dict(self.model.state_dict())
        if not torch.equal(self.call(self._images.clone(), model=other).logits, expected):
            raise ContractError(
                f"{self.name}: has other logits once its state_dict is loaded; register what it keeps as parameter or "
                f"buffer"
            )

    def gradient(self) -> None:
        model = copy.deepcopy(self.model)
        logits = self.call(self._images.clone(), training=True, model=model).logits
        with failing(f"{self.name}: backward", "the logits need a graph from the parameters"):
            logits.square().sum().backward()
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and parameter.grad is None:
                raise ContractError(
                    f"{self.name}: parameter {name} gets no gradient from the logits; leave it out or freeze it"
                )

    def images_alone(self) -> None:
        images = self._images.clone()
        self.call(images)
        if not torch.equal(images, self._images):
            raise ContractError(f"{self.name}: changes the images in place; work on a copy")

    def global_generator(self) -> None:
        with global_generator_untouched(self.name):
            self.call(self._images.clone())
