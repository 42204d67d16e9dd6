"""Options that several commands share, each group one frozen object, and what a configuration file adds to them."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import pathlib
import tomllib
import typing
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from longtail.cli.words import data_names
from longtail.errors import InputError, unknown

if TYPE_CHECKING:
    from longtail.data import Data
    from longtail.recipes import Part, Recipe
    from longtail.training.compute import Compute

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bar and no lines but the result and warnings")]
Root = Annotated[pathlib.Path | None, typer.Option(help="Folder with the data set's original files or pictures")]
ImageSize = Annotated[
    int | None,
    typer.Option(
        help="Side in pixels of pictures in files and of what a timm network gets; default 32, or that of its weights"
    ),
]
Lists = Annotated[pathlib.Path | None, typer.Option("--lists", help="Folder with a published set's official lists")]
LabelsFrom = Annotated[int, typer.Option(min=0, max=1, help="Number of the first class in list:PATH")]
DataName = Annotated[
    str,
    typer.Option(
        "--data",
        help="digits-lt, cifar100-lt, folder:PATH, file.py:function, ... (longtail data list)",
        autocompletion=data_names,
    ),
]
OwnData = Annotated[
    str | None,
    typer.Option(
        "--data",
        help="The run's own data set, where it is not found by the name in its record",
        autocompletion=data_names,
    ),
]
OwnModel = Annotated[
    str | None, typer.Option("--model", help="The run's network, where it is in a file of your own: net.py:Net")
]


def own_model(model: str | None) -> Part | None:
    """Return the part that ``--model`` names for a run whose network is in a file of somebody's own."""
    from longtail.recipes.text import read

    return None if model is None else read(model, "model")


def side_of(model: str | None) -> int | None:
    """Return the side in pixels of the pictures that a network with weights takes; None for any other."""
    from longtail.models.bridge import own_side, timm_model

    part = own_model(model)
    if part is None or part.foreign or part.function is not timm_model or not part["weights"]:
        return None
    return int(part["size"]) or own_side(part["timm_name"])


def refuse_unheeded(why: str, **given: Any) -> None:
    """Refuse the first option that was given where nothing would heed it.

    Args:
        why: end of the sentence, "it goes with --data".
        given: options by their names in Python, with the values that were given; None, False and [] are not given.

    Raises:
        InputError: names the option.

    Example:
        >>> refuse_unheeded("it goes with --data", root=None, image_size=None)
    """
    for name, value in given.items():
        if value is not None and value is not False and value != []:
            raise InputError(f"{flag(name)} would not be heeded here: {why}")


def flag(name: str) -> str:
    """Return how an option is written on the command line.

    Example:
        >>> flag("image_size"), flag("lists_folder")
        ('--image-size', '--lists')
    """
    return "--lists" if name == "lists_folder" else f"--{name.replace('_', '-')}"


PROTOCOLS = ("plain-200", "strong-400", "digits", "features", "linear-probe", "fine-tune", "peft")
"""Names of ``longtail.methods.protocols``, known here before anything heavy is imported; a test compares them."""


def _one_of(flag: str, value: str | None, choices: Sequence[str]) -> None:
    if value is not None and value not in choices:
        raise unknown(flag, value, choices)


@dataclasses.dataclass(frozen=True)
class Reading:
    """How a data set is read: what a record of a run on it does not say."""

    root: Root = None
    image_size: ImageSize = None
    leave_out_classes_below: Annotated[
        int | None, typer.Option(min=1, help="Leave out classes with fewer training images than this")
    ] = None
    drop_duplicates: Annotated[
        pathlib.Path | None, typer.Option(help="Leave out copies of images; which ones is kept in this list")
    ] = None
    lists_folder: Lists = None
    labels_from: LabelsFrom = 0
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Leave out training pictures that cannot be read, and name them")
    ] = False
    class_sizes: Annotated[
        pathlib.Path | None, typer.Option(help="Training images to keep of each class, a number a line; no profile")
    ] = None

    def given(self) -> dict[str, Any]:
        """Return the options that differ from their defaults."""
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != field.default
        }


