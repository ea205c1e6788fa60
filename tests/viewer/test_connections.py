"""Connections and answers of the viewer stay few, whatever the other side does or fails to do."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import anyio
import pytest

from support.viewing import make_table, viewing


pytest.importorskip("starlette", reason="needs the extra minari[view]")

from minari.viewer.connections import MOST_CONNECTIONS, Bounded


pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

BODY = bytes(range(256)) * 4_000


async def answer(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": BODY})


async def nothing() -> Any:
    return {"type": "http.disconnect"}


def test_half_requests_do_not_keep_others_out(datasets_root: Path) -> None:
    make_table("look/rows-v0", [{}], [3])
    with viewing(datasets_root) as served, ExitStack() as stack:
        address = served.address.removeprefix("http://").split(":")
        for _ in range(MOST_CONNECTIONS + 50):
            half = stack.enter_context(socket.create_connection((address[0], int(address[1])), timeout=30))
            half.sendall(b"GET / HTTP/1.1\r\nX: ")
        assert [one["id"] for one in served.ask("catalog")["datasets"]] == ["look/rows-v0"]
        files = Path(f"/proc/{served.process.pid}/fd")
        if files.is_dir():
            assert len(list(files.iterdir())) < MOST_CONNECTIONS + 50


def test_large_answers_are_sent_in_parts() -> None:
    messages: list[Any] = []

    async def send(message: Any) -> None:
        messages.append(message)

    anyio.run(Bounded(answer), {"type": "http"}, nothing, send)
    start, *parts = messages
    assert start["status"] == 200
    assert len(parts) > 1
    assert b"".join(part["body"] for part in parts) == BODY
    assert [part["more_body"] for part in parts] == [True] * (len(parts) - 1) + [False]


def test_answers_that_nobody_takes_are_few() -> None:
    started: list[Any] = []

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            started.append(message)
        else:
            await anyio.sleep_forever()

    async def ask_often() -> None:
        app = Bounded(answer)
        async with anyio.create_task_group() as group:
            for _ in range(100):
                group.start_soon(app, {"type": "http"}, nothing, send)
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()

    anyio.run(ask_often)
    assert 0 < len(started) < 50
