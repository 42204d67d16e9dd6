"""Parts in files of one's own, from the command line: each at most fifteen lines, each in every command that takes it.

A run is known by what its parts do: an edited file is another run, and so are two files with one class name.
"""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
from typing import Any

import pytest

from longtail import cli

LOSS = """
import torch.nn.functional as F


def sharp(logits, target, *, gamma: float = 1.0, counts):
    values = F.cross_entropy(logits, target, reduction="none")
    return values * (1 + gamma / counts[target].sqrt())
"""
NET = """
from torch import nn


class Net(nn.Module):
    def __init__(self, num_classes, channels, image_size, width: int = 32):
        super().__init__()
        inner = nn.Linear(channels * image_size**2, width)
        self.body = nn.Sequential(nn.Flatten(), inner, nn.ReLU())
        self.last = nn.Linear(width, num_classes)

    def forward(self, images):
        return self.last(self.body(images))
"""
SAMPLER = """
import torch


class Half:
    def __init__(self, target, *, generator, share: float = 0.5):
        self.size, self.share, self.generator = len(target), share, generator

    def __len__(self):
        return int(self.share * self.size)

    def __iter__(self):
        return iter(torch.randperm(self.size, generator=self.generator)[: len(self)].tolist())
"""
DATA = """
import torch
from longtail.data import Source, Split, draw


def load(imbalance: float = 4.0, noise: int = 60):
    generator = torch.Generator().manual_seed(0)
    target = torch.arange(3).repeat_interleave(60)
    images = torch.randint(0, noise, (180, 1, 8, 8), generator=generator) + 60 * target.view(-1, 1, 1, 1)
    halves = [Split(images[i::2].to(torch.uint8), target[i::2], torch.arange(i, 180, 2)) for i in (0, 1)]
    source = Source("stripes", *halves, ("a", "b", "c"))
    return draw(source, imbalance=imbalance, profile="exponential", split_seed=0, validation=0.0)
"""
FILES = {"loss": LOSS, "net": NET, "half": SAMPLER, "mydata": DATA}
ALL = "--model net.py:Net --set stages.0.sampler=half.py:Half --data mydata.py:load"


