"""Output of programs on a terminal."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path


def run_on_terminal(
    arguments: tuple[str, ...], environment: Mapping[str, str], directory: Path
) -> tuple[int, str, str]:
    """Run a command of Minari whose standard error is a terminal.

    Returns:
        Its exit code, what is on standard output, and what was drawn.
    """
    terminal, end = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "minari", *arguments],
        cwd=directory,
        env={**environment, "TERM": "xterm-256color", "COLUMNS": "150"},
        stdout=subprocess.PIPE,
        stderr=end,
    )
    os.close(end)
    drawn = b""
    try:
        while part := os.read(terminal, 4096):
            drawn += part
    except OSError:  # so Linux says that the other end is closed
        pass
    finally:
        os.close(terminal)
    out, _ = process.communicate(timeout=60)
    return process.returncode, out.decode(), drawn.decode(errors="replace")


def run_inside_terminal(
    arguments: tuple[str, ...],
    environment: Mapping[str, str],
    directory: Path,
    *,
    columns: int = 100,
    cell: tuple[int, int] = (0, 0),
    attributes: bytes | None = None,
) -> tuple[int, str]:
    """Run a command of Minari on a terminal: its standard input, output and error.

    Args:
        arguments: of the command.
        environment: the environment variables.
        directory: where it runs.
        columns: the width of the terminal.
        cell: the width and height of a character in pixels, zeros if the terminal does not say.
        attributes: the answer to a question for its attributes; None if the terminal does not answer.

    Returns:
        Its exit code and what it wrote.
    """
    import fcntl
    import termios

    terminal, end = os.openpty()
    size = struct.pack("HHHH", 50, columns, columns * cell[0], 50 * cell[1])
    fcntl.ioctl(end, termios.TIOCSWINSZ, size)
    process = subprocess.Popen(
        [sys.executable, "-m", "minari", *arguments],
        cwd=directory, env={**environment}, stdin=end, stdout=end, stderr=end, start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(end)
    written, was_asked = b"", False
    try:
        while part := os.read(terminal, 2**16):
            written += part
            if attributes is not None and b"\x1b[c" in written and not was_asked:
                was_asked = True
                os.write(terminal, attributes)
    except OSError:  # so Linux says that the other end is closed
        pass
    finally:
        os.close(terminal)
    return process.wait(timeout=60), written.decode().replace("\r\n", "\n")


def plain(drawn: str) -> str:
    """Return the output without colors and cursor movements."""
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", drawn)
