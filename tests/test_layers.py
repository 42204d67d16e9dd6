"""Dependencies point one way, and nothing heavy is imported before it is needed."""

from __future__ import annotations

import ast
import pathlib
import subprocess
import sys

import pytest

PACKAGE = pathlib.Path(__file__).parents[1] / "src" / "longtail"
EVERYWHERE = {"errors", "files", "shapes", "longtail"}
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
    "testing": {"counts", "losses", "samplers", "data"},
    "recipes": {"augment", "counts", "data", "losses", "metrics", "models", "rebalance", "samplers"},
    "methods": {"augment", "counts", "data", "losses", "models", "recipes", "samplers"},
    "training": {"augment", "counts", "data", "metrics", "models", "recipes", "results"},
    "analysis": {"counts", "data", "metrics", "models", "recipes", "results", "training"},
    "board": {"counts", "metrics", "results"},
}


def imports(path: pathlib.Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = (
                [f"{node.module}.{alias.name}" for alias in node.names] if node.module == "longtail" else [node.module]
            )
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "longtail":
                found.add(parts[1] if len(parts) > 1 else "longtail")
    return found


def part_of(path: pathlib.Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_dependencies_point_one_way(path: pathlib.Path) -> None:
    part = part_of(path)
    if part in ("__init__", "cli", "errors", "files", "shapes", "py"):
        assert part == "cli" or not imports(path) - EVERYWHERE
        return
    beyond = {name for name in imports(path) if name in ALLOWED or (PACKAGE / f"{name}.py").exists()}
    assert "cli" not in beyond
    assert beyond - ALLOWED[part] - EVERYWHERE - {part} == set()


def test_the_rule_notices_a_wrong_import(tmp_path: pathlib.Path) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text("from longtail import board\nfrom longtail.training.loop import train\nimport longtail.cli\n")
    assert imports(wrong) == {"board", "training", "cli"}


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("longtail", {"torch", "numpy", "matplotlib", "sklearn", "pydantic", "rich"}),
        ("longtail.cli", {"torch", "numpy", "matplotlib", "sklearn", "pydantic", "jinja2"}),
        ("longtail.training.loop", {"pydantic", "ray", "fastapi", "jaxtyping", "matplotlib", "torchvision", "timm"}),
        ("longtail.methods", {"pydantic", "ray", "fastapi", "jaxtyping", "matplotlib", "torchvision", "timm"}),
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
