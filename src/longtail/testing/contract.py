"""What a check is, and the error of a part that breaks its promise."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch


class ContractError(AssertionError):
    """A part that does not keep its contract; the message is one line.

    Example:
        >>> raise ContractError("my_loss: returned a scalar for 12 samples")
        Traceback (most recent call last):
        longtail.testing.contract.ContractError: my_loss: returned a scalar for 12 samples
    """


@dataclasses.dataclass(frozen=True)
class Check:
    """One promise of one part; call it to have it checked.

    Args:
        subject: name of the part that is checked.
        promise: what it should do, in a few words.
        run: raises a ``ContractError`` if it does not.

    Example:
        >>> check = Check("my_loss", "is finite", lambda: None)
        >>> print(check)
        my_loss is finite
        >>> check()
    """

    subject: str
    promise: str
    run: Callable[[], None] = dataclasses.field(repr=False)

    def __call__(self) -> None:
        """Check the promise."""
        self.run()

    def __str__(self) -> str:
        return f"{self.subject} {self.promise}"


def parametrize_with_checks(*checks: Iterable[Check]) -> Any:
    """Make one test of every check, with the promise as its id: decorates a pytest test with an argument ``check``.

    Args:
        checks: what ``loss_checks`` and its kin yield, of one part or several.

    Returns:
        A ``pytest.mark.parametrize``.

    Example:
        >>> from longtail.testing import loss_checks, sampler_checks
        >>> loss = functools.partial(torch.nn.functional.cross_entropy, reduction="none")
        >>> @parametrize_with_checks(loss_checks(loss), sampler_checks(torch.utils.data.RandomSampler))
        ... def test_my_parts(check):
        ...     check()
    """
    import pytest

    every = [check for group in checks for check in group]
    return pytest.mark.parametrize("check", [pytest.param(check, id=str(check)) for check in every])


def name_of(function: Any) -> str:
    """Return the name of a function, of what ``functools.partial`` was made of, or of an object's type.

    Args:
        function: the part that is checked.

    Example:
        >>> name_of(functools.partial(max, 2))
        'max'
    """
    while isinstance(function, functools.partial):
        function = function.func
    return str(getattr(function, "__name__", type(function).__name__))


@contextlib.contextmanager
def failing(where: str, right: str) -> Iterator[None]:
    """Turn any error of the code under test into a line that says where it was and what would be right.

    Args:
        where: name of the part, and what it was called on.
        right: how such a part is called.

    Yields:
        Once, to the code under test.

    Raises:
        ContractError: in place of the error; one that is a ``ContractError`` already stays as it is.

    Example:
        >>> with failing("my_loss: on a plain batch", "a loss returns (N,)"):
        ...     raise ValueError("no such class")
        Traceback (most recent call last):
        longtail.testing.contract.ContractError: my_loss: on a plain batch: raised ValueError (no such class); ...
    """
    try:
        yield
    except ContractError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())
        raise ContractError(f"{where}: raised {type(error).__name__} ({reason[:200]}); {right}") from error


@contextlib.contextmanager
def global_generator_untouched(name: str) -> Iterator[None]:
    """Check that the code under test draws nothing from torch's global generator.

    Args:
        name: of the part, for the error.

    Yields:
        Once, to the code under test.

    Raises:
        ContractError: if the state of the generator has changed.

    Example:
        >>> with global_generator_untouched("my_loss"):
        ...     draw = torch.rand(3)
        Traceback (most recent call last):
        longtail.testing.contract.ContractError: my_loss: draws from the global generator; ...
    """
    before = torch.get_rng_state()
    yield
    if not torch.equal(torch.get_rng_state(), before):
        raise ContractError(f"{name}: draws from the global generator; take a torch.Generator and draw from that")
