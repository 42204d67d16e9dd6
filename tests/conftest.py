"""Checks shape annotations at run time, keeps test runs off the network, and finds the real data where it is."""

from __future__ import annotations

import os
import pathlib

from jaxtyping import install_import_hook

# Before anything imports longtail: every annotated function of the parts that compute with arrays then checks its
# shapes and types. Elsewhere mypy has seen them already, and checking each call again doubles the time of the tests.
COMPUTING = ("analysis", "augment", "counts", "dpp", "losses", "metrics", "rebalance", "samplers")
install_import_hook([f"longtail.{name}" for name in COMPUTING], "beartype.beartype")

import matplotlib  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Small tensors are faster on one thread, and a shared machine does not then decide how long the tests take."""
    torch.set_num_threads(1)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(20210407)


@pytest.fixture(scope="session")
def real_data() -> pathlib.Path:
    """The folder with cifar-100-python/, cifar10-lt-if*.npz and plankton/; skips where it is absent."""
    root = os.environ.get("LONGTAIL_DATA")
    if root is None or not (pathlib.Path(root) / "cifar-100-python").is_dir():
        pytest.skip("set LONGTAIL_DATA to a folder that holds cifar-100-python/ (the original files) to run this test")
    return pathlib.Path(root)


@pytest.fixture
def one_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """A site of one page, where all that counts is what the build says."""
    monkeypatch.setattr("longtail.board.pages.paths", lambda index: ["index.html"])
