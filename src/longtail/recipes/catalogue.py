"""From what a user types to a recipe: a name, a name with options, ``module:attribute``, or ``file.py:attribute``."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pathlib
import sys
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

from longtail.errors import InputError, unknown
from longtail.recipes import balanced_softmax, ce, logit_adjustment
from longtail.recipes.protocol import Protocol
from longtail.train.config import parse
from longtail.train.objectives import OwnLoss, Supervised
from longtail.train.recipe import Recipe

Method = Callable[..., Recipe]

CATALOGUE: dict[str, Method] = {
    "ce": ce.recipe,
    "balanced-softmax": balanced_softmax.recipe,
    "logit-adjustment": logit_adjustment.recipe,
    "logit-adjustment-post-hoc": logit_adjustment.post_hoc,
}


def by_name(text: str, protocol: Protocol, options: Mapping[str, str] | None = None) -> Recipe:
    """The recipe a user asks for, applied to a protocol.

    Args:
        text: ``ce``; with options ``dro-lt@radius=shared,temperature=0.1``; ``module:attribute`` or
            ``path/to/file.py:attribute``, where the attribute is a recipe, a function from a protocol to a recipe, or
            a loss ``(logits, target) -> (N,)`` (also ``(logits, target, *, counts)``).
        protocol: what it is applied to.
        options: further options, which the method must know.

    Raises:
        InputError: an unknown name (the nearest is suggested), module, attribute or option.
    """
    name, _, tail = text.partition("@")
    given = dict(options or {})
    for item in filter(None, tail.split(",")):
        key, equals, value = item.partition("=")
        if not equals:
            raise InputError(f"recipe {text!r}: {item!r} should read option=value")
        given[key.strip()] = value.strip()
    method = CATALOGUE[name] if name in CATALOGUE else _own(name)
    if isinstance(method, Recipe):
        recipe, arguments = method, {}
        if given:
            raise InputError(f"recipe {name!r} is a finished recipe and takes no options; got {sorted(given)}")
    elif _takes_protocol(method):
        arguments = _arguments(name, method, given)
        recipe = method(protocol, **arguments)
    else:
        if given:
            raise InputError(f"loss {name!r} takes no options; got {sorted(given)}")
        OwnLoss(name).check()
        return Recipe(name, protocol.model, (ce.classify(protocol, Supervised(OwnLoss(name))),))
    if arguments:
        shown = ",".join(f"{key.replace('_', '-')}={given[key]}" for key in given)
        recipe = Recipe(f"{recipe.name}@{shown}", recipe.model, recipe.stages, recipe.adjustment, recipe.selection)
    return recipe


def _arguments(name: str, method: Method, given: Mapping[str, str]) -> dict[str, Any]:
    hints = get_type_hints(method)
    known = [parameter for parameter in inspect.signature(method).parameters if parameter != "protocol"]
    parsed = {}
    for key, value in given.items():
        field = key.replace("-", "_")
        if field not in known:
            if not known:
                raise InputError(f"recipe {name!r} has no options; got {key!r}")
            raise unknown(f"option of recipe {name!r}", key, [k.replace("_", "-") for k in known])
        parsed[field] = parse(hints[field], value, key)
    return parsed


def _takes_protocol(method: Any) -> bool:
    parameters = list(inspect.signature(method).parameters)
    return bool(parameters) and parameters[0] == "protocol"


def _own(text: str) -> Any:
    """The attribute of a module or file that the user named."""
    source, colon, attribute = text.rpartition(":")
    if not colon:
        raise unknown("recipe", text, CATALOGUE)
    if source.endswith(".py"):
        path = pathlib.Path(source)
        if not path.is_file():
            raise InputError(f"recipe {text!r}: there is no file {source}")
        spec = importlib.util.spec_from_file_location(path.stem, path)
        if spec is None or spec.loader is None:
            raise InputError(f"recipe {text!r}: {source} cannot be imported")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    else:
        sys.path.insert(0, "")  # as `python -m` does: the user's own module may lie in the current folder
        try:
            module = importlib.import_module(source)
        except ModuleNotFoundError as error:
            raise InputError(f"recipe {text!r}: {error}; name a module that can be imported, or a file.py") from None
        finally:
            sys.path.remove("")
    found = vars(module)
    if attribute not in found:
        raise unknown(f"attribute of {source}", attribute, [key for key in found if not key.startswith("_")])
    if not isinstance(found[attribute], Recipe) and not callable(found[attribute]):
        raise InputError(f"recipe {text!r} is a {type(found[attribute]).__name__}; a recipe, method or loss is needed")
    return found[attribute]
