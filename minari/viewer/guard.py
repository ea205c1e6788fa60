"""The guard of the viewer: who may ask at all, before any request reaches the application.

A page that runs in the user's browser can send requests to every address that the browser reaches, among them this
server. The guard answers none but its own page: a token that other pages cannot know, no requests from other origins,
and no other name of this machine, to which a hostile name server could point.
"""

from __future__ import annotations

import ipaddress
import re
import secrets
from collections.abc import Iterable
from typing import Any, Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from minari.viewer.answers import Refusal, as_json, error_of


__all__ = ["ANY_ADDRESS", "LOOPBACK", "Guard", "TokenGuard", "answer_of"]

#: The names of this machine for itself.
LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")
#: Addresses of a server that listens everywhere, where any address of the machine may be asked.
ANY_ADDRESS: Final = ("0.0.0.0", "[::]")

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_METHODS: Final = ("GET", "HEAD", "POST")
_SITES: Final = ("same-origin", "none")  # of a page of ours, or of an address that a person has entered
_HOST: Final = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([0-9]{1,5}))?")


def answer_of(error: BaseException) -> Response:
    """Return the answer for an error, as JSON."""
    status, value = error_of(error)
    headers = error.headers if isinstance(error, Refusal) else {}
    return Response(as_json(value), status, headers, "application/json")


class Guard:
    """Application around another one, which refuses requests of other origins and for other hosts.

    Args:
        app: the application that it guards.
        hosts: names under which the server may be asked, with a port, or without one if any port will do.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str]) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] != "http":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        else:
            guarded = _with_headers(send)
            try:
                self._check(scope)
            except Refusal as refusal:
                await answer_of(refusal)(scope, receive, guarded)
            else:
                await self._app(scope, receive, guarded)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        own = f"{scope.get('scheme', 'http')}://{hosts[0].lower()}" if hosts else ""
        is_own_site = all(site.lower() in _SITES for site in headers.getlist("sec-fetch-site"))
        if any(origin.lower() != own for origin in origins) or not (is_own_site or _is_visit(scope, headers)):
            raise Refusal(403, "ForeignOrigin", "The request comes from a page of another origin, which may not ask.")
        if len(hosts) != 1 or not self._is_allowed(hosts[0].lower()):
            raise Refusal(
                400, "WrongHost", "The server has another name than the one asked for; use the address that it printed."
            )
        if scope["method"] not in _METHODS:
            raise Refusal(405, "WrongMethod", "The method is not GET, HEAD or POST.", {"Allow": ", ".join(_METHODS)})

    def _is_allowed(self, host: str) -> bool:
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        name, port = match[1], match[2]
        if not self._hosts.isdisjoint((host, name)):
            return True
        suffix = "" if port is None else f":{port}"
        listens_everywhere = any(f"{address}{suffix}" in self._hosts for address in ANY_ADDRESS)
        return listens_everywhere and _is_address(name)  # which a name server cannot point elsewhere


def _is_visit(scope: Scope, headers: Headers) -> bool:
    """Return whether somebody follows a link to the page, such as one on the terminal of a notebook.

    What the page is made of has no data.
    """
    is_of_page = scope["method"] == "GET" and not scope["path"].startswith("/api")
    return is_of_page and (headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")) == ("navigate", "document")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _with_headers(send: Send) -> Send:
    async def guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers[name] = value
            headers.setdefault("Cache-Control", "no-store")
        await send(message)

    return guarded


class TokenGuard:
    """Application around another one, which refuses requests without the token.

    Args:
        app: the application that it guards.
        token: the token.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        given: list[Any] = [value for name, value in scope["headers"] if name.lower() == b"authorization"]
        if len(given) == 1 and secrets.compare_digest(given[0], self._expected):
            await self._app(scope, receive, send)
            return
        refusal = Refusal(
            401,
            "WrongToken",
            "The token is missing or wrong; open the address that `minari view` printed.",
            {"WWW-Authenticate": "Bearer"},
        )
        await answer_of(refusal)(scope, receive, send)
