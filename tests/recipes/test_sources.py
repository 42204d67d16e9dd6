"""Whose code a part is: what makes two parts two, and what leaves one part one."""

from __future__ import annotations

import importlib
import importlib.metadata
import pathlib
import shutil
import subprocess
import sys
import types

import pytest
import torch

from longtail import losses, models
from longtail.errors import InputError
from longtail.recipes import part, sources
from longtail.recipes.part import address, named

CODE = "def half(target, *, share=0.5):\n    yield from range(int(share * len(target)))\n"
GIVES = "\n\ndef f():\n    return NUMBER\n"


def write(folder: pathlib.Path, **files: str) -> pathlib.Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return folder


# ------------------------------------------------------------------------------------------------------- files


def test_two_files_with_one_name_inside_are_two_parts_and_two_addresses(tmp_path: pathlib.Path) -> None:
    write(tmp_path / "a", sampler=CODE)
    write(tmp_path / "b", sampler=CODE.replace("range(", "range(1, "))
    one, other = (named(f"{tmp_path / folder}/sampler.py:half") for folder in "ab")
    assert one != other
    assert address(one) != address(other)
    assert [list(made.build(target=torch.zeros(6))) for made in (one, other)] == [[0, 1, 2], [1, 2]]


def test_an_edited_file_is_another_part_and_runs_as_edited(tmp_path: pathlib.Path) -> None:
    write(tmp_path, sampler=CODE)
    before = named(f"{tmp_path}/sampler.py:half")
    write(tmp_path, sampler=CODE.replace("range(", "range(1, "))
    after = named(f"{tmp_path}/sampler.py:half")
    assert address(before) != address(after)
    assert list(after.build(target=torch.zeros(6))) == [1, 2]
    assert list(before.build(target=torch.zeros(6))) == [0, 1, 2]  # what was named is what runs
    write(tmp_path, sampler=CODE)
    assert named(f"{tmp_path}/sampler.py:half") == before


@pytest.mark.parametrize(
    "how",
    [
        "import first",
        "from first import NUMBER",
        "from first import *",
        "def late():\n    import first",
        "try:\n    import first\nexcept ImportError:\n    pass",
        "import second",  # which imports first
        "from package import inner",
        "import package.inner",
        "import first as other, os",
    ],
)
def test_an_edited_file_beside_it_is_another_address(tmp_path: pathlib.Path, how: str) -> None:
    write(tmp_path, first="NUMBER = 1\n", second="import first\n", unrelated="NUMBER = 1\n", sampler=f"{how}\n{CODE}")
    write(tmp_path / "package", __init__="", inner="from first import NUMBER\n")

    def now() -> str:
        return address(named(f"{tmp_path}/sampler.py:half"))

    before = now()
    write(tmp_path, unrelated="NUMBER = 2\n")
    assert now() == before
    write(tmp_path, first="NUMBER = 2\n")
    assert now() != before


def test_an_edited_init_of_a_package_beside_it_is_another_address(tmp_path: pathlib.Path) -> None:
    write(tmp_path, sampler=f"from package.inner import X\n{CODE}")
    write(tmp_path / "package", __init__="X = 1\n", inner="from . import X\nfrom .deep import Y\n", deep="Y = 1\n")
    seen = set()
    for edit in ({}, {"__init__": "X = 2\n"}, {"deep": "Y = 2\n"}):
        write(tmp_path / "package", **edit)
        seen.add(address(named(f"{tmp_path}/sampler.py:half")))
    assert len(seen) == 3


