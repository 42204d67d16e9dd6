"""Whose code a part is: ours by a public name, a package's by its version, a person's own by the digest of its files.

Nothing here is imported because a file says so. A person's own code runs only when that person named it: on the command
line, or by handing over the callable in Python.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import linecache
import pathlib
import re
import sys
import textwrap
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from longtail.errors import InputError, failure, unknown
from longtail.files import sha256

OURS = ("losses", "samplers", "recipes", "models", "augment", "rebalance")
"""The packages of longtail whose public names may be parts; a stored file can name nothing else."""

FILE = re.compile(r"(?P<file>.*?\.py):(?P<attribute>[^\W\d]\w*(?:\.[^\W\d]\w*)*)")


class Found(NamedTuple):
    """A callable with the name and the source that identify it."""

    function: Callable[..., Any]
    name: str
    source: str


_named: dict[tuple[str, str], Callable[..., Any]] = {}
"""Foreign callables that were named in this process, by attribute and source."""
_texts: dict[tuple[str, str], str] = {}
"""How another process on this machine finds them: a file or module and attribute; absent for code without either."""


def find(text: str) -> Found:
    """Return what a person named: ``longtail.x:attribute``, ``module:attribute`` or ``file.py:attribute``.

    Args:
        text: as typed. A file is executed, a module imported: call this for nothing that a stored file says.

    Raises:
        InputError: no such file, module or attribute, one that cannot be imported, or one without a source.

    Example:
        >>> find("longtail.losses:focal").name
        'longtail.losses:focal'
    """
    match = FILE.fullmatch(text)
    if match:
        try:
            path = pathlib.Path(match["file"]).expanduser().resolve()
            path.stat()
        except FileNotFoundError:
            pass  # said below
        except (OSError, RuntimeError) as error:  # a name that is too long; ~name of nobody
            raise InputError(f"{text[:100]!r}: {getattr(error, 'strerror', None) or error}") from None
        module, attribute, where = load_file(path, text), match["attribute"], f"{path}:{match['attribute']}"
        found = Found(_attribute(module, attribute, match["file"]), text, _digest(path, path.parent))
    else:
        source, _, attribute = text.rpartition(":")
        if source.startswith("longtail.") or source == "longtail":
            return ours(text)
        module, where = _module(source, text), text
        found = Found(_attribute(module, attribute, source), text, _source_of_module(module, text))
    return _remember(found, where)


def of(function: Callable[..., Any]) -> Found:
    """Return the identity of a callable that a program hands over.

    Raises:
        InputError: its source cannot be read, so that its runs could not be told apart.

    Example:
        >>> from longtail.losses import focal
        >>> of(focal).name, of(focal).source
        ('longtail.losses:focal', '')
    """
    name = _public_name(function)
    if name is not None:
        return Found(function, name, "")
    home = function if hasattr(function, "__qualname__") else type(function)
    module = sys.modules.get(home.__module__)
    name = f"{home.__module__}:{home.__qualname__}"
    if home.__module__.split(".")[0] == "longtail" and hasattr(module, "__file__"):
        raise InputError(f"{name} is no public name of longtail: a part is one of {', '.join(OURS)}")
    path = getattr(module, "__file__", None)
    loaded = next((key for key, held in _files.items() if held is module), None)
    if loaded is not None:
        return _remember(
            Found(function, f"{loaded[0]}:{home.__qualname__}", loaded[1]), f"{loaded[0]}:{home.__qualname__}"
        )
    if home is not function:
        raise InputError(f"{name}: hand over a function or a class, or name the object by file.py:attribute")
    if module is None or path is None or home.__module__ == "__main__" or "<" in name:
        return _remember(Found(function, name, hashlib.sha256(_text(function, name, set()).encode()).hexdigest()), None)
    return _remember(Found(function, name, _source_of_module(module, name)), name)


def ours(name: str) -> Found:
    """Return a part of this library by its public name.

    Raises:
        InputError: no public name of the packages that hold parts.
    """
    package, _, attribute = name.rpartition(":")
    short = package.removeprefix("longtail.")
    if short not in OURS:
        raise InputError(f"{name!r} names no part: parts of longtail are in {', '.join(f'longtail.{p}' for p in OURS)}")
    module = importlib.import_module(package)
    if attribute not in module.__all__:
        raise unknown(f"part of {package}", attribute, module.__all__)
    return Found(getattr(module, attribute), name, "")


def known(name: str, source: str) -> Callable[..., Any]:
    """Return the callable of a part: ours, or a foreign one that was named in this process with this very source.

    Raises:
        InputError: a foreign part that nobody named, or whose source is another one now.
    """
    if not source:
        return ours(name).function
    key = (attribute_of(name), source)
    if key in _named:
        return _named[key]
    same = [there for attribute, there in _named if attribute == key[0]]
    if same:
        raise InputError(
            f"{name!r} has another source ({same[-1][:12]}) than the one recorded ({source[:12]}): it was edited since"
        )
    raise InputError(
        f"{name!r} is somebody's own code, which is never run because a file names it: name it yourself, for example "
        f"with --model {name}"
    )


def attribute_of(name: str) -> str:
    """Return the attribute in a part's name: what identifies a foreign part besides its source."""
    return name.rpartition(":")[2]


