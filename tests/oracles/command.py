"""The command line in this process, as it is typed."""

from __future__ import annotations

import sys

import pytest

from longtail import cli


def run(arguments: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit status of ``longtail ARGUMENTS``, in this process."""
    monkeypatch.setattr(sys, "argv", ["longtail", *arguments.split()])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert isinstance(stopped.value.code, int)
    return stopped.value.code
