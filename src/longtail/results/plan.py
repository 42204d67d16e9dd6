"""A plan: what is to be compared, fixed before the first run, known by a hash that every record of it cites.

A plan is data. It names arms and their controls, seeds, a budget and the contrasts that will be read; a run that does
not fit it, or that no plan announced, is shown as such.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import math
import os
import pathlib
import subprocess
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from longtail.errors import InputError, unknown
from longtail.results.announced import LONGEST, digest, nameless
from longtail.results.claims import TOLERANCE
from longtail.results.comparison import RATES
from longtail.results.record import Loaded, Record

_KEYS = ("question", "data", "arms", "seeds", "options", "primary", "smallest", "tolerance", "note")
_ARM_KEYS = ("name", "control")
LARGEST = 2**63 - 1
"""The largest whole number of a plan: that of TOML, and of a seed."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a plan's file says.

    Args:
        name: name of the file, without its ending.
        sha256: of the contents in canonical form; comments and the order of the keys do not enter.
        question: in one sentence.
        data: name of the data set.
        arms: recipes as typed, the baseline first, the most valuable first.
        controls: arm to the arm that is its own control.
        seeds: random seeds, one run of each arm each.
        options: options of ``longtail compare``, such as imbalance, epochs and model.
        primary: the rate that decides.
        smallest: the smallest difference of interest, in [0, 1].
        tolerance: distance by which a published number may be missed, in [0, 1].
    """

    name: str
    sha256: str
    question: str
    data: str
    arms: tuple[str, ...]
    controls: dict[str, str]
    seeds: tuple[int, ...]
    options: dict[str, Any]
    primary: str
    smallest: float
    tolerance: float

    def cited(self, arm: str, config: dict[str, Any], numerics: int) -> dict[str, Any]:
        """Return what a record of an arm says of the plan (``longtail.results.announced.Citation``).

        Args:
            arm: name of the arm.
            config: the plain form of its recipe.
            numerics: the version of the numerics.
        """
        return {
            "name": self.name,
            "sha256": self.sha256,
            "arm": arm,
            "question": self.question,
            "arms": list(self.arms),
            "seeds": list(self.seeds),
            "primary": self.primary,
            "smallest": self.smallest,
            "control": self.controls.get(arm, ""),
            "recipe": digest(config, numerics),
        }


def read_plan(path: pathlib.Path | str) -> Plan:
    """Read a plan.

    Args:
        path: a TOML file with ``question``, ``data``, ``seeds``, ``[[arms]]`` of ``name`` and perhaps ``control``, and
            perhaps ``options``, ``primary``, ``smallest``, ``tolerance`` and ``note``.

    Raises:
        InputError: no such file, no TOML, a key that is missing or not known, or a value that cannot be meant.
    """
    path = pathlib.Path(path)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        leaves, sha256 = list(_leaves(table)), _hash(table)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; name a plan, a TOML file") from None
    except ValueError as error:  # no TOML, no UTF-8, or a number of thousands of digits
        raise InputError(f"{path} is no TOML: {error}") from None
    except RecursionError:
        raise InputError(f"{path} is no plan: its values are nested too deep") from None
    try:
        path.stem.encode()
    except UnicodeEncodeError:
        raise InputError(f"the name of the plan {str(path)!r} is no text that a record can hold; rename it") from None
    for key in table:
        if key not in _KEYS:
            raise unknown(f"key of the plan {path}", key, _KEYS)
    for key in ("question", "data", "arms", "seeds"):
        if not table.get(key):
            raise InputError(f"{path}: the plan does not say its {key}")
    for key in ("question", "data", "note"):
        if not isinstance(table.get(key, ""), str):
            raise InputError(f"{path}: {key} must be a text, not {table[key]!r}")
    arms = [arm if isinstance(arm, dict) else {"name": arm} for arm in _listed(table["arms"], "arms", path)]
    for key, value in ((key, value) for arm in arms for key, value in arm.items()):
        if key not in _ARM_KEYS:
            raise unknown(f"key of an arm of the plan {path}", key, _ARM_KEYS)
        if not isinstance(value, str):
            raise InputError(f"{path}: the {key} of an arm must be a text, not {value!r}")
    names = tuple(str(arm.get("name", "")) for arm in arms)
    seeds = _listed(table["seeds"], "seeds", path)
    wrong = [seed for seed in seeds if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0]
    if wrong or len(set(seeds)) < len(seeds):
        raise InputError(f"{path}: seeds must be different whole numbers from 0, not {seeds}")
    if "" in names or len(set(names)) < len(names):
        raise InputError(f"{path}: every arm needs a name of its own: {', '.join(map(repr, names))}")
    for key, listed in (("arms", names), ("seeds", seeds)):
        if len(listed) > LONGEST:
            raise InputError(f"{path}: {len(listed):,} {key}; a record can cite a plan of at most {LONGEST:,}")
    controls = {str(arm["name"]): str(arm["control"]) for arm in arms if "control" in arm}
    for arm, control in controls.items():
        if control not in names:
            raise InputError(f"{path}: the control of {arm!r} is {control!r}, which is no arm of the plan")
        if control == arm:
            raise InputError(f"{path}: {arm!r} is its own control; a control is another arm")
        seen, last = [arm], control
        while last in controls and last not in seen:
            seen.append(last)
            last = controls[last]
        if last in seen:
            raise InputError(f"{path}: the controls of {arm!r} go round in a circle: {' to '.join([*seen, last])}")
    primary = table.get("primary", "accuracy")
    if primary not in RATES:
        raise unknown(f"primary measure of {path}", str(primary), RATES)
    if not isinstance(table.get("options", {}), dict):
        raise InputError(f"{path}: options must be a table, as in [options]")
    for value in leaves:
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError(f"{path}: {value} is no number that a plan can hold")
        if isinstance(value, int) and abs(value) > LARGEST:
            raise InputError(f"{path}: a whole number of {len(str(abs(value)))} digits is more than a plan can hold")
    return Plan(
        name=path.stem,
        sha256=sha256,
        question=str(table["question"]),
        data=str(table["data"]),
        arms=names,
        controls=controls,
        seeds=tuple(seeds),
        options=dict(table.get("options", {})),
        primary=primary,
        smallest=_share(table.get("smallest", 0.01), "smallest", path),
        tolerance=_share(table.get("tolerance", TOLERANCE), "tolerance", path),
    )


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, (dict, list)):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _leaves(each)
    else:
        yield value


def _hash(table: dict[str, Any]) -> str:
    text = json.dumps(table, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _digest(content: bytes) -> str | None:
    """The hash of a plan's file; None for what is none."""
    try:
        return _hash(tomllib.loads(content.decode("utf-8-sig")))
    except (ValueError, RecursionError):
        return None


