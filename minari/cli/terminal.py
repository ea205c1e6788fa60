"""Writes to standard output and standard error: for people where they are terminals, plain text where not."""

from __future__ import annotations

import os
import re
import sys
import unicodedata
from io import TextIOWrapper

from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.text import Text


__all__ = ["complain", "open_console", "page_width", "printable", "show", "tell"]

_ANY_WIDTH = 100_000  # columns: more than any table has
_PAGE_WIDTH = 110  # columns, where nothing says how wide the output is
_ESCAPE_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")


def open_console(*, stderr: bool = False, width: int | None = None) -> Console:
    """A console that prints texts as they are: no markup, no emoji, no colours of its own choice."""
    stream = sys.stderr if stderr else sys.stdout
    if isinstance(stream, TextIOWrapper):
        # A name that the encoding of the terminal lacks must not end the command.
        stream.reconfigure(errors="replace")
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
    width = max(console.width, needed.minimum) if _has_width(console) else needed.maximum
    open_console(width=width).print(renderable)


def page_width() -> int:
    """How wide running text may be, in columns."""
    console = open_console()
    return console.width if _has_width(console) else _PAGE_WIDTH


def _has_width(console: Console) -> bool:
    return console.is_terminal or "COLUMNS" in os.environ


def printable(text: str) -> str:
    r"""A text without the control characters by which a dataset's metadata could direct a terminal.

    Colours are left out, and of other control characters it is shown that something was there.

    >>> printable("\x1b[31mred\x1b[0m and \x07")
    'red and �'
    """
    return "".join(
        "\N{REPLACEMENT CHARACTER}" if unicodedata.category(letter) == "Cc" and letter not in "\n\t" else letter
        for letter in _ESCAPE_SEQUENCE.sub("", text)
    )
