"""The board as a server: the same pages, search, a read-only interface, and a form whose uploads wait for review.

Nothing that arrives here is shown before somebody has run ``longtail board submit`` on it.
"""

from __future__ import annotations

import asyncio
import collections
import datetime
import hashlib
import logging
import os
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from uvicorn.protocols.http.h11_impl import H11Protocol

from longtail.board.apart import StoppedError, build_apart
from longtail.board.content import load
from longtail.board.index import build_index
from longtail.board.intake import named_by
from longtail.board.interface import router
from longtail.board.pages import render
from longtail.board.pages.pairs import pair
from longtail.board.pages.search import missing as missing_page
from longtail.board.pages.search import search as search_page
from longtail.board.pages.submissions import UPLOAD_MIB
from longtail.board.pages.submissions import submit as submit_page
from longtail.board.pages.template import prepare
from longtail.board.previews import preview
from longtail.board.reader import Index
from longtail.board.submissions import (
    FILE_NAME,
    MAX_JSON,
    MAX_SEEDS,
    SCHEMA,
    check,
    write_submission,
)
from longtail.board.values import parse_json
from longtail.board.verification import KEPT
from longtail.errors import InputError
from longtail.files import write_atomically
from longtail.results.predictions import MAX_PREDICTIONS_BYTES

_LOG = logging.getLogger(__name__)
MAX_BODY = UPLOAD_MIB << 20
MAX_QUEUE = 200
"""Submissions that may wait for review; further ones are refused until somebody has looked."""
UPLOADS = 6
UPLOAD_SECONDS = 60.0
"""An address may upload this often in this time."""
LOOK_SECONDS = 2.0
"""How often the server looks whether the board's files have changed."""
BODY_SECONDS = 30.0
"""How long it waits for the next piece of an upload."""
HEAD_SECONDS = 10.0
"""How long a connection may go without a whole request."""
FIRST_SECONDS = 0.5
"""How long a visitor waits for the very first index before being told to come again."""
STOP_SECONDS = 1.0
"""How long a server that is told to stop waits for what it is doing."""
CONNECTIONS = 4000
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; form-action"
    " 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}