def _listed(value: Any, key: str, path: pathlib.Path) -> list[Any]:
    if not isinstance(value, list):
        raise InputError(f"{path}: {key} must be a list, not {value!r}")
    return value


def _share(value: Any, key: str, path: pathlib.Path) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= 1:
        raise InputError(f"{path}: {key} must be a share in [0, 1], not {value!r} (1 point is 0.01)")
    return float(value)


def departures(record: Record, plan: Plan, arm: str, config: dict[str, Any], numerics: int) -> list[str]:
    """Return in what a record is not the run that a plan announced; empty if it is.

    Args:
        record: record of a finished run.
        plan: plan that may have announced the run.
        arm: arm of the plan that the run may belong to.
        config: the plain form of the arm's recipe, as this version resolves it.
        numerics: the version of the numerics of this version.

    Returns:
        A phrase for each difference: plan, arm, recipe (with its budget and the sources of its parts), seed, numerics.
    """
    found = []
    if record.plan.get("sha256") != plan.sha256:
        found.append("it cites no plan" if not record.plan else "it cites another plan, or an earlier text of this one")
    elif record.plan.get("arm") != arm:
        found.append(f"it cites the arm {record.plan.get('arm')!r}")
    if record.seed not in plan.seeds:
        found.append(f"seed {record.seed} is not in the plan")
    if nameless(record.config) != nameless(config):
        found.append("its recipe, budget or the source of a part is another one")
    if record.numerics.get("version") != numerics:
        found.append(f"numerics {record.numerics.get('version')} (now {numerics})")
    return found


