"""The application: routes to what is read and changed, behind the guard."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import anyio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from minari._storages.paths import PathLike
from minari._storages.registry import get_minari_storage
from minari.dataset.validation import find_data_path
from minari.errors import ArgumentError, DatasetChangedError, DatasetIdError, DatasetNotFoundError, MinariError
from minari.viewer import edits, episode, facts, summaries, table
from minari.viewer.answers import Refusal, as_json, plain
from minari.viewer.connections import Bounded
from minari.viewer.guard import LOOPBACK, Guard, TokenGuard, answer_of
from minari.viewer.opened import Opened, OpenedDatasets, Places
from minari.viewer.requests import Body, Query, read_body
from minari.viewer.work import Stopped, Workers


__all__ = ["STATIC", "Viewer", "create_app"]

#: The directory of the built page.
STATIC: Final = Path(__file__).with_name("static")

_ATTEMPTS: Final = 3  # to read a dataset that others are editing
_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
}

T = TypeVar("T")

_log = logging.getLogger(__name__)

Endpoint = Callable[[Request], Awaitable[Response]]


def create_app(
    root: PathLike | None = None,
    *,
    token: str,
    read_only: bool = False,
    hosts: Iterable[str] = LOOPBACK,
    datasets: Iterable[PathLike] = (),
) -> ASGIApp:
    """Return the application that serves the page and its JSON interface, for any ASGI server.

    Args:
        root: root of the catalog; by default that of ``MINARI_DATASETS_PATH``.
        token: text that requests to the JSON interface must have, as ``Authorization: Bearer TOKEN``.
        read_only: True to refuse all changes.
        hosts: names under which the server may be asked, with a port, or without one if any port will do.
        datasets: paths of further datasets, beside those of the catalog.

    Raises:
        ArgumentError: the token is empty.
        DataPathError: there is no such directory.
    """
    return Viewer(root, token=token, read_only=read_only, datasets=datasets).app(hosts)


class Viewer:
    """The state of a server: the open datasets, and the threads that read them.

    Args:
        root: see :func:`create_app`, as the others.
        token: likewise.
        read_only: likewise.
        datasets: likewise.
    """

    def __init__(
        self, root: PathLike | None, *, token: str, read_only: bool, datasets: Iterable[PathLike] = ()
    ) -> None:
        if not isinstance(token, str) or not token:
            raise ArgumentError("token is empty, expected a text that nobody can guess, as of secrets.token_urlsafe().")
        self.token, self.read_only = token, read_only
        paths = {str(Path(path).expanduser().absolute()): find_data_path(Path(path)) for path in datasets}
        self.places = Places(None if root is None else Path(root), paths)
        self.workers = Workers()
        self.opened = OpenedDatasets(self.places, self.workers)
        self._editing = anyio.Lock()

    def prepare(self) -> None:
        """Load the libraries of the formats in the catalog, which takes long; called while the browser starts."""
        formats = {one["format"] for one in facts.catalog(self.places, self.read_only)["datasets"]}
        for name in sorted(filter(None, formats)):
            with suppress(MinariError, ImportError):
                get_minari_storage(name)

    def app(self, hosts: Iterable[str]) -> ASGIApp:
        """Return the application behind the guard."""
        read, read_all = partial(self._read, None), partial(self._read, "lock")
        where, leaf = ("dataset", "where"), ("dataset", "episode", "leaf", "revision")
        routes = [
            self._route("/catalog", self._catalog),
            self._route("/dataset", self._dataset),
            self._route("/distributions", partial(read_all, summaries.distributions, where)),
            self._route("/leaves", partial(self._read, "leaves_lock", _without_query(summaries.leaves), ("dataset",))),
            self._route(
                "/episodes", partial(read_all, table.episodes, (*where, "sort", "descending", "offset", "limit"))
            ),
            self._route("/episode", partial(read, episode.episode, leaf[:2])),
            self._route("/series", partial(read, episode.series, (*leaf, "most"))),
            self._route("/texts", partial(read, episode.texts, leaf)),
            self._route("/frames", self._frames),
            self._route("/compare", self._compare),
            self._route("/mark", self._mark, "POST"),
            self._route("/drop", self._drop, "POST"),
        ]
        errors = {HTTPException: _refused}
        api = Starlette(routes=routes, exception_handlers=errors)
        page = [Mount("/api", TokenGuard(Bounded(api), self.token)), Route("/{name:path}", _page, methods=["GET"])]
        outer = Starlette(routes=page, exception_handlers=errors)
        for one in (api, outer):
            one.router.redirect_slashes = False
        return Guard(outer, hosts)

    def _route(self, path: str, answer: Endpoint, method: str = "GET") -> Route:
        async def endpoint(request: Request) -> Response:
            try:
                return await answer(request)
            except Stopped:
                return answer_of(Refusal(503, "Stopped", "The server ends; start `minari view` again."))
            except Exception as error:
                if not isinstance(error, (MinariError, OSError)):
                    _log.debug("%s failed", path, exc_info=True)
                return answer_of(error)

        return Route(path, endpoint, methods=[method])

    async def _json(self, work: Callable[[], Any]) -> Response:
        """Return the JSON of a value that is computed, and encoded, in a thread."""
        return _json_answer(await self.workers.run(lambda: as_json(work())))

    async def _catalog(self, request: Request) -> Response:
        Query(request.query_params.multi_items(), ())
        return await self._json(partial(facts.catalog, self.places, self.read_only))

    async def _dataset(self, request: Request) -> Response:
        name = Query(request.query_params.multi_items(), ("dataset",)).text("dataset")
        try:
            opened = await self.opened.get(name)
            return await self._json(partial(facts.opened_dataset, opened, self.read_only))
        except (DatasetIdError, DatasetNotFoundError):
            raise
        except (MinariError, OSError) as error:
            return await self._json(partial(facts.closed_dataset, self.places, name, error, self.read_only))

    async def _read(
        self,
        lock: str | None,
        work: Callable[[Opened, Query], Any],
        known: Sequence[str],
        request: Request,
    ) -> Response:
        query = Query(request.query_params.multi_items(), known)
        names = [query.text("dataset")]
        return _json_answer(await self._work(request, lock, lambda opened: as_json(work(opened, query)), names))

    async def _work(self, request: Request, lock: str | None, work: Callable[..., T], names: Sequence[str]) -> T:
        """Return what a function reads of open datasets, in a thread; again if they are edited meanwhile."""
        for _ in range(_ATTEMPTS - 1):
            with suppress(DatasetChangedError):
                return await self._work_once(request, lock, work, names)
        return await self._work_once(request, lock, work, names)

    async def _work_once(self, request: Request, lock: str | None, work: Callable[..., T], names: Sequence[str]) -> T:
        opened = {name: await self.opened.get(name) for name in sorted(set(names))}
        async with AsyncExitStack() as stack:
            if lock is not None:
                for one in opened.values():
                    await stack.enter_async_context(getattr(one, lock))
            return await self.workers.run_for(request.receive, work, *(opened[name] for name in names))

    async def _frames(self, request: Request) -> Response:
        known = ("dataset", "episode", "leaf", "revision", "start", "stop")
        query = Query(request.query_params.multi_items(), known)
        names = [query.text("dataset")]
        headers, pixels = await self._work(request, None, lambda opened: episode.frames(opened, query), names)
        return Response(pixels, headers=headers, media_type="application/octet-stream")

    async def _compare(self, request: Request) -> Response:
        names = Query(request.query_params.multi_items(), ("dataset",)).all("dataset")
        if len(names) != 2:
            raise ArgumentError(f"dataset is given {len(names)} times, expected the two datasets to compare.")
        work = lambda *pair: as_json(summaries.compare(pair))  # noqa: E731
        return _json_answer(await self._work(request, "leaves_lock", work, names))

    async def _mark(self, request: Request) -> Response:
        body = await self._body(request, edits.MARK)
        async with self._editing:
            opened = await self._current(body)
            report = await self.workers.run_to_the_end(edits.mark, opened, body)
            return await self._edited(report, opened.name)

    async def _drop(self, request: Request) -> Response:
        body = await self._body(request, edits.DROP)
        if not body.flag("confirm"):
            opened = await self._current(body)
            return await self._json(partial(edits.dry_run, opened, body, self.places))
        async with self._editing:
            opened = await self._current(body)
            report = await self.workers.run_to_the_end(edits.drop, opened, body, self.places)
            name = report.new_dataset_id or opened.name
            return await self._edited(report, name, dataset=name)

    async def _body(self, request: Request, known: Sequence[str]) -> Body:
        body = Body(await read_body(request), known)
        if self.read_only:
            raise Refusal(
                403,
                "ReadOnly",
                "This server changes nothing; start `minari view` with --edit to mark and drop episodes.",
            )
        return body

    async def _current(self, body: Body) -> Opened:
        """Return the dataset to edit, which is as it was when it was shown."""
        opened = await self.opened.get(body.text("dataset"))
        opened.check_revision(body.text("revision"))
        return opened

    async def _edited(self, report: edits.Report, name: str, **further: str) -> Response:
        """Return the answer to an edit, which is done whether or not the dataset can be opened again."""
        revision = ""
        with suppress(MinariError, OSError):
            revision = (await self.opened.get(name)).revision
        return _json_answer(as_json({"revision": revision, **further, "report": edits.sentences(report)}))


def _without_query(work: Callable[[Opened], Any]) -> Callable[[Opened, Query], Any]:
    return lambda opened, query: work(opened)


def _json_answer(content: bytes) -> Response:
    return Response(content, media_type="application/json")


async def _refused(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = error.headers if isinstance(error, HTTPException) else None
    reason = "The method is another one than this address takes." if status == 405 else "There is nothing here."
    return answer_of(Refusal(status, "WrongMethod" if status == 405 else "NotFound", reason, headers))


def _page(request: Request) -> Response:
    """Return a file of the page, whose name is one of those that are there."""
    names = {path.name: path for path in STATIC.iterdir()} if STATIC.is_dir() else {}
    if "index.html" not in names:
        return answer_of(
            Refusal(
                503,
                "PageNotBuilt",
                "The page is not built; run `npm ci && npm run build` in the directory frontend of the checkout.",
            )
        )
    path = names.get(request.path_params["name"] or "index.html")
    if path is None or path.suffix not in _TYPES or not path.is_file():
        return answer_of(
            Refusal(404, "NotFound", f"There is no file {plain(request.path_params['name'])} of the page.")
        )
    content = path.read_bytes()
    tag = f'"{hashlib.blake2b(content, digest_size=12).hexdigest()}"'
    headers = {"Cache-Control": "no-cache", "ETag": tag}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type=_TYPES[path.suffix])