@dataclass
class Current:
    """The index that requests read; a thread builds it anew, beside the old one, when the board's files change.

    Args:
        root: the board's folder.
        numerics: current version of the numerics.
        kept: a file that keeps the index from one start to the next; it is served until the first build is done.
        wait: seconds that a request waits for the first index before it is told to come again; ``None`` for any time.
        apart: a process of its own builds the index, so that its work holds up no answer and ends with the server.
    """

    root: Path | None
    numerics: int | None = None
    kept: Path | None = None
    wait: float | None = None
    apart: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)
    ready: threading.Event = field(default_factory=threading.Event)
    stopped: threading.Event = field(default_factory=threading.Event)
    state: tuple[Any, ...] = ()
    folder: tempfile.TemporaryDirectory[str] | None = None
    failed: InputError | None = None
    told: set[str] = field(default_factory=set)
    idle: list[Index] = field(default_factory=list)
    thread: threading.Thread | None = None

    def start(self) -> None:
        """Build the first index, and look for changes from then on; no request does either."""
        if self.thread is None:
            self.thread = threading.Thread(target=self._watch, name="longtail-board-index", daemon=True)
            self.thread.start()

    def stop(self) -> None:
        """Build no more, and remove what was built."""
        self.stopped.set()
        if self.thread is not None:
            self.thread.join(STOP_SECONDS if self.apart else 60)
        with self.lock:
            for index in self.idle:
                index.close()
            self.idle.clear()
            if self.folder is not None:
                self.folder.cleanup()

    def _recall(self) -> None:
        """Serve what the last run of the server built, so that nobody waits; it is built anew at once."""
        folder = tempfile.TemporaryDirectory(prefix="longtail-board-")
        try:
            if self.kept is None or not self.kept.is_file():
                raise FileNotFoundError
            _linked(self.kept, Path(folder.name) / "index.sqlite")
            with Index(_opened(folder.name), self.root) as index:
                index.connection.execute("SELECT count(*) FROM tasks").fetchone()
        except (OSError, sqlite3.Error):
            folder.cleanup()
            return
        with self.lock:
            self.folder = folder
        self.ready.set()

    def _keep(self, built: Path) -> None:
        if self.kept is None:
            return
        try:
            self.kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_atomically(self.kept, lambda target: _linked(built, target))
        except (OSError, InputError):
            self.kept = None  # Where nothing can be kept, the next start builds first.

    def _watch(self) -> None:
        self._recall()
        while not self.stopped.is_set():
            seen = self._seen()
            if self.folder is None or seen != self.state:
                try:
                    self._build()
                    self.failed = None
                except StoppedError:
                    break
                except InputError as error:
                    # A file that somebody is still editing must not take the board down: the last good state stays up.
                    self.failed = error
                except Exception:
                    _LOG.exception("the index could not be built")
                    self.failed = InputError("the board cannot be put together; the server's log says why")
                self.state = seen
            self.ready.set()
            self.stopped.wait(LOOK_SECONDS)

    def _seen(self) -> tuple[Any, ...]:
        """What tells of a change: the board only ever gains files, and each comes by a rename in its folder."""
        if self.root is None:
            return ("shipped",)
        found = []
        for name in KEPT:
            path = self.root / name
            try:
                found.append((name, path.stat().st_mtime_ns, len(list(path.iterdir())) if path.is_dir() else 0))
            except OSError:
                found.append((name, 0, 0))
        return tuple(found)

    def _build(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="longtail-board-")
        database = Path(folder.name) / "index.sqlite"
        try:
            if self.apart:
                build_apart(self.root, database, self.numerics, self.stopped)
            else:
                build_index(self.root, str(database), self.numerics).close()
        except BaseException:
            folder.cleanup()
            raise
        self._keep(database)
        self._tell(folder.name)
        with self.lock:
            old, self.folder = self.folder, folder
            for index in self.idle:
                index.close()
            self.idle.clear()
        # Connections that are still reading keep the old file alive until they are closed.
        if old is not None:
            old.cleanup()

    def _tell(self, folder: str) -> None:
        """Log what the build warns of, each line once."""
        with Index(_opened(folder), self.root) as index:
            warnings = index.warnings
        for each in warnings:
            if each not in self.told:
                _LOG.warning("%s", each)
        self.told = set(warnings)

    @contextmanager
    def reading(self) -> Iterator[Index]:
        """A connection of its own to the index, for one request."""
        self.start()
        if not self.ready.wait(self.wait):
            raise _BuildingError
        with self.lock:
            made = self.folder
            if made is None:
                raise self.failed or InputError("the board has been stopped")
            if self.idle:
                index = self.idle.pop()
            else:
                index = Index(_opened(made.name), self.root)
                # SQLite opens the file at the first question, which must not be after its folder is gone.
                index.connection.execute("SELECT count(*) FROM tasks").fetchone()
        try:
            yield index
        finally:
            with self.lock:
                if made is self.folder and len(self.idle) < 16 and not self.stopped.is_set():
                    self.idle.append(index)
                else:
                    index.close()


