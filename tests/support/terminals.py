"""Output of programs on a terminal."""

from __future__ import annotations

import os
import re
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


def plain(drawn: str) -> str:
    """Return the output without colors and cursor movements."""
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", drawn)
