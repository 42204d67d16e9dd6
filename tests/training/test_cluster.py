"""Runs that Ray trains are those of a serial command; a lost process, another machine and a wrong address are met."""

from __future__ import annotations

import functools
import pathlib
import sys
import tempfile
import warnings
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from longtail import results
from longtail.data import Data, load
from longtail.errors import InputError
from longtail.methods import recipe as named
from longtail.training import cluster, many
from longtail.training.compute import Compute
from longtail.training.many import train_many
from longtail.training.run import Task

CPU = Compute("cpu", "float32", False)
METHODS = ("ce", "balanced-softmax", "crt")


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        library = pytest.importorskip("ray")
        library.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield library
    library.shutdown()


@pytest.fixture(scope="module")
def digits() -> Data:
    return load("digits-lt", imbalance=20)


def told(folder: pathlib.Path) -> tuple[dict[str, Any], bytes]:
    """A record without times and host, and the bytes of its predictions."""
    plain = results.read(folder).record.to_json()
    plain["digests"] = {"run": plain["digests"]["run"]}
    for key in ("seconds", "started", "revision", "hardware"):
        plain.pop(key)
    plain["history"] = [{key: value for key, value in row.items() if key != "seconds"} for row in plain["history"]]
    return plain, (folder / "predictions.npz").read_bytes()


@pytest.mark.slow
def test_three_methods_from_three_seeds_as_in_a_serial_command(ray: Any, digits: Data, tmp_path: pathlib.Path) -> None:
    recipes = [named(name, digits, epochs=2) for name in METHODS]
    heard: list[Any] = []
    options: dict[str, Any] = {"seeds": [0, 1, 2], "compute": CPU}
    serial = train_many(recipes, digits, out=tmp_path / "serial", **options)
    found = train_many(recipes, digits, out=tmp_path / "ray", on="ray", notify=heard.append, **options)
    for name in METHODS:
        assert [told(folder) for folder in found[name]] == [told(folder) for folder in serial[name]]
    # ce and crt have their beginning in common; whichever was first has trained it.
    assert len([progress for progress in heard if progress.row is not None]) == 3 * (2 + 2 + 1)
    assert len(list((tmp_path / "ray").glob("*/stages/*"))) == len(list((tmp_path / "serial").glob("*/stages/*")))
    assert not list((tmp_path / "ray").glob(".shared-*"))