@dataclasses.dataclass(frozen=True)
class Drawing(Reading):
    """How a data set is read, and what is drawn from it."""

    imbalance: Annotated[
        float | None, typer.Option(help="Largest over smallest class; default 100, and a natural data set as it is")
    ] = None
    split_seed: Annotated[
        int, typer.Option(help="Which images the long-tailed subset has; 0 is what everyone uses")
    ] = 0
    profile: Annotated[str, typer.Option(help="How the counts fall: exponential, step or pareto")] = "exponential"
    validation: Annotated[float, typer.Option(help="Share of each training class held out for validation")] = 0.0
    download: Annotated[
        bool, typer.Option("--download", help="Fetch the original files into --root if they are missing")
    ] = False
    no_flip: Annotated[bool, typer.Option("--no-flip", help="Never mirror pictures: for text, digits and signs")] = (
        False
    )

    def load(self, name: str, *, model: str | None = None, quiet: bool = False, enlarged: bool = True) -> Data:
        """Load a data set by its name, or by a function of somebody's own; a progress bar while pictures are read.

        Args:
            name: of the data set.
            model: network that is to see it: one with weights gets pictures in files at its own size, unless
                ``image_size`` is given.
            quiet: no progress bar.
            enlarged: whether a network may bring images of one size to ``image_size``; else the size is refused.
        """
        from longtail.cli.progress import counting
        from longtail.data import load, names
        from longtail.data.catalogue import is_selection, resizes

        if own_data(name, names()):
            return self._own(name)
        options = dataclasses.asdict(self)
        if not resizes(name):
            options["image_size"] = None if enlarged else self.image_size
        elif self.image_size is None and not is_selection(name):
            options["image_size"] = side_of(model)
        with counting("reading pictures", quiet=quiet) as notify:
            return load(name, notify=notify, **options)

    def _own(self, name: str) -> Data:
        from longtail.counts import class_counts
        from longtail.data import Data
        from longtail.recipes.part import parameters_of
        from longtail.recipes.text import read

        made = read(name, "data set")
        changed = self.given()
        for option in changed:
            if option not in parameters_of(made.function):
                raise InputError(
                    f"{flag(option)}: {made.name} has no parameter {option!r}, so it cannot take this option"
                )
        found = made.with_arguments(**changed).build()
        if not isinstance(found, Data):
            raise InputError(f"{made.name} gave a {type(found).__name__}; it must give a longtail.data.Data")
        counts = class_counts(found.train.target, found.num_classes)
        if counts.tolist() != found.counts.tolist():
            raise InputError(f"{made.name}: counts are {found.counts.tolist()}, but train has {counts.tolist()}")
        return found.renewed()  # a changed copy of ours would else keep the old identity, and with it old runs


@dataclasses.dataclass(frozen=True)
class Setting:
    """The protocol that a recipe is applied to, and changes of it."""

    protocol: Annotated[
        str | None,
        typer.Option(help="plain-200, strong-400, digits, features, linear-probe, fine-tune or peft, with @options"),
    ] = None
    model: Annotated[
        str | None, typer.Option(help="resnet32, resnet18-cifar, small, a timm name, net.py:Net, ... with @options")
    ] = None
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Epochs of the first stage; everything else scales with it")
    ] = None
    batch_size: Annotated[int | None, typer.Option(min=2, max=1_000_000, help="Images in a step")] = None
    augmentation: Annotated[
        str | None, typer.Option(help="none, plain (crop, flip), strong (AutoAugment, Cutout too), a+b, aug.py:my_aug")
    ] = None
    select: Annotated[
        str | None,
        typer.Option(
            help="last (epoch, the default) or validation (best epoch there); of a finished run as its recipe has it"
        ),
    ] = None
    patience: Annotated[
        int, typer.Option(min=0, help="End the last stage after so many epochs that were no better on validation")
    ] = 0
    accumulate: Annotated[
        int | None, typer.Option(min=1, help="Pieces in which a batch passes through the network: less memory")
    ] = None
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="A field of the recipe: stages.0.optimizer=adamw@lr=1e-3"),
    ] = None

    def __post_init__(self) -> None:
        _one_of("--protocol", None if self.protocol is None else self.protocol.partition("@")[0], PROTOCOLS)
        _one_of("--select", self.select, ("last", "validation"))

    def recipes(self, names: Sequence[str], data: Data | None, *, image_size: int | None = None) -> list[Recipe]:
        """Return the recipes of these names; without data, only to refuse what is wrong before data are read."""
        from longtail.methods.names import recipe

        options = dataclasses.asdict(self) | {"changes": self.changes or (), "image_size": image_size}
        return [recipe(name, data, **options) for name in names]


@dataclasses.dataclass(frozen=True)
class Machine:
    """Where and how the arithmetic runs."""

    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto"
    precision: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16")] = "auto"
    compiled: Annotated[bool, typer.Option("--compile/--no-compile", help="Compile the backbone (docs/speed.md)")] = (
        False
    )
    sync_batch_norm: Annotated[
        bool, typer.Option("--sync-batch-norm", help="Under torchrun: batch norm over all processes (docs/scale.md)")
    ] = False

    def __post_init__(self) -> None:
        _one_of("--device", self.device, ("auto", "cpu", "cuda"))
        _one_of("--precision", self.precision, ("auto", "float32", "bfloat16", "float16"))

    def choose(self) -> Compute:
        """Settle what was left to choice."""
        from longtail.training.compute import choose

        return choose(self.device, self.precision, self.compiled, self.sync_batch_norm)

    def described(self, chosen: Compute) -> str:
        """Say what was chosen, and why."""
        from longtail.training.compute import reason

        return f"{chosen.describe()} ({reason(chosen, self.precision)})"


