"""One syntax for a part everywhere: ``NAME@key=value,key=value``.

A comma begins a new option only before ``key=``, so ``layers=0.5,1,steps=2`` has two options. A value that holds a part
with options of its own, or a comma before something that looks like an option, stands in parentheses:
``dro-lt@balancing=(ldam@scale=30),steps=5``. A text in double quotes is taken as it is, as JSON writes it. NAME is one
of ours, ``module:attribute`` or ``file.py:attribute``.
"""

from __future__ import annotations

import inspect
import json
import math
import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any

from longtail.errors import InputError, unknown
from longtail.recipes import sources
from longtail.recipes.part import GIVEN, Part, hints_of, named, options_of, parameters_of, part

OPTION = re.compile(r"[^\W\d][\w-]*=")


def split(text: str) -> tuple[str, dict[str, str]]:
    """Split ``NAME@key=value,...`` into its name and its options as typed, dashes in keys made underscores.

    Raises:
        InputError: an option without a value, one given twice, or parentheses that do not match.

    Example:
        >>> split("dro-lt@balancing=(ldam@scale=30),layers=0.5,1,steps=2")
        ('dro-lt', {'balancing': 'ldam@scale=30', 'layers': '0.5,1', 'steps': '2'})
        >>> split("odd@name.py:loss@gamma=1")
        ('odd@name.py:loss', {'gamma': '1'})
    """
    name, tail = _name_and_tail(text)
    options: dict[str, str] = {}
    for item in _items(tail, text) if tail else ():
        key, equals, value = item.partition("=")
        if not equals or not key:
            raise InputError(f"{text!r}: {item!r} should read option=value")
        key = key.strip().replace("-", "_")
        if key in options:
            raise InputError(f"{text!r}: option {key!r} is given twice")
        options[key] = _unwrapped(value.strip(), text)
    return name, options


def _name_and_tail(text: str) -> tuple[str, str]:
    # A file's own name may hold any letter: the first split that leaves an attribute and options is meant.
    for match in re.finditer(r"\.py:[^\W\d]\w*(?:\.[^\W\d]\w*)*(?=@|$)", text):
        rest = text[match.end() :]
        if not rest or OPTION.match(rest[1:]):
            return text[: match.end()], rest[1:]
    name, _, tail = text.partition("@")
    return name, tail


def _outside_quotes(text: str) -> Iterator[tuple[int, str, int]]:
    """Yield place, letter and depth of parentheses after it, of what is not in double quotes; at the end the depth."""
    depth, quoted, escaped = 0, False, False
    for place, letter in enumerate(text):
        if quoted:
            quoted = escaped or letter != '"'
            escaped = letter == "\\" and not escaped
            continue
        quoted = letter == '"'
        depth += (letter == "(") - (letter == ")")
        yield place, letter, depth
    yield len(text), "", -1 if quoted else depth


def _items(tail: str, text: str) -> Iterable[str]:
    """The options of a list, split at the commas that begin one."""
    start = 0
    for place, letter, depth in _outside_quotes(tail):
        if depth < 0 or (not letter and depth):
            raise InputError(f"{text!r}: its parentheses or quotes do not match")
        if letter == "," and depth == 0 and OPTION.match(tail[place + 1 :].lstrip()):
            yield tail[start:place]
            start = place + 1
    yield tail[start:]


def _unwrapped(value: str, text: str) -> str:
    if value.startswith('"') and value.endswith('"') and len(value) > 1:
        try:
            return str(json.loads(value))
        except json.JSONDecodeError:
            raise InputError(f"{text!r}: {value} is no text in double quotes as JSON writes it") from None
    if not (value.startswith("(") and value.endswith(")")):
        return value
    closes = next((place for place, _, depth in _outside_quotes(value) if depth == 0), len(value))
    return value[1:-1] if closes == len(value) - 1 else value  # "(a)+(b)" is no single pair


def _joined(text: str) -> list[str]:
    """The parts of a list, which stand between plus signs."""
    pieces, start = [], 0
    for place, letter, depth in _outside_quotes(text):
        if (letter == "+" and depth == 0) or not letter:
            pieces.append(_unwrapped(text[start:place].strip(), text))
            start = place + 1
    return pieces


# Names.


def names(kind: str) -> dict[str, Callable[..., Any]]:
    """Return the parts of ours of a kind by the names that people type; a kind is known by the shape of its callables.

    Example:
        >>> sorted(names("optimizer")), "balanced-softmax" in names("loss"), "class-quota" in names("sampler")
        (['adamw', 'adamw-by-layer', 'max-norm-sgd', 'muon', 'sgd'], True, True)
    """
    import importlib

    packages, fits = _KINDS[kind]
    found = {}
    for package in packages:
        module = importlib.import_module(f"longtail.{package}")
        for attribute in module.__all__:
            function = getattr(module, attribute)
            if callable(function) and fits(function):
                found[_kebab(attribute)] = function
    return found