def _linked(source: Path, target: Path) -> None:
    """Another name for a finished index, or a copy where the file system has no second names."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _opened(folder: str) -> sqlite3.Connection:
    address = f"file:{folder}/index.sqlite?mode=ro&immutable=1"
    return sqlite3.connect(address, uri=True, check_same_thread=False)


class _BuildingError(Exception):
    """The first index is not there yet."""


def kept_index(root: Path | None) -> Path:
    """Where a server keeps its index from one start to the next: in the user's own cache, by board and program.

    Args:
        root: the board's folder.
    """
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    digest = hashlib.sha256(str(root.resolve() if root is not None else "").encode("utf-8", "surrogatepass"))
    # Another version of the program lays its index out otherwise.
    for file in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(file.read_bytes())
    return Path(base).expanduser() / "longtail" / "board" / f"{digest.hexdigest()[:32]}.sqlite"


class Limited:
    """Refuses a body before it is read whole, whatever its header says."""

    def __init__(self, app: Callable[..., Awaitable[None]], most: int) -> None:
        self.app = app
        self.most = most

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        """Pass a request on, counting what it sends."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if not declared.isdigit() or int(declared) > self.most:
            await Response("the upload is too large\n", 413)(scope, receive, send)
            return
        taken, answered = 0, False

        async def counted() -> MutableMapping[str, Any]:
            nonlocal taken
            message = await asyncio.wait_for(receive(), BODY_SECONDS)
            taken += len(message.get("body", b""))
            if taken > self.most:
                raise _TooLargeError
            return message

        async def watched(message: MutableMapping[str, Any]) -> None:
            nonlocal answered
            answered = True
            await send(message)

        try:
            await self.app(scope, counted, watched)
        except _TooLargeError:
            if not answered:
                await Response("the upload is too large\n", 413)(scope, receive, send)
        except TimeoutError:
            if not answered:
                await Response("the upload came too slowly\n", 408)(scope, receive, send)


class _TooLargeError(Exception):
    """A body went on past the limit."""


