"""A finished run in use: new pictures, files for others to load, and what is refused."""

from __future__ import annotations

import copy
import csv
import dataclasses
import io
import json
import pathlib
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import longtail
from longtail.data import Data
from longtail.data.folders import decode_all
from longtail.data.layout import find
from longtail.errors import InputError
from longtail.results import read
from longtail.training import checkpoint
from longtail.use import Trained, card, export, hub_folder, predict, predict_files, trained
from longtail.use import pictures as reading
from longtail.use.card import write_card
from longtail.use.predict import write_csv, write_json, writer_to

exporting = sys.modules["longtail.use.export"]  # the package's own name for it is the function


@pytest.fixture(scope="module")
def digits() -> Data:
    return longtail.load("digits-lt", imbalance=20)


@pytest.fixture(scope="module")
def run_of(digits: Data, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., pathlib.Path]:
    """The folder of a finished run, trained once; read-only."""
    root = tmp_path_factory.mktemp("runs")

    def made(name: str = "logit-adjustment-post-hoc", model: str | None = None) -> pathlib.Path:
        folder = root / f"{name}-{model}"
        if not folder.exists():
            recipe = longtail.recipe(name, digits, epochs=1, model=model)
            longtail.train(recipe, digits, seed=0, out=folder)
        return folder

    return made


def save(digits: Data, folder: pathlib.Path, number: int = 5) -> list[pathlib.Path]:
    """Test images as files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{i}.png" for i in range(number)]
    for i, path in enumerate(paths):
        Image.fromarray(digits.test.images[i, 0].numpy()).save(path)
    return paths


# ------------------------------------------------------------------------------------------------------- the model file


def test_the_model_file_holds_what_its_user_needs_and_lies_on_the_disk_once(
    run_of: Callable[..., pathlib.Path], digits: Data
) -> None:
    folder = run_of("ce")
    tensors, facts = checkpoint.load(folder / "model.safetensors")
    assert all(name.startswith("network.") for name in tensors)
    about = facts["about"]
    assert about["class_names"] == list(digits.class_names)
    assert about["counts"] == digits.counts.tolist()
    assert (about["shape"], about["mean"], about["std"]) == ([1, 8, 8], list(digits.mean), list(digits.std))
    (state,) = folder.glob("stages/*/state.safetensors")
    assert (folder / "model.safetensors").samefile(state)
    moments, _ = checkpoint.load(state.with_name("optimizer.safetensors"), expected=facts["optimizer"]["sha256"])
    assert moments
    assert not moments.keys() & tensors.keys()


# -------------------------------------------------------------------------------------------------------- new pictures


def test_files_get_the_probabilities_of_their_images(
    run_of: Callable[..., pathlib.Path], digits: Data, tmp_path: pathlib.Path
) -> None:
    paths = save(digits, tmp_path / "pictures" / "deep")
    (tmp_path / "pictures" / "broken.png").write_bytes(b"\x89PNG no")
    (tmp_path / "pictures" / "notes.txt").write_text("no picture")
    (tmp_path / "pictures" / ".hidden.png").write_bytes(b"")
    expected = predict(run_of(), digits.test.images[:5])
    text, told = io.StringIO(), []
    tally = predict_files(
        run_of(),
        [tmp_path / "pictures"],
        lambda run, found: write_csv(text, run, found),
        notify=lambda *n: told.append(n),
    )
    rows = list(csv.DictReader(io.StringIO(text.getvalue())))
    assert [row["path"] for row in rows] == [str(path) for path in paths]
    for row, probability in zip(rows, expected, strict=True):
        assert [float(row[name]) for name in digits.class_names] == pytest.approx(probability.tolist(), abs=1e-6)
        assert row["class"] == digits.class_names[int(probability.argmax())]
    assert (tally.predicted, tally.abstained, tally.others, len(tally.unread)) == (5, 0, 1, 1)
    assert "broken.png is no readable picture" in tally.unread[0][1]
    assert told[-1] == (6, 6)


def test_json_ranks_classes_and_leaves_doubtful_answers_open(
    run_of: Callable[..., pathlib.Path], digits: Data, tmp_path: pathlib.Path
) -> None:
    save(digits, tmp_path)
    expected = predict(run_of(), digits.test.images[:5]).max(dim=1).values
    threshold = float(expected.median())
    text = io.StringIO()
    tally = predict_files(
        run_of(), [tmp_path], lambda run, found: write_json(text, run, found, 2), abstain_below=threshold
    )
    found = json.loads(text.getvalue())
    assert [row["class"] is None for row in found] == (expected < threshold).tolist()
    assert tally.abstained == int((expected < threshold).sum()) == 2
    for row in found:
        values = list(row["probability"].values())
        assert len(values) == 2
        assert values[0] >= values[1]


def test_pictures_are_prepared_as_in_training(tmp_path: pathlib.Path) -> None:
    """Wide, transparent, palette, colour: what the training data's own reader makes of them."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (40, 30, 3), generator=generator, dtype=torch.uint8).numpy()
    image = Image.fromarray(pixels)
    layered = image.copy()
    layered.putalpha(Image.linear_gradient("L").resize((30, 40)))
    for split in ("train", "test"):
        for name in ("a", "b"):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            image.save(folder / "plain.png")
            layered.save(folder / "layered.png")
            image.quantize(16).save(folder / "palette.gif")
            image.save(folder / "photo.jpg")
    tree = find(tmp_path)
    images = decode_all(tree, 16).images
    for file, expected in zip(tree.files, images, strict=True):
        assert torch.equal(reading.prepared(file, (3, 16, 16)), expected), file
    # A preparation that stretches, or scales by another filter, is another one.
    stretched = torch.from_numpy(np.asarray(image.resize((16, 16))).transpose(2, 0, 1).copy())
    assert not torch.equal(reading.prepared(tree.files[1], (3, 16, 16)), stretched)


