"""Several commands in one folder, and a comparison as jobs of Slurm."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import pytest

from longtail import cli, results
from longtail.cli.progress import training
from longtail.training.loop import Progress
from together import commands, tell_of_stages

COMPARE = "compare ce crt --epochs 2 --seeds 2 --precision float32 --json"


@pytest.mark.slow
def test_four_commands_at_once_share_the_work(tmp_path: pathlib.Path) -> None:
    """Each run and each beginning is trained by one of them."""
    ended = commands(tmp_path, COMPARE, number=4, before=tell_of_stages)
    assert [one.status for one in ended] == [0] * 4, [one.complained for one in ended]
    shown = [json.loads(one.said) for one in ended]
    assert all(one["methods"] == shown[0]["methods"] for one in shown)
    trained = [line.split()[0] for line in (tmp_path / "trained.txt").read_text().splitlines()]
    assert len(trained) == len(set(trained)) == 4  # two seeds: what ce and crt share, and crt's second stage
    folders = [pathlib.Path(tmp_path, folder) for paths in shown[0]["folders"].values() for folder in paths]
    assert len(folders) == len(list((tmp_path / "runs").rglob("record.json"))) == 4
    for folder in folders:
        results.rescore(results.read(folder))


@pytest.mark.slow
def test_processes_of_torchrun_compare_together(tmp_path: pathlib.Path) -> None:
    words = "compare ce crt --epochs 1 --seeds 1 --precision float32 --sync-batch-norm --json"
    first, second = commands(tmp_path, words, number=2, together=True)
    assert (first.status, second.status) == (0, 0), (first.complained, second.complained)
    assert [row["name"] for row in json.loads(first.said)["methods"]] == ["ce", "crt"]
    assert second.said == second.complained == ""
    assert len(list((tmp_path / "runs").rglob("record.json"))) == 2
    refused = commands(tmp_path, f"{words} --jobs 2", number=2, together=True)
    assert [one.status for one in refused] == [2, 2]
    assert "".join(one.complained for one in refused).count("leave --jobs out") == 1
    # Without the flag the numbers depend on the processes: it is another run, which the folder of one does not take.
    (one,) = (tmp_path / "runs").glob("*/ce/seed-0-*")
    apart = f"train ce --epochs 1 --precision float32 --out {one}"
    refused = commands(tmp_path, apart, number=2, together=True)
    assert [one.status for one in refused] == [2, 2]
    said = "holds another run (compute.divided: absent there, 2 here"
    assert "".join(one.complained for one in refused).count(said) == 1


@pytest.mark.slow
def test_the_jobs_of_slurm_train_one_run_each(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    command = "compare ce plain=focal@gamma=1 --seeds 4,7 --epochs 1 --imbalance=20 --against ce --on slurm --quiet"
    monkeypatch.setattr(sys, "argv", ["longtail", *command.split()])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 0
    script = capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []  # it is only printed
    assert "#SBATCH --array=0-3\n" in script
    assert "gres" not in script
    assert "longtail compare ce plain=focal@gamma=1 --seeds 4,7 --epochs 1 --imbalance=20\n" in script
    (tmp_path / "job.sh").write_text(script)
    (tmp_path / "longtail").write_text('#!/bin/bash\necho "$@" > words.txt\n')
    (tmp_path / "longtail").chmod(0o755)
    job = {**os.environ, "SLURM_ARRAY_TASK_ID": "3", "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    subprocess.run(["bash", "job.sh"], env=job, check=True, capture_output=True)
    (ended,) = commands(tmp_path, (tmp_path / "words.txt").read_text(), number=1)
    assert ended.status == 0, ended.complained
    (record,) = (tmp_path / "runs").rglob("record.json")
    loaded = results.read(record.parent)
    assert (loaded.record.recipe, loaded.record.seed) == ("plain", 7)


def test_a_gpu_is_asked_for_where_one_is_wanted(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, expected in (("--device cuda", True), ("", False)):
        monkeypatch.setattr(sys, "argv", ["longtail", *f"compare ce --on slurm {words}".split()])
        with pytest.raises(SystemExit):
            cli.main()
        assert ("#SBATCH --gres=gpu:1" in capsys.readouterr().out) == expected
    monkeypatch.setattr(sys, "argv", ["longtail", "compare", "cee", "--on", "slurm"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert "unknown recipe 'cee'" in capsys.readouterr().err


def test_runs_at_once_are_a_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "160")

    def heard(several: bool) -> str:
        with training(8, quiet=False, several=several) as notify:
            notify(Progress("ce", 0, "classify", 1, 4, 0.5, 1.25, 0.5))
            notify(Progress("crt", 1, "classify", 2, 4, 0.0, None, None))
            notify(Progress("ce", 0, "classify", 4, 4, 0.0, 0.5, 0.75))
        return capsys.readouterr().err

    table, line = heard(True), heard(False)
    assert all(words in table for words in ("all runs", "6/8 epochs", "crt seed 1", "2/4 epochs"))
    assert "all runs" not in line
    assert "6/8 epochs" in line