def shipped(wanted: Iterable[tuple[str, str]]) -> list[tuple[str, str, str | None, bytes]]:
    """Return foreign callables that were named here, so that another process can know them (``receive``).

    Args:
        wanted: name and source of each, as parts hold them.
    """
    import cloudpickle

    rows: list[tuple[str, str, str | None, bytes]] = []
    for name, source in wanted:
        key = (attribute_of(name), source)
        if key in _named:  # a part of a run that is only continued may be known by its record alone
            text = _texts.get(key)
            rows.append((*key, text, b"" if text else cloudpickle.dumps(_named[key])))
    return rows


def receive(rows: list[tuple[str, str, str | None, bytes]]) -> None:
    """Take over what ``shipped`` gave: by its file or module where it has one, else by value."""
    import pickle

    for attribute, source, text, content in rows:
        if text is None:
            _named[attribute, source] = pickle.loads(content)  # from the parent process, which made it just now
        elif (attribute, source) not in _named:
            find(text)


def _remember(found: Found, where: str | None) -> Found:
    key = (attribute_of(found.name), found.source)
    _named[key] = found.function
    if where is not None:
        _texts[key] = where
    return found


def _public_name(function: Any) -> str | None:
    """The name under which a package of ours exports a callable; None for what is not ours."""
    top, _, rest = str(getattr(function, "__module__", "")).partition(".")
    package, attribute = rest.partition(".")[0], getattr(function, "__qualname__", "")
    if top != "longtail" or package not in OURS or not attribute:
        return None
    exported = getattr(sys.modules.get(f"longtail.{package}"), "__all__", None)  # None while it is being imported
    return f"longtail.{package}:{attribute}" if exported is None or attribute in exported else None


# Files.

_files: dict[tuple[pathlib.Path, str], types.ModuleType] = {}
"""Files that were executed, by path and digest: an edited file is executed again."""


def load_file(path: pathlib.Path, text: str) -> types.ModuleType:
    """Execute a Python file, once as long as neither it nor a file beside it that it imports changes.

    What it imports from its own folder is its own: two folders may hold files of one name.
    """
    if not path.is_file():
        raise InputError(f"{text!r}: there is no Python file {path}")
    key = (path, _digest(path, path.parent))
    if key in _files:
        return _files[key]
    name = f"{path.stem}_{hashlib.sha256(repr(key).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{text!r}: {path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    folder = str(path.parent)
    mine = {entry.stem for entry in path.parent.iterdir() if entry.suffix == ".py" or (entry / "__init__.py").exists()}
    before = {key: held for key, held in sys.modules.items() if key.split(".")[0] in mine}
    for held in before:
        del sys.modules[held]
    sys.modules[name] = module  # dataclasses look for their module
    sys.path.insert(0, folder)
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # a stale cache could hide an edit
    importlib.invalidate_caches()
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise InputError(f"{text!r} cannot be imported: {failure(error)}") from error
    finally:
        sys.dont_write_bytecode = writes
        sys.path.remove(folder)
        for held in [key for key in sys.modules if key.split(".")[0] in mine]:
            del sys.modules[held]
        sys.modules.update(before)
    _files[key] = module
    return module


