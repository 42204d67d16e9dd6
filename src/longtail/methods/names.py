"""From what a user types to a recipe: a name, a name with options, ``module:attribute``, or ``file.py:attribute``."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

from longtail.errors import InputError, unknown
from longtail.methods import balanced_softmax, bns_ipdpp, ce, contrastive, crt, dro_lt, ip_dpp, logit_adjustment
from longtail.methods.protocols import Protocol
from longtail.recipes.config import parse
from longtail.recipes.objectives import OwnLoss, Supervised
from longtail.recipes.sources import attribute
from longtail.recipes.stages import Recipe

Method = Callable[..., Recipe]

CATALOGUE: dict[str, Method] = {
    "ce": ce.recipe,
    "balanced-softmax": balanced_softmax.recipe,
    "logit-adjustment": logit_adjustment.recipe,
    "logit-adjustment-post-hoc": logit_adjustment.post_hoc,
    "crt": crt.recipe,
    "dro-lt": dro_lt.recipe,
    "ip-dpp": ip_dpp.recipe,
    "bns-ipdpp": bns_ipdpp.recipe,
    "bns-probe": contrastive.probe,
    "supcon-probe": contrastive.supcon_probe,
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
    for item in filter(None, re.split(r",(?=[^,=]+=)", tail)):
        key, equals, value = item.partition("=")
        if not equals:
            raise InputError(f"recipe {text!r}: {item!r} should read option=value")
        given[key.strip()] = value.strip()
    if name not in CATALOGUE and ":" not in name:
        raise unknown("recipe", name, CATALOGUE)
    method: Any = CATALOGUE[name] if name in CATALOGUE else attribute(name)
    if not isinstance(method, Recipe) and not callable(method):
        raise InputError(f"recipe {name!r} is a {type(method).__name__}; a recipe, method or loss is needed")
    if callable(method) and _takes_protocol(method):
        recipe: Recipe = method(protocol, **_arguments(name, method, given))
    elif given:
        raise InputError(f"recipe {name!r} takes no options; got {', '.join(sorted(given))}")
    elif isinstance(method, Recipe):
        recipe = method
    else:
        recipe = Recipe(name, protocol.model, (ce.classify(protocol, Supervised(OwnLoss(name))),))
    if given:
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
    try:
        parameters = list(inspect.signature(method).parameters)
    except ValueError:  # built in, without a signature
        return False
    return bool(parameters) and parameters[0] == "protocol"
