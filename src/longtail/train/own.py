"""A user's own code, named on the command line as ``module:attribute`` or ``file.py:attribute``."""

from __future__ import annotations

import importlib
import importlib.util
import pathlib
import sys
from typing import Any

from longtail.errors import InputError, unknown


def attribute(text: str) -> Any:
    """Import the module or file that the user named and return the attribute.

    Raises:
        InputError: no such file, module or attribute.
    """
    source, _, name = text.rpartition(":")
    if source.endswith(".py"):
        path = pathlib.Path(source)
        spec = importlib.util.spec_from_file_location(path.stem, path)
        if not path.is_file() or spec is None or spec.loader is None:
            raise InputError(f"{text!r}: there is no Python file {source}")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    else:
        sys.path.insert(0, "")  # as `python -m` does: the user's module may lie in the current folder
        try:
            module = importlib.import_module(source)
        except ModuleNotFoundError as error:
            raise InputError(f"{text!r}: {error}; name a module that can be imported, or a file.py") from None
        finally:
            sys.path.remove("")
    found = vars(module)
    if name not in found:
        raise unknown(f"attribute of {source}", name, [key for key in found if not key.startswith("_")])
    return found[name]