@dataclass
class Rate:
    """How often each address has uploaded lately."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    seen: dict[str, collections.deque[float]] = field(default_factory=dict)

    def allows(self, address: str) -> bool:
        """Count one upload of an address, if it may."""
        now = time.monotonic()
        with self.lock:
            if len(self.seen) > 10_000:
                self.seen = {
                    key: times for key, times in self.seen.items() if times and now - times[-1] < UPLOAD_SECONDS
                }
            times = self.seen.setdefault(address, collections.deque())
            while times and now - times[0] > UPLOAD_SECONDS:
                times.popleft()
            if len(times) >= UPLOADS:
                return False
            times.append(now)
            return True


def _bodies(document: Any, form: FormData) -> dict[str, Any]:
    """A submission from the uploaded JSON, which is a submission or one record."""
    if isinstance(document, dict) and "method" in document and "data" in document and "history" not in document:
        # A statement about predictions of another framework, by itself.
        now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
        document = {"schema": SCHEMA, "statement": document, "created": now.isoformat()}
    if isinstance(document, dict) and "records" not in document and "statement" not in document:
        document = {"schema": SCHEMA, "records": [document], "created": document.get("started")}
    if not isinstance(document, dict):
        raise InputError("the upload: expected a JSON object")
    for name in ("submitter", "note"):
        text = form.get(name)
        if isinstance(text, str) and text.strip():
            document = {**document, name: text.strip()}
    return dict(document)


def _files(document: dict[str, Any], contents: list[tuple[str, bytes]]) -> dict[str, bytes]:
    """The uploaded predictions by the names they must have; a single one may be called ``predictions.npz``."""
    out = {}
    for name, content in contents:
        if name == "predictions.npz" and len(contents) == 1:
            record = document["records"][0] if isinstance(document.get("records"), list) and document["records"] else {}
            seed = 0 if "statement" in document else record.get("seed") if isinstance(record, dict) else None
            name = f"predictions-seed-{seed}.npz"
        # Only this one form of name ever reaches the file system, so no path can.
        if not FILE_NAME.fullmatch(name):
            raise InputError(f"the upload: {name[:80]!r} is no file of a submission; call it predictions-seed-N.npz")
        if name in out:
            raise InputError(f"the upload: {name} came twice")
        out[name] = content
    return out


def take_upload(root: Path, document: Any, form: FormData, contents: list[tuple[str, bytes]]) -> str:
    """Check an upload completely and put it in the queue.

    Returns:
        The identifier under which it waits.

    Raises:
        InputError: with the first thing that is wrong; nothing is then kept.
    """
    queue = root / "queue"
    waiting = [each for each in queue.iterdir() if not each.name.startswith(".")] if queue.is_dir() else []
    if len(waiting) >= MAX_QUEUE:
        raise InputError("the queue is full until somebody has looked through it; try again later")
    body = _bodies(document, form)
    # What is wrong with a file of the board is no fault of whoever uploads.
    submission = check(body, _files(body, contents), "the upload", load(root, []))
    if (root / "submissions" / submission.id).exists():
        raise InputError(f"these runs were submitted already, as {submission.id}")
    named_by(submission, root)
    write_submission(submission, queue)
    return submission.id


def create_app(
    root: Path | None = None,
    numerics: int | None = None,
    *,
    kept: Path | None = None,
    wait: float | None = None,
    apart: bool = False,
) -> FastAPI:
    """The application: pages at their static addresses, ``/api/v1``, the search, and uploads if there is a folder.

    Args:
        root: the board's folder, made if it is not there; without one nothing can be uploaded.
        numerics: current version of the numerics; records of an earlier one are marked.
        kept: a file that keeps the index from one start to the next.
        wait: seconds that a request waits for the very first index before it is told to come again; ``None`` for any.
        apart: build the index in a process of its own, which a program that runs the application itself may not want.

    Returns:
        The application, for any ASGI server.
    """
    root = Path(root) if root is not None else None
    if root is not None:
        root.mkdir(parents=True, exist_ok=True)
    current, rate = Current(root, numerics, kept, wait, apart), Rate()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        current.start()
        prepare()
        await run_in_threadpool(current.ready.wait, wait)
        yield
        await run_in_threadpool(current.stop)

    app = FastAPI(
        title="longtail board",
        version="1",
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
        lifespan=lifespan,
    )
    app.add_middleware(GZipMiddleware, minimum_size=1000)
    app.add_middleware(Limited, most=MAX_BODY)

    @app.middleware("http")
    async def headers(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await answer(request)
        for name, value in HEADERS.items():
            response.headers[name] = value
        if request.method in ("GET", "HEAD"):
            # Everything that can be read here is public.
            response.headers["Access-Control-Allow-Origin"] = "*"
        return response

    def wrong(request: Request, message: str, status: int) -> Response:
        """An error as JSON to a program, as a page to a person."""
        if request.url.path.startswith("/api/"):
            return JSONResponse({"error": message}, status)
        kept = request.url.path.lstrip("/")
        heading = "One moment" if status == 503 else "Not found" if status == 404 else "That did not work"
        page = missing_page(True, kept if kept.count("/") < 8 else "", message, heading)
        return Response(page, status, media_type="text/html")

    @app.exception_handler(InputError)
    async def refused(request: Request, error: InputError) -> Response:
        return wrong(request, str(error), 422)

    @app.exception_handler(_BuildingError)
    async def building(request: Request, error: _BuildingError) -> Response:
        answer = wrong(request, "The board is being put together; come again in a few seconds.", 503)
        answer.headers["Retry-After"] = "2"
        return answer

    @app.exception_handler(HTTPException)
    async def failed(request: Request, error: HTTPException) -> Response:
        return wrong(request, str(error.detail), error.status_code)

    @app.exception_handler(RequestValidationError)
    async def misasked(request: Request, error: RequestValidationError) -> Response:
        found = "; ".join(f"{each['loc'][-1]}: {each['msg']}" for each in error.errors())
        return wrong(request, found[:500], 422)

    app.include_router(router(current.reading))

    @app.get("/search", include_in_schema=False)
    def search(q: str = Query("", max_length=200)) -> Response:
        with current.reading() as index:
            return Response(search_page(index, True, q), media_type="text/html")

    @app.get("/compare", include_in_schema=False)
    def compare(a: str = Query("", max_length=200), b: str = Query("", max_length=200)) -> Response:
        with current.reading() as index:
            names = {name.casefold(): each.id for each in index.methods() for name in (each.id, each.name)}
            first, second = sorted(_near(name, names) for name in (a, b))
            found = pair(index, True, f"{first}--{second}")
        # Its links are relative to compare/, one level down.
        target = f"/compare/{first}--{second}.html" if found else "/compare.html"
        return Response(status_code=303, headers={"Location": target})

    @app.post("/submit", include_in_schema=False)
    async def upload(request: Request) -> Response:
        def page(message: str, status: int) -> Response:
            with current.reading() as index:
                text = submit_page(index, True, message, failed=status >= 400)
            return Response(text, status, media_type="text/html")

        if root is None:
            return page("This server shows a board and takes no uploads.", 403)
        origin = request.headers.get("origin")
        if origin not in (None, "null") and origin.split("://")[-1] != request.headers.get("host"):
            return page("An upload must come from this site's own form.", 403)
        if not rate.allows(request.client.host if request.client else "unknown"):
            return page(f"At most {UPLOADS} uploads a minute are taken from one address; wait a little.", 429)
        try:
            async with request.form(max_files=MAX_SEEDS + 1, max_fields=8, max_part_size=64 << 10) as form:
                document = form.get("submission")
                parts = [part for part in form.getlist("predictions") if isinstance(part, UploadFile)]
                if not isinstance(document, UploadFile):
                    return page("The JSON file is missing.", 422)
                text = await document.read(MAX_JSON + 1)
                if len(text) > MAX_JSON:
                    return page("The JSON file is too large.", 413)
                contents = [(part.filename or "", await part.read(MAX_PREDICTIONS_BYTES + 1)) for part in parts]
                name = await run_in_threadpool(take_upload, root, parse_json(text, "the JSON file"), form, contents)
        except InputError as error:
            return page(str(error), 422)
        return page(f"Thank you. It waits for review as {name} and is not shown before that.", 202)

    @app.api_route("/{path:path}", methods=["GET", "HEAD"], include_in_schema=False)
    def anything(path: str, request: Request) -> Response:
        with current.reading() as index:
            found = render(index, path or "index.html", live=True, query=dict(request.query_params))
            picture = preview(index, path) if found is None and path.startswith("previews/") else None
        if found is None and picture is None:
            return wrong(request, "There is no such page.", 404)
        kind, content = (found[0], found[1].encode("utf-8", "replace")) if found else ("image/png", picture or b"")
        tag = f'W/"{hashlib.sha256(content).hexdigest()[:24]}"'
        kept = {"ETag": tag, "Cache-Control": "no-cache"}
        if tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=kept)
        return Response(content, media_type=kind, headers=kept)

    return app


def _near(typed: str, names: dict[str, str]) -> str:
    """The method that somebody means: by its name, the beginning of it, or a part; else what was typed."""
    wanted = typed.strip().casefold()
    if wanted in names or not wanted:
        return names.get(wanted, typed)
    begins = sorted(name for name in names if name.startswith(wanted))
    holds = sorted(name for name in names if wanted in name)
    return names[(begins or holds)[0]] if begins or holds else typed


class Patient(H11Protocol):
    """Closes a connection on which no whole request came for a while, so that silent ones cannot fill the server."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait."""
        super().connection_made(transport)
        self.loop.call_later(HEAD_SECONDS, self._look, None)

    def _look(self, answered: object) -> None:
        """Close the connection if it waits for a request now, and has been answered nothing since the last look."""
        if self.transport.is_closing():
            return
        waits = self.cycle is None or self.cycle.response_complete
        if waits and self.cycle is answered:
            self.transport.close()
        else:
            self.loop.call_later(HEAD_SECONDS, self._look, self.cycle)


def serve(*, root: Path | None = None, host: str = "127.0.0.1", port: int = 8000, numerics: int | None = None) -> None:
    """Answer requests until interrupted.

    Args:
        root: the board's folder.
        host: the address to listen at; the default is this machine alone.
        port: the port.
        numerics: current version of the numerics; records of an earlier one are marked.

    Raises:
        InputError: if the server's packages are not installed or the port is taken.
    """
    import socket

    import uvicorn

    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except (OSError, OverflowError) as error:
        raise InputError(f"cannot listen at {host}:{port}: {error}; choose another port") from None
    # An address in a header is whatever its sender writes, so none is believed.
    uvicorn.run(
        create_app(root, numerics, kept=kept_index(root), wait=FIRST_SECONDS, apart=True),
        host=host,
        port=port,
        http=Patient,
        log_level="warning",
        timeout_keep_alive=10,
        timeout_graceful_shutdown=int(STOP_SECONDS),
        limit_concurrency=CONNECTIONS,
        proxy_headers=False,
    )
