"""The numbers of the README are those of the records that it names."""

from __future__ import annotations

import pathlib
import re

from longtail.training.many import compare_rows, loaded_rows

ROOT = pathlib.Path(__file__).parents[2]


def shown(text: str) -> list[str]:
    """The README's rows of results, without their markup."""
    return [
        " ".join(re.sub(r"[`|]", " ", line).split())
        for line in text.splitlines()
        if re.match(r"\| `[\w-]+` \| \d", line)
    ]


def test_the_table_of_the_readme_comes_from_its_records() -> None:
    text = (ROOT / "README.md").read_text()
    (place,) = re.findall(r"longtail report (records/\S+) --against ce", text)
    comparison = compare_rows(loaded_rows([ROOT / place]), against="ce")
    found = []
    for method in comparison.methods:
        accuracy, estimate = method.summaries["accuracy"], method.estimates["accuracy"]
        assert accuracy is not None
        assert estimate is not None
        row = f"{method.name}   {100 * accuracy.mean:.1f} ± {100 * accuracy.sd:.1f}"
        row += f" [{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]"
        for group in ("many", "medium", "few"):
            held = method.summaries[group]
            assert held is not None
            row += f"   {100 * held.mean:.1f}"
        if method.difference is not None:
            gap = method.difference.rates["accuracy"]
            assert gap is not None
            row += (
                f"   {100 * gap.value:+.1f} [{100 * gap.low:+.1f}, {100 * gap.high:+.1f}], {method.difference.verdict}"
            )
        found.append(" ".join(row.split()))
    assert sorted(found) == sorted(shown(text))
    assert len(found) == 5