def test_what_cannot_be_predicted_is_one_line(
    run_of: Callable[..., pathlib.Path], digits: Data, tmp_path: pathlib.Path
) -> None:
    def ask(*paths: pathlib.Path, **more: float) -> None:
        predict_files(run_of(), paths, writer_to(tmp_path / "out.csv", None), **more)

    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.png").write_bytes(b"")
    with pytest.raises(InputError, match="no picture there"):
        ask(tmp_path / "empty")
    with pytest.raises(InputError, match="no such file or folder"):
        ask(tmp_path / "gone.png")
    with pytest.raises(InputError, match="none of the 1 pictures can be read"):
        ask(tmp_path / "broken.png")
    with pytest.raises(InputError, match="a probability from 0 to 1"):
        ask(*save(digits, tmp_path / "fine"), abstain_below=2.0)
    assert not (tmp_path / "out.csv").exists()
    (tmp_path / "out.csv").write_text("mine")
    with pytest.raises(InputError, match="is there already"):
        ask(tmp_path / "fine")
    assert (tmp_path / "out.csv").read_text() == "mine"
    with pytest.raises(InputError, match=r"ends in \.csv or \.json"):
        writer_to(tmp_path / "out.xls", None)


# ------------------------------------------------------------------------------------------------------------- exports


def needs(kind: str) -> None:
    if kind == "onnx":
        for name in ("onnx", "onnxscript", "onnxruntime"):
            pytest.importorskip(name)
    if kind == "timm":
        pytest.importorskip("timm")


@pytest.mark.parametrize("kind", ["safetensors", "pt2", "onnx"])
def test_an_export_gives_the_probabilities_of_the_run(
    kind: str, run_of: Callable[..., pathlib.Path], digits: Data, tmp_path: pathlib.Path
) -> None:
    needs(kind)
    run, images = trained(run_of()), digits.test.images[:7]
    out = tmp_path / f"net.{kind}"
    found = export(run, kind, out, images)
    assert (found.pictures, found.answers) == (7, 1.0)
    assert found.logit < 1e-5
    assert list(tmp_path.iterdir()) == [out]
    expected = predict(run_of(), images)
    if kind == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
        _, probability = session.run(None, {"images": images.numpy()})
        assert json.loads(session.get_modelmeta().custom_metadata_map["class_names"]) == list(digits.class_names)
        torch.testing.assert_close(torch.from_numpy(probability), expected)
    if kind == "pt2":
        torch.testing.assert_close(torch.export.load(out).module()(images[:1])[1], expected[:1])
    if kind == "safetensors":
        from safetensors import safe_open

        with safe_open(out, framework="pt") as stored:
            told = stored.metadata()
        assert json.loads(told["counts"]) == digits.counts.tolist()
        assert json.loads(told["transform"])["mean"] == list(digits.mean)
        assert json.loads(told["logit_shift"]) != [0.0] * 10


def test_plain_timm_loads_the_checkpoint(
    run_of: Callable[..., pathlib.Path], digits: Data, tmp_path: pathlib.Path
) -> None:
    timm = pytest.importorskip("timm")
    folder = run_of("logit-adjustment-post-hoc", "test_resnet")
    images = digits.test.images[:5]
    export(trained(folder), "timm", tmp_path / "net.safetensors", images)
    plain = timm.create_model(
        "test_resnet", num_classes=10, in_chans=1, checkpoint_path=str(tmp_path / "net.safetensors")
    ).eval()
    inputs = (images.float() / 255 - digits.mean[0]) / digits.std[0]
    with torch.no_grad():
        found = plain(inputs).softmax(dim=1)
    torch.testing.assert_close(found, predict(folder, images), atol=1e-5, rtol=1e-4)

    hub_folder(trained(folder), tmp_path / "hub", images)
    again = timm.create_model(f"local-dir:{tmp_path / 'hub'}", pretrained=True).eval()
    with torch.no_grad():
        torch.testing.assert_close(again(inputs).softmax(dim=1), found)
    config = json.loads((tmp_path / "hub" / "config.json").read_text())
    assert config["label_names"] == list(digits.class_names)
    assert config["pretrained_cfg"]["mean"] == list(digits.mean)
    assert "origin_url" not in config["pretrained_cfg"]
    assert "timm.create_model" in (tmp_path / "hub" / "README.md").read_text()


