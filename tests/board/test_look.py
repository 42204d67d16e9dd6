"""The pages in a real browser: they draw, fit a narrow screen, and their controls work from the keyboard and a file."""

from __future__ import annotations

import pathlib
import re
import shutil
import subprocess

import pytest
from PIL import Image

from longtail.board import build, import_archive
from oracles.board import write_archive

PAGES = ("index.html", "boards/cifar-100-lt-if-100.html", "papers/dro-lt.html", "submit.html")


@pytest.fixture(scope="module")
def browser() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no Chromium here: apt-get install chromium to look at the pages in tests")
    return found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, browser: str) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("look")
    import_archive(write_archive(folder / "t.json"), root=folder / "root")
    with pytest.MonkeyPatch.context() as patch:
        every = [*PAGES, "search.html", "static/style.css", "static/board.js", "static/search.js", "static/favicon.svg"]
        patch.setattr("longtail.board.pages.paths", lambda index: every)
        build(folder / "site", root=folder / "root")
    return folder / "site"


def chromium(browser: str, folder: pathlib.Path, *more: str) -> str:
    command = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", "--no-first-run", "--hide-scrollbars",
        f"--user-data-dir={folder / 'profile'}", *more,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize(("path", "width"), list(zip(PAGES, (1200, 420, 420, 1200), strict=True)))
def test_a_page_is_drawn(browser: str, site: pathlib.Path, tmp_path: pathlib.Path, path: str, width: int) -> None:
    file = tmp_path / "seen.png"
    chromium(browser, tmp_path, f"--screenshot={file}", f"--window-size={width},1400", f"file://{site / path}")
    with Image.open(file) as image:
        assert image.width == width
        colours = image.convert("RGB").getcolors(1 << 22)
    assert colours is not None
    # Paper and accent are there, so the style sheet was read; most of the page is paper, but not all of it.
    seen = {colour: count for count, colour in colours}
    assert {(252, 251, 248), (11, 93, 87)} <= set(seen)
    assert 0.2 < (seen[252, 251, 248] + seen.get((255, 255, 255), 0)) / (width * 1400) < 0.97


@pytest.mark.parametrize(("path", "theme"), list(zip(PAGES, ("light", "dark", "light", "dark"), strict=True)))
def test_axe_finds_no_violation(
    browser: str, site: pathlib.Path, tmp_path: pathlib.Path, path: str, theme: str
) -> None:
    axe = pytest.importorskip("axe_core_python", reason="pip install axe-core-python to check accessibility")
    (site / "axe.min.js").write_bytes((pathlib.Path(axe.__file__).parent / "axe.min.js").read_bytes())
    probe = f"""<script src="{"../" * path.count("/")}axe.min.js"></script><script>addEventListener("load", () => {{
      document.documentElement.dataset.theme = "{theme}";
      const told = (found) => {{ document.title = "axe " + JSON.stringify(found.violations.map((each) => each.id)); }};
      axe.run().then(told);
    }});</script></body>"""
    page = site / path
    probed = page.with_name(f"axe-{theme}-{page.name}")
    probed.write_text(page.read_text().replace("</body>", probe))
    text = chromium(browser, tmp_path, "--virtual-time-budget=20000", "--dump-dom", f"file://{probed}")
    assert re.search(r"<title>(axe [^<]*)</title>", text)[1] == "axe []"  # type: ignore[index]


def test_the_static_search_finds(browser: str, site: pathlib.Path, tmp_path: pathlib.Path) -> None:
    text = chromium(browser, tmp_path, "--dump-dom", f"file://{site}/search.html?q=robustness+loss")
    assert re.search(r"\d+ found for", text)
    assert 'href="papers/dro-lt.html"' in text
    text = chromium(browser, tmp_path, "--dump-dom", f"file://{site}/search.html?q=<img src=x onerror=alert(1)>")
    assert "<img" not in text


def test_filters_work_from_a_file_on_a_narrow_screen(browser: str, site: pathlib.Path, tmp_path: pathlib.Path) -> None:
    page = (site / "boards/cifar-100-lt-if-100.html").read_text()
    probe = """<script>addEventListener("load", () => {
      const form = document.querySelector("form.filters");
      form.elements.badge.value = "archive"; form.dispatchEvent(new Event("change"));
      document.title = "shown " + [...document.querySelectorAll("table.board tbody tr:not([hidden])")]
        .map((row) => row.dataset.badge).join(" ");
      document.body.dataset.over = document.documentElement.scrollWidth - innerWidth;
    });</script>"""
    (site / "boards/probe.html").write_text(page.replace("</body>", probe + "</body>"))
    text = chromium(browser, tmp_path, "--dump-dom", "--window-size=420,900", f"file://{site}/boards/probe.html")
    # A narrow screen scrolls the table, not the page.
    assert re.search(r'data-over="(-?\d+)"', text)[1] in ("0", "-0")  # type: ignore[index]
    found = re.search(r"<title>shown ([a-z ]+)</title>", text)
    assert found is not None
    assert set(found[1].split()) == {"archive"}
