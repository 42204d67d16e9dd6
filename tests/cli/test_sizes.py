"""Pictures in files are read at the size that the network takes, and a finished run finds its data by itself."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
import torch
from PIL import Image

from longtail.cli.options import Drawing, side_of
from longtail.data import load
from oracles.command import run


@pytest.fixture(autouse=True)
def photos(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures of 150 pixels in folders, and the same in a table."""
    monkeypatch.chdir(tmp_path)
    generator, lines = np.random.default_rng(0), ["path,label,split"]
    for split, number in {"train": 6, "test": 3}.items():
        for name in ("owl", "wren"):
            folder = tmp_path / "birds" / split / name
            folder.mkdir(parents=True)
            for i in range(number):
                pixels = generator.integers(0, 255, (150, 150, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
                lines.append(f"birds/{split}/{name}/{i}.png,{name},{split}")
    (tmp_path / "birds.csv").write_text("\n".join(lines) + "\n")


def test_a_table_of_pictures_is_embedded_at_the_size_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {}
    for name in ("folder:birds", "csv:birds.csv"):
        out = name.partition(":")[0]
        assert run(f"embed {name} --model small --image-size 90 --out {out}.safetensors", monkeypatch) == 0
        held = load(f"features:{out}.safetensors")
        assert any("to 90 x 90 pixels" in note for note in held.notes)
        rows[out] = held.train.images
    assert torch.equal(rows["folder"].sort(dim=0).values, rows["csv"].sort(dim=0).values)


def test_a_network_with_weights_gets_pictures_at_the_size_of_its_weights() -> None:
    pytest.importorskip("timm")
    assert side_of("test_vit@weights=timm") == 160
    assert side_of("test_vit@weights=timm,size=96") == 96
    assert [side_of(name) for name in (None, "small", "test_vit@init=random")] == [None, None, None]
    sides = {
        model: Drawing(image_size=size).load("folder:birds", model=model, quiet=True).image_size
        for model, size in {None: None, "test_vit@weights=timm": None, "test_vit@weights=timm,size=64": 48}.items()
    }
    assert list(sides.values()) == [32, 160, 48]


def test_features_of_a_network_without_weights_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("timm")
    assert run("embed folder:birds --model test_vit --image-size 32", monkeypatch) == 2
    assert "the weights of test_vit are random" in capsys.readouterr().err
    assert run("embed folder:birds --model test_vit@init=random --image-size 32 --out a.safetensors", monkeypatch) == 0
    assert run("embed folder:birds --model small --out b.safetensors", monkeypatch) == 0
    assert "through small, whose weights are random" in capsys.readouterr().err


def test_a_run_finds_its_own_data_and_their_size(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = "--data folder:birds --image-size 40 --epochs 1 --model small --out run --quiet"
    assert run(f"train ce {options}", monkeypatch) == 0
    assert run("mistakes run --quiet", monkeypatch) == 0
    assert run("features run --data csv:birds.csv --image-size 48", monkeypatch) == 2
    told = capsys.readouterr().err
    assert "12 training images of 3 x 40 x 40" in told
    assert "12 training images of 3 x 48 x 48 are not the same images" in told
    pathlib.Path("birds").rename("moved")
    assert run("features run", monkeypatch) == 2
    assert "name the data set of the run with --data" in capsys.readouterr().err
    assert run("features run --data folder:moved", monkeypatch) == 0
