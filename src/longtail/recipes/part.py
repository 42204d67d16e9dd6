"""``Part``: a callable, its arguments and its source. Nothing else describes what a recipe is made of.

A part compares, hashes, becomes JSON and text, and is read from both; its options are the callable's own parameters
with a default, so a default is written once. ``build`` hands over what training knows, by parameter name.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import hashlib
import inspect
import json
import os
import pathlib
import time
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any

from torch import nn

from longtail.errors import InputError, failure, unknown
from longtail.recipes import sources

GIVEN = frozenset(
    [
        "target",
        "counts",
        "num_classes",
        "generator",
        "device",
        "batch_size",
        "rank",
        "world_size",
        "steps_per_epoch",
        "channels",
        "in_chans",
        "image_size",
        "img_size",
        "first_weights",
        "modules",
        "params",
        "protocol",
    ]
)
"""What training hands to a part that asks for it by parameter name, besides generators called ``..._generator``."""
CALLED = frozenset(
    [
        "logits",
        "features",
        "target",
        "index",
        "model",
        "batch",
        "images",
        "queries",
        "keys",
        "epoch",
        "progress",
        "epochs",
    ]
)
"""What a part is called with later; never bound before."""

SETTLED_SECONDS = 2
"""A file that has not been changed for so long is hashed once in a process, until its size or time changes."""
File = Annotated[str, "file"]
"""An argument that may name a file: it enters an address by the SHA-256 of the contents."""
Kind = typing.NewType("Kind", str)


@dataclasses.dataclass(frozen=True)
class Part:
    """A callable by its name, the values of its options, and whose code it is.

    Args:
        name: ``longtail.losses:focal``, a part of ours by its public name; ``module:attribute`` or
            ``file.py:attribute``, somebody's own.
        arguments: option and value in the order of the signature, defaults filled in. Values are numbers, strings,
            None, tuples and parts.
        source: "" for a part of ours, for which the version of the numerics stands; the version of an installed
            package; else SHA-256 of the file and of the files beside it that it imports.

    Example:
        >>> from longtail import losses
        >>> made = part(losses.logit_adjusted_cross_entropy, tau=0.5)
        >>> made.name, made.arguments[0]
        ('longtail.losses:logit_adjusted_cross_entropy', ('tau', 0.5))
        >>> part(losses.logit_adjusted_cross_entropy) == part(losses.logit_adjusted_cross_entropy, tau=1.0)
        True
    """

    name: str
    arguments: tuple[tuple[str, Any], ...] = ()
    source: str = ""

    @property
    def function(self) -> Callable[..., Any]:
        """The callable; see ``longtail.recipes.sources.known`` for what is refused."""
        return sources.known(self.name, self.source)

    @property
    def foreign(self) -> bool:
        """Whether it is somebody's own code."""
        return bool(self.source)

    def __getitem__(self, option: str) -> Any:
        """The value of an option."""
        return dict(self.arguments)[option]

    def with_arguments(self, **changes: Any) -> Part:
        """Return the part with other values of some options, checked like those of ``part``."""
        return _made(self.function, self.name, self.source, {**dict(self.arguments), **changes})

    def build(self, **given: Any) -> Any:
        """Bind the arguments and, of what is given, whatever the callable has a parameter for.

        A callable whose required parameters are then all known is called: a class gives its object. One that waits
        for more, as a loss waits for logits and target, is returned with the rest bound. Parts among the arguments are
        built first, from the same values.

        Args:
            given: what training knows, by parameter name: ``counts``, ``target``, ``generator``, ...

        Returns:
            What the callable makes, or the callable itself, ready to be called.

        Raises:
            InputError: a foreign part that nobody named, or a class that needs what is not given.

        Example:
            >>> import torch
            >>> from longtail import losses
            >>> loss = part(losses.focal, gamma=2.0).build(counts=torch.tensor([9, 1]), device="cpu")
            >>> loss(torch.zeros(1, 2), torch.tensor([0])).shape
            torch.Size([1])
        """
        function = self.function
        values = {name: built(value, given) for name, value in self.arguments}
        parameters = parameters_of(function)
        for name, parameter in parameters.items():
            if name in given and name not in values and parameter.kind is not parameter.VAR_KEYWORD:
                values[name] = given[name]
        waiting = [
            name
            for name, parameter in parameters.items()
            if name not in values
            and parameter.default is parameter.empty
            and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        ]
        if not waiting and not _is_object(function):
            try:
                return function(**values)
            except Exception as error:
                if not self.foreign or isinstance(error, InputError):
                    raise
                raise InputError(f"{self.name} failed when it was made: {failure(error)}") from error
        if isinstance(function, type):
            raise InputError(
                f"{self.name} needs {', '.join(map(repr, waiting))}, which training does not give; it gives "
                f"{', '.join(sorted(given))}; everything else needs a default"
            )
        bound = {name: value for name, value in values.items() if name not in CALLED}
        if isinstance(function, nn.Module):  # an object in a file: training must not change the file's own
            function = copy.deepcopy(function)
        return functools.partial(function, **bound) if bound else function


