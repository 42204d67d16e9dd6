"""Break things on purpose and count what happens: killed commands and workers, damaged files, hostile records.

    python benchmarks/faults.py --kills 200 --worker-kills 50 --damage 400 --hostile 200 --out FILE

Seeds are fixed. Each trial has one of these outcomes: ``refused`` (one line, exit status 2), ``harmless`` (the numbers
of the undamaged run), and those that must not be: ``traceback``, ``hang``, ``signal``, ``other numbers``,
``left-over file``, ``code ran``. A sweep of 0 trials is left out, and what FILE holds of it stays. Linux.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import io
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from record import keep

FORBIDDEN = ("traceback", "hang", "signal", "other numbers", "left-over file", "code ran")
RUN = [
    "train",
    "ip-dpp",
    "--data",
    "digits-lt",
    "--epochs",
    "6",
    "--precision",
    "float32",
    "--seed",
    "1",
    "--out",
    "run",
]
MANY = [
    "compare",
    "ce",
    "balanced-softmax",
    "--data",
    "digits-lt",
    "--epochs",
    "20",
    "--seeds",
    "2",
    "--precision",
    "float32",
    "--jobs",
    "2",
]
# A checkpoint after every epoch, so that a kill can fall between any two of them.
START = "from longtail.training import loop; loop.CHECKPOINT_SECONDS = 0.0; from longtail.cli import main; main()"


def command(words: list[str], folder: pathlib.Path, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", START, *words], cwd=folder, text=True, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **options,
    )  # fmt: skip


def facts(run: pathlib.Path) -> Any:
    """What must be equal however often a run was interrupted."""
    record = json.loads((run / "record.json").read_text())
    history = [{key: value for key, value in row.items() if "seconds" not in key} for row in record["history"]]
    return record["report"], history, record["digests"]["run"]


def left_over(folder: pathlib.Path) -> list[pathlib.Path]:
    return list(folder.rglob(".*.part"))


def ended(process: subprocess.Popen[str], seconds: float) -> str:
    """How a command ended."""
    try:
        said = process.communicate(timeout=seconds)[1]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return "hang"
    if "Traceback" in said:
        return "traceback"
    if process.returncode < 0:
        return "signal"
    return {0: "done", 2: "refused"}.get(process.returncode, f"exit {process.returncode}")


def kills(times: int, seed: int = 0) -> collections.Counter[str]:
    """Kill the whole command at random moments until it is through, again and again; ``times`` kills altogether."""
    rng, found = random.Random(seed), collections.Counter[str]()
    with tempfile.TemporaryDirectory() as there:
        reference = pathlib.Path(there)
        began = time.monotonic()
        assert ended(command(RUN, reference), 600) == "done"
        whole = time.monotonic() - began
        wanted = facts(reference / "run")
        while found["kills"] < times:
            with tempfile.TemporaryDirectory() as here:
                folder = pathlib.Path(here)
                outcome = ""
                while not outcome:
                    process = command(RUN, folder)
                    patience = rng.uniform(0.3, 1.2) * whole if found["kills"] < times else 600
                    try:
                        process.wait(patience)
                    except subprocess.TimeoutExpired:
                        os.killpg(process.pid, signal.SIGKILL)
                        process.communicate()
                        found["kills"] += 1
                        continue
                    outcome = ended(process, 10)
                if outcome == "done":
                    outcome = "same numbers" if facts(folder / "run") == wanted else "other numbers"
                    found["left-over file"] += len(left_over(folder))
                found[outcome] += 1
    return found


def workers_of(parent: int) -> list[int]:
    """Processes that train for a command."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        with contextlib.suppress(OSError, IndexError, ValueError):
            fields = (entry / "stat").read_text().rsplit(")", 1)[1].split() if entry.name.isdigit() else []
            if fields and int(fields[1]) == parent and "spawn_main" in (entry / "cmdline").read_text():
                found.append(int(entry.name))
    return found