@pytest.mark.slow
def test_a_lost_process_is_made_up_for(ray: Any, digits: Data, tmp_path: pathlib.Path) -> None:
    loss = tmp_path / "lost.py"
    loss.write_text(
        "import os, pathlib, signal\nfrom torch.nn.functional import cross_entropy\n\n\n"
        f"def loss(logits, target):\n    place = pathlib.Path({str(tmp_path)!r}, 'ended')\n"
        "    if not logits.any() or place.exists():\n        return cross_entropy(logits, target, reduction='none')\n"
        "    place.touch()\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    recipes = [named(name, digits, epochs=1) for name in (f"{loss}:loss", "ce")]
    folders = train_many(recipes, digits, seeds=[0], out=tmp_path / "runs", compute=CPU, on="ray")
    assert (tmp_path / "ended").exists()
    lost, ce = (results.read(paths[0]) for paths in folders.values())
    assert lost.record.report == ce.record.report  # it is cross-entropy


@pytest.mark.slow
def test_a_machine_without_the_storage_sends_the_files(ray: Any, digits: Data, tmp_path: pathlib.Path) -> None:
    here = train_many([named("ce", digits, epochs=1)], digits, seeds=[0], out=tmp_path / "here", compute=CPU)["ce"][0]
    folder = tmp_path / "elsewhere" / "digits" / "ce" / "seed-0"
    task = Task(named("ce", digits, epochs=1), {"compute": CPU, "seed": 0, "out": folder, "store": tmp_path / "none"})
    told_of: list[Any] = []
    marker = tmp_path / "a file that no other machine has"
    cluster.train_on_cluster([task], digits, told_of.append, out=tmp_path / "elsewhere", marker=marker)
    assert told(folder) == told(here)
    names = [sorted(path.name for path in held.iterdir() if path.name[0] != ".") for held in (folder, here)]
    assert names[0] == names[1]
    assert not (tmp_path / "none").exists()


@pytest.mark.slow
def test_an_error_of_a_run_is_that_of_the_command(ray: Any, digits: Data, tmp_path: pathlib.Path) -> None:
    wild = named("ce", digits, epochs=1, changes=("stages.0.optimizer.lr=1e20",))
    with pytest.raises(InputError, match="the loss became"):
        train_many([wild], digits, seeds=[0], out=tmp_path, compute=CPU, on="ray")


class Given:
    """A result of a task of ``MadeUp``."""

    def __init__(self, value: Any) -> None:
        self.value = value


class MadeUp:
    """What is used of Ray, in this process and at once."""

    class exceptions:  # noqa: N801
        RayTaskError = WorkerCrashedError = OutOfMemoryError = NodeDiedError = ZeroDivisionError

    def is_initialized(self) -> bool:
        return True

    def put(self, value: Any) -> Any:
        return value

    def get(self, given: Given) -> Any:
        return given.value

    def wait(self, waiting: list[Given], timeout: float) -> tuple[list[Given], list[Given]]:
        return waiting[:1], waiting[1:]

    def remote(self, **_: Any) -> Any:
        def made(thing: Any) -> Any:
            if not isinstance(thing, type):
                return SimpleNamespace(remote=lambda *given: Given(thing(*given)))
            actor = thing()
            tell, taken = (
                SimpleNamespace(remote=lambda *given, to=to: Given(to(*given))) for to in (actor.tell, actor.taken)
            )
            return SimpleNamespace(remote=lambda: SimpleNamespace(tell=tell, taken=taken))

        return made


def test_without_shared_storage_a_finished_run_stays_and_an_interrupted_one_goes_on(
    digits: Data, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "_library", MadeUp)
    unshared = tmp_path / "runs" / ".shared-with-nobody"
    monkeypatch.setattr(many, "train_on_cluster", functools.partial(cluster.train_on_cluster, marker=unshared))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "remote"))
    (tmp_path / "remote").mkdir()
    recipes, heard = [named("ce", digits, epochs=2)], list[Any]()

    def trained(**more: Any) -> pathlib.Path:
        heard.clear()
        found = train_many(
            recipes, digits, seeds=[0], out=tmp_path / "runs", compute=CPU, on="ray", notify=heard.append, **more
        )
        return found["ce"][0]

    folder = trained()
    assert len([progress for progress in heard if progress.row is not None]) == 2
    held = (folder / "record.json").read_bytes()
    assert trained() == folder
    assert heard == []
    assert (folder / "record.json").read_bytes() == held
    # Trained there and never brought here: it is not trained anew, and a record that came meanwhile stays.
    (folder / "record.json").unlink()
    trained()
    assert not any(progress.row is not None for progress in heard)
    assert (folder / "record.json").read_bytes() == held
    (folder / "record.json").write_bytes(b"mine")
    cluster._bring(MadeUp(), Given({"record.json": b"theirs"}), Task(recipes[0], {"out": folder, "seed": 0}))
    assert (folder / "record.json").read_bytes() == b"mine"


def test_a_tuned_run_comes_back_without_its_trials(
    digits: Data, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "_library", MadeUp)
    unshared = tmp_path / "runs" / ".shared-with-nobody"
    monkeypatch.setattr(many, "train_on_cluster", functools.partial(cluster.train_on_cluster, marker=unshared))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "remote"))
    (tmp_path / "remote").mkdir()
    tuned = named("tuned@trials=2", digits, epochs=1)
    found = train_many([tuned], digits, seeds=[0], out=tmp_path / "runs", compute=CPU, on="ray")
    (folder,) = found[tuned.name]
    assert results.read(folder).record.budget["trials"] == 2
    assert all(path.is_file() for path in folder.iterdir())


def test_where_is_said_in_one_way(digits: Data, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in ("there", "ray:", "slurm@x"):
        with pytest.raises(InputError, match="here, ray, ray:ADDRESS or slurm"):
            cluster.address_of(wrong)
    recipes = [named("ce", digits, epochs=1)]
    with pytest.raises(InputError, match="leave --jobs"):
        train_many(recipes, digits, seeds=[0], out=tmp_path, compute=CPU, on="ray", jobs=2)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"pip install 'longtail\[ray\]'"):
        train_many(recipes, digits, seeds=[0], out=tmp_path, compute=CPU, on="ray")