def _is_object(function: Any) -> bool:
    return not isinstance(function, type) and not hasattr(function, "__code__")


def built(value: Any, given: Mapping[str, Any]) -> Any:
    """Return an argument with the parts in it built."""
    if isinstance(value, Part):
        return value.build(**given)
    return tuple(built(item, given) for item in value) if isinstance(value, tuple) else value


def part(function: Callable[..., Any] | Part, **arguments: Any) -> Part:
    """Make a part of a callable: the one way from Python.

    Args:
        function: a function or class of ours or your own, or a part, some of whose options are changed.
        arguments: values of its options. Lists become tuples.

    Raises:
        InputError: an option that the callable does not have, or a callable without a readable source.
    """
    if isinstance(function, Part):
        return function.with_arguments(**arguments)
    if isinstance(function, functools.partial):
        if function.args:
            raise InputError("a part takes options by name: give functools.partial keyword arguments only")
        return part(function.func, **{**function.keywords, **arguments})
    found = sources.of(function)
    return _made(found.function, found.name, found.source, arguments)


def named(text: str, **arguments: Any) -> Part:
    """Make a part of what a person named: ``longtail.x:attribute``, ``module:attribute``, ``file.py:attribute``."""
    found = sources.find(text)
    if not callable(found.function):
        raise InputError(f"{text!r} is a {type(found.function).__name__}; a function or class is needed")
    return _made(found.function, found.name, found.source, arguments)


def _made(function: Callable[..., Any], name: str, source: str, arguments: Mapping[str, Any]) -> Part:
    known = options_of(function)
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters_of(function).values())
    allowed = set(known) | set(parameters_of(function))
    for option in arguments:
        if option in GIVEN and not source:
            raise InputError(f"{name}: {option!r} is given by training and cannot be set")
        if option not in allowed and not open_ended:
            if not known:
                raise InputError(f"{name} has no options; got {option!r}")
            raise unknown(f"option of {name}", option, known)
    filled = {option: parameter.default for option, parameter in known.items()} | dict(arguments)
    return Part(name, tuple((option, _value(value, f"{name}, {option}")) for option, value in filled.items()), source)


def _value(value: Any, where: str) -> Any:
    if isinstance(value, (list, tuple)):
        return tuple(_value(item, where) for item in value)
    if isinstance(value, pathlib.Path):
        return str(value)
    if value is None or isinstance(value, (bool, int, float, str, Part)):
        return value
    if callable(value):
        return part(value)
    raise InputError(f"{where}: a part holds numbers, strings, None, tuples and parts, not {type(value).__name__}")