def worker_kills(times: int, seed: int = 0) -> collections.Counter[str]:
    """Kill one of two workers at a random moment; the command must end within 10 s and finish when it is run again."""
    rng, found = random.Random(seed), collections.Counter[str]()
    with tempfile.TemporaryDirectory() as there:
        reference = pathlib.Path(there)
        assert ended(command(MANY, reference), 600) == "done"
        wanted = {
            path.parent.parent.name + path.parent.name: facts(path.parent) for path in reference.rglob("record.json")
        }
        for _ in range(times):
            with tempfile.TemporaryDirectory() as here:
                folder = pathlib.Path(here)
                process = command(MANY, folder)
                deadline = time.monotonic() + 120
                while not workers_of(process.pid) and process.poll() is None and time.monotonic() < deadline:
                    time.sleep(0.02)
                time.sleep(rng.uniform(0.0, 4.0))
                victims = workers_of(process.pid)
                if victims:
                    os.kill(rng.choice(victims), signal.SIGKILL)
                    found["kills"] += 1
                outcome = ended(process, 10 if victims else 600)
                found[f"the command after a kill: {outcome}" if victims else "nothing left to kill"] += 1
                found[outcome] += outcome in FORBIDDEN
                again = ended(command(MANY, folder), 600)
                got = {
                    path.parent.parent.name + path.parent.name: facts(path.parent)
                    for path in folder.rglob("record.json")
                }
                found[
                    "same numbers"
                    if again == "done" and got == wanted
                    else again
                    if again != "done"
                    else "other numbers"
                ] += 1
                found["left-over file"] += len(left_over(folder))
    return found


