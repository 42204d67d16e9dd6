"""The pages in a real browser: they draw, fit a narrow screen, and their controls work from the keyboard and a file."""

from __future__ import annotations

import contextlib
import functools
import html
import http.server
import json
import os
import pathlib
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator

import pytest
from PIL import Image

from longtail.board import build, import_archive
from oracles.board import dataset, row, task, write_archive

KINDS = (
    "index.html", "sota.html", "boards/cifar-100-lt-if-100.html", "boards/cifar-100-lt-if-100--linear-probe.html",
    "boards/long.html", "tasks.html", "tasks/long-tail-learning.html", "datasets.html", "datasets/imagenet-lt.html",
    "papers.html", "papers/dro-lt.html", "papers/bns-ipdpp.html", "methods.html", "methods/dro-lt.html", "compare.html",
    "compare/balanced-softmax--ce.html", "submit.html", "about.html", "api.html", "search.html",
    "submissions/dro-lt-steps-30-cifar100-lt-aa4d469a336a.html",
)  # fmt: skip
"""One page of each kind, and more of those that differ."""
STATIC = ("style.css", "board.js", "search.js", "pairs.js", "favicon.svg")
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
    rows = [row(f"M{i}", 0, metrics={"Accuracy": f"{20 + i / 10:.1f}"}, paper_url=None) for i in range(130)]
    long = [task("Another field", [dataset("Long", ["Accuracy"], rows)])]
    import_archive(write_archive(folder / "long.json", long), root=folder / "root")
    with pytest.MonkeyPatch.context() as patch:
        every = [
            *KINDS,
            "boards/cifar-10-lt-if-100.html",
            "boards/long.rows.js",
            *(f"static/{name}" for name in STATIC),
        ]
        patch.setattr("longtail.board.pages.paths", lambda index: every)
        build(folder / "site", root=folder / "root")
    return folder / "site"


def chromium(browser: str, folder: pathlib.Path, *more: str) -> str:
    command = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", "--no-first-run", "--hide-scrollbars",
        f"--user-data-dir={folder / 'profile'}", *more,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
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


DRIVER = """<!doctype html><html lang="en"><title>waits</title><body><script>(async () => {
  const found = [];
  let looked = 0;
  for (const [page, width, theme] of ASKED) {
    const frame = document.createElement("iframe");
    frame.width = width; frame.height = 900; frame.src = page;
    const loaded = new Promise((done) => { frame.onload = done; });
    document.body.append(frame);
    await loaded;
    const inside = frame.contentDocument, script = inside.createElement("script");
    inside.documentElement.dataset.theme = theme;
    for (const each of inside.querySelectorAll("details")) each.open = true;
    script.src = "/axe.min.js";
    const ready = new Promise((done) => { script.onload = done; });
    inside.head.append(script);
    await ready;
    const told = await frame.contentWindow.axe.run();
    looked += told.passes.length > 0;
    for (const each of told.violations) found.push(`${page} ${width} ${theme} ${each.id} ${each.nodes[0].html}`);
    frame.remove();
  }
  document.title = `axe ${looked} ${JSON.stringify(found)}`;
})();</script></body></html>"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def serving(folder: pathlib.Path) -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def violations(
    browser: str, site: pathlib.Path, tmp_path: pathlib.Path, asked: list[tuple[str, int, str]]
) -> list[str]:
    """What axe-core finds on pages, each at a width and in a theme, in one run of the browser."""
    axe = pytest.importorskip("axe_core_python", reason="pip install axe-core-python to check accessibility")
    (site / "axe.min.js").write_bytes((pathlib.Path(axe.__file__).parent / "axe.min.js").read_bytes())
    (site / "axe.html").write_text(DRIVER.replace("ASKED", json.dumps(asked)))
    with serving(site) as port:
        address = f"http://127.0.0.1:{port}/axe.html"
        text = chromium(browser, tmp_path, "--virtual-time-budget=900000", "--dump-dom", address)
    found = re.search(r"<title>axe (\d+) (.*?)</title>", text, re.S)
    assert found is not None
    assert int(found[1]) == len(asked)
    return list(json.loads(html.unescape(found[2])))


@pytest.mark.slow
def test_axe_finds_no_violation(browser: str, site: pathlib.Path, tmp_path: pathlib.Path) -> None:
    looks = [(1400, "light"), (390, "dark"), (1400, "dark"), (390, "light")]
    asked = [(page, *looks[place % 4]) for place, page in enumerate(KINDS)]
    if os.environ.get("LONGTAIL_AXE") == "all":
        asked = [(page, *look) for page in KINDS for look in looks]
    assert violations(browser, site, tmp_path, asked) == []
    # A page without a language and with grey on grey is not passed over.
    (site / "bad.html").write_text('<!doctype html><title>x</title><p style="color:#999;background:#888">x</p>')
    assert len(violations(browser, site, tmp_path, [("bad.html", 390, "light")])) > 1


def test_the_static_search_finds(browser: str, site: pathlib.Path, tmp_path: pathlib.Path) -> None:
    text = chromium(browser, tmp_path, "--dump-dom", f"file://{site}/search.html?q=robustness+loss")
    assert re.search(r"\d+ found for", text)
    assert 'href="papers/dro-lt.html"' in text
    text = chromium(browser, tmp_path, "--dump-dom", f"file://{site}/search.html?q=DRO")
    kinds = re.findall(r'<li><a href="([^"]+)">[^<]*</a> <span class="tag">([a-z ]+)', text)
    assert kinds[0] == ("papers/dro-lt.html", "paper")
    assert kinds[1] == ("methods/dro-lt.html", "method")
    assert {kind for _, kind in kinds[2:]} >= {"submission"}
    text = chromium(browser, tmp_path, "--dump-dom", f"file://{site}/search.html?q=<img src=x onerror=alert(1)>")
    assert "<img" not in text


def test_filters_work_from_a_file_on_a_narrow_screen(browser: str, site: pathlib.Path, tmp_path: pathlib.Path) -> None:
    page = (site / "boards/cifar-10-lt-if-100.html").read_text()  # one page; more would read a file
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