def _module(source: str, text: str) -> types.ModuleType:
    if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", source):
        raise InputError(f"{text!r}: name a module that can be imported, or a file.py, before the colon")
    sys.path.insert(0, "")  # as `python -m` does: the person's module may lie in the current folder
    try:
        return importlib.import_module(source)
    except ModuleNotFoundError as error:
        raise InputError(f"{text!r}: {error}; name a module that can be imported, or a file.py") from None
    except Exception as error:
        raise InputError(f"{text!r} cannot be imported: {failure(error)}") from error
    finally:
        sys.path.remove("")


def _attribute(module: types.ModuleType, path: str, where: str) -> Any:
    found: Any = module
    for name in path.split("."):
        if name not in dir(found):
            raise unknown(f"attribute of {where}", name, [key for key in dir(found) if not key.startswith("_")])
        found = getattr(found, name)
    return found


# Digests.


def _source_of_module(module: types.ModuleType, text: str) -> str:
    """Version of an installed package, else the digest of the module's file and of what it imports beside it."""
    path = getattr(module, "__file__", None)
    top = module.__name__.split(".")[0]
    if path is None or pathlib.Path(path).suffix != ".py":
        version = _version(top)
        if version is None:
            raise InputError(f"{text!r}: its source cannot be read, so its runs could not be told apart")
        return version
    if {"site-packages", "dist-packages"} & set(pathlib.Path(path).parts):
        version = _version(top)
        if version is not None:
            return version
    file = pathlib.Path(path).resolve()
    root = file.parents[module.__name__.count(".") + (file.name == "__init__.py")]
    return _digest(file, root)


def _version(top: str) -> str | None:
    distributions = _distributions().get(top)
    return f"{distributions[0]}=={importlib.metadata.version(distributions[0])}" if distributions else None


@functools.cache
def _distributions() -> dict[str, list[str]]:
    return dict(importlib.metadata.packages_distributions())


def _digest(path: pathlib.Path, root: pathlib.Path) -> str:
    """SHA-256 of a file and of the files below ``root`` that it imports, directly or not, wherever ``root`` is."""
    lines = [sha256(path)]
    lines += [f"{file.relative_to(root).as_posix()} {sha256(file)}" for file in sorted(_imported(path, root) - {path})]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _imported(path: pathlib.Path, root: pathlib.Path) -> set[pathlib.Path]:
    """The files below ``root`` that a file imports, and those that these import."""
    seen: set[pathlib.Path] = set()
    waiting = [path]
    while waiting:
        file = waiting.pop()
        if file in seen:
            continue
        seen.add(file)
        try:
            tree = ast.parse(file.read_bytes())
        except (SyntaxError, ValueError):  # importing it will say so
            continue
        waiting += [found for name in _imports(tree, file, root) for found in _module_files(name, root)]
    return seen


def _imports(tree: ast.AST, file: pathlib.Path, root: pathlib.Path) -> Iterator[tuple[str, ...]]:
    """Names that a file imports, as paths from ``root``."""
    package = file.parent.relative_to(root).parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = (*base, *(node.module.split(".") if node.module else ()))
            yield from ((*module, alias.name) for alias in node.names)


