"""A user's own code, named on the command line as ``module:attribute`` or ``file.py:attribute``."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import inspect
import pathlib
import re
import sys
import traceback
from types import ModuleType
from typing import Any

from longtail.errors import InputError, unknown


def attribute(text: str) -> Any:
    """Import the module or file that the user named and return the attribute.

    Raises:
        InputError: no such file, module or attribute, or one that cannot be imported.
    """
    source, _, name = text.rpartition(":")
    module = _file(source, text) if source.endswith(".py") else _module(source, text)
    found = vars(module)
    if name not in found:
        raise unknown(f"attribute of {source}", name, [key for key in found if not key.startswith("_")])
    return found[name]


def digest(text: str) -> str:
    """SHA-256 of the source of what the user named: the file named, and the one that defines it if that is another.

    Raises:
        InputError: there is no source, or what ``attribute`` raises.
    """
    found, source = attribute(text), text.rpartition(":")[0]
    files = {pathlib.Path(source).resolve()} if source.endswith(".py") else set()
    for part in (inspect.unwrap(found), *([] if files else [sys.modules[source]])):
        # An object, or what is built in, has no source: the file that names it must do.
        with contextlib.suppress(TypeError):
            files.add(pathlib.Path(inspect.getfile(part)).resolve())
    if not files:
        raise InputError(f"{text!r}: its source cannot be read, so its runs could not be told apart")
    return hashlib.sha256(b"".join(sorted(file.read_bytes() for file in files))).hexdigest()


def failure(error: Exception) -> str:
    """What went wrong in the user's code, and where, in one line."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    place = "" if isinstance(error, SyntaxError) else f" ({pathlib.Path(last.filename).name}, line {last.lineno})"
    return f"{type(error).__name__}: {error}{place}"


def _file(source: str, text: str) -> ModuleType:
    path = pathlib.Path(source).resolve()
    # Registered, because dataclasses look for their module; under its whole path, so that it shadows no other.
    name = re.sub(r"\W", "_", str(path))
    spec = importlib.util.spec_from_file_location(name, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise InputError(f"{text!r}: there is no Python file {source}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise InputError(f"{text!r} cannot be imported: {failure(error)}") from error
    return module


def _module(source: str, text: str) -> ModuleType:
    if not source or source.startswith("."):
        raise InputError(f"{text!r}: name a module that can be imported, or a file.py, before the colon")
    sys.path.insert(0, "")  # as `python -m` does: the user's module may lie in the current folder
    try:
        return importlib.import_module(source)
    except ModuleNotFoundError as error:
        raise InputError(f"{text!r}: {error}; name a module that can be imported, or a file.py") from None
    except Exception as error:
        raise InputError(f"{text!r} cannot be imported: {failure(error)}") from error
    finally:
        sys.path.remove("")