def completed(record: Record, plans: Mapping[str, Plan]) -> Record:
    """Return a record whose citation states all that its plan says, as early ones do not.

    Args:
        record: of a run.
        plans: by their SHA-256; what they say counts before a citation, which anybody may have changed.
    """
    plan = plans.get(str(record.plan.get("sha256")))
    if plan is None:
        return record
    stated = {
        "arms": list(plan.arms),
        "seeds": list(plan.seeds),
        "primary": plan.primary,
        "smallest": plan.smallest,
        "control": plan.controls.get(str(record.plan.get("arm")), ""),
    }
    return dataclasses.replace(record, plan={**record.plan, **stated})


def completed_rows(rows: Mapping[str, Sequence[Loaded]], paths: Sequence[pathlib.Path]) -> dict[str, list[Loaded]]:
    """Return runs whose citations state all that their plans say (``completed``).

    Args:
        rows: runs by the name of their row.
        paths: files of plans.

    Raises:
        InputError: a file that is no plan, or one that no run cites.
    """
    cited = {run.record.plan.get("sha256") for runs in rows.values() for run in runs}
    plans = {}
    for path in paths:
        plan = read_plan(path)
        if plan.sha256 not in cited:
            raise InputError(f"--plan {path}: no run here cites it as it stands")
        plans[plan.sha256] = plan
    return {
        name: [dataclasses.replace(run, record=completed(run.record, plans)) for run in runs]
        for name, runs in rows.items()
    }


def committed(path: pathlib.Path) -> str | None:
    """Return when what a plan says now was first committed, ISO 8601; None if it was not, or git does not tell.

    Comments and the order of keys do not count, nor what the file said in between. A file that was renamed, or copied
    from another one, is followed under its earlier name. Nothing that the repository's configuration names is run.
    """
    return asked_of_git(path)[0]


def asked_of_git(path: pathlib.Path) -> tuple[str | None, str]:
    """Return ``committed`` and, where git cannot tell, why: it is not there, it refuses, or the history is cut off."""
    settings = ("log.showSignature=false", "log.showRoot=true", "core.fsmonitor=false", "diff.external=")
    plain = [word for setting in (*settings, "diff.relative=false") for word in ("-c", setting)]
    try:
        path = path.resolve()
        text = path.read_bytes()
        own = _digest(text)
        git = ["git", "--literal-pathspecs", "--no-pager", "-C", str(path.parent), *plain]
        words = ["log", "-z", "--no-ext-diff", "--no-textconv", "--follow", "--name-only"]
        words += ["--format=%x01%H %cI", "--", path.name]
        done = subprocess.run([*git, *words], capture_output=True, check=True, env={**os.environ, "LC_ALL": "C"})
        first: tuple[str, str | None] = ("", None)
        # The newest commit comes first, each with the name of the file then.
        for said in os.fsdecode(done.stdout).split("\1")[1:]:
            head, *names = (word.removeprefix("\n") for word in said.split("\0"))
            commit, time = head.split(" ", 1)
            for name in filter(None, names):  # a merge names none
                words = ["cat-file", "blob", f"{commit}:{name}"]
                shown = subprocess.run([*git, *words], capture_output=True, check=False)
                same = shown.stdout == text or (own is not None and own == _digest(shown.stdout))
                if shown.returncode == 0 and same:  # else deleted there, or another plan
                    first = (commit, time)
        if first[0]:
            words = ["rev-parse", "--git-path", "shallow"]
            ends = subprocess.run([*git, *words], capture_output=True, check=True).stdout
            cut = path.parent / os.fsdecode(ends).removesuffix("\n")
            if cut.is_file() and first[0] in cut.read_text().split():
                return None, "the clone is shallow, and its history ends there (git fetch --unshallow)"
        return first[1], ""
    except OSError as error:
        return None, f"git cannot be asked: {error.strerror}"
    except subprocess.CalledProcessError as error:
        told = (os.fsdecode(error.stderr).strip().splitlines() or [f"status {error.returncode}"])[0]
        none = any(word in told for word in ("not a git repository", "does not have any commits"))
        return None, "" if none else f"git cannot be asked: {told}"


def early(records: Sequence[Record], since: str) -> list[Record]:
    """Return the records that were begun before a time, such as the commit of their plan."""
    when = _time(since)
    return [record for record in records if _time(record.started) < when]


def _time(text: str) -> datetime.datetime:
    """A time that is written without a zone is taken as UTC."""
    found = datetime.datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=datetime.UTC)
