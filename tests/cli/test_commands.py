"""The command line as a user meets it: what works, and one clear line with status 2 for what cannot."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from oracles.command import run


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
        *("compare", "train", "rescore", "report", "recipe", "recipes", "probe", "features", "bench"),
        *("predict", "export", "mistakes"),
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


def test_train_then_rescore(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train ce --epochs 2 --out here --json", monkeypatch) == 0
    trained = json.loads(capsys.readouterr().out)
    assert run("rescore here --data digits-lt --json", monkeypatch) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] == trained["report"]["accuracy"]
    assert run("rescore here", monkeypatch) == 0
    capsys.readouterr()
    assert run("evaluate here --json", monkeypatch) == 0
    said = capsys.readouterr()
    assert "evaluate is now called rescore" in said.err
    assert json.loads(said.out)["accuracy"] == trained["report"]["accuracy"]


def test_a_run_goes_on_as_it_was_begun(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train ce --epochs 1 --seed 1 --out one --precision float32", monkeypatch) == 0
    again = "train crt --from one --epochs 1 --out two"
    refused = {
        "--seed 0": "one goes on as it was begun, with --seed 1; leave --seed out",
        "--precision bfloat16": "with --precision float32; leave --precision out",
        "--compile": "without --compile; leave --compile out",
        "--model resnet20": "one holds the model",
    }
    for options, words in refused.items():
        capsys.readouterr()
        assert run(f"{again} {options}", monkeypatch) == 2
        assert words in capsys.readouterr().err.splitlines()[-1]
        assert not pathlib.Path("two").exists()
    assert run("train ce --epochs 1 --validation 0.1 --out held", monkeypatch) == 0
    assert run("train crt --from held --epochs 1 --validation 0.1 --select validation --out two", monkeypatch) == 2
    assert "ends with its last epoch; leave --select out" in capsys.readouterr().err
    assert run(f"{again} --seed 1 --precision float32 --json", monkeypatch) == 0
    assert json.loads(capsys.readouterr().out)["seed"] == 1


def test_a_tree_of_runs_is_rescored_and_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("ce", "balanced-softmax"):
        for seed in (0, 1):
            assert run(f"train {name} --epochs 1 --seed {seed} --out tree/{name}/{seed}", monkeypatch) == 0
    capsys.readouterr()
    assert run("rescore tree --json", monkeypatch) == 0
    assert json.loads(capsys.readouterr().out) == {"runs": 4, "failed": {}}

    assert run("report tree --against balanced-softmax --json --report page.html", monkeypatch) == 0
    said = json.loads(capsys.readouterr().out)
    assert {name: len(paths) for name, paths in said["folders"].items()} == {"ce": 2, "balanced-softmax": 2}
    assert said["report"] == "page.html"
    assert "<svg" in pathlib.Path("page.html").read_text()
    assert run("report tree --report page.html", monkeypatch) == 0  # its own page is made anew
    for name in ("plan.toml", "tree/ce/0/record.json"):
        path = pathlib.Path(name)
        if not path.exists():
            path.write_text("mine")
        before = path.read_bytes()
        for command in ("report tree", "compare ce --epochs 1 --seeds 1 --out never"):
            capsys.readouterr()
            assert run(f"{command} --report {name}", monkeypatch) == 2
            assert f"{name} is there already and was not written by this command" in capsys.readouterr().err
        assert path.read_bytes() == before
    assert not pathlib.Path("never").exists()
    pathlib.Path("report.html").write_text("mine")
    assert run("report tree", monkeypatch) == 0
    assert "No report was written" in capsys.readouterr().out
    pathlib.Path("report.html").unlink()
    assert run("report tree/ce/0 tree/balanced-softmax", monkeypatch) == 0
    assert "balanced-softmax" in capsys.readouterr().out
    assert run("report tree --against crt", monkeypatch) == 2
    assert "--against 'crt' is no row here: ce, balanced-softmax" in capsys.readouterr().err

    logits = pathlib.Path("tree/ce/0/logits.safetensors")
    whole = logits.read_bytes()
    logits.write_bytes(whole[:-8] + bytes(8))
    assert run("rescore tree --json", monkeypatch) == 1
    assert list(json.loads(capsys.readouterr().out)["failed"]) == ["tree/ce/0"]
    logits.unlink()  # it may be missing, but not be another file

    path = pathlib.Path("tree/ce/1/record.json")
    record = json.loads(path.read_text())
    record["report"]["accuracy"] += 0.01
    path.write_text(json.dumps(record))
    assert run("rescore tree --json", monkeypatch) == 1
    found = json.loads(capsys.readouterr().out)
    assert list(found["failed"]) == ["tree/ce/1"]
    assert run("rescore tree", monkeypatch) == 1
    assert "3 of 4 runs are what their files say" in capsys.readouterr().out
    assert run("rescore tree/ce/1", monkeypatch) == 2


def test_rows_are_compared_with_the_one_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("compare ce balanced-softmax --epochs 1 --seeds 1 --against balanced-softmax --json", monkeypatch) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["against"] == "balanced-softmax"
    assert run("compare ce --epochs 1 --seeds 1 --against balanced-softmax", monkeypatch) == 2
    assert "--against 'balanced-softmax' is no row here: ce" in capsys.readouterr().err
    assert run("compare short=logit-adjustment@tau=2 ce --epochs 1 --seeds 1 --json", monkeypatch) == 0
    assert set(json.loads(capsys.readouterr().out)["folders"]) == {"short", "ce"}


def test_a_record_of_other_data_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train ce --epochs 2 --imbalance 20 --out here --json", monkeypatch) == 0
    record = json.loads(pathlib.Path("here/record.json").read_text())
    record["data"]["imbalance"] = 100.0
    pathlib.Path("here/record.json").write_text(json.dumps(record))
    capsys.readouterr()
    assert run("rescore here --data digits-lt", monkeypatch) == 2
    assert "fingerprint" in capsys.readouterr().err


def test_fields_and_options_reach_the_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = "--set stages.0.optimizer.lr=0.01 --epochs 1"
    assert run(f"train logit-adjustment@tau=0.5 {flags} --out here", monkeypatch) == 0
    assert run(f"compare logit-adjustment@tau=0.5 {flags} --seeds 1 --out there", monkeypatch) == 0
    (there,) = pathlib.Path("there").rglob("record.json")
    one, two = (json.loads(path.read_text()) for path in (pathlib.Path("here/record.json"), there))
    stage = one["config"]["stages"][0]
    assert stage["optimizer"]["arguments"]["lr"] == 0.01
    assert stage["objective"]["arguments"]["tau"] == 0.5
    assert one["digests"]["run"] == two["digests"]["run"]
    assert one["report"] == two["report"]


def test_whole_parts_are_set(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    changes = ("stages.0.optimizer=adamw@lr=0.003", "stages.0.schedule=cosine@warmup=0.1", "stages.0.batch-size=48")
    changes += ("stages.0.sampler=class-balanced", "stages.0.augmentation=random-crop@padding=2", "name=mine")
    assert run("recipe ce --json " + " ".join(f"--set {change}" for change in changes), monkeypatch) == 0
    found = json.loads(capsys.readouterr().out)
    stage = found["stages"][0]
    assert found["name"] == "mine"
    assert (stage["optimizer"]["name"], stage["optimizer"]["arguments"]["lr"]) == ("longtail.recipes:adamw", 0.003)
    assert (stage["schedule"]["name"], stage["schedule"]["arguments"]) == ("longtail.recipes:cosine", {"warmup": 0.1})
    assert (stage["sampler"]["name"], stage["batch_size"]) == ("longtail.samplers:ClassBalanced", 48)
    assert stage["augmentation"][0]["arguments"]["padding"] == 2


def test_a_configuration_file_holds_the_same_options(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pathlib.Path("run.toml").write_text(
        'arguments = ["dro-lt@steps=4"]\nepochs = 7\nbatch-size = 48\njson = true\n'
        '[set]\nstages.0.optimizer.lr = 0.02\n"stages.1.optimizer" = "adamw@lr=0.003"\n'
    )
    assert run("recipe --config run.toml", monkeypatch) == 0
    from_file = json.loads(capsys.readouterr().out)
    typed = "--epochs 7 --batch-size 48 --set stages.0.optimizer.lr=0.02 --set stages.1.optimizer=adamw@lr=0.003"
    assert run(f"recipe dro-lt@steps=4 --json {typed}", monkeypatch) == 0
    assert json.loads(capsys.readouterr().out) == from_file
    assert from_file["stages"][0]["epochs"] == 7
    assert run("recipe --config=run.toml --epochs 9", monkeypatch) == 0  # what is typed counts
    assert json.loads(capsys.readouterr().out)["stages"][0]["epochs"] == 9
    for content, words in (
        ("epochs = [", "is no TOML"),
        (f"epochs = 1{5000 * '0'}", "is no TOML"),
        ("epoks = 3", "--epoks"),
    ):
        pathlib.Path("bad.toml").write_text(content)
        assert run("recipe ce --config bad.toml", monkeypatch) == 2
        assert words in capsys.readouterr().err


def test_a_finished_run_in_place_of_a_recipe_runs_it_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("train crt --epochs 2 --set stages.0.optimizer.lr=0.02 --out one", monkeypatch) == 0
    assert run("train one --out two", monkeypatch) == 0
    one, two = (json.loads(pathlib.Path(f"{name}/record.json").read_text()) for name in ("one", "two"))
    assert one["digests"]["run"] == two["digests"]["run"]
    assert one["report"] == two["report"]
    assert run("train one --seed 1 --set stages.0.optimizer.lr=0.03 --out three", monkeypatch) == 0
    three = json.loads(pathlib.Path("three/record.json").read_text())
    assert three["config"]["stages"][0]["optimizer"]["arguments"]["lr"] == 0.03
    assert three["config"]["stages"][0]["epochs"] == 2
    held = "--validation 0.2"
    assert run(f"train ce --epochs 2 --select validation {held} --out best", monkeypatch) == 0
    assert run(f"train best {held} --out again", monkeypatch) == 0
    best, again = (json.loads(pathlib.Path(f"{name}/record.json").read_text()) for name in ("best", "again"))
    assert best["selection"] == again["selection"] != one["selection"]
    assert best["digests"]["run"] == again["digests"]["run"]
    capsys.readouterr()
    assert run("train one --epochs 7", monkeypatch) == 2
    assert "--set" in capsys.readouterr().err
    assert run("train one@lr=3", monkeypatch) == 2
    pathlib.Path("broken").mkdir()
    pathlib.Path("broken/record.json").write_text("[" * 100_000)
    assert run("train broken", monkeypatch) == 2
    assert "is damaged or no record" in capsys.readouterr().err


def test_a_recipe_is_printed_with_every_number(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("recipe dro-lt@radius=shared,steps=5 --epochs 10 --batch-size 48", monkeypatch) == 0
    said = capsys.readouterr().out
    for words in (
        "robust@",
        "radius=shared",
        "epsilon=1.0",
        "epochs: 10\n",
        "batch_size: 48",
        "sgd@lr=0.05,momentum",
    ):
        assert words in said
    assert "epochs: 15 of 90 that the protocol states" in said
    assert run("recipes --json", monkeypatch) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["logit-adjustment"]["options"] == {"tau": 1.0}
    assert "ICCV 2021" in rows["dro-lt"]["paper"]
    assert run("recipes", monkeypatch) == 0
    assert "supcon-probe" in capsys.readouterr().out


WRONG = ("train ce --precision half", "train ce --device tpu", "compare ce --seeds 0,0", "train ce --seed one")
WRONG += ("train ce --protocol plain", "train ce --select best", "train ce --epochs 0", "train ce --epoks 3")
WRONG += ("compare ce --jobs 0", "train ce --batch-size 100000000000000000000", "no-such-command", "train")


def test_the_command_line_knows_the_protocols() -> None:
    from longtail.cli.options import PROTOCOLS
    from longtail.methods import protocols

    assert sorted(PROTOCOLS) == sorted(protocols.names())


def test_wrong_flags_are_refused_before_anything_heavy_is_imported() -> None:
    script = (
        "import sys\nfrom longtail import cli\n"
        f"for words in {WRONG!r}:\n"
        "    sys.argv = ['longtail', *words.split()]\n"
        "    try:\n        cli.main()\n    except SystemExit as stopped:\n"
        "        print(stopped.code, sorted({'torch', 'numpy', 'sklearn', 'longtail.data'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["2 []"] * len(WRONG)


def test_longtail_is_a_module_too() -> None:
    for module in ("longtail", "longtail.cli"):
        done = subprocess.run([sys.executable, "-m", module, "--version"], capture_output=True, text=True, check=True)
        assert done.stdout.startswith("longtail ")
        done = subprocess.run([sys.executable, "-m", module, "nothing"], capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert done.stderr.startswith("longtail: ")


def test_a_users_own_loss_is_one_more_row(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import torch.nn.functional as F\n\n\ndef loss(logits, target):\n"
        "    return F.cross_entropy(logits, target, reduction='none') ** 2\n\n\n"
        "def reduced(logits, target):\n    return F.cross_entropy(logits, target)\n"
    )
    assert run("compare ce mine.py:loss --epochs 1 --seeds 1", monkeypatch) == 0
    assert run("train mine.py:reduced --epochs 1 --out other", monkeypatch) == 2


def test_bench_prints_where_a_step_spends_its_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path
) -> None:
    assert run("bench dro-lt@radius=shared --seconds 0.2 --epochs 2", monkeypatch) == 0
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
    ("bench ce --set stages.0.epoks=3", "did you mean 'epochs'?"),
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
    ("compare ce --seeds 0", "from 1 to 10,000"),
    ("compare ce --seeds 0,0", "a seed is named twice"),
    ("compare ce --seeds -1", "whole numbers from 0"),
    ("compare ce --seeds \uff13", "whole numbers from 0"),
    ("train ce --seed \u0663", "a whole number from 0"),
    ("train ce --seed 1e3", "a whole number from 0"),
    ("compare ce ce", "named twice"),
    ("train ce --epochs 0", "--epochs"),
    ("train ce --set stages.0.epoks=3", "did you mean 'epochs'?"),
    ("train ce --set stages.0.epochs=few", "'few' is not a whole number"),
    ("train ce --set stages.0.epochs=\uff13", "is not a whole number"),
    ("train ce --set stages.0.epochs=0", "epochs is 0"),
    ("train ce --set stages.0.epochs", "PATH=VALUE"),
    ("train ce --set stages.1.epochs=3", "'1' is no position in a list of 1 (0 to 0)"),
    ("train ce --set model.wide=3", "unknown option of"),
    ("train ce --set stages.0.optimizer.lr=nan", "'nan' is not a number"),
    ("train ce --set stages.0.optimizer.lr=1e999", "'1e999' is not a number"),
    ("train ce --set stages.0.optimizer.lr=-1", "nvalid learning rate"),
    ("train ce --set stages.0.optimizer=adamw@lr=-0.1", "nvalid learning rate"),
    ("train ce --set stages.0.optimizer=adam", "did you mean 'adamw'?"),
    ("train ce --set stages.0.optimizer=adamw@lrr=1", "did you mean 'lr'?"),
    ("train ce --set stages.0.sampler=class-balance", "did you mean 'class-balanced'?"),
    ("train ce --set stages.0.schedule=cosin", "did you mean 'cosine'?"),
    ("train ce --set stages.0.batch-size=100000000000000000000", "batch_size"),
    ("train ce --batch-size 100000000000000000000", "--batch-size"),
    ("train ce --set stages.0.trains=head", "'head' is not"),
    ("train ce --augmentation plane", "did you mean 'plain'?"),
    ("train ce --protocol plain", "did you mean 'plain-200'?"),
    ("train ce@tau=1", "has no options"),
    ("train logit-adjustment@taw=1", "did you mean 'tau'?"),
    ("train logit-adjustment@tau=", "is not a number"),
    ("train logit-adjustment@tau", "should read option=value"),
    ("train dro-lt@balancing=(ldam", "do not match"),
    ("train ~nosuchuser/mine.py:loss", "home"),
    (f"train {'a' * 300}", "unknown recipe"),
    (f"train {'a' * 300}.py:loss", "too long"),
    (f"train ce --model {'a' * 300}.py:Net", "too long"),
    (f"train ce --config {'a' * 300}.toml", "too long"),
    (f"rescore {'a' * 300}", "too long"),
    (f"train ce --epochs 1 --out {'a' * 300}/x", "too long"),
    ("train mine.py:", "mine.py"),
    ("train ce --precision half", "float32"),
    ("train ce --device tpu", "--device 'tpu'"),
    ("train ce --select best", "--select 'best'"),
    ("train ce --select validation", "validation"),
    ("train no_such_module:loss", "no_such_module"),
    ("train no_such.py:loss", "no Python file"),
    ("rescore nowhere", "nowhere"),
    ("report nowhere", "nowhere"),
    ("rescore .", "holds no finished run"),
    ("probe nowhere", "nowhere"),
    ("train ip-dpp --from nowhere", "nowhere"),
    ("recipe nothing", "unknown recipe"),
    ("train ce --config nowhere.toml", "nowhere.toml"),
    ("train ce --config", "needs a file"),
    ("train ce --data nowhere.py:load", "there is no Python file"),
    ("train ce --data no_such_module:load", "no_such_module"),
    ("train ce --data digits-lt@year=3", "unknown data set"),
    ("data describe nowhere", "unknown data set"),
    ("data describe folder:nowhere", "nowhere"),
    ("data describe npz:nowhere.npz", "nowhere.npz"),
    ("no-such-command", "no-such-command"),
    ("train ce --out file/inside", "cannot write to"),
    ("rescore nowhere --root .", "--root would not be heeded here: it goes with --data"),
    ("rescore nowhere --image-size 32", "--image-size would not be heeded here"),
    ("rebalance nowhere --root .", "--root would not be heeded here: it goes with --data"),
    ("rebalance nowhere.npz --data digits-lt", "--data would not be heeded here"),
    ("rebalance nowhere.npz --image-size 32", "--image-size would not be heeded here"),
    ("export nowhere --hub-folder new --format onnx", "--format would not be heeded here"),
    ("export nowhere --out new.onnx --pictures . --data digits-lt", "--data would not be heeded here"),
    ("data select digits-lt --model net.py:Net", "--model would not be heeded here"),
    ("board submit nowhere --method ours", "--method would not be heeded here: the records of runs say it"),
    ("board submit nowhere --imbalance 0", "--imbalance would not be heeded here"),
    ("board submit nowhere --state epochs=3", "--state would not be heeded here"),
    ("board review --accept", "--accept would not be heeded here: name the submission that waits"),
    ("board review --refuse no", "--refuse would not be heeded here"),
    ("board paper check nowhere --from dump", "--from would not be heeded here: it goes with new"),
    ("board paper new nowhere --arxiv 2107.00001", "new writes a file and takes none"),
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
