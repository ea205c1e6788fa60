"""The version of the library."""

from __future__ import annotations

from minari import __version__
from minari.cli.terminal import tell


__all__ = ["print_version"]


def print_version() -> None:
    """Print the version of the library."""
    tell(f"Minari version: {__version__}")
