"""Just enough HTTP to pass messages on, and what is to go wrong with their bodies on the way."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import IO, Literal


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


# Faults

Side = Literal["answer", "request"]


class CutError(Exception):
    """The connection is to end here."""


@dataclass(slots=True)
class Exchange:
    """One request and its answer, as far as they have passed."""

    method: str
    path: str
    authorization: str = ""  # what the header of that name said
    status: int = 0
    sent: int = 0  # bytes of the request's body
    received: int = 0  # bytes of the answer's body

    def concerns(self, method: str, path: str) -> bool:
        """Return whether the request has that method, and its path contains that text."""
        return self.method.startswith(method) and path in self.path


@dataclass(slots=True)
class Fault:
    """Something that is to go wrong with the bodies that it falls to.

    Attributes:
        kind: of fault.
        at: the byte of the body, or the status.
        side: whose body.
        times: how often; None is always.
        larger_than: bytes; bodies up to that size are left alone.
        method: only requests of that method.
        path: only requests whose path holds this text.
    """

    kind: Literal["cut", "flip", "status"]
    at: int
    side: Side = "answer"
    times: int | None = 1
    larger_than: int = 0
    method: str = ""
    path: str = ""

    def falls_to(self, exchange: Exchange, side: Side) -> bool:
        return self.side == side and self.times != 0 and exchange.concerns(self.method, self.path)

    def use_up(self) -> None:
        self.times = None if self.times is None else self.times - 1


@dataclass(slots=True)
class _Plan:
    """A fault in one body."""

    cut: int | None = None
    flips: list[int] = field(default_factory=list)


class Faults:
    """All that is to go wrong; used by the threads of all connections.

    Args:
        when_spent: called once as many bytes have passed as were allowed.
    """

    def __init__(self, when_spent: Callable[[], None]) -> None:
        self._when_spent = when_spent
        self._faults: list[Fault] = []
        self._budgets: dict[Side, int | None] = {"answer": None, "request": None}
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> None:
        with self._lock:
            self._faults.append(fault)

    def allow(self, total: int | None, side: Side) -> None:
        """Return how many bytes of bodies may still pass in total."""
        with self._lock:
            self._budgets[side] = total

    def clear(self) -> None:
        with self._lock:
            self._faults.clear()
            self._budgets = {"answer": None, "request": None}

    def status(self, exchange: Exchange) -> int | None:
        """The status to answer with in place of the server."""
        with self._lock:
            for fault in self._faults:
                if fault.kind == "status" and fault.falls_to(exchange, "answer"):
                    fault.use_up()
                    return fault.at
        return None

    def damage(self, pieces: Iterator[bytes], head: Head, exchange: Exchange, side: Side) -> Iterator[bytes]:
        """A body on its way, counted, with what goes wrong with it.

        Raises:
            CutError: after the last piece that may pass.
        """
        plan: _Plan | None = None
        at = 0
        for whole in pieces:
            plan = plan or self._plan(head, exchange, side)  # only now: an answer to HEAD has a length and no body
            piece = whole if plan.cut is None else whole[: max(plan.cut - at, 0)]
            piece = piece[: self._spend(side, len(piece))]
            for flip in plan.flips:
                if at <= flip < at + len(piece):
                    changed = bytearray(piece)
                    changed[flip - at] ^= 0x10
                    piece = bytes(changed)
            at += len(piece)
            if side == "answer":
                exchange.received += len(piece)
            else:
                exchange.sent += len(piece)
            if piece:
                yield piece
            if self._budgets[side] == 0:
                self._when_spent()
                raise CutError
            if len(piece) < len(whole) or at == plan.cut:
                raise CutError

    def _spend(self, side: Side, wanted: int) -> int:
        with self._lock:
            left = self._budgets[side]
            if left is None:
                return wanted
            allowed = min(left, wanted)
            self._budgets[side] = left - allowed
            return allowed

    def _plan(self, head: Head, exchange: Exchange, side: Side) -> _Plan:
        """The faults that fall to one body; each is used up as it is planned."""
        size = head.length
        plan = _Plan()
        with self._lock:
            for fault in self._faults:
                is_large = fault.larger_than == 0 if size is None else size > max(fault.larger_than, fault.at)
                if fault.kind == "status" or not is_large or not fault.falls_to(exchange, side):
                    continue
                if fault.kind == "cut":
                    plan.cut = fault.at
                else:
                    plan.flips.append(fault.at)
                fault.use_up()
        return plan
