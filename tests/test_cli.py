"""The command line as a user meets it: what works, and one clear line with status 2 for what cannot."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
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


@pytest.fixture(autouse=True)
def in_a_fresh_folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")


def test_help_answers_at_once() -> None:
    """It loads none of the heavy libraries; seconds would depend on what else the machine does."""
    script = (
        "import sys; from longtail import cli; sys.argv = ['longtail', '--help']\n"
        "try:\n    cli.main()\nexcept SystemExit: pass\n"
        "print(sorted({'torch', 'numpy', 'scipy', 'sklearn', 'matplotlib', 'rich.progress'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "compare" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "command",
    [
        *("compare", "train", "evaluate", "probe", "features", "bench"),
        *("data list", "data describe", "data verify", "data fingerprint"),
        *("board build", "board serve", "board submit", "board verify", "board import", "board export"),
    ],
)
def test_every_command_has_help_with_an_example(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(f"{command} --help", monkeypatch) == 0
    assert f"Example: longtail {command}" in capsys.readouterr().out


def test_compare_prints_a_table_writes_a_report_and_skips_what_is_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = "compare ce balanced-softmax --data digits-lt --seeds 2 --epochs 3 --precision float32"
    assert run(command, monkeypatch) == 0
    shown = capsys.readouterr().out
    assert "balanced-softmax" in shown
    report = pathlib.Path("runs/digits-lt-if100/report.html").read_text()
    assert "<svg" in report
    assert 'src="http' not in report
    written = {path: path.stat().st_mtime_ns for path in pathlib.Path("runs").rglob("record.json")}
    assert len(written) == 4
    assert run(f"{command} --json", monkeypatch) == 0
    said = json.loads(capsys.readouterr().out)
    assert set(said["folders"]) == {"ce", "balanced-softmax"}
    assert {path: path.stat().st_mtime_ns for path in pathlib.Path("runs").rglob("record.json")} == written


def test_train_then_evaluate(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train ce --epochs 2 --out here --json", monkeypatch) == 0
    trained = json.loads(capsys.readouterr().out)
    assert run("evaluate here --data digits-lt --json", monkeypatch) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] == trained["report"]["accuracy"]
    assert run("evaluate here", monkeypatch) == 0


def test_a_record_of_other_data_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train ce --epochs 2 --imbalance 20 --out here --json", monkeypatch) == 0
    record = json.loads(pathlib.Path("here/record.json").read_text())
    record["data"]["imbalance"] = 100.0
    pathlib.Path("here/record.json").write_text(json.dumps(record))
    capsys.readouterr()
    assert run("evaluate here --data digits-lt", monkeypatch) == 2
    assert "fingerprint" in capsys.readouterr().err


def test_fields_and_options_reach_the_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = "--stages.0.optimizer.lr 0.01 --epochs 2 --tau 0.5 --out here"
    assert run(f"train logit-adjustment {flags}", monkeypatch) == 0
    config = json.loads(pathlib.Path("here/record.json").read_text())["config"]
    assert config["stages"][0]["optimizer"]["lr"] == 0.01
    assert config["stages"][0]["objective"]["loss"]["tau"] == 0.5


def test_a_users_own_loss_is_one_more_row(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import torch.nn.functional as F\n\n\ndef loss(logits, target):\n"
        "    return F.cross_entropy(logits, target, reduction='none') ** 2\n\n\n"
        "def reduced(logits, target):\n    return F.cross_entropy(logits, target)\n"
    )
    assert run("compare ce mine.py:loss --epochs 2 --seeds 1", monkeypatch) == 0
    assert run("train mine.py:reduced --epochs 2 --out other", monkeypatch) == 2


def test_bench_prints_where_a_step_spends_its_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path
) -> None:
    assert run("bench dro-lt --seconds 0.2 --epochs 2 --radius shared", monkeypatch) == 0
    said = capsys.readouterr()
    assert "10 classes; cpu" in said.err
    for word in ("classify", "represent", "rebalance", "backward", "ceiling", "Peak memory"):
        assert word in said.out
    assert run("bench ce --seconds 0.2 --json", monkeypatch) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["stages"][0]["parts"].keys() == {"data", "forward", "backward", "optimizer"}
    assert list(tmp_path.iterdir()) == []


BAD = [
    ("bench cee", "unknown recipe 'cee': did you mean 'ce'?"),
    ("bench ce --seconds 0", "--seconds"),
    ("bench ce --stages.0.epoks 3", "did you mean 'epochs'?"),
    ("compare ce --jobs 0", "--jobs"),
    ("compare cee", "unknown recipe 'cee': did you mean 'ce'?"),
    ("train ce --data digits-lr", "unknown data set 'digits-lr': did you mean 'digits-lt'?"),
    ("train ce --model resnet31", "did you mean 'resnet32'?"),
    ("train ce --data cifar100-lt", "--root"),
    ("train ce --data cifar100-lt --root nowhere", "nowhere"),
    ("train ce --imbalance 0.5", "imbalance"),
    ("train ce --imbalance nan", "imbalance"),
    ("train ce --imbalance 100000", "class"),
    ("train ce --imbalance many", "--imbalance"),
    ("train ce --seed one", "--seed 'one'"),
    ("compare ce --seeds 0,x", "--seeds '0,x'"),
    ("compare ce --seeds 0", "at least one seed"),
    ("compare ce ce", "named twice"),
    ("train ce --epochs 0", "--epochs"),
    ("train ce --stages.0.epoks 3", "did you mean 'epochs'?"),
    ("train ce --stages.0.epochs few", "'few' is not a whole number"),
    ("train ce --tau 1", "no options"),
    ("train logit-adjustment --taw 1", "did you mean 'tau'?"),
    ("train ce --precision half", "float32"),
    ("train ce --device tpu", "--device 'tpu'"),
    ("train ce --select best", "--select 'best'"),
    ("train ce --select validation", "validation"),
    ("train no_such_module:loss", "no_such_module"),
    ("train no_such.py:loss", "no Python file"),
    ("evaluate nowhere", "nowhere"),
    ("data describe nowhere", "unknown data set"),
    ("data describe folder:nowhere", "nowhere"),
    ("data describe npz:nowhere.npz", "nowhere.npz"),
    ("no-such-command", "no-such-command"),
    ("train ce --out file/inside", "cannot write to"),
]


@pytest.mark.parametrize(("arguments", "words"), BAD, ids=[arguments for arguments, _ in BAD])
def test_bad_input_is_one_line_and_status_2(
    arguments: str,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: pathlib.Path,
) -> None:
    (tmp_path / "file").write_text("in the way")
    assert run(arguments, monkeypatch) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len([line for line in said if line.startswith("longtail: ")]) == 1
    assert said[-1].startswith("longtail: ")
    assert words in said[-1]
    assert "Traceback" not in "".join(said)


def test_an_output_folder_with_another_run_is_left_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("train ce --epochs 2 --out here", monkeypatch) == 0
    before = pathlib.Path("here/record.json").read_bytes()
    assert run("train balanced-softmax --epochs 2 --out here", monkeypatch) == 2
    assert "holds another run" in capsys.readouterr().err
    assert pathlib.Path("here/record.json").read_bytes() == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_folder_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pathlib.Path("locked").mkdir(mode=0o500)
    assert run("train ce --epochs 2 --out locked/run", monkeypatch) == 2
    assert "cannot write to" in capsys.readouterr().err


def test_a_damaged_cifar_file_is_named(
    real_data: pathlib.Path,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(real_data / "cifar-100-python", tmp_path / "cifar-100-python")
    train = tmp_path / "cifar-100-python" / "train"
    train.chmod(0o600)
    with train.open("r+b") as file:
        file.seek(1000)
        file.write(b"x")
    assert run(f"train ce --data cifar100-lt --root {tmp_path}", monkeypatch) == 2
    assert str(train) in capsys.readouterr().err
    assert run(f"data verify cifar100-lt --root {tmp_path}", monkeypatch) == 1
    assert "DAMAGED" in capsys.readouterr().out


def test_describe_cifar100_lt(
    real_data: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(f"data describe cifar100-lt --root {real_data} --imbalance 100 --figure counts.svg", monkeypatch) == 0
    shown = capsys.readouterr().out
    assert "10,847" in shown
    assert pathlib.Path("counts.svg").read_text().lstrip().startswith("<?xml")
    assert run(f"data describe cifar100-lt --root {real_data} --json", monkeypatch) == 0
    described = json.loads(capsys.readouterr().out)
    assert described["num_train"] == 10_847
    assert described["groups"] == {"many": 35, "medium": 35, "few": 30}
    assert (max(described["counts"]), min(described["counts"])) == (500, 5)


def test_list_verify_and_fingerprint(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("data list", monkeypatch) == 0
    assert "digits-lt" in capsys.readouterr().out
    assert run("data verify digits-lt", monkeypatch) == 0
    capsys.readouterr()
    assert run("data fingerprint digits-lt", monkeypatch) == 0
    assert len(capsys.readouterr().out.split()[0]) == 64


def test_a_folder_of_pictures_trains(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np
    from PIL import Image

    generator = np.random.default_rng(0)
    for label, (name, count) in enumerate((("cat", 24), ("dog", 12), ("emu", 6))):
        for split, number in (("train", count), ("test", 4)):
            folder = tmp_path / "zoo" / split / name
            folder.mkdir(parents=True)
            for i in range(number):
                pixels = generator.integers(0, 80, (16, 16, 3)) + 80 * label
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i}.png")
    assert run("train ce --data folder:zoo --image-size 16 --model small --epochs 6 --out here", monkeypatch) == 0
    report = json.loads((tmp_path / "here" / "record.json").read_text())["report"]
    assert report["accuracy"] > 0.5  # chance is a third
