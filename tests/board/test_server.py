from __future__ import annotations

import concurrent.futures
import contextlib
import http.client
import io
import json
import pathlib
import resource
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from longtail.board import submit
from longtail.errors import InputError
from oracles.board import run, runs

pytest.importorskip("fastapi")

import uvicorn
from fastapi.testclient import TestClient

from longtail.board import server


@pytest.fixture
def root(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "root"


@pytest.fixture
def client(root: pathlib.Path) -> Iterator[TestClient]:
    with TestClient(server.create_app(root)) as client:
        yield client


def parts(folder: pathlib.Path, name: str = "predictions.npz") -> list[tuple[str, tuple[str, bytes]]]:
    return [
        ("submission", ("record.json", (folder / "record.json").read_bytes())),
        ("predictions", (name, (folder / "predictions.npz").read_bytes())),
    ]


def everything(folder: pathlib.Path) -> set[str]:
    return {str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file()}


def test_pages_are_those_of_the_static_site_at_the_same_addresses(client: TestClient) -> None:
    for path in ("/", "/index.html", "/papers/dro-lt.html", "/boards/cifar-100-lt-if-100.html", "/static/style.css"):
        answer = client.get(path)
        assert answer.status_code == 200, path
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert client.get("/papers/nobody.html").status_code == 404
    assert client.get("/../../etc/passwd").status_code == 404
    assert client.get("/static/%2e%2e/pages.py").status_code == 404
    assert client.head("/index.html").status_code == 200
    assert "<form" in client.get("/submit.html").text
    assert 'type="file"' in client.get("/submit.html").text


def test_the_interface_gives_all_pages_not_only_the_first(client: TestClient) -> None:
    total = client.get("/api/v1/boards/cifar-100-lt-if-100").json()["total"]
    rows: list[Any] = []
    address: str | None = "/api/v1/boards/cifar-100-lt-if-100?limit=7"
    while address:
        answer = client.get(address).json()
        rows += answer["rows"]
        address = answer["next"]
    assert len(rows) == len({row["id"] for row in rows}) == total > 30
    mine = next(row for row in rows if row["id"] == "dro-lt-cifar-100-lt-if-100")
    assert mine["value"] == pytest.approx(47.33)
    assert mine["value_as_printed"] == "52.67"
    assert mine["many"] == 64.7
    assert client.get("/api/v1/papers?limit=2").json()["next"] == "/api/v1/papers?limit=2&offset=2"
    assert client.get("/api/v1/search?q=DRO-LT").json()["results"]
    assert client.get("/api/v1/methods").json()["total"] > 20
    assert client.get("/api/v1/openapi.json").json()["info"]["title"] == "longtail board"


def test_every_answer_is_typed_and_listed_on_the_page_for_people(client: TestClient) -> None:
    from longtail.board.pages.interface import ENDPOINTS

    api = client.get("/api/v1/openapi.json").json()
    listed = {path: set(filter(None, takes.split(", "))) for path, _, takes in ENDPOINTS}
    assert set(listed) - {"/api/v1/openapi.json"} == set(api["paths"])
    page = client.get("/api.html").text
    for path, asked in api["paths"].items():
        operation = asked["get"]
        assert {each["name"] for each in operation.get("parameters", ()) if each["in"] == "query"} == listed[path]
        assert path in page
        schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
        free = ("/api/v1/submissions/{name}", "/api/v1/statement.schema.json")
        assert ("$ref" in schema) == (path not in free), path
        assert operation["responses"]["404"]["content"]["application/json"]["schema"]["$ref"].endswith("Failure")


def test_each_question_answers_with_what_it_says(client: TestClient) -> None:
    names = {
        "boards": "cifar-100-lt-if-100",
        "papers": "bns-ipdpp",
        "methods": "dro-lt",
        "submissions": client.get("/api/v1/submissions").json()["items"][0]["id"],
    }
    for kind in ("boards", "papers", "methods", "datasets", "tasks", "relations", "submissions"):
        found = client.get(f"/api/v1/{kind}?limit=3").json()
        assert 0 < len(found["items"]) <= 3
        rest = client.get(found["next"]).json() if found["next"] else {"items": []}
        assert found["items"][0] not in rest["items"]
    for kind, name in names.items():
        assert client.get(f"/api/v1/{kind}/{name}").status_code == 200
        assert client.get(f"/api/v1/{kind}/nobody").json() == {"error": f"no such {kind[:-1]}"}
    paper = client.get("/api/v1/papers/bns-ipdpp").json()
    assert len(paper["facets"]) == 7
    assert {each["verdict"] for each in paper["relations"]} == {"not measured"}
    assert client.get("/api/v1/methods/dro-lt").json()["results"]
    assert client.get("/api/v1/papers?q=samuel+robustness").json()["total"] == 1
    assert client.get("/api/v1/papers?explained=true").json()["total"] >= 12
    assert client.get("/api/v1/changes?limit=2").json()["items"]
    dates = [each["date"] for each in client.get("/api/v1/papers?sort=date&order=up").json()["items"]]
    known = [each for each in dates if each]
    assert known == sorted(known)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/v1/boards/nothing", 404),
        ("/api/v1/boards/..%2f..%2fetc", 404),
        ("/api/v1/submissions/x", 404),
        ("/api/v1/boards?limit=0", 422),
        ("/api/v1/boards?limit=1000000", 422),
        ("/api/v1/boards?offset=-1", 422),
        ("/api/v1/search?q=" + "x" * 201, 422),
        ("/api/v1/search?q=%22%27%29%20OR%201", 200),
        ("/search?q=<script>alert(1)</script>", 200),
        ("/boards/imagenet-lt.html?backbone=%3Cscript%3E", 200),
        ("/compare?a=<script>&b=x", 200),
    ],
)
def test_odd_questions_get_plain_answers(client: TestClient, path: str, status: int) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    assert "<script>alert" not in answer.text
    assert "Traceback" not in answer.text


