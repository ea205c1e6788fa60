"""The command line. What the commands and their options are is in :mod:`minari.cli.commands`."""

from __future__ import annotations

from minari.cli.commands import app


__all__ = ["app", "main"]


def main() -> None:
    """Run the command line on the arguments of this process, and end the process."""
    app(prog_name="minari")
