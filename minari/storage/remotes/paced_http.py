"""Answers of the HTTP client of Python's own library that keep up a pace, from their first byte on.

urllib and urllib3 read through these; their own timeouts restart with each byte that arrives.
"""

from __future__ import annotations

import http.client
import io
import re
from typing import Any

from minari.errors import RemoteError
from minari.storage.transfer.pace import Limits, Pace


__all__ = ["PacedResponse", "check_range"]

_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(?:\d+|\*)", re.ASCII)


class _PacedStream(io.RawIOBase):
    """What comes through a socket, watched.

    Args:
        stream: the socket as a stream.
        pace: counts every byte.
    """

    def __init__(self, stream: io.RawIOBase, pace: Pace) -> None:
        self._stream, self._pace = stream, pace

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        size = self._stream.readinto(buffer)
        self._pace.moved(size or 0)
        return size

    def close(self) -> None:
        self._stream.close()
        super().close()


class PacedResponse(http.client.HTTPResponse):
    """An answer whose headers and body have to keep up a pace.

    Args:
        sock: as for the base class.
        *args: as for the base class.
        limits: how slow it may be.
        **options: as for the base class.
    """

    def __init__(self, sock: Any, *args: Any, limits: Limits | None = None, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        stream: Any = self.fp
        self.fp = io.BufferedReader(_PacedStream(stream.detach(), Pace(limits or Limits())))


def check_range(headers: Any, start: int, stop: int, what: str) -> None:
    """Make sure that an answer with status 206 holds a part that was asked for, from its beginning.

    Raises:
        RemoteError: it holds another.
    """
    found = _RANGE.fullmatch(headers.get("Content-Range") or "")
    if found is None or int(found[1]) != start or int(found[2]) >= stop:
        raise RemoteError(
            f"{what} was asked for bytes {start} to {stop} and the server sent others; it cannot be used."
        )