def test_nothing_is_written_through_the_interface(client: TestClient) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        for path in ("/api/v1/boards", "/api/v1/boards/imagenet-lt", "/index.html"):
            assert client.request(method, path).status_code == 405


def test_an_upload_waits_for_review(
    client: TestClient, root: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "LOOK_SECONDS", 0.1)
    answer = client.post("/submit", files=parts(run(tmp_path / "run")), data={"submitter": "Ada <b>", "note": "first"})
    assert answer.status_code == 202
    (waiting,) = (root / "queue").iterdir()
    assert not (root / "submissions").exists()
    body = json.loads((waiting / "submission.json").read_text())
    assert body["submitter"] == "Ada <b>"
    assert client.get(f"/submissions/{waiting.name}.html").status_code == 404
    assert waiting.name not in client.get("/boards/digits-lt-if-100.html").text
    again = client.post("/submit", files=parts(run(tmp_path / "again", accuracy=0.8)))
    assert again.status_code == 422
    assert "submitted already" in again.text
    # Once somebody has looked, it is shown without a restart.
    submit([waiting], root=root)
    deadline = time.monotonic() + 120
    while client.get(f"/submissions/{waiting.name}.html").status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    page = client.get(f"/submissions/{waiting.name}.html").text
    assert "Ada &lt;b&gt;" in page


def test_a_broken_file_does_not_take_the_board_down(
    client: TestClient, root: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "LOOK_SECONDS", 0.0)
    assert client.get("/index.html").status_code == 200
    (root / "claims").mkdir()
    (root / "claims" / "half.toml").write_text("[[claim]")
    assert client.get("/index.html").status_code == 200
    assert client.get("/api/v1/boards").json()["total"] > 10


def test_several_seeds_in_one_upload(client: TestClient, root: pathlib.Path, tmp_path: pathlib.Path) -> None:
    (made,) = submit(runs(tmp_path / "runs", (0.8, 0.81, 0.82)), root=tmp_path / "other")
    folder = tmp_path / "other" / "submissions" / made["id"]
    files = [("submission", ("submission.json", (folder / "submission.json").read_bytes()))]
    files += [
        ("predictions", (f"predictions-seed-{n}.npz", (folder / f"predictions-seed-{n}.npz").read_bytes()))
        for n in range(3)
    ]
    assert client.post("/submit", files=files).status_code == 202
    assert {each.name for each in (root / "queue" / made["id"]).iterdir()} == {each.name for each in folder.iterdir()}


def bomb(_: pathlib.Path) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, index=np.zeros(3 << 20, np.int64), target=np.zeros(1, int), prediction=np.zeros(1, int))
    return buffer.getvalue()