@functools.lru_cache(maxsize=1024)
def parameters_of(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the parameters of a callable; none of a built-in one that does not tell them."""
    try:
        found = dict(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return {}
    return found


def options_of(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the parameters that can be set by a person: those with a default that training does not give.

    ``**options`` annotated with ``Annotated[Any, other]`` stands for the options of ``other``, which the callable hands
    on as they are.
    """
    found: dict[str, inspect.Parameter] = {}
    for name, parameter in parameters_of(function).items():
        if parameter.kind is parameter.VAR_KEYWORD:
            for other in _handed_on(function, name):
                found |= {key: value for key, value in options_of(other).items() if key not in found}
        elif parameter.default is not parameter.empty and name not in GIVEN and not name.endswith("_generator"):
            found[name] = parameter
    return found


def _handed_on(function: Callable[..., Any], name: str) -> tuple[Callable[..., Any], ...]:
    hint = hints_of(function).get(name)
    return tuple(typing.get_args(hint)[1:]) if typing.get_origin(hint) is Annotated else ()


@functools.lru_cache(maxsize=1024)
def hints_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the annotations of a callable's parameters, those of handed-on options included; {} if unreadable."""
    plain = function.__init__ if isinstance(function, type) else function  # type: ignore[misc]
    try:
        hints = typing.get_type_hints(plain, include_extras=True)
    except Exception:  # a stranger's annotations may name what does not exist here
        return {}
    for name, parameter in parameters_of(function).items():
        if parameter.kind is parameter.VAR_KEYWORD and typing.get_origin(hints.get(name)) is Annotated:
            for other in typing.get_args(hints[name])[1:]:
                hints = {**hints_of(other), **hints}
    return hints


def chosen(options: Mapping[str, Any], *functions: Callable[..., Any]) -> list[dict[str, Any]]:
    """Deal options out to the callables that have them, each to the first."""
    dealt: list[dict[str, Any]] = [{} for _ in functions]
    for name, value in options.items():
        owner = next(number for number, function in enumerate(functions) if name in options_of(function))
        dealt[owner][name] = value
    return dealt


# JSON and addresses.


def plain(value: Any) -> Any:
    """Return the JSON form of a part, of a dataclass of parts, or of what these hold.

    Example:
        >>> from longtail import losses
        >>> plain(part(losses.focal))
        {'name': 'longtail.losses:focal', 'arguments': {'gamma': 2.0, ...}, 'source': ''}
    """
    if isinstance(value, Part):
        return {"name": value.name, "arguments": {k: plain(v) for k, v in value.arguments}, "source": value.source}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: plain(item) for name, item in _fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"a recipe holds numbers, strings, None, tuples and parts, not {type(value).__name__}")


UNSET = {"unset": "left out"}
"""Metadata of a field that came later: at its default it is in no JSON and no address, so older ones still hold."""


def _fields(value: Any) -> Iterable[tuple[str, Any]]:
    for field in dataclasses.fields(value):
        item = getattr(value, field.name)
        if not (field.metadata == UNSET and item == field.default):
            yield field.name, item


def revive(value: Any) -> Any:
    """Return what ``plain`` wrote of parts, lists and numbers; nothing is imported but parts of ours.

    Raises:
        InputError: a part that does not fit this version, or is no part.
    """
    if isinstance(value, list):
        return tuple(revive(item) for item in value)
    if not isinstance(value, dict):
        return value
    name, arguments, source = value.get("name"), value.get("arguments"), value.get("source")
    if set(value) != {"name", "arguments", "source"} or not isinstance(name, str) or not isinstance(source, str):
        raise InputError(f"a stored part has a name, arguments and a source, not {str(sorted(value))[:80]}")
    if not isinstance(arguments, dict):
        raise InputError(f"the arguments of the stored part {name!r} are no object")
    values = {str(key): revive(item) for key, item in arguments.items()}
    if source:  # somebody's own: data, until its owner names it
        return Part(name, tuple(values.items()), source)
    found = sources.ours(name)
    return _made(found.function, found.name, "", values)