def test_a_moved_file_and_another_folder_are_the_same_address(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "here", sampler=f"import beside\n{CODE}", beside="X = 1\n")
    shutil.copytree(tmp_path / "here", tmp_path / "on another" / "machine")
    shutil.copy(tmp_path / "here" / "sampler.py", tmp_path / "here" / "renamed.py")
    one = named(f"{tmp_path}/here/sampler.py:half")
    other = named(f"{tmp_path}/on another/machine/sampler.py:half")
    renamed = named(f"{tmp_path}/here/renamed.py:half")
    monkeypatch.chdir(tmp_path / "here")
    relative = named("sampler.py:half")
    assert {address(made) for made in (other, renamed, relative)} == {address(one)}
    assert relative.name == "sampler.py:half"  # as a person typed it
    assert named("sampler.py:half", share=0.25).source == one.source
    assert address(named("sampler.py:half", share=0.25)) != address(one)


def test_helper_modules_of_one_name_in_two_folders_do_not_mix(tmp_path: pathlib.Path) -> None:
    for number in (1, 2):
        write(
            tmp_path / str(number),
            helper=f"NUMBER = {number}\n",
            own="from helper import NUMBER\n\ndef f():\n    return NUMBER\n",
        )
    before = set(sys.modules), list(sys.path)
    found = [named(f"{tmp_path / str(number)}/own.py:f").build() for number in (1, 2, 1)]
    assert found == [1, 2, 1]
    assert "helper" not in sys.modules
    assert list(sys.path) == before[1]
    assert all(name.startswith("own_") for name in set(sys.modules) - before[0])