UPLOADS: dict[str, tuple[Callable[[pathlib.Path], list[Any]], int]] = {
    "a path for a name": (lambda f: parts(f, "../../../tmp/predictions-seed-0.npz"), 422),
    "an absolute path": (lambda f: parts(f, "/etc/predictions-seed-0.npz"), 422),
    "a backslash path": (lambda f: parts(f, "..\\predictions-seed-0.npz"), 422),
    "another file": (lambda f: parts(f, ".htaccess"), 422),
    "a file of another seed": (lambda f: parts(f, "predictions-seed-5.npz"), 422),
    "no json": (lambda f: [("submission", ("r.json", b"{")), parts(f)[1]], 422),
    "a list": (lambda f: [("submission", ("r.json", b"[]")), parts(f)[1]], 422),
    "a deep json": (lambda f: [("submission", ("r.json", b"[" * 100_000)), parts(f)[1]], 422),
    "not a number": (lambda f: [("submission", ("r.json", b'{"a": NaN}')), parts(f)[1]], 422),
    "no predictions": (lambda f: parts(f)[:1], 422),
    "no submission": (lambda f: parts(f)[1:], 422),
    "predictions that are none": (lambda f: [parts(f)[0], ("predictions", ("predictions.npz", b"x"))], 422),
    "a zip bomb": (lambda f: [parts(f)[0], ("predictions", ("predictions.npz", bomb(f)))], 422),
    "a large json": (lambda f: [("submission", ("r.json", b" " * (5 << 20))), parts(f)[1]], 413),
    "a large body": (lambda f: [parts(f)[0], ("predictions", ("predictions.npz", b"\0" * (17 << 20)))], 413),
    "too many files": (lambda f: [parts(f)[0], *([parts(f)[1]] * 70)], 400),
}


@pytest.mark.parametrize("name", UPLOADS)
def test_hostile_uploads_are_refused_and_leave_nothing(
    client: TestClient, root: pathlib.Path, tmp_path: pathlib.Path, name: str
) -> None:
    make, status = UPLOADS[name]
    folder = run(tmp_path / "run")
    before = everything(tmp_path)
    answer = client.post("/submit", files=make(folder))
    assert answer.status_code == status, answer.text[-600:]
    assert "Traceback" not in answer.text
    assert everything(tmp_path) == before


def test_tampered_uploads_are_refused(client: TestClient, root: pathlib.Path, tmp_path: pathlib.Path) -> None:
    folder = run(tmp_path / "run")
    record = json.loads((folder / "record.json").read_text())
    record["report"]["accuracy"] = 0.99
    files = [("submission", ("record.json", json.dumps(record).encode())), parts(folder)[1]]
    answer = client.post("/submit", files=files)
    assert answer.status_code == 422
    assert "claims accuracy 0.99, its own predictions give 0.8" in answer.text


def test_a_body_without_a_length_is_cut_off(client: TestClient, tmp_path: pathlib.Path) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(40):
            yield b"\0" * (1 << 20)

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    assert client.post("/submit", content=endless(), headers=headers).status_code in (400, 413)
    assert client.post("/submit", content=b"x", headers={**headers, "Content-Length": "-5"}).status_code in (400, 413)


def test_uploads_are_limited_in_number(
    client: TestClient, root: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    statuses = [client.post("/submit", files=[("submission", ("r", b"{"))]).status_code for _ in range(8)]
    assert statuses == [422] * 6 + [429] * 2
    monkeypatch.setattr(server, "MAX_QUEUE", 1)
    (root / "queue" / "waiting").mkdir(parents=True)
    rate = TestClient(server.create_app(root))
    assert "queue is full" in rate.post("/submit", files=parts(run(tmp_path / "run"))).text


def test_another_sites_form_cannot_upload(client: TestClient, tmp_path: pathlib.Path) -> None:
    files = parts(run(tmp_path / "run"))
    assert client.post("/submit", files=files, headers={"Origin": "https://evil.example"}).status_code == 403
    assert client.post("/submit", files=files, headers={"Origin": "http://testserver"}).status_code == 202


def test_without_a_folder_there_are_no_uploads(tmp_path: pathlib.Path) -> None:
    with TestClient(server.create_app(None)) as client:
        assert client.get("/index.html").status_code == 200
        assert client.post("/submit", files=parts(run(tmp_path / "run"))).status_code == 403


def test_two_uploads_at_once_lose_nothing(client: TestClient, root: pathlib.Path, tmp_path: pathlib.Path) -> None:
    folders = [run(tmp_path / str(i), recipe=f"method-{i}", stream=i) for i in range(4)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda folder: client.post("/submit", files=parts(folder)).status_code, folders))
    assert answers == [202] * 4
    assert len(list((root / "queue").iterdir())) == 4