@contextlib.contextmanager
def at(folder: pathlib.Path) -> Iterator[None]:
    before = pathlib.Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def called(words: list[str], folder: pathlib.Path) -> tuple[str, str]:
    """How a command ends in this process, and what it prints."""
    from longtail.cli.app import app
    from longtail.errors import InputError

    out = io.StringIO()
    with at(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        try:
            app(words, standalone_mode=False)
        except InputError as error:
            return ("refused" if "\n" not in str(error).strip() else "traceback"), str(error)
        except SystemExit as error:
            return f"exit {error.code}", out.getvalue()
        except Exception as error:
            if hasattr(error, "exit_code") or hasattr(error, "format_message"):
                return f"exit {getattr(error, 'exit_code', 2)}", out.getvalue()
            return "traceback", repr(error)
    return "done", out.getvalue()


COMMANDS = {
    "train": "train ce --data digits-lt --epochs 2 --precision float32 --out run --json",
    "train --from": "train ip-dpp --data digits-lt --epochs 2 --from run --out more --json",
    "compare": "compare ce --data digits-lt --epochs 2 --precision float32 --seeds 1 --json",
    "rescore": "rescore run --json",
    "report": "report run --json",
    "probe": "probe run --per-class 3 --json",
}
DAMAGE = ("emptied", "cut in half", "zeros in the middle", "one byte changed", "end cut off", "another kind of file")


def damaged(content: bytes, how: str, rng: random.Random) -> bytes:
    middle = len(content) // 2
    if how == "emptied":
        return b""
    if how == "cut in half":
        return content[:middle]
    if how == "zeros in the middle":
        return content[:middle] + b"\0" * min(64, len(content) - middle) + content[middle + 64 :]
    if how == "one byte changed":
        place = rng.randrange(len(content))
        return content[:place] + bytes([content[place] ^ (1 << rng.randrange(8))]) + content[place + 1 :]
    if how == "end cut off":
        return content[:-1]
    return b"[1, 2, 3]"


def prepared(folder: pathlib.Path) -> None:
    """A finished run alone, and the same run below runs/, with its stored state."""
    for name in ("train", "compare"):
        outcome, said = called(COMMANDS[name].split(), folder)
        assert outcome == "done", said


def shown(text: str) -> Any:
    """The rates that a command printed."""
    found = json.loads(text)
    if "methods" in found:
        return [method["estimates"] for method in found["methods"]]
    reports = [found["report"]] if isinstance(found.get("report"), dict) else [found]
    reports = reports if "accuracy" in reports[0] else list(found.values())
    return [(report["accuracy"], report["per_class"]) for report in reports]


def references(original: pathlib.Path) -> dict[str, Any]:
    """What each command shows of an undamaged run."""
    wanted = {}
    for name, words in COMMANDS.items():
        copy = original.parent / "copy"
        shutil.copytree(original, copy)
        outcome, said = called(words.split(), copy)
        assert outcome == "done", (name, said)
        wanted[name] = shown(said)
        shutil.rmtree(copy)
    return wanted


def damage(times: int, seed: int = 0) -> tuple[collections.Counter[str], list[str]]:
    """Damage one stored file at random and give one command; count what it does."""
    rng, found, faults = random.Random(seed), collections.Counter[str](), []
    with tempfile.TemporaryDirectory() as there:
        original = pathlib.Path(there) / "original"
        original.mkdir()
        prepared(original)
        wanted = references(original)
        files = sorted(
            path.relative_to(original)
            for path in original.rglob("*")
            if path.is_file() and path.suffix in (".json", ".npz", ".safetensors")
        )
        for trial in range(times):
            copy = pathlib.Path(there) / f"copy{trial}"
            shutil.copytree(original, copy)
            name, how = rng.choice(list(COMMANDS)), rng.choice(DAMAGE)
            file = rng.choice([path for path in files if path.parts[0] == ("runs" if name == "compare" else "run")])
            (copy / file).write_bytes(damaged((copy / file).read_bytes(), how, rng))
            outcome, said = called(COMMANDS[name].split(), copy)
            if outcome == "done":
                same = shown(said) == wanted[name]
                outcome = "harmless" if same else "other numbers"
            found[outcome] += 1
            if outcome in FORBIDDEN:
                faults.append(f"{outcome}: {file} {how}, then {name}: {said[:200]}")
            shutil.rmtree(copy)
    return found, faults


def hostile_values(rng: random.Random) -> Any:
    """A value that no record should hold."""
    return rng.choice(
        [
            *(None, True, -1, 10**30, 1e308, "", "x" * 10_000, [], {}, [[[]]], "\ud800", "<script>"),
            {"name": "os:system", "arguments": {}, "source": ""},
            {"name": "evil.py:f", "arguments": {}, "source": "0" * 64},
            {"name": "longtail.cli:main", "arguments": {}, "source": ""},
            {"name": "longtail.models:timm_model", "arguments": {"timm_name": "../x"}, "source": ""},
        ]
    )


def planted(value: Any, rng: random.Random) -> Any:
    """The record with one value, anywhere in it, replaced."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(sorted(value))
        return {**value, key: planted(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.9:
        place = rng.randrange(len(value))
        return [*value[:place], planted(value[place], rng), *value[place + 1 :]]
    return hostile_values(rng)


def hostile(times: int, seed: int = 0) -> tuple[collections.Counter[str], list[str]]:
    """Give commands a record with one hostile value; nothing may run, hang or show numbers that are not true."""
    rng, found, faults = random.Random(seed), collections.Counter[str](), []
    with tempfile.TemporaryDirectory() as there:
        original = pathlib.Path(there) / "original"
        original.mkdir()
        prepared(original)
        wanted = references(original)
        whole = json.loads((original / "run" / "record.json").read_text())
        names = [name for name in COMMANDS if name != "compare"]
        for trial in range(times):
            copy = pathlib.Path(there) / f"copy{trial}"
            shutil.copytree(original, copy)
            mark = copy / "EXECUTED"
            (copy / "evil.py").write_text(f"open({str(mark)!r}, 'w').close()\nf = 1\n")
            name = rng.choice(names)
            text = json.dumps(planted(whole, rng), ensure_ascii=True)
            (copy / "run" / "record.json").write_text(text)
            outcome, said = called(COMMANDS[name].split(), copy)
            if outcome == "done":
                outcome = "harmless" if shown(said) == wanted[name] else "other numbers"
            outcome = "code ran" if mark.exists() else outcome
            found[outcome] += 1
            if outcome in FORBIDDEN:
                faults.append(f"{outcome}: {name}: {said[:200]}")
            shutil.rmtree(copy)
    return found, faults


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--worker-kills", type=int, default=50)
    parser.add_argument("--damage", type=int, default=400)
    parser.add_argument("--hostile", type=int, default=200)
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    out: pathlib.Path | None = arguments.out
    known = json.loads(out.read_text()) if out and out.exists() else {"outcomes": {}, "faults": {}}

    def found(name: str, counted: Mapping[str, int], more: Sequence[str] = ()) -> None:
        """Print and keep what one sweep found, so that a stop costs no more than the sweep it falls into."""
        known["outcomes"][name], known["faults"][name] = dict(counted), list(more)
        print(f"{name}: {dict(counted)}", *more, sep="\n", flush=True)
        keep(known, out)

    if arguments.damage:
        found("damaged file x command", *damage(arguments.damage))
    if arguments.hostile:
        found("hostile record x command", *hostile(arguments.hostile))
    if arguments.kills:
        found("kill -9 of the command", kills(arguments.kills))
    if arguments.worker_kills:
        found("kill -9 of a worker under --jobs 2", worker_kills(arguments.worker_kills))


if __name__ == "__main__":
    main()
