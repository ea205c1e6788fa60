"""Faults in the messages that pass a proxy, and their progress."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from support.servers.messages import Head


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
