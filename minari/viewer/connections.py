"""Connections of the viewer: bounded in number, time and memory, whatever the other side does or fails to do."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol


__all__ = ["MOST_CONNECTIONS", "Bounded", "Connection"]

#: Connections that are open at a time.
MOST_CONNECTIONS: Final = 200

_MOST_ANSWERS: Final = 16  # that are made or sent at a time
_PATIENCE: Final = 10.0  # seconds for the head of a request to arrive, and for a part of an answer to be taken
_PART: Final = 2**18  # bytes of an answer that are sent at once


class Connection(H11Protocol):
    """A connection, which is closed if its request does not come; if there are too many, the idlest one gives way."""

    _idle_since = 0.0
    _giving_up: asyncio.TimerHandle | None = None

    @property
    def is_idle(self) -> bool:
        """True while nothing is answered on this connection."""
        return self.cycle is None or self.cycle.response_complete or self.transport.is_closing()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._wait_or_not()
        if len(self.connections) > MOST_CONNECTIONS:
            others = (one for one in self.connections if isinstance(one, Connection) and one.is_idle)
            idlest = min(others, key=lambda one: one._idle_since, default=self)
            idlest._give_up()

    def connection_lost(self, exc: Exception | None) -> None:
        """End to wait."""
        super().connection_lost(exc)
        self._wait_no_more()

    def data_received(self, data: bytes) -> None:
        """Take what has come, which may be a part of a request only."""
        super().data_received(data)
        self._wait_or_not()

    def _wait_or_not(self) -> None:
        if not self.is_idle:
            self._wait_no_more()
        elif self._giving_up is None:
            self._idle_since = self.loop.time()
            self._giving_up = self.loop.call_later(_PATIENCE, self._give_up)

    def _wait_no_more(self) -> None:
        if self._giving_up is not None:
            self._giving_up.cancel()
            self._giving_up = None

    def _give_up(self) -> None:
        self._wait_no_more()
        self.connections.discard(self)
        self.transport.abort()


class Bounded:
    """Application around another one, which works for a few requests at a time, and sends what they take in time.

    An answer is sent in parts, so that it is not in the memory twice. Who takes nothing for some seconds gets no more.

    Args:
        app: the application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._places = anyio.Semaphore(_MOST_ANSWERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request once there is a place."""

        async def send_in_time(message: Message) -> None:
            for part in _parts(message):
                with anyio.fail_after(_PATIENCE):
                    await send(part)

        async with self._places:
            await self._app(scope, receive, send_in_time)


def _parts(message: Message) -> list[Message]:
    """Return a message in parts, which are views of its body."""
    body: Any = message.get("body", b"")
    if len(body) <= _PART:
        return [message]
    view, has_more = memoryview(body), message.get("more_body", False)
    starts = range(0, len(body), _PART)
    return [
        {**message, "body": view[start : start + _PART], "more_body": has_more or start != starts[-1]}
        for start in starts
    ]