def _first(*wanted: str) -> Callable[[Any], bool]:
    return lambda function: tuple(parameters_of(function))[: len(wanted)] == wanted


def _objective(function: Any) -> bool:
    call = getattr(function, "forward", None) if isinstance(function, type) else function
    return call is not None and {"model", "batch"} <= set(parameters_of(call))


_KINDS: dict[str, tuple[tuple[str, ...], Callable[[Any], bool]]] = {
    "loss": (("losses",), _first("logits", "target")),
    "objective": (("losses", "recipes"), lambda function: _first("logits", "target")(function) or _objective(function)),
    "pair loss": (("losses",), _first("queries", "keys")),
    "sampler": (("samplers",), lambda function: isinstance(function, type) and _first("target")(function)),
    "optimizer": (("recipes",), _first("modules")),
    "schedule": (("recipes",), _first("epoch", "progress")),
    "model": (
        ("models", "recipes"),
        lambda function: "num_classes" in parameters_of(function) and not isinstance(function, type),
    ),
    "augmentation": (("augment",), lambda function: hasattr(function, "apply")),
    "adjustment": (("rebalance",), lambda function: isinstance(function, type)),
}

Loss = Annotated[Part, "loss"]
PairLoss = Annotated[Part, "pair loss"]
Objective = Annotated[Part, "objective"]
Sampler = Annotated[Part, "sampler"]
Optimizer = Annotated[Part, "optimizer"]
Schedule = Annotated[Part, "schedule"]
Model = Annotated[Part, "model"]
Augmentation = Annotated[tuple[Part, ...], "augmentation"]
Adjustment = Annotated[Part, "adjustment"]


