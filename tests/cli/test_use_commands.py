"""predict, export, mistakes and the formats of report, as they are typed."""

from __future__ import annotations

import csv
import json
import pathlib
import shutil

import pytest
from PIL import Image

import longtail
from oracles.command import run


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("trained")
    data = longtail.load("digits-lt")
    longtail.train(longtail.recipe("ce", data, epochs=1), data, seed=0, out=folder / "run")
    (folder / "pictures").mkdir()
    for i in range(3):
        Image.fromarray(data.test.images[i, 0].numpy()).save(folder / "pictures" / f"{i}.png")
    return folder


@pytest.fixture(autouse=True)
def beside_a_run(trained: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained / "run", tmp_path / "run")
    shutil.copytree(trained / "pictures", tmp_path / "pictures")


def test_predict_prints_or_writes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pathlib.Path("pictures/broken.png").write_bytes(b"")
    assert run("predict run pictures --top 1", monkeypatch) == 0
    said = capsys.readouterr()
    rows = list(csv.reader(said.out.splitlines()))
    assert rows[0] == ["path", "class", "probability", "class_1", "probability_1"]
    assert len(rows) == 4
    assert "not read: pictures/broken.png is no readable picture" in said.err
    assert "3 pictures predicted, 1 could not be read" in said.err
    assert run("predict run pictures --out a.json --abstain-below 1 --json", monkeypatch) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["predicted"], told["abstained"], list(told["unread"])) == (3, 3, ["pictures/broken.png"])
    assert [row["class"] for row in json.loads(pathlib.Path("a.json").read_text())] == [None] * 3
    assert run("predict run pictures --out a.json", monkeypatch) == 2
    assert "a.json is there already" in capsys.readouterr().err


def test_export_checks_on_pictures_or_the_data_set(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("export run --format safetensors --out a.safetensors --pictures pictures", monkeypatch) == 0
    assert "agrees with the run on 3 pictures: largest difference 0.0e+00" in capsys.readouterr().out
    assert "# `ce` on `digits-lt`" in pathlib.Path("README.md").read_text()
    assert run("export run --format safetensors --out b.safetensors --json", monkeypatch) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["pictures"], told["answers"], told["card"]) == (64, 1.0, "b.safetensors.md")
    assert run("export run --hub-folder hub --data digits-lt --quiet", monkeypatch) == 0
    assert run("predict hub pictures --quiet", monkeypatch) == 0
    capsys.readouterr()
    assert run("export run --format safetensors", monkeypatch) == 2
    assert "--out FILE, or --hub-folder DIR" in capsys.readouterr().err
    # A run whose data set cannot be found by its name.
    record = json.loads(pathlib.Path("run/record.json").read_text())
    record["data"]["name"] = "folder:birds"
    pathlib.Path("run/record.json").write_text(json.dumps(record))
    assert run("export run --format safetensors --out c.safetensors", monkeypatch) == 2
    assert "an export is checked on real pictures: name some with --pictures FOLDER" in capsys.readouterr().err


def test_mistakes_writes_a_page(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("mistakes run --out page.html", monkeypatch) == 0
    assert "Page: page.html" in capsys.readouterr().out
    assert "<svg" in pathlib.Path("page.html").read_text()
    assert run("mistakes run --out page.html", monkeypatch) == 2
    assert "page.html is there already" in capsys.readouterr().err
    assert run("mistakes run --data digits-lt --out other.html --json", monkeypatch) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["wrong"] > 0
    assert "data:image" not in json.dumps(told)


def test_report_prints_a_table_for_a_paper(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for kind, begins in (("latex", "%"), ("csv", "method,seeds"), ("markdown", "digits-lt")):
        assert run(f"report run --format {kind}", monkeypatch) == 0
        assert capsys.readouterr().out.startswith(begins)
    assert not pathlib.Path("report.html").exists()
    assert run("report run --format latex --report page.html", monkeypatch) == 0
    assert pathlib.Path("page.html").exists()
    assert run("report run --format latx", monkeypatch) == 2
    assert "did you mean 'latex'" in capsys.readouterr().err


def test_quiet_leaves_the_result_alone(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train ce --epochs 1 --out again --quiet --log csv", monkeypatch) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert "Record: again" in said.out
    assert len(pathlib.Path("again/history.csv").read_text().splitlines()) == 2
    assert run("train ce --epochs 1 --out again --log wandbb", monkeypatch) == 2
    assert "unknown log 'wandbb'" in capsys.readouterr().err