@pytest.fixture(autouse=True)
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """An empty folder with the four files."""
    for name, text in FILES.items():
        assert len(text.strip().splitlines()) <= 15
        (tmp_path / f"{name}.py").write_text(text.strip() + "\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


class Longtail:
    """The command line in this process: the status, and what it printed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def status(self, words: str) -> tuple[int, str, str]:
        self._capsys.readouterr()
        self._monkeypatch.setattr(sys, "argv", ["longtail", *words.split()])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        said = self._capsys.readouterr()
        return int(stopped.value.code or 0), said.out, said.err

    def __call__(self, words: str) -> Any:
        """The JSON that a command prints."""
        status, out, err = self.status(f"{words} --json")
        assert status == 0, err
        return json.loads(out)

    def refusal(self, words: str) -> str:
        """The one line of a command that refuses."""
        status, _, err = self.status(words)
        assert status == 2, err
        said = [line for line in err.splitlines() if line.startswith("longtail: ")]
        assert len(said) == 1
        assert "Traceback" not in err
        return said[0]


@pytest.fixture
def longtail(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Longtail:
    return Longtail(monkeypatch, capsys)


def records(below: str = "runs") -> int:
    return len(list(pathlib.Path(below).rglob("record.json")))


# -------------------------------------------------------------------------------------------------- in every command


def test_all_four_in_every_command(longtail: Longtail) -> None:
    run = longtail(f"train loss.py:sharp@gamma=0.3 {ALL} --epochs 2 --out one")
    config, data = run["config"], run["data"]
    assert config["stages"][0]["objective"]["arguments"] == {"gamma": 0.3}
    assert config["model"]["arguments"] == {"width": 32}
    assert {len(held["source"]) for held in (config["model"], config["stages"][0]["objective"])} == {64}
    assert (data["name"], data["counts"], data["num_test"]) == ("stripes", [30, 15, 7], 90)
    assert run["budget"]["steps"] == 2 * 1  # 26 of 52 images, in batches of 32

    compared = longtail(f"compare ce loss.py:sharp mine=loss.py:sharp@gamma=0.3 {ALL} --epochs 1 --seeds 2")
    assert set(compared["folders"]) == {"ce", "loss.py:sharp", "mine"}
    assert records() == 6
    assert longtail("rescore runs")["failed"] == {}

    seen = "one --data mydata.py:load --model net.py:Net"
    assert len(longtail(f"probe {seen} --per-class 5")) == 3
    assert longtail(f"features {seen} --out figures")["distances"]
    assert pathlib.Path("figures/features.svg").exists()
    assert longtail("rescore one --data mydata.py:load")["accuracy"] == run["report"]["accuracy"]

    on = longtail("train crt --from one --model net.py:Net --data mydata.py:load --epochs 2 --out two")
    assert [row["stage"] for row in on["history"]] == ["classify", "classify", "retrain"]
    assert on["history"][:2] == run["history"]
    assert longtail("rescore two")["accuracy"] == on["report"]["accuracy"]


def test_options_of_the_data_are_flags_and_options(longtail: Longtail) -> None:
    one = longtail("data describe mydata.py:load@imbalance=10,noise=90")
    assert one["counts"] == longtail("data describe mydata.py:load@noise=90 --imbalance 10")["counts"] == [30, 9, 3]
    prints = {longtail(f"data fingerprint mydata.py:load@noise={noise}")["fingerprint"] for noise in (60, 90)}
    assert len(prints) == 2
    assert "--split-seed: mydata.py:load has no parameter 'split_seed'" in longtail.refusal(
        "train ce --data mydata.py:load --split-seed 1"
    )
    assert "did you mean 'noise'" in longtail.refusal("train ce --data mydata.py:load@nose=1")


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [2])
def test_several_at_once(jobs: int, longtail: Longtail) -> None:
    asked = f"compare loss.py:sharp@gamma=0.3 ce {ALL} --epochs 1 --seeds 1"
    one = longtail(asked + " --out one")
    many = longtail(f"{asked} --out many --jobs {jobs}")
    values = [[method["per_class"] for method in found["methods"]] for found in (one, many)]
    assert values[0] == values[1]


# ------------------------------------------------------------------------------------------------------- edited


EDITS = {
    "loss": (LOSS, "1 + gamma", "3 + gamma", "train loss.py:sharp"),
    "net": (NET, "ReLU", "Tanh", "train ce --model net.py:Net"),
    "half": (
        SAMPLER,
        "len(self)].tolist",
        "len(self)].sort()[0].tolist",
        "train ce --set stages.0.sampler=half.py:Half",
    ),
    "mydata": (DATA, "60 * target", "50 * target", "train ce --data mydata.py:load"),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edited_file_is_another_run(name: str, longtail: Longtail) -> None:
    text, before, after, command = EDITS[name]
    edited = text.replace(before, after)
    assert edited != text
    command += " --epochs 1"
    first = longtail(command)
    assert longtail(command)["started"] == first["started"]  # not trained again
    assert records() == 1
    pathlib.Path(f"{name}.py").write_text(edited)
    second = longtail(command)
    assert records() == 2
    assert second["digests"]["run"] != first["digests"]["run"]
    assert second["report"]["calibration"] != first["report"]["calibration"]
    again = longtail(f"{command} --out elsewhere")
    assert again["report"] == second["report"]
    assert longtail.refusal(f"{command} --out elsewhere --seed 1").count("holds another run") == 1


def test_a_file_beside_it_that_it_imports_counts(longtail: Longtail) -> None:
    pathlib.Path("loss.py").write_text(
        "from scale import SCALE\n" + LOSS.replace("return values", "return SCALE * values")
    )
    pathlib.Path("scale.py").write_text("SCALE = 1.0\n")
    longtail("train loss.py:sharp --epochs 1")
    pathlib.Path("scale.py").write_text("SCALE = 2.0\n")
    longtail("train loss.py:sharp --epochs 1")
    assert records() == 2


def test_two_files_with_one_class_name_are_two_rows(longtail: Longtail) -> None:
    for place, activation in (("a", "ReLU"), ("b", "Tanh")):
        pathlib.Path(place).mkdir()
        pathlib.Path(place, "loss.py").write_text(LOSS.replace("1 +", "1 +" if place == "a" else "5 +"))
        pathlib.Path(place, "net.py").write_text(NET.replace("ReLU", activation))
    found = longtail("compare a/loss.py:sharp b/loss.py:sharp --epochs 1 --seeds 1")
    assert set(found["folders"]) == {"a/loss.py:sharp", "b/loss.py:sharp"}
    one, two = (method["per_class"] for method in found["methods"])
    assert one != two
    nets = [longtail(f"train ce --model {place}/net.py:Net --epochs 1") for place in "ab"]
    assert nets[0]["report"]["calibration"] != nets[1]["report"]["calibration"]
    assert records() == 4
    # A moved file is the same part, and the same run is found.
    pathlib.Path("c").mkdir()
    pathlib.Path("c/net.py").write_text(pathlib.Path("a/net.py").read_text())
    assert longtail("train ce --model c/net.py:Net --epochs 1")["started"] == nets[0]["started"]
    assert records() == 4


# ------------------------------------------------------------------------------------------------------ refusals


@pytest.mark.slow
def test_another_model_than_the_runs_is_refused(longtail: Longtail) -> None:
    longtail("train ce --model net.py:Net --epochs 1 --out one")
    pathlib.Path("apart.py").write_text(  # another process, which never saw the file
        "import sys\nfrom longtail import cli\nsys.argv = ['longtail', 'probe', 'one']\ncli.main()\n"
    )
    done = subprocess.run([sys.executable, "apart.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "never run because a file names it" in done.stderr
    pathlib.Path("other").mkdir()
    pathlib.Path("other/net.py").write_text(NET.replace("ReLU", "Tanh"))
    for model in ("other/net.py:Net", "net.py:Net@width=16", "small"):
        assert "holds the model net.py:Net" in longtail.refusal(f"probe one --model {model}")
    assert "holds the model net.py:Net" in longtail.refusal("train crt --from one")
    pathlib.Path("net.py").write_text(NET.replace("ReLU", "Tanh"))
    assert "holds the model" in longtail.refusal("probe one --model net.py:Net")


BROKEN = {
    "loss.py:sharp": ("loss", "def sharp(logits, target):\n    return 1 / 0\n", "ZeroDivisionError"),
    "loss.py:mean": ("loss", "def mean(logits, target):\n    return logits.mean()\n", "one value an image"),
    "loss.py:typo": ("loss", "def typo(:\n", "SyntaxError"),
    "loss.py:absent": ("loss", LOSS, "unknown attribute"),
    "ce --model net.py:Net": ("net", "def Net(num_classes):\n    return 1 / 0\n", "ZeroDivisionError"),
    "ce --model net.py:net": ("net", "def net(num_classes):\n    return 3\n", "must give a torch.nn.Module"),
    "ce --model net.py:Needs": ("net", "class Needs:\n    def __init__(self, what):\n        pass\n", "needs 'what'"),
    "ce --set stages.0.sampler=half.py:f": ("half", "def f(target):\n    return 1 / 0\n", "ZeroDivisionError"),
    "ce --set stages.0.sampler=half.py:g": ("half", "def g(target):\n    return [10**6]\n", "outside 0 to"),
    "ce --set stages.0.sampler=half.py:h": ("half", "def h(target):\n    return []\n", "gave no image"),
    "ce --data mydata.py:load": ("mydata", "def load():\n    return 1 / 0\n", "ZeroDivisionError"),
    "ce --data mydata.py:three": ("mydata", "def three():\n    return 3\n", "must give a longtail.data.Data"),
}


@pytest.mark.parametrize("words", BROKEN)
def test_a_broken_part_is_one_line(words: str, longtail: Longtail) -> None:
    name, text, said = BROKEN[words]
    pathlib.Path(f"{name}.py").write_text(text)
    assert said in longtail.refusal(f"train {words} --epochs 1")
    assert records() == 0


def test_data_that_contradict_themselves_are_refused(longtail: Longtail) -> None:
    """A changed copy of our data keeps neither our counts nor our identity."""
    pathlib.Path("mydata.py").write_text(
        "import dataclasses\nimport longtail\n\n\n"
        "def fewer():\n    data = longtail.load('digits-lt')\n"
        "    return dataclasses.replace(data, train=data.train.at(data.train.target.argsort()[:40]))\n\n\n"
        "def darker():\n    data = longtail.load('digits-lt')\n"
        "    return dataclasses.replace(data, train=dataclasses.replace(data.train, images=data.train.images // 2))\n"
    )
    assert "counts are" in longtail.refusal("train ce --data mydata.py:fewer")
    darker = longtail("data fingerprint mydata.py:darker")["fingerprint"]
    assert darker != longtail("data fingerprint digits-lt")["fingerprint"]


# ---------------------------------------------------------------------------------------------- from Python, at once


SCRIPT = """
import sys
import torch
import longtail

SCALE = 2.0


def mine(logits, target):
    return SCALE * torch.nn.functional.cross_entropy(logits, target, reduction="none")


class Every:
    def __init__(self, target, *, generator):
        self.order = torch.randperm(len(target), generator=generator)

    def __len__(self):
        return len(self.order)

    def __iter__(self):
        return iter(self.order.tolist())


if __name__ == "__main__":
    data = longtail.load("digits-lt", imbalance=20)
    recipe = longtail.recipe(mine, data, epochs=1, changes=["stages.0.sampler=half.py:Half"])
    found = []
    for jobs in (1, 2):
        found.append(longtail.compare([recipe, "ce"], data, seeds=1, epochs=1, out=f"jobs{jobs}", jobs=jobs))
    one, two = ([method.per_class for method in comparison.methods] for comparison in found)
    assert one == two, (one, two)
    print("alike")
"""


@pytest.mark.slow
def test_a_script_with_parts_of_its_own_trains_at_once() -> None:
    pathlib.Path("script.py").write_text(SCRIPT)
    done = subprocess.run([sys.executable, "script.py"], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["alike"], done.stderr[-2000:]