def test_a_hub_folder_of_ours_is_a_run(
    run_of: Callable[..., pathlib.Path], digits: Data, tmp_path: pathlib.Path
) -> None:
    images = digits.test.images[:4]
    found = hub_folder(trained(run_of()), tmp_path / "hub", images)
    assert found.logit == 0.0
    assert torch.equal(predict(tmp_path / "hub", images), predict(run_of(), images))
    assert longtail.rescore(tmp_path / "hub", digits).to_json() == read(run_of()).record.report
    with pytest.raises(InputError, match="is there already"):
        hub_folder(trained(run_of()), tmp_path / "hub", images)
    assert [path.name for path in tmp_path.iterdir()] == ["hub"]


def test_an_export_that_does_not_agree_is_not_kept(
    run_of: Callable[..., pathlib.Path], digits: Data, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, images = trained(run_of()), digits.test.images[:4]
    write, load = exporting.KINDS["safetensors"]

    def forgetful(held: Trained, file: pathlib.Path) -> None:
        """The mutant: it leaves out what the recipe does to the logits."""
        changed = dataclasses.replace(held, classifier=copy.deepcopy(held.classifier))
        changed.classifier.shift.zero_()
        write(changed, file)

    monkeypatch.setitem(exporting.KINDS, "safetensors", (forgetful, load))
    with pytest.raises(InputError, match="does not agree with the run on 4 pictures"):
        export(run, "safetensors", tmp_path / "net.safetensors", images)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="does not agree"):
        exporting.compared(lambda held: torch.full((len(held), 10), torch.nan), run, images, tmp_path)


class Branching(nn.Module):
    """A network that no graph can hold: it decides by what it sees."""

    def __init__(self, num_classes: int, channels: int, image_size: int) -> None:
        super().__init__()
        self.last = nn.Linear(channels * image_size**2, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        rows = images.flatten(1)
        if images.device.type != "meta" and float(rows.sum()) < 0:
            rows = rows * 1.0
        found: torch.Tensor = self.last(rows)
        return found


def test_what_cannot_be_exported_is_one_line(
    run_of: Callable[..., pathlib.Path], digits: Data, tmp_path: pathlib.Path
) -> None:
    run, images = trained(run_of()), digits.test.images[:4]
    with pytest.raises(InputError, match="unknown format 'onxn': did you mean 'onnx'"):
        export(run, "onxn", tmp_path / "a", images)
    with pytest.raises(InputError, match="there is none"):
        export(run, "safetensors", tmp_path / "a", images[:0])
    with pytest.raises(InputError, match="no network of timm, so timm cannot load it: use --format onnx"):
        export(run, "timm", tmp_path / "a.safetensors", images)
    longtail.train(longtail.recipe("ce", digits, epochs=1, model=Branching), digits, seed=0, out=tmp_path / "own")
    own = trained(tmp_path / "own", longtail.part(Branching))
    with pytest.raises(InputError, match="cannot be written as pt2"):
        export(own, "pt2", tmp_path / "b.pt2", images)
    assert export(own, "safetensors", tmp_path / "b.safetensors", images).answers == 1.0
    with pytest.raises(InputError, match="is there already"):
        export(own, "safetensors", tmp_path / "b.safetensors", images)


def test_a_cosine_head_is_no_layer_of_timm(
    run_of: Callable[..., pathlib.Path], digits: Data, tmp_path: pathlib.Path
) -> None:
    pytest.importorskip("timm")
    run = trained(run_of("ce", "test_resnet@head=cosine"))
    for ask in (
        lambda: export(run, "timm", tmp_path / "a.safetensors", digits.test.images[:2]),
        lambda: hub_folder(run, tmp_path / "hub", digits.test.images[:2]),
    ):
        with pytest.raises(InputError, match="ends in a linear layer, this one in a CosineHead"):
            ask()
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------------------------------------------------- model card


def test_a_card_says_what_the_record_says(run_of: Callable[..., pathlib.Path], tmp_path: pathlib.Path) -> None:
    run = trained(run_of())
    record = run.loaded.record
    text = card(run, "onnx", "net.onnx", None)
    assert record.data["fingerprint"] in text
    for rate in ("accuracy", "many", "medium"):
        assert f"| {100 * record.report[rate]:.1f} |" in text
    assert record.report["few"] is None
    assert "(0 classes) | – | – |" in text
    assert "short: 1 of 60 epochs" in text
    for head in ("## How good it is", "## Data", "## Use", "## Limits", "## Evidence"):
        assert head in text
    first = text.split("---")[1].strip().splitlines()
    metadata = dict(line.split(": ", 1) for line in first)
    assert json.loads(metadata["model-index"])[0]["results"][0]["metrics"][0]["value"] == round(
        100 * record.report["accuracy"], 2
    )
    assert write_card(text, tmp_path / "net.onnx") == tmp_path / "README.md"
    (tmp_path / "README.md").write_text("mine")
    assert write_card(text, tmp_path / "net.onnx") == tmp_path / "net.onnx.md"
    assert (tmp_path / "README.md").read_text() == "mine"