def test_a_helper_does_not_replace_a_module_that_is_loaded_already(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = types.ModuleType("helper_of_mine")
    monkeypatch.setitem(sys.modules, "helper_of_mine", loaded)
    write(
        tmp_path,
        helper_of_mine="NUMBER = 7\n",
        own="from helper_of_mine import NUMBER\n\ndef f():\n    return NUMBER\n",
    )
    assert named(f"{tmp_path}/own.py:f").build() == 7
    assert sys.modules["helper_of_mine"] is loaded


def test_a_file_runs_once_however_often_it_is_named(tmp_path: pathlib.Path) -> None:
    log = tmp_path / "log"
    write(tmp_path, own=f"import pathlib\nwith pathlib.Path({str(log)!r}).open('a') as f:\n    f.write('x')\n{CODE}")
    for _ in range(3):
        named(f"{tmp_path}/own.py:half")
    assert log.read_text() == "x"


def test_a_class_in_a_class_and_a_dataclass_are_found(tmp_path: pathlib.Path) -> None:
    write(
        tmp_path,
        own="from __future__ import annotations\nimport dataclasses\n\n@dataclasses.dataclass(frozen=True)\n"
        "class Outer:\n    size: int = 1\n\n    class Inner:\n        pass\n",
    )
    assert named(f"{tmp_path}/own.py:Outer")["size"] == 1
    assert named(f"{tmp_path}/own.py:Outer.Inner").build().__class__.__name__ == "Inner"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("builtins:sum", "its source cannot be read"),
        (":loss", "name a module"),
        ("..a:loss", "name a module"),
        ("no_such_module:loss", "no_such_module"),
        ("none.py:loss", "no Python file"),
        ("longtail.losses:focall", "did you mean 'focal'"),
        ("longtail.files:sweep", "names no part"),
        ("longtail:load", "names no part"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        named(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def loss(:", r"SyntaxError: .*bad\.py, line 1"),
        ("\nx = nothing", r"NameError: .*bad\.py, line 2"),
        ("import no_such_module", r"ModuleNotFoundError: .*bad\.py, line 1"),
        ("loss = 3", "is a int; a function or class is needed"),
        ("losss = print", "did you mean 'losss'"),
    ],
)
def test_a_file_that_fails_is_named_with_its_line(tmp_path: pathlib.Path, text: str, words: str) -> None:
    (tmp_path / "bad.py").write_text(text)
    with pytest.raises(InputError, match=words) as caught:
        named(f"{tmp_path}/bad.py:loss")
    assert "\n" not in str(caught.value)


# ------------------------------------------------------------------------------------------ packages and our own


def test_an_installed_package_enters_by_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    made = named("torch.optim:RMSprop")
    assert made.source == f"torch=={importlib.metadata.version('torch')}"
    assert part(torch.optim.RMSprop).source == made.source
    before = address(made)
    monkeypatch.setattr(sources, "_version", lambda top: "torch==0.0.1")
    assert address(named("torch.optim:RMSprop")) != before


def test_a_module_on_the_path_enters_by_its_digest(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = write(tmp_path / "my_lab_of_tests", __init__="", inner=f"from my_lab_of_tests import beside\n{CODE}")
    write(package, beside="X = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    made = named("my_lab_of_tests.inner:half")
    module = importlib.import_module("my_lab_of_tests.inner")
    assert part(module.half) == made  # handed over or named: one part
    assert len(made.source) == 64
    before = address(made)
    write(package, beside="X = 2\n")
    assert address(part(module.half)) != before


@pytest.mark.parametrize("package", sources.OURS)
def test_everything_that_a_package_of_ours_exports_goes_by_its_public_name(package: str) -> None:
    module = importlib.import_module(f"longtail.{package}")
    for attribute in module.__all__:
        function = getattr(module, attribute)
        if not isinstance(function, (types.FunctionType, type)):
            continue
        found = sources.of(function)
        assert (found.name, found.source) == (f"longtail.{package}:{attribute}", ""), attribute
        assert sources.ours(found.name).function is function


def test_what_we_do_not_export_is_no_part() -> None:
    with pytest.raises(InputError, match="no public name"):
        part(models.network.check_shape)


def test_a_name_that_is_re_exported_elsewhere_is_one_part(tmp_path: pathlib.Path) -> None:
    write(tmp_path, own="from longtail.losses import focal as mine\n")
    assert part(losses.focal).name == "longtail.losses:focal"
    assert named("longtail.losses:focal") == part(losses.focal)


# ----------------------------------------------------------------------------------- __main__ and notebook cells

CELL = """
import functools
import torch

SCALE = 2.0
TABLE = (1, 2)

def helper(logits):
    return logits * SCALE

class Base:
    def value(self):
        return TABLE[0]

class Own(Base):
    def __init__(self, gamma: float = 1.0):
        self.gamma = gamma
    def __call__(self, logits, target):
        return helper(logits)[:, 0] * self.value()

def loss(logits, target, *, gamma=1.0):
    inner = lambda values: helper(values)
    return inner(logits)[:, 0] * gamma

def untouched():
    return 1

def doubled(function):
    @functools.wraps(function)
    def wrapper(*arguments):
        return 2 * function(*arguments)
    return wrapper

@doubled
def decorated(logits, target):
    return helper(logits)[:, 0]
"""


def cell(text: str, number: int) -> types.ModuleType:
    """Run a text as a notebook does: no file, but source that ``inspect`` finds."""
    import linecache

    name = f"<ipython-input-{number}>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    module = types.ModuleType("__main__")
    module.__dict__["__name__"] = "__main__"
    exec(compile(text, name, "exec"), module.__dict__)  # noqa: S102
    return module


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch):
    numbers = iter(range(10_000))

    def run(text: str) -> types.ModuleType:
        module = cell(text, next(numbers))
        monkeypatch.setitem(sys.modules, "__main__", module)
        return module

    return run


@pytest.mark.parametrize("attribute", ["loss", "Own", "decorated"])
@pytest.mark.parametrize(
    ("old", "new", "another"),
    [
        ("", "", False),
        ("return 1\n", "return 2\n", False),  # a function that it does not use
        ("SCALE = 2.0", "SCALE = 3.0", True),  # a constant of a helper
        ("return logits * SCALE", "return logits + SCALE", True),  # a helper
    ],
)
def test_code_of_a_cell_is_known_by_its_source_and_what_it_uses(main, attribute, old, new, another) -> None:
    before = part(getattr(main(CELL), attribute))
    after = part(getattr(main(CELL.replace(old, new) if old else CELL), attribute))
    assert before.name == f"__main__:{attribute}"
    assert len(before.source) == 64
    assert (address(after) != address(before)) is another


def test_an_edited_base_class_of_a_cell_is_another_address(main) -> None:
    before = part(main(CELL).Own)
    after = part(main(CELL.replace("return TABLE[0]", "return TABLE[1]")).Own)
    assert address(before) != address(after)


def test_an_edited_decorator_of_a_cell_is_another_address(main) -> None:
    before = part(main(CELL).decorated)
    assert address(part(main(CELL.replace("return 2 *", "return 3 *")).decorated)) != address(before)
    assert part(main(CELL).loss) == part(main(CELL.replace("return 2 *", "return 3 *")).loss)


def test_the_value_in_a_closure_is_part_of_the_source(main) -> None:
    text = "def made(scale):\n    def loss(logits, target):\n        return scale * logits[:, 0]\n    return loss\n"
    module = main(text)
    assert address(part(module.made(1.0))) == address(part(module.made(1.0)))
    assert address(part(module.made(1.0))) != address(part(module.made(2.0)))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import torch\nW = torch.ones(3)\ndef loss(logits, target):\n    return logits @ W\n", "uses 'W', a Tensor"),
        ("W = {'a': 1}\ndef loss(logits, target):\n    return logits * W['a']\n", "uses 'W', a dict"),
    ],
)
def test_what_is_no_part_of_its_source_is_said_in_one_line(main, text: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        part(main(text).loss)
    assert "\n" not in str(caught.value)


def test_code_without_any_source_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("__main__")
    exec("def loss(logits, target):\n    return logits[:, 0]\n", module.__dict__)  # noqa: S102
    module.__dict__["loss"].__module__ = "__main__"
    monkeypatch.setitem(sys.modules, "__main__", module)
    with pytest.raises(InputError, match="its source cannot be read") as caught:
        part(module.__dict__["loss"])
    assert "\n" not in str(caught.value)


def test_a_script_and_a_part_of_it_in_another_process(tmp_path: pathlib.Path) -> None:
    """What a script defines is known to another process by value, and keeps its address."""
    (tmp_path / "script.py").write_text(
        "import pickle, sys\nfrom longtail.recipes import part, sources\nfrom longtail.recipes.part import address\n\n"
        "SCALE = 3\n\ndef helper(x):\n    return SCALE * x\n\n"
        "def loss_of_the_script(logits, target):\n    return helper(logits)\n\n"
        "if __name__ == '__main__':\n    made = part(loss_of_the_script)\n"
        "    rows = sources.shipped([(made.name, made.source)])\n"
        f"    open({str(tmp_path / 'out')!r}, 'wb').write(pickle.dumps((made, address(made), rows)))\n"
    )
    subprocess.run([sys.executable, "script.py"], cwd=tmp_path, check=True)
    import pickle

    made, key, rows = pickle.loads((tmp_path / "out").read_bytes())
    assert address(made) == key
    with pytest.raises(InputError, match="name it yourself"):
        assert made.function
    sources.receive(rows)
    assert made.function(2, None) == 6


def test_text_that_does_not_hold_a_function_is_not_taken_for_its_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """From Python 3.13 on, code of exec and the text that python -c was given share the file name <string>."""
    module = types.ModuleType("__main__")
    exec("def loss(logits, target):\n    return logits[:, 0]\n", module.__dict__)  # noqa: S102
    module.__dict__["loss"].__module__ = "__main__"
    monkeypatch.setitem(sys.modules, "__main__", module)
    given = "import sys; exec(eval(sys.stdin.readline()))\n"
    monkeypatch.setitem(sys.modules["linecache"].cache, "<string>", (len(given), None, [given], "<string>"))
    with pytest.raises(InputError, match="its source cannot be read"):
        part(module.__dict__["loss"])
