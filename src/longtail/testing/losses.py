"""The promises of a loss: one finite value for each sample, its gradient, and what it refuses."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from longtail.testing.contract import Check, ContractError, failing, global_generator_untouched, name_of


def check_loss(
    loss: Callable[[Tensor, Tensor], Tensor],
    *,
    num_classes: int = 5,
    width: int | None = None,
    per_sample: bool = True,
) -> None:
    """Check a loss ``(logits (N, K), target (N,)) -> (N,)``: run all of :func:`loss_checks`.

    Args:
        loss: bind further arguments first, as in ``functools.partial(balanced_softmax, counts=counts)``.
        num_classes: number of classes, K, of the logits and the targets.
        width: D, for a loss on features (N, D) instead of logits.
        per_sample: whether the value of a sample depends on that sample alone; False for contrastive losses.

    Raises:
        ContractError: naming the first thing that is wrong.

    Example:
        >>> import functools
        >>> check_loss(functools.partial(torch.nn.functional.cross_entropy, reduction="none"))
        >>> check_loss(torch.nn.functional.cross_entropy)
        Traceback (most recent call last):
        longtail.testing.contract.ContractError: cross_entropy: returned a scalar for 12 samples; ...
    """
    for check in loss_checks(loss, num_classes=num_classes, width=width, per_sample=per_sample):
        check()


def loss_checks(
    loss: Callable[[Tensor, Tensor], Tensor],
    *,
    num_classes: int = 5,
    width: int | None = None,
    per_sample: bool = True,
) -> Iterator[Check]:
    """Yield the promises of a loss ``(logits (N, K), target (N,)) -> (N,)``.

    It returns one value per sample in the type of the logits, unreduced; is finite, also for logits in the thousands
    and for a batch of one, and so is its gradient, which is not zero everywhere; does the same whatever the order of
    the batch and whenever it is called; leaves its input and the global random state alone; works on shapes alone
    (device ``meta``), which shows that it never waits for the values on an accelerator; and refuses targets that do
    not fit the logits, and counts of another number of classes where ``counts`` is bound with ``functools.partial``.

    Args:
        loss: bind further arguments first, as in ``functools.partial(balanced_softmax, counts=counts)``.
        num_classes: number of classes, K, of the logits and the targets.
        width: D, for a loss on features (N, D) instead of logits.
        per_sample: whether the value of a sample depends on that sample alone; False for contrastive losses.

    Yields:
        Checks, to be called in any order.

    Example:
        >>> loss = functools.partial(torch.nn.functional.cross_entropy, reduction="none")
        >>> print(next(loss_checks(loss)))
        cross_entropy returns one finite value for each sample
    """
    probe = _LossProbe(loss, num_classes=num_classes, width=width)
    promises: dict[str, Callable[[], None]] = {
        "returns one finite value for each sample": probe.values,
        "draws nothing from the global generator": probe.global_generator,
        "leaves its input alone": probe.input,
        "gives the same values at every call": probe.repeated,
        "keeps the type of the logits": probe.types,
        "is finite for a batch of one class or one sample": probe.small_batches,
        "has a finite gradient that is not zero everywhere": probe.gradient,
        "is finite for logits in the thousands": probe.large_logits,
        "follows the order of the batch": probe.order,
    }
    if per_sample:
        promises["values each sample alone"] = probe.alone
    promises["works on shapes alone"] = probe.shapes_alone
    promises["refuses targets that do not fit"] = probe.wrong_targets
    if width is None and isinstance(loss, functools.partial) and "counts" in loss.keywords:
        promises["refuses counts of another number of classes"] = probe.wrong_counts
    for promise, run in promises.items():
        yield Check(probe.name, promise, run)


class _LossProbe:
    """The batch that a loss is checked on, and a method for each promise."""

    def __init__(self, loss: Callable[[Tensor, Tensor], Tensor], *, num_classes: int, width: int | None) -> None:
        self.loss, self.name = loss, name_of(loss)
        generator = torch.Generator().manual_seed(20210407)
        self.number = 12
        self._logits = torch.randn(self.number, width or num_classes, generator=generator)
        self._target = torch.randint(num_classes, (self.number,), generator=generator)
        self._order = torch.randperm(self.number, generator=generator)

    @property
    def batch(self) -> tuple[Tensor, Tensor]:
        """The plain batch, anew each time, so that one promise does not spoil the next."""
        return self._logits.clone(), self._target.clone()

    def call(self, what: str, logits: Tensor, target: Tensor) -> Tensor:
        with failing(f"{self.name}: on {what}", "a loss takes logits (N, K) and target (N,) and returns (N,)"):
            value = self.loss(logits, target)
        _check_values(self.name, what, value, logits)
        return value

    def values(self) -> None:
        self.call("a plain batch", *self.batch)

    def global_generator(self) -> None:
        with global_generator_untouched(self.name):
            self.call("a plain batch", *self.batch)

    def input(self) -> None:
        logits, target = self.batch
        self.call("a plain batch", logits, target)
        if not (torch.equal(self._logits, logits) and torch.equal(self._target, target)):
            raise ContractError(f"{self.name}: changes its input in place; work on a copy")

    def repeated(self) -> None:
        first = self.call("a plain batch", *self.batch)
        if not torch.equal(self.call("the same batch again", *self.batch), first):
            raise ContractError(
                f"{self.name}: two calls on one batch differ; a loss keeps no state (randomness: a generator)"
            )

    def types(self) -> None:
        logits, target = self.batch
        self.call("float64 logits", logits.double(), target)
        self.call("bfloat16 logits", logits.bfloat16(), target)

    def small_batches(self) -> None:
        logits, target = self.batch
        self.call("a batch of one class", logits, torch.zeros_like(target))
        self.call("a batch of one sample", logits[:1], target[:1])

    def gradient(self) -> None:
        self._gradient("a plain batch", self.batch[0], zero_is_wrong=True)

    def large_logits(self) -> None:
        self._gradient("logits in the thousands", 3e3 * self.batch[0], zero_is_wrong=False)

    def _gradient(self, what: str, logits: Tensor, *, zero_is_wrong: bool) -> None:
        leaf = logits.requires_grad_()
        value = self.call(what, leaf, self.batch[1])
        if not value.requires_grad:
            raise ContractError(f"{self.name}: on {what}, no gradient flows to the logits; do not detach or round them")
        (gradient,) = torch.autograd.grad(value.sum(), leaf, allow_unused=True)
        if gradient is None or (zero_is_wrong and not bool(gradient.any())):
            raise ContractError(
                f"{self.name}: on {what}, the gradient is zero everywhere; the loss does not use the logits"
            )
        if not bool(torch.isfinite(gradient).all()):
            raise ContractError(
                f"{self.name}: on {what}, the gradient is not finite; use log_softmax, logsumexp or softplus, and "
                f"clamp under a square root"
            )

    def order(self) -> None:
        logits, target = self.batch
        exact = logits.double()
        value = self.call("float64 logits", exact, target)
        shuffled = self.call("a shuffled batch", exact[self._order], target[self._order])
        if not torch.allclose(shuffled, value[self._order], rtol=1e-9, atol=1e-9):
            raise ContractError(
                f"{self.name}: shuffling the batch changes the values of its samples by up to "
                f"{float((shuffled - value[self._order]).detach().abs().max()):.2g}; each must follow its sample"
            )

    def alone(self) -> None:
        logits, target = self.batch
        exact = logits.double()
        value = self.call("float64 logits", exact, target)
        for i in range(self.number):
            single = self.call("a batch of one sample", exact[i : i + 1], target[i : i + 1])
            if not torch.allclose(single, value[i : i + 1], rtol=1e-9, atol=1e-9):
                raise ContractError(
                    f"{self.name}: sample {i} has the loss {float(value[i].detach()):.6g} in a batch and "
                    f"{float(single.detach()):.6g} alone; if that is meant, check it with per_sample=False"
                )

    def shapes_alone(self) -> None:
        where = f"{self.name}: on shapes alone (device meta)"
        logits, target = self.batch
        with (
            _ConstantsOnMeta(),
            failing(where, "no .item(), no if on a tensor, no boolean indexing: use torch.where"),
        ):
            shape = self.loss(logits.to("meta"), target.to("meta")).shape
        if tuple(shape) != (self.number,):
            raise ContractError(f"{where}, returned shape {tuple(shape)}, not ({self.number},)")

    def wrong_targets(self) -> None:
        logits, target = self.batch
        for what, wrong in (
            ("13 targets", torch.cat([target, target[:1]])),
            ("11 targets", target[:-1]),
            ("targets of shape (12, 1)", target[:, None]),
            ("targets of shape (1,)", target[:1]),
        ):
            if not _raises(self.loss, logits, wrong):
                raise ContractError(f"{self.name}: accepts {what} for 12 samples; compare shapes and raise an error")

    def wrong_counts(self) -> None:
        assert isinstance(self.loss, functools.partial)  # the check is yielded for nothing else
        classes = self._logits.shape[1]
        for number in (1, classes - 1, classes + 1):
            other = functools.partial(self.loss, counts=torch.full((number,), 10))
            if not _raises(other, *self.batch):
                raise ContractError(
                    f"{self.name}: accepts counts of {number} classes for logits of {classes}; compare lengths and "
                    f"raise an error (longtail.counts.as_counts does)"
                )


def _check_values(name: str, what: str, value: Any, logits: Tensor) -> None:
    """One finite value per sample, in the type of the logits; float32 is allowed for those of half precision."""
    number = len(logits)
    if not isinstance(value, Tensor):
        raise ContractError(f"{name}: on {what}, returned {type(value).__name__}, not a tensor ({number},)")
    if value.ndim == 0:
        raise ContractError(
            f"{name}: returned a scalar for {number} samples; return one value for each, ({number},), and leave the "
            f"mean to the caller"
        )
    if tuple(value.shape) != (number,):
        raise ContractError(f"{name}: on {what}, returned shape {tuple(value.shape)}, not ({number},)")
    allowed = {logits.dtype, torch.float32} if logits.dtype == torch.bfloat16 else {logits.dtype}
    if value.dtype not in allowed:
        raise ContractError(f"{name}: on {what}, returned {value.dtype}; keep the type of the logits, {logits.dtype}")
    bad = (~torch.isfinite(value.detach())).nonzero()
    if len(bad):
        raise ContractError(f"{name}: on {what}, the loss of sample {int(bad[0])} is {float(value[bad[0]].detach())}")


def _raises(function: Callable[..., Any], *arguments: Any) -> bool:
    try:
        function(*arguments)
    except Exception:
        return True
    return False


class _ConstantsOnMeta(TorchFunctionMode):
    """Moves every tensor that meets one on the meta device there: counts that a loss holds are on the processor."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return func(*_on_meta(args), **_on_meta(kwargs or {}))


def _on_meta(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.to("meta")
    if isinstance(value, dict):
        return {key: _on_meta(item) for key, item in value.items()}
    if type(value) in (tuple, list):
        return type(value)(_on_meta(item) for item in value)
    return value