def _module_files(name: tuple[str, ...], root: pathlib.Path) -> Iterator[pathlib.Path]:
    """The files that importing a name executes: each package on its way, and the module."""
    for end in range(1, len(name) + 1):
        place = root.joinpath(*name[:end])
        for file in (place / "__init__.py", place.with_name(f"{place.name}.py")):
            if file.is_file():
                yield file.resolve()


def _text(function: Any, name: str, seen: set[int]) -> str:
    """The source of a callable without a file of its own, with that of what it uses from the same place."""
    if id(function) in seen:
        return ""
    seen.add(id(function))
    try:
        text = _written(function)
    except (OSError, TypeError):
        raise InputError(
            f"{name}: its source cannot be read (a cell or file is needed), so its runs could not be told apart"
        ) from None
    lines, functions = [text], _functions(function)
    space = vars(sys.modules[function.__module__]) | (functions[0].__globals__ if functions else {})
    used = {key: space[key] for key in _names_at_definition(text) if key in space}
    codes = [held.__code__ for held in functions]
    while codes:
        code = codes.pop()
        used |= {key: space[key] for key in code.co_names if key in space}
        codes += [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
    for held in functions:
        for key, cell in zip(held.__code__.co_freevars, held.__closure__ or (), strict=True):
            if key != "__class__":
                used[key] = cell.cell_contents
    for key in sorted(used):
        value = used[key]
        if isinstance(value, (types.FunctionType, type)):
            if value.__module__ == function.__module__ and value is not function:
                lines.append(_text(value, key, seen))
        elif value is None or isinstance(value, (bool, int, float, str, bytes, tuple)):
            lines.append(f"{key} = {value!r}")
        elif not isinstance(value, (types.ModuleType, types.BuiltinFunctionType)):
            raise InputError(
                f"{name} uses {key!r}, a {type(value).__name__} that is no part of its source, so its runs could not "
                f"be told apart; put it into a file and name that"
            )
    return "\n".join(lines)


def _written(function: Any) -> str:
    """The text of a function or class; a class of a notebook cell has no file, so its methods tell where it stands."""
    functions = _functions(function)
    name = function.__name__ if isinstance(function, type) or not functions else functions[0].__code__.co_name
    try:
        text = inspect.getsource(function)
    except (OSError, TypeError):
        if not isinstance(function, type):
            raise
    else:
        # From Python 3.13 on, code made by exec has the same file name, <string>, as what python -c was given.
        if not re.search(r"\blambda\b" if name == "<lambda>" else rf"\b(def|class)\s+{re.escape(name)}\b", text):
            raise OSError
        return text
    for held in functions:
        lines = linecache.getlines(held.__code__.co_filename)
        try:
            tree = ast.parse("".join(lines))
        except (SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and node.name == function.__name__:
                first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
                if first <= held.__code__.co_firstlineno <= (node.end_lineno or 0):
                    return "".join(lines[first - 1 : node.end_lineno])
    raise OSError


def _names_at_definition(text: str) -> set[str]:
    """Names that a definition uses when it is executed: decorators, base classes and values in a class's body."""
    try:
        tree = ast.parse(textwrap.dedent(text))
    except SyntaxError:  # a lambda within a line
        return set()
    used: list[ast.expr] = []
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            used += node.decorator_list
        if isinstance(node, ast.ClassDef):
            used += [*node.bases, *(keyword.value for keyword in node.keywords)]
            used += [held.value for held in node.body if isinstance(held, (ast.Assign, ast.AnnAssign)) and held.value]
    return {found.id for root in used for found in ast.walk(root) if isinstance(found, ast.Name)}


def _functions(function: Any) -> list[types.FunctionType]:
    """The functions whose code a callable runs: itself without its decorators, or the methods of a class."""
    if not isinstance(function, type):
        found = inspect.unwrap(function)
        return [found] if isinstance(found, types.FunctionType) else []
    methods = (
        getattr(held, "__func__", None) or getattr(held, "fget", None) or held for held in vars(function).values()
    )
    return [inspect.unwrap(held) for held in methods if isinstance(held, types.FunctionType)]
