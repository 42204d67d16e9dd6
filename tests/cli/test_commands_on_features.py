"""Every command that takes a run or a data set takes rows of features, or says in one line why not."""

import json
import re
import sys

import numpy as np
import pytest

from longtail import cli
from longtail.methods.names import named
from longtail.methods.protocols import PROTOCOLS


def main(words):
    """The exit status of a command line, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["longtail", *words])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
    return stopped.value.code


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    """The name of a data set of features with a tail, and a run on it."""
    folder = tmp_path_factory.mktemp("features")
    random = np.random.default_rng(0)
    centres = 2 * random.normal(size=(4, 12))

    def split(counts):
        target = np.repeat(np.arange(4), counts)
        return (centres[target] + random.normal(size=(len(target), 12))).astype("float32"), target

    held = dict(zip(("train_features", "train_target"), split([60, 30, 12, 6]), strict=True))
    held |= dict(zip(("test_features", "test_target"), split([10] * 4), strict=True))
    np.savez(folder / "own.npz", **held)
    name = f"features:{folder / 'own.npz'}"
    assert main(["train", "ce", "--data", name, "--epochs", "2", "--out", str(folder / "runs")]) == 0
    (record,) = (folder / "runs").rglob("record.json")
    return name, record.parent


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["data", "describe", "DATA"], "rows of 12 numbers, no pictures"),
        (["data", "verify", "DATA"], "not looked for: these are features, no pictures"),
        (["data", "select", "DATA", "--per-class", "3"], "12 images of 4 classes by diverse"),
        (["data", "fingerprint", "DATA"], "features:own"),
        (["rescore", "RUN"], "accuracy"),
        (["report", "RUN"], "Report: report.html"),
        (["mistakes", "RUN", "--data", "DATA"], "Page: mistakes.html"),
        (["features", "RUN", "--data", "DATA"], "Figures:"),
        (["probe", "RUN", "--data", "DATA"], "nearest neighbours"),
        (["rebalance", "RUN", "--data", "DATA"], "tau-norm"),
    ],
    ids=lambda value: "-".join(value[:2]) if isinstance(value, list) else "",
)
def test_a_command_takes_features(features, tmp_path, monkeypatch, capsys, words, said):
    name, run = features
    monkeypatch.chdir(tmp_path)
    assert main([{"DATA": name, "RUN": str(run)}.get(word, word) for word in words]) == 0
    assert said in re.sub(r"\s+", " ", capsys.readouterr().out)


def test_a_row_without_a_picture_has_its_number_on_the_page(features, tmp_path, monkeypatch):
    name, run = features
    monkeypatch.chdir(tmp_path)
    assert main(["mistakes", str(run), "--data", name]) == 0
    page = (tmp_path / "mistakes.html").read_text()
    assert 'src=""' not in page
    assert "<figure" not in page or "<figure class" in page


def test_describe_as_json_holds_the_length_of_a_row(features, capsys):
    assert main(["data", "describe", features[0], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["image_shape"] == [12]


def test_what_tuning_tries_on_features_changes_no_pictures():
    """A trial with the crop of pictures stopped the run; not each trial takes it."""
    tuned = named("tuned@trials=30", PROTOCOLS["features"])
    tried = {part.function for trial in tuned.trials for part in trial.stages[0].augmentation}
    assert tried
    assert all(getattr(function, "features", False) for function in tried)


def test_nothing_of_a_narrow_table_is_cut(features, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["rebalance", str(features[1]), "--data", features[0]]) == 0
    shown = capsys.readouterr().out
    assert "…" not in shown
    assert all(len(line) <= 80 for line in shown.splitlines() if not line.startswith("Head: "))
