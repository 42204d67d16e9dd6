"""What a record says of how its number came about: method, options in words, stages, board, pre-training.

Two forms of a configuration are read: parts by their public name (``{"name": "longtail.losses:focal", "arguments":
...}``), and the older one with a ``type``. Both are text from a stranger and nothing in them is imported.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from longtail.board.values import clean

_WORDS = {"RandomCrop": "crop", "HorizontalFlip": "flip", "random_crop": "crop", "horizontal_flip": "flip"}
_DEPTH = 40


def split_recipe(text: str) -> tuple[str, dict[str, str]]:
    """A recipe as it was typed, taken apart: its name, and its options as text.

    A comma begins a new option only before ``key=``, and not inside parentheses.

    Example:
        >>> split_recipe("dro-lt@balancing=(ldam@scale=30),layers=0.5,1")
        ('dro-lt', {'balancing': '(ldam@scale=30)', 'layers': '0.5,1'})
    """
    name, _, rest = text.partition("@")
    options: dict[str, str] = {}
    depth, start, pieces = 0, 0, []
    for i, sign in enumerate(rest):
        depth += (sign == "(") - (sign == ")")
        if sign == "," and depth <= 0 and re.match(r"[\w.-]+=", rest[i + 1 :]):
            pieces.append(rest[start:i])
            start = i + 1
    for piece in (*pieces, rest[start:]):
        key, equals, value = piece.partition("=")
        if equals:
            options[key] = value
    return name, options


def method_name(text: str) -> str:
    """A recipe's name without its options and without the folder of somebody's own file.

    Example:
        >>> method_name("my_lab/losses.py:vs_loss@gamma=0.3"), method_name("short=losses.py:vs_loss")
        ('vs_loss', 'short')
    """
    if found := re.match(r"([\w.-]+)=", text.partition("@")[0]):
        return found[1]
    return split_recipe(text)[0].rsplit(":", 1)[-1] or text


def options_in_words(text: str, config: Any) -> tuple[str, ...]:
    """What sets a run apart from its method as it stands: options as typed, and somebody's own parts.

    Example:
        >>> options_in_words("bns-ipdpp@loss=supcon,resample-every=4", {})
        ('loss supcon', 'resample every 4')
    """
    typed = [
        f"{re.sub('[-_.]+', ' ', key)} {value[1:-1] if value.startswith('(') else value}"
        for key, value in split_recipe(text)[1].items()
    ]
    if is_linear_probe(config) and _argument(config, "head") == "cosine":
        typed.append("cosine head")
    size = _argument(config, "size")
    if is_linear_probe(config) and type(size) is int and size > 0:
        typed.append(f"pictures of {size} pixels")
    own = [f"own part {_short(name)}" for name, source in _parts(config) if source and not name.startswith("longtail.")]
    return tuple(clean(each, 120) for each in dict.fromkeys((*typed, *own)))


def stage_epochs(config: Any) -> list[int]:
    """Epochs of each stage, as far as they are stated."""
    return [stage["epochs"] for stage in _stages(config) if type(stage.get("epochs")) is int]


def is_linear_probe(config: Any) -> bool:
    """Whether a run measures features: its classifier is trained, and never together with the backbone.

    The stages alone say so, whatever the run is called. Re-training the classifier of an ordinary run is no probe.

    Example:
        >>> is_linear_probe({"stages": [{"trains": "backbone"}, {"trains": "classifier"}]})
        True
        >>> is_linear_probe({"stages": [{"trains": "all"}, {"trains": "classifier"}]})
        False
    """
    trained = [stage.get("trains", "all") for stage in _stages(config)]
    return bool(trained) and trained[-1] in ("classifier", "head") and "all" not in trained


def augmentations(config: Any) -> str | None:
    """The names of all augmentations, in order, each once; ``None`` where none is stated."""
    found: list[str] = []
    for stage in _stages(config):
        found += [_WORDS.get(_short(name), _short(name)) for name, _ in _parts(stage.get("augmentation"))]
    return " + ".join(dict.fromkeys(clean(name, 60) for name in found)) or None


def track(record: dict[str, Any]) -> str:
    """The track that a record states: pre-trained weights, or none in a configuration that names its network."""
    stated = record["data"].get("track")
    if stated in ("scratch", "imagenet", "foundation", "unstated"):
        return str(stated)
    network, data = record["config"].get("model"), str(record["data"].get("name", ""))
    if _pretrained(network) or record["model"].get("pretrained"):
        return "imagenet"
    # Rows of features may come from anywhere.
    if data.startswith("features:") or len(record["data"].get("shape") or (0, 0, 0)) != 3:
        return "unstated"
    return "scratch" if isinstance(network, dict) and network else "unstated"


def _stages(config: Any) -> list[dict[str, Any]]:
    stages = config.get("stages") if isinstance(config, dict) else None
    return [stage for stage in stages if isinstance(stage, dict)] if isinstance(stages, list) else []


def _parts(thing: Any, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Name and source of every part in a configuration, in order."""
    if depth > _DEPTH:
        return
    if isinstance(thing, dict):
        name = thing.get("type") if isinstance(thing.get("type"), str) else thing.get("name")
        # A recipe and its stages have a name too; a part has arguments, or a type.
        if isinstance(name, str) and ("type" in thing or "arguments" in thing):
            yield name, str(thing.get("source") or "")
        for value in thing.values():
            yield from _parts(value, depth + 1)
    elif isinstance(thing, list):
        for value in thing:
            yield from _parts(value, depth + 1)


def _argument(config: Any, name: str) -> Any:
    """An argument of the network, as stated."""
    network = config.get("model") if isinstance(config, dict) else None
    given = network.get("arguments") if isinstance(network, dict) else None
    return given.get(name) if isinstance(given, dict) else None


def _short(name: str) -> str:
    return name.rsplit(":", 1)[-1].rsplit("/", 1)[-1]


def _pretrained(thing: Any, depth: int = 0) -> bool:
    if depth > _DEPTH:
        return False
    if isinstance(thing, dict):
        return any(
            (name in ("pretrained", "weights") and bool(value)) or _pretrained(value, depth + 1)
            for name, value in thing.items()
        )
    return isinstance(thing, list) and any(_pretrained(value, depth + 1) for value in thing)
