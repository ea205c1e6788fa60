"""The server of the page, on an address of this machine, until it is interrupted."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import secrets
import signal
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from threading import Thread
from types import FrameType
from typing import Final

import uvicorn

from minari._base.json_text import shortened
from minari._storages.paths import PathLike
from minari.errors import ArgumentError, MinariError
from minari.viewer.app import Viewer
from minari.viewer.connections import Connection
from minari.viewer.guard import ANY_ADDRESS, LOOPBACK


__all__ = ["is_loopback", "serve"]

_PATIENCE: Final = 3  # seconds that requests have when the server ends
_BACKLOG: Final = 64


def serve(
    root: PathLike | None = None,
    *,
    datasets: Iterable[PathLike] = (),
    host: str = "127.0.0.1",
    port: int = 0,
    read_only: bool | None = None,
    started: Callable[[str], object] | None = None,
) -> None:
    """Serve the page until the process is interrupted by Ctrl-C, which ends it in order.

    Args:
        root: root of the catalog; by default that of ``MINARI_DATASETS_PATH``.
        datasets: paths of further datasets, beside those of the catalog.
        host: name or address of this machine on which the server listens.
        port: port on which it listens; 0 for a free one.
        read_only: True to refuse all changes; by default, they are refused unless the server listens on a loopback
            address.
        started: called with the address of the page, which has the token, once connections are accepted.

    Raises:
        ArgumentError: the host is not one of this machine, or the port is taken.
        DataPathError: there is no such directory.
    """
    token = secrets.token_urlsafe(32)
    viewer = Viewer(
        root, token=token, read_only=not is_loopback(host) if read_only is None else read_only, datasets=datasets
    )
    with _listening(host, port) as listener:
        bound = listener.getsockname()[1]
        app = viewer.app(_hosts(host, bound))
        config = uvicorn.Config(
            app,
            access_log=False,
            http=Connection,
            lifespan="off",
            log_config=None,
            log_level="critical",
            loop="asyncio",
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=_PATIENCE,
            ws="none",
        )
        if started is not None:
            started(f"http://{_in_address(host)}:{bound}/#token={token}")
        Thread(target=_prepare, args=[viewer], daemon=True).start()
        _run(_Server(config, viewer), listener)


def _prepare(viewer: Viewer) -> None:
    with suppress(MinariError, OSError):  # which the page reports when it asks
        viewer.prepare()


class _Server(uvicorn.Server):
    """A server that stops what its threads read when it is asked to end."""

    def __init__(self, config: uvicorn.Config, viewer: Viewer) -> None:
        super().__init__(config)
        self._viewer = viewer

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._viewer.workers.stop()
        super().handle_exit(sig, frame)


def _run(server: _Server, listener: socket.socket) -> None:
    """Run a server until Ctrl-C; in a notebook, whose event loop is running, in a thread."""
    run = partial(server.run, sockets=[listener])
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        with suppress(KeyboardInterrupt):  # which uvicorn raises again once the server has ended
            run()
        return
    thread = Thread(target=run)
    thread.start()
    try:
        thread.join()
    except KeyboardInterrupt:
        server.handle_exit(signal.SIGINT, None)
        thread.join()


def is_loopback(host: str) -> bool:
    """Return whether only programs of this machine reach a host.

    >>> is_loopback("localhost"), is_loopback("::1"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _in_address(host: str) -> str:
    """Return a host as it stands in an address; the name of this machine for all of its addresses."""
    shown = f"[{host}]" if ":" in host else host
    return socket.gethostname() if shown in ANY_ADDRESS else shown


def _hosts(host: str, port: int) -> list[str]:
    """Return the names under which the server may be asked."""
    shown = f"[{host}]" if ":" in host else host
    names = [*LOOPBACK, shown, _in_address(host)]
    if shown in ANY_ADDRESS:
        names.append(socket.getfqdn())
    return [f"{name}:{port}" for name in names] + (names if port == 80 else [])


def _listening(host: str, port: int) -> socket.socket:
    """Return a socket that accepts connections.

    Raises:
        ArgumentError: the host is not one of this machine, or the port cannot be used.
    """
    if not 0 <= port < 2**16:
        raise ArgumentError(f"port is {port}, expected a number from 0 to {2**16 - 1}.")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise ArgumentError(f"host is {shortened(host)}, expected a name or an address of this machine.") from error
    listener = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":  # on Windows, it would let two programs have the same port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            problem = "which another program is using; choose another port, or 0 for a free one"
        elif error.errno in (errno.EACCES, errno.EPERM):
            problem = "which this user may not use; choose one above 1023, or 0 for a free one"
        else:
            raise ArgumentError(
                f"host is {shortened(host)}, expected a name or an address of this machine ({error.strerror})."
            ) from error
        raise ArgumentError(f"port is {port}, {problem}.") from error
    return listener
