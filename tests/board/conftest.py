from __future__ import annotations

import pytest


@pytest.fixture
def one_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """A site of one page, where all that counts is what the build says."""
    monkeypatch.setattr("longtail.board.pages.paths", lambda index: ["index.html"])
