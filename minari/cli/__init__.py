"""The command line; its commands and options are defined in :mod:`minari.cli.commands`."""

from __future__ import annotations

from minari.cli.commands import app


__all__ = ["app", "main"]


def main() -> None:
    """Run the command line with the arguments of this process, and exit."""
    app(prog_name="minari")
