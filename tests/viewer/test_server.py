"""``minari.viewer.serve`` in programs and notebooks."""

from __future__ import annotations

import sys

import pytest

from minari.errors import ArgumentError
from minari.viewer import serve
from minari.viewer.server import is_loopback
from support.programs import run


PROGRAM = """
    import asyncio, json, os, signal, threading, urllib.request
    from minari.viewer import serve

    def started(address):
        base, _, token = address.partition("/#token=")
        request = urllib.request.Request(base + "/api/catalog", headers={"Authorization": f"Bearer {token}"})

        def ask():
            with urllib.request.urlopen(request, timeout=30) as answer:
                print(json.loads(answer.read())["read_only"], flush=True)
            os.kill(os.getpid(), signal.SIGINT)

        threading.Thread(target=ask).start()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals are those of POSIX")
@pytest.mark.parametrize("in_notebook", [False, True])
def test_serving_ends_with_ctrl_c_and_the_program_goes_on(in_notebook: bool) -> None:
    serving = "serve(started=started, read_only=True)"
    if in_notebook:  # whose cells run within an event loop
        lines = [
            "    async def cell():",
            f"        {serving}",
            "",
            "    asyncio.new_event_loop().run_until_complete(cell())",
        ]
    else:
        lines = [f"    {serving}"]
    assert run(PROGRAM + "\n".join(["", *lines, "    print('done')", ""])) == "True\ndone\n"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True), ("127.0.0.2", True), ("::1", True), ("LOCALHOST", True), ("0.0.0.0", False), ("::", False),
        ("192.168.1.7", False), ("example.org", False), ("", False),
    ],
)  # fmt: skip
def test_loopback_addresses(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


@pytest.mark.parametrize("port", [-1, 65536])
def test_ports_that_do_not_exist(port: int) -> None:
    with pytest.raises(ArgumentError, match=f"port is {port}, expected a number from 0 to 65535"):
        serve(port=port)