def test_a_port_that_is_taken_is_one_line(tmp_path: pathlib.Path) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        with pytest.raises(InputError, match=r"cannot listen at 127\.0\.0\.1"):
            server.serve(root=None, host="127.0.0.1", port=busy.getsockname()[1])


def test_many_clients_at_once_without_an_error_or_a_leak(root: pathlib.Path, tmp_path: pathlib.Path) -> None:
    # 600 requests from 50 clients here; benchmarks/board.py makes the 10,000.
    submit(runs(tmp_path / "runs", (0.8, 0.81, 0.82)), root=root)
    config = uvicorn.Config(server.create_app(root), host="127.0.0.1", port=0, log_level="error")
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    while not running.started:
        time.sleep(0.02)
    port = running.servers[0].sockets[0].getsockname()[1]
    paths = [
        "/api/v1/boards?limit=2",
        "/api/v1/boards/digits-lt-if-100",
        "/api/v1/search?q=loss",
        "/api/v1/boards/none",
    ]
    wanted = [200, 200, 200, 404]

    def ask(number: int) -> int:
        wrong = 0
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as own:
            for i in range(12):
                which = (number + i) % len(paths)
                own.request("GET", paths[which])
                answer = own.getresponse()
                wrong += answer.status != wanted[which] or not json.loads(answer.read())
        return wrong

    def open_files() -> int:
        return len(list(pathlib.Path("/proc/self/fd").iterdir())) if pathlib.Path("/proc/self/fd").exists() else 0

    try:
        with concurrent.futures.ThreadPoolExecutor(50) as pool:
            assert sum(pool.map(ask, range(5))) == 0
            before, memory = open_files(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            assert sum(pool.map(ask, range(50))) == 0
        time.sleep(0.2)
        assert open_files() <= before + 30
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < memory + 200_000
    finally:
        running.should_exit = True
        thread.join(20)
    assert not thread.is_alive()
    shutil.rmtree(root)


def test_answers_are_packed_tagged_and_readable_from_anywhere(client: TestClient) -> None:
    answer = client.get("/boards/cifar-100-lt-if-100.html", headers={"Accept-Encoding": "gzip"})
    assert answer.headers["Content-Encoding"] == "gzip"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    again = client.get("/boards/cifar-100-lt-if-100.html", headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get("/boards/cifar-100-lt-if-100.html", headers={"If-None-Match": 'W/"x"'}).status_code == 200


def test_errors_are_json_to_programs_and_pages_to_people(client: TestClient) -> None:
    for path in ("/api/v1/boards/none", "/api/v1/nothing", "/api/v1/boards?limit=0", "/api/v1/boards/x?sort=colour"):
        answer = client.get(path)
        assert answer.status_code in (404, 422)
        assert answer.json()["error"], path
    answer = client.get("/nothing.html")
    assert answer.status_code == 404
    assert "<h1>Not found</h1>" in answer.text


def test_rows_can_be_chosen_and_sorted(client: TestClient) -> None:
    address = "/api/v1/boards/cifar-100-lt-if-100"
    rows = client.get(f"{address}?track=scratch&badge=re-scored&sort=value").json()["rows"]
    assert rows
    assert {(row["track"], row["badge"]) for row in rows} == {("scratch", "re-scored")}
    assert [row["value"] for row in rows] == sorted((row["value"] for row in rows), reverse=True)
    page = client.get(f"{address}?track=scratch&limit=3").json()
    assert page["next"] == f"{address}?limit=3&offset=3&track=scratch"
    dates = [row["date"] or "" for row in client.get(f"{address}?sort=date").json()["rows"]]
    assert dates == sorted(dates, reverse=True)
    chosen = client.get("/api/v1/boards?dataset=cifar-100-lt-if-100").json()["items"]
    assert {board["variant"] for board in chosen} == {"cifar-100-lt-if-100"}
    assert client.get("/api/v1/statement.schema.json").json()["required"] == ["method", "data", "selection"]


def test_no_visitor_builds_the_index(
    root: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "LOOK_SECONDS", 0.05)
    builders = []
    build = server.build_index
    monkeypatch.setattr(
        server, "build_index", lambda *given: builders.append(threading.current_thread().name) or build(*given)
    )
    with TestClient(server.create_app(root)) as client:
        assert client.get("/index.html").status_code == 200
        folder = root / "claims"
        folder.mkdir(parents=True)
        (folder / "x.toml").write_text("claim = []")
        for _ in range(200):
            if len(builders) > 1:
                break
            time.sleep(0.05)
            assert client.get("/index.html").status_code == 200
    assert len(builders) >= 2
    assert set(builders) == {"longtail-board-index"}


def test_a_restarted_server_answers_at_once_and_builds_anew(
    root: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept.sqlite"
    with TestClient(server.create_app(root, kept=kept)) as client:
        assert client.get("/").status_code == 200
    assert kept.is_file()
    begin, go = threading.Event(), threading.Event()
    build = server.build_index

    def slow(*given: Any) -> Any:
        begin.set()
        assert go.wait(60)
        return build(*given)

    monkeypatch.setattr(server, "build_index", slow)
    with TestClient(server.create_app(root, kept=kept, wait=0.2)) as client:
        assert begin.wait(60)
        assert client.get("/papers/dro-lt.html").status_code == 200
        go.set()
    # The very first start has nothing to show, says so, and blocks nobody.
    begin.clear()
    go.clear()
    with TestClient(server.create_app(root, wait=0.2)) as client:
        assert begin.wait(60)
        answer = client.get("/index.html")
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
        assert "One moment" in answer.text
        assert client.get("/api/v1/boards").json()["error"]
        go.set()
    # A file that is no index is not served.
    kept.write_bytes(b"no database")
    monkeypatch.undo()
    with TestClient(server.create_app(root, kept=kept)) as client:
        assert client.get("/").status_code == 200


def test_what_the_server_built_is_removed_when_it_stops(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    monkeypatch.setattr(server.tempfile, "tempdir", str(tmp_path))
    with TestClient(server.create_app(None)) as client:
        assert client.get("/index.html").status_code == 200
        assert list(tmp_path.glob("longtail-board-*"))
    assert not list(tmp_path.glob("longtail-board-*"))


HALF = b"GET /about.html HTTP/1.1\r\nHost: x\r\nX-Half:"
"""A request that never ends."""


def test_half_open_connections_block_nobody_and_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEAD_SECONDS", 1.0)
    config = uvicorn.Config(
        server.create_app(None), host="127.0.0.1", port=0, log_level="error", http=server.Patient,
        limit_concurrency=server.CONNECTIONS,
    )  # fmt: skip
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    while not running.started:
        time.sleep(0.02)
    port = running.servers[0].sockets[0].getsockname()[1]
    half = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(500)]
    try:
        # Some say nothing, some begin a request, some begin a second one after a whole one.
        for each in half[1::3]:
            each.sendall(HALF)
        for each in half[2::3]:
            each.sendall(b"GET /robots.txt HTTP/1.1\r\nHost: x\r\n\r\n" + HALF)
        start = time.perf_counter()
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as own:
            own.request("GET", "/about.html")
            assert own.getresponse().status == 200
        assert time.perf_counter() - start < 10
        for each in (*half[:3], *half[-3:]):
            while each.recv(1 << 16):
                pass
    finally:
        for each in half:
            each.close()
        running.should_exit = True
        thread.join(20)
    assert not thread.is_alive()


@pytest.mark.parametrize("name", ["X-Forwarded-For", "X-Real-IP", "Forwarded"])
def test_a_header_does_not_evade_the_limit(root: pathlib.Path, name: str) -> None:
    with TestClient(server.create_app(root)) as client:
        statuses = [
            client.post("/submit", files=[("submission", ("r", b"{"))], headers={name: f"10.0.0.{i}"}).status_code
            for i in range(8)
        ]
    assert statuses[-1] == 429


def test_predictions_of_another_framework_can_be_uploaded(
    client: TestClient, root: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    folder = run(tmp_path / "run")
    stated = {"method": "kNN", "data": "digits-lt", "imbalance": 100, "selection": "last epoch"}
    content = (folder / "predictions.npz").read_bytes()
    files = [("submission", ("s.json", json.dumps(stated).encode())), ("predictions", ("predictions.npz", content))]
    answer = client.post("/submit", files=files, data={"submitter": "Ada"})
    assert answer.status_code == 202, answer.text
    (waiting,) = (root / "queue").iterdir()
    assert json.loads((waiting / "submission.json").read_text())["statement"]["method"] == "kNN"
    (made,) = submit([waiting], root=root)
    assert made["trusted"]
    bad = [("submission", ("s.json", json.dumps({**stated, "data": "digit"}).encode())), files[1]]
    assert "did you mean" in client.post("/submit", files=bad).text
