"""Writes to standard output and standard error: for people where they are terminals, plain text where not."""

from __future__ import annotations

import os
import sys
import unicodedata
from contextlib import suppress
from typing import TextIO

from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.text import Text


__all__ = ["complain", "open_console", "printable", "show", "tell"]

_ANY_WIDTH = 100_000  # columns: more than any table has


def open_console(*, stderr: bool = False, width: int | None = None) -> Console:
    """A console that prints texts as they are: no markup, no emoji, no colours of its own choice."""
    stream: TextIO = sys.stderr if stderr else sys.stdout
    with suppress(AttributeError):  # not a file, as under a test
        # A name that the encoding of the terminal lacks must not end the command.
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    return Console(stderr=stderr, width=width, markup=False, emoji=False, highlight=False)


def tell(text: str) -> None:
    """Print one line on standard output, however long it is."""
    open_console().print(Text(printable(text)), soft_wrap=True)


def complain(text: str) -> None:
    """Print one line on standard error, however long it is and however many lines the text has."""
    style = "red" if text.startswith("Error") else "yellow" if text.startswith("Warning") else ""
    line = " ".join(printable(text).split())
    open_console(stderr=True).print(Text(line, style=style), soft_wrap=True)


def show(renderable: RenderableType) -> None:
    """Print on standard output, as wide as the terminal, and wider where a word would not fit.

    Where the output is no terminal and ``COLUMNS`` does not say how wide it is, it is as wide as the
    renderable would like to be.
    """
    console = open_console()
    needed = Measurement.get(console, console.options.update(width=_ANY_WIDTH), renderable)
    has_width = console.is_terminal or "COLUMNS" in os.environ
    width = max(console.width, needed.minimum) if has_width else needed.maximum
    open_console(width=width).print(renderable)


def printable(text: str) -> str:
    """A text without the control characters by which a dataset's metadata could direct a terminal."""
    return "".join(
        letter if letter in "\n\t" or unicodedata.category(letter) not in ("Cc", "Cs") else "\N{REPLACEMENT CHARACTER}"
        for letter in text
    )