def own_data(name: str, known: Sequence[str]) -> bool:
    """Return whether a data set is named as file.py:function or module:function, not by a name of ours.

    Example:
        >>> own_data("birds.py:load@year=3", ("digits-lt", "npz:PATH")), own_data("npz:x.py", ("digits-lt", "npz:PATH"))
        (True, False)
    """
    kind, colon, _ = name.partition(":")
    return bool(colon) and kind not in {held.partition(":")[0] for held in known}


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command have groups of options as parameters; on the command line each field is a flag of its own."""
    hints = typing.get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {}
    parameters: list[inspect.Parameter] = []
    shared: list[inspect.Parameter] = []
    last: list[inspect.Parameter] = []
    keyword = inspect.Parameter.KEYWORD_ONLY
    for name, parameter in inspect.signature(command).parameters.items():
        if dataclasses.is_dataclass(hints[name]):
            groups[name] = hints[name]
            inner = typing.get_type_hints(hints[name], include_extras=True)
            shared += [
                parameter.replace(name=field.name, default=field.default, annotation=inner[field.name], kind=keyword)
                for field in dataclasses.fields(hints[name])
            ]
        else:
            place = last if name in ("quiet", "as_json") else parameters
            place.append(parameter.replace(kind=keyword, annotation=hints[name]))
    parameters += [*shared, *last]  # a command's own options stand first in its help

    @functools.wraps(command)
    def run(**flags: Any) -> None:
        for name, group in groups.items():
            flags[name] = group(**{field.name: flags.pop(field.name) for field in dataclasses.fields(group)})
        command(**flags)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def with_configuration(words: list[str]) -> list[str]:
    """Return a command's words with those of ``--config FILE.toml`` before them, so that what is typed counts.

    A key is an option without its dashes; a list repeats it; ``arguments`` are the words without a flag; the table
    ``set`` holds fields of the recipe.

    Raises:
        InputError: a file that cannot be read, or is no TOML.
    """
    rest, found = [], []
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        name, equals, value = word.partition("=")
        if name != "--config":
            rest.append(word)
            continue
        if not equals and not waiting:
            raise InputError("--config needs a file")
        found += _words_of(pathlib.Path(value if equals else waiting.pop(0)))
    if not found:
        return rest
    start = next((place for place, word in enumerate(rest) if word.startswith("-")), len(rest))
    return [*rest[:start], *found, *rest[start:]]


def _words_of(path: pathlib.Path) -> list[str]:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"--config {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"--config {path} is no TOML: {error}") from None
    words: list[str] = []
    for key, value in table.items():
        flag = f"--{key.replace('_', '-')}"
        if key == "arguments":
            words = [*map(str, value if isinstance(value, list) else [value]), *words]
        elif key == "set" and isinstance(value, dict):
            words += [word for name, item in _flat(value) for word in ("--set", f"{name}={_text(item)}")]
        elif isinstance(value, bool):
            words += [flag] if value else []
        else:
            words += [word for item in (value if isinstance(value, list) else [value]) for word in (flag, _text(item))]
    return words


def _flat(table: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in table.items():
        found += _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [(f"{prefix}{key}", value)]
    return found


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def seeds(text: str) -> list[int]:
    """Read ``--seeds``: ``3`` means 0, 1, 2; ``4,`` or ``4,8`` lists them.

    Raises:
        InputError: no whole numbers from 0, none at all, or one twice.

    Example:
        >>> seeds("3"), seeds("4,8"), seeds("4,")
        ([0, 1, 2], [4, 8], [4])
    """
    given = [piece.strip() for piece in text.split(",") if piece.strip()]
    if not given or not all(piece.isascii() and piece.isdigit() and len(piece) < 18 for piece in given):
        raise InputError(f"--seeds {text!r}: give how many (3) or which (0,1,7), as whole numbers from 0")
    if "," in text:
        numbers = [int(piece) for piece in given]
        if len(set(numbers)) < len(numbers):
            raise InputError(f"--seeds {text!r}: a seed is named twice; every run has a seed of its own")
        return numbers
    if not 1 <= int(text) <= 10_000:
        raise InputError(f"--seeds {text!r}: give how many, from 1 to 10,000, or which (0,1,7)")
    return list(range(int(text)))


def seed(text: str) -> int:
    """Read ``--seed``, a whole number from 0."""
    if not (text.isascii() and text.isdigit() and len(text) < 18):
        raise InputError(f"--seed {text!r}: give a whole number from 0")
    return int(text)
