"""Dependencies point one way, no module imports itself by a detour, and nothing heavy is imported before it is needed.

Every import counts: those at the top of a file, those inside a function, and those for type checkers alone.
"""

from __future__ import annotations

import ast
import graphlib
import pathlib
import subprocess
import sys

import pytest

PACKAGE = pathlib.Path(__file__).parents[1] / "src" / "longtail"
EVERYWHERE = {"errors", "files", "shapes", "stated", "wording", "longtail"}
# What each part may import of ours, besides itself and what everything may. A new part must be added here.
ALLOWED = {
    "counts": set(),
    "dpp": set(),
    "augment": set(),
    "losses": {"counts"},
    "models": set(),
    "metrics": {"counts"},
    "samplers": {"counts", "dpp"},
    "data": {"counts", "augment"},
    "rebalance": {"counts", "losses", "metrics"},
    "results": {"counts", "metrics", "data"},
    "testing": {"counts", "losses", "samplers", "data", "methods", "recipes", "training"},
    "recipes": {"augment", "losses", "models", "samplers"},
    "methods": {"augment", "data", "losses", "models", "rebalance", "recipes", "samplers"},
    "training": {"augment", "data", "metrics", "models", "recipes", "results"},
    "analysis": {"samplers", "counts", "data", "metrics", "models", "rebalance", "recipes", "results", "training"},
    "use": {"augment", "counts", "data", "models", "recipes", "results", "training"},
    "board": {"counts", "metrics", "results"},
}
# Single modules that may do more: `compare`, plans and `fit` take methods by name, and what they score is chosen by.
ALSO = {
    "training/many.py": {"methods"},
    "training/planned.py": {"methods"},
    "use/fitting.py": {"methods"},
    "use/choosing.py": {"metrics", "rebalance"},
}
# The Python face names what it gives out; only the command line and `python -m longtail` stand above it.
FACE = {"data", "methods", "recipes", "training", "use"}


def modules(package: pathlib.Path = PACKAGE) -> dict[str, pathlib.Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(path: pathlib.Path, known: dict[str, pathlib.Path]) -> set[str]:
    """The modules of ours that a file imports: a submodule where one is named, else the package that exports a name."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name in known}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in known else node.module for name in names}
    return {name for name in found if name in known}


def tops(path: pathlib.Path) -> set[str]:
    """The parts of ours that a file imports from."""
    names = imported(path, modules())
    return {name.split(".")[1] if "." in name else name for name in names}


def part_of(path: pathlib.Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_dependencies_point_one_way(path: pathlib.Path) -> None:
    part, place = part_of(path), path.relative_to(PACKAGE).as_posix()
    beyond = tops(path) - EVERYWHERE - {part}
    if part in ("cli", "__main__"):
        assert part == "cli" or beyond == {"cli"}
        return
    assert "cli" not in beyond
    if part == "__init__":
        assert beyond <= FACE
    elif part in EVERYWHERE:
        assert not beyond
    else:
        assert beyond - ALLOWED[part] - ALSO.get(place, set()) == set()


def test_imports_are_absolute() -> None:
    """A relative one would pass by the rule above."""
    for path in PACKAGE.rglob("*.py"):
        levels = [node.level for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
        assert not any(levels), path


def circle(found: dict[str, set[str]]) -> list[str]:
    """Modules each of which imports the next, the first being the last; none if there is no such circle."""
    try:
        list(graphlib.TopologicalSorter(found).static_order())
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def test_no_module_imports_itself_by_a_detour() -> None:
    known = modules()
    del known["longtail"]  # the face: it names what lies below it, and gives it out when asked
    assert circle({name: imported(path, known) for name, path in known.items()}) == []


def test_the_rules_notice_a_wrong_import(tmp_path: pathlib.Path) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text("from longtail import board\nfrom longtail.training.loop import train\nimport longtail.cli\n")
    assert tops(wrong) == {"board", "training", "cli"}
    wrong.write_text("def later():\n    from longtail.training import loop, seeds\n")
    assert imported(wrong, modules()) == {"longtail.training.loop", "longtail.training.seeds"}
    package = tmp_path / "longtail"
    package.mkdir()
    for name, text in {"__init__": "", "a": "def f():\n    from longtail import b", "b": "import longtail.a"}.items():
        (package / f"{name}.py").write_text(text)
    known = modules(package)
    assert circle({name: imported(path, known) for name, path in known.items()})[:3] in (
        ["longtail.a", "longtail.b", "longtail.a"],
        ["longtail.b", "longtail.a", "longtail.b"],
    )


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("longtail", {"torch", "numpy", "matplotlib", "sklearn", "pydantic", "rich"}),
        ("longtail.cli", {"torch", "numpy", "matplotlib", "sklearn", "pydantic", "jinja2"}),
        ("longtail.training.loop", {"pydantic", "ray", "fastapi", "jaxtyping", "matplotlib", "torchvision", "timm"}),
        ("longtail.methods", {"pydantic", "ray", "fastapi", "jaxtyping", "matplotlib", "torchvision", "timm"}),
        ("longtail.use", {"pydantic", "ray", "fastapi", "jaxtyping", "matplotlib", "torchvision", "timm"}),
        ("longtail.board", {"pydantic", "fastapi", "torch"}),
    ],
)
def test_nothing_heavy_before_it_is_needed(module: str, heavy: set[str]) -> None:
    blocked = "jaxtyping" in heavy
    script = f"""
import sys
if {blocked}: sys.modules['jaxtyping'] = None
import {module}
print(*sorted({heavy!r} & {{name.split('.')[0] for name, found in sys.modules.items() if found is not None}}))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