def address(value: Any) -> str:
    """Return the SHA-256 by which a description is known, in hex.

    A part of ours enters by its public name, a foreign one by attribute and source, not by the path of its file; an
    argument that names a file enters by the contents of the file.
    """
    text = json.dumps(_identity(value), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _identity(value: Any) -> Any:
    if isinstance(value, Part):
        name = sources.attribute_of(value.name) if value.foreign else value.name
        files = set() if value.foreign else _file_options(value.function)
        arguments = {
            key: _with_files(item) if value.foreign else contents(item) if key in files else _identity(item)
            for key, item in value.arguments
        }
        return {"name": name, "arguments": arguments, "source": value.source}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: _identity(item) for name, item in _fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _identity(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_identity(item) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)  # 1 and 1.0 are one value
    return plain(value)


def pathless(value: Any) -> Any:
    """Return the JSON form of parts without what says where files lie, which no address holds either.

    Example:
        >>> pathless({"name": "./my.py:loss", "arguments": {"table": "a/w.txt", "gamma": 2.0}, "source": "3f0c"})
        {'name': 'loss', 'arguments': {'table': None, 'gamma': 2.0}, 'source': '3f0c'}
    """
    if isinstance(value, list):
        return [pathless(item) for item in value]
    if not isinstance(value, dict):
        return value
    held = {key: pathless(item) for key, item in value.items()}
    name, arguments = held.get("name"), held.get("arguments")
    if set(held) != {"name", "arguments", "source"} or not isinstance(name, str) or not isinstance(arguments, dict):
        return held
    if held["source"]:
        return {**held, "name": sources.attribute_of(name), "arguments": _unnamed(arguments)}
    files: set[str] = set()
    with contextlib.suppress(InputError):  # a part of another version
        files = _file_options(sources.ours(name).function)
    return {**held, "arguments": {key: None if key in files else item for key, item in arguments.items()}}


def _unnamed(value: Any) -> Any:
    """The arguments of a person's own part without the texts that can name a file."""
    if isinstance(value, dict) and "source" not in value:
        return {key: _unnamed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_unnamed(item) for item in value]
    return None if isinstance(value, str) and _can_name_a_file(value) else value


def _file_options(function: Callable[..., Any]) -> set[str]:
    return {name for name, hint in hints_of(function).items() if "file" in typing.get_args(hint)[1:]}


def _with_files(value: Any) -> Any:
    """The identity of an option of a person's own part, whatever files it names taken by their contents."""
    if isinstance(value, tuple):
        return [_with_files(item) for item in value]
    return contents(value) if _names_a_file(value) else _identity(value)


def _names_a_file(value: Any) -> bool:
    """Whether a value is the name of a file that is there; a bare word, as ``timm``, is meant as none."""
    return isinstance(value, str) and _can_name_a_file(value) and os.path.isfile(os.path.expanduser(value))


def _can_name_a_file(text: str) -> bool:
    return os.sep in text or bool(pathlib.PurePath(text).suffix)


def contents(value: Any) -> Any:
    """Return the digest of the file that a value names; the value itself if it names none."""
    try:
        if not isinstance(value, str) or not pathlib.Path(value).expanduser().is_file():
            return value
        path = pathlib.Path(value).expanduser()
        seen = path.stat()
        # An address is asked for many times in a run, and weights are large; a file that has just been written may be
        # written again without its time of change showing it.
        settled = time.time_ns() - seen.st_mtime_ns > SETTLED_SECONDS * 1_000_000_000
        digest = _kept_digest if settled else _digest
        return {"sha256": digest(str(path.absolute()), seen.st_size, seen.st_mtime_ns)}
    except (OSError, RuntimeError) as error:  # a name that is too long; ~name of nobody
        raise InputError(f"file {value[:100]!r}: {getattr(error, 'strerror', None) or error}") from None


def _digest(path: str, size: int, changed: int) -> str:
    with pathlib.Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


_kept_digest = functools.lru_cache(maxsize=256)(_digest)


def absent_files(value: Any) -> Iterable[str]:
    """Yield the files that options of our parts name and that are not there; a bare word, as ``timm``, names none."""
    for part in parts_in(value):
        for key in _file_options(part.function) if not part.foreign else ():
            name = part[key]
            if isinstance(name, str) and pathlib.PurePath(name).suffix and contents(name) == name:
                yield name


def parts_in(value: Any) -> Iterable[Part]:
    """Yield every part in a part, a dataclass or a tuple, outermost first."""
    if isinstance(value, Part):
        yield value
        for _, argument in value.arguments:
            yield from parts_in(argument)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from parts_in(getattr(value, field.name))
    elif isinstance(value, tuple):
        for item in value:
            yield from parts_in(item)