def _kebab(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower().replace("_", "-")


def read(text: str, kind: str) -> Part:
    """Return the part that a text names.

    Args:
        text: ``NAME@key=value,...``.
        kind: where a short name is looked up: loss, objective, sampler, optimizer, schedule, model, augmentation or
            adjustment.

    Raises:
        InputError: an unknown name (the nearest is suggested), option or value.

    Example:
        >>> read("adamw@lr=0.003", "optimizer")["lr"]
        0.003
    """
    name, options = split(_unwrapped(text, text))
    fixed: dict[str, Any] = {}
    if ":" in name:
        made = named(name)
    elif kind == "model":
        from longtail.models import names as models

        function, fixed = (names("model")[name], {}) if name == "experts" else models.find(name)
        made = part(function, **fixed)
    else:
        known = names(kind)
        key = _kebab(name)
        if key not in known:
            raise unknown(kind, name, known)
        made = part(known[key])
    return made.with_arguments(**values(made.function, options, name)) if options else made


def values(function: Callable[..., Any], options: Mapping[str, str], name: str) -> dict[str, Any]:
    """Return options as typed, as values of the callable's own types.

    Raises:
        InputError: an option it does not have, or a value of another type.
    """
    known, hints = options_of(function), hints_of(function)
    given = {key: parameter for key, parameter in parameters_of(function).items() if key in options}
    found = {}
    for key, text in options.items():
        if key in GIVEN and function.__module__.startswith("longtail."):
            raise InputError(f"{name}: {key.replace('_', '-')!r} is given by training and cannot be set")
        if key not in known and key not in given:
            if not known:
                raise InputError(f"{name} has no options; got {key.replace('_', '-')!r}")
            raise unknown(f"option of {name}", key.replace("_", "-"), [option.replace("_", "-") for option in known])
        found[key] = value(hints.get(key, _type_of(known.get(key))), text, f"{name}, {key.replace('_', '-')}")
    return found


def _type_of(parameter: inspect.Parameter | None) -> Any:
    """A type for an option without annotation: that of its default."""
    default = None if parameter is None or parameter.default is parameter.empty else parameter.default
    kind = {bool: bool, int: float, float: float, str: str, Part: Annotated[Part, "objective"]}.get(type(default))
    return kind or Any


def value(hint: Any, text: str, where: str) -> Any:
    """Return ``text`` as a value of an annotated type; unions and literals take the first that fits.

    Raises:
        InputError: it fits none.

    Example:
        >>> value(float | None, "none", "tau"), value(tuple[float, ...], "0.5,1", "layers")
        (None, (0.5, 1.0))
    """
    choices = _choices(hint)
    for choice in choices:
        if isinstance(choice, _Literal):
            if text == str(choice.value):
                return choice.value
        elif choice is bool:
            if text.lower() in ("true", "false"):
                return text.lower() == "true"
        elif choice is type(None):
            if text.lower() == "none":
                return None
        elif choice in (int, float):
            number = _number(choice, text)
            if number is not None:
                return number
        elif choice is str:
            return text
        elif choice is Any:
            return _guess(text)
        elif isinstance(choice, _PartOf):
            if text.lower() == "none" and type(None) in choices:
                return None
            return augmentation(text) if choice.kind == "augmentation" else read(text, choice.kind)
        elif typing.get_origin(choice) is tuple:
            item = typing.get_args(choice)[0]
            if isinstance(_choices(item)[0], _PartOf):
                return tuple(value(item, one, where) for one in _joined(text))
            return tuple(value(item, one.strip(), where) for one in text.split(",") if one.strip())
    raise InputError(f"{where}: {text!r} is not {' or '.join(_describe(choice) for choice in choices)}")


def augmentation(text: str) -> tuple[Part, ...]:
    """Return the operations that a text names: ``none``, ``plain``, ``strong``, or operations joined by ``+``."""
    from longtail.recipes.augmentations import PRESETS

    if text in PRESETS:
        return PRESETS[text]
    found: list[Part] = []
    for inner in _joined(text):
        known = {**names("augmentation"), **dict.fromkeys(PRESETS)}
        if inner in PRESETS:
            found += PRESETS[inner]
        elif ":" not in inner and _kebab(split(inner)[0]) not in known:
            raise unknown("augmentation", split(inner)[0], known)
        else:
            found.append(read(inner, "augmentation"))
    return tuple(found)


def _number(kind: type, text: str) -> int | float | None:
    if not re.fullmatch(r"[+-]?(\d[\d_]*\.?\d*|\.\d+)([eE][+-]?\d+)?", text, re.ASCII):
        return None
    try:
        number = kind(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _guess(text: str) -> Any:
    if text.lower() in ("true", "false", "none"):
        return {"true": True, "false": False, "none": None}[text.lower()]
    number = _number(int, text)
    if number is None:
        number = _number(float, text)
    return text if number is None else number


class _Literal(typing.NamedTuple):
    value: Any


class _PartOf(typing.NamedTuple):
    kind: str


def _choices(hint: Any) -> list[Any]:
    origin = typing.get_origin(hint)
    if origin is Annotated:
        base, *marks = typing.get_args(hint)
        kinds = [mark for mark in marks if mark in _KINDS]
        return [_PartOf(kinds[0])] if kinds else _choices(base)
    if origin in (typing.Union, types.UnionType):
        return [choice for one in typing.get_args(hint) for choice in _choices(one)]
    if origin is typing.Literal:
        return [_Literal(one) for one in typing.get_args(hint)]
    if origin is tuple and hasattr(typing.get_args(hint)[0], "apply"):
        return [_PartOf("augmentation")]
    return [_PartOf("objective")] if hint is Part else [hint]


def _describe(choice: Any) -> str:
    shown = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", type(None): "none"}
    if isinstance(choice, _Literal):
        return repr(choice.value)
    if typing.get_origin(choice) is tuple:
        return "a list separated by commas"
    return shown.get(choice, f"something that can be typed ({getattr(choice, '__name__', choice)}); set it from Python")


# Text.


def short(made: Part) -> str:
    """Return the name of a part without its options, as people type it.

    Example:
        >>> from longtail import losses
        >>> short(part(losses.balanced_softmax))
        'balanced-softmax'
    """
    return made.name if made.foreign else _kebab(sources.attribute_of(made.name))


def written(made: Part, *, every: bool = False) -> str:
    """Return a part as text that ``read`` takes: its name, and the options that differ from their defaults.

    Args:
        made: the part.
        every: show every option, also those at their default.

    Example:
        >>> from longtail import losses
        >>> written(part(losses.focal, gamma=1.0)), written(part(losses.focal)), written(part(losses.focal), every=True)
        ('focal@gamma=1.0', 'focal', 'focal@gamma=2.0,label-smoothing=0.0,ignore-index=-100')
    """
    defaults: dict[str, Any] = {}
    if not every:
        try:
            defaults = {key: parameter.default for key, parameter in options_of(made.function).items()}
        except InputError:  # somebody's own that was not named here: everything is shown
            defaults = {}
    shown = [
        f"{key.replace('_', '-')}={_value_text(item, every)}"
        for key, item in made.arguments
        if key not in defaults or defaults[key] != item
    ]
    return f"{short(made)}@{','.join(shown)}" if shown else short(made)


def _value_text(item: Any, every: bool) -> str:
    if isinstance(item, Part):
        text = written(item, every=every)
        if re.search(r'[()"]', short(item)):  # a file's own name, which is not to be taken for syntax
            return json.dumps(text, ensure_ascii=False)
        return f"({text})" if re.search(r"[@,=+]", text) else text
    if isinstance(item, tuple):
        if any(isinstance(one, Part) for one in item):
            return "+".join(_value_text(one, every) for one in item)
        return ",".join(_value_text(one, every) for one in item)
    if item is None or isinstance(item, bool):
        return str(item).lower()
    if isinstance(item, (int, float)):
        return str(item).replace("e+", "e")
    text = str(item)
    odd = re.search(r'[,()"+]', text) or text != text.strip() or not text
    return json.dumps(text, ensure_ascii=False) if odd else text
