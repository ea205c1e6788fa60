"""Output to standard output and standard error: formatted for terminals, plain text elsewhere."""

from __future__ import annotations

import os
import re
import sys
from io import TextIOWrapper
from typing import TYPE_CHECKING, TextIO

from minari._base.lazy import LazyModule


if TYPE_CHECKING:
    import rich.console
    import rich.measure
    import rich.segment
    import rich.text
else:
    rich = LazyModule("rich")  # not loaded by commands that only print lines of text


__all__ = ["complain", "open_console", "page_width", "printable", "show", "tell"]

_ANY_WIDTH = 100_000  # wider than any table
_PAGE_WIDTH = 110  # columns, if the width of the output is unknown
_ESCAPE_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
# Control characters, separators of lines and paragraphs, characters that are invisible or change the direction
# of text, and lone surrogates.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)


def open_console(*, stderr: bool = False, width: int | None = None) -> rich.console.Console:
    """Return a console that prints texts unchanged: no markup, emoji or automatic colors."""
    _accept_any_letter(sys.stderr if stderr else sys.stdout)
    console = rich.console.Console(stderr=stderr, width=width, markup=False, emoji=False, highlight=False)
    console.push_render_hook(_only_printable())
    return console


def _accept_any_letter(stream: TextIO) -> None:
    """Prevent errors for names that the encoding of the terminal does not support."""
    if isinstance(stream, TextIOWrapper):
        stream.reconfigure(errors="replace")


def counted(number: int, noun: str) -> str:
    """Return a number with the noun that it counts.

    >>> counted(1, "episode"), counted(0, "episode")
    ('1 episode', '0 episodes')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def tell(text: str) -> None:
    """Print one line on standard output, of any length."""
    _accept_any_letter(sys.stdout)
    print(printable(text), flush=True)


def complain(text: str) -> None:
    """Print one line on standard error, of any length, even for a text with several lines."""
    style = "red" if text.startswith("Error") else "yellow" if text.startswith("Warning") else ""
    line = " ".join(printable(text).split())
    open_console(stderr=True).print(rich.text.Text(line, style=style), soft_wrap=True)


def show(renderable: rich.console.RenderableType) -> None:
    """Print on standard output, as wide as the terminal, and wider if a word does not fit.

    If the output is not a terminal and ``COLUMNS`` is not set, it has the natural width of the renderable.
    """
    console = open_console()
    needed = rich.measure.Measurement.get(console, console.options.update(width=_ANY_WIDTH), renderable)
    width = max(console.width, needed.minimum) if _has_width(console) else needed.maximum
    open_console(width=width).print(renderable)


def page_width() -> int:
    """Return the maximum width of running text in columns."""
    console = open_console()
    return console.width if _has_width(console) else _PAGE_WIDTH


def _has_width(console: rich.console.Console) -> bool:
    return console.is_terminal or "COLUMNS" in os.environ


def printable(text: str) -> str:
    r"""Return a text without characters with which metadata could control a terminal or deceive a reader.

    Colors are removed. Other control characters, and those that change the direction of text, are replaced by
    a placeholder.

    >>> printable("\x1b[31mred\x1b[0m and \x07")
    'red and �'
    """
    return _UNSAFE.sub("\N{REPLACEMENT CHARACTER}", _ESCAPE_SEQUENCE.sub("", text))


class _Printable:
    """A renderable with :func:`printable` texts."""

    def __init__(self, renderable: rich.console.RenderableType) -> None:
        self._renderable = renderable

    def __rich_console__(
        self, console: rich.console.Console, options: rich.console.ConsoleOptions
    ) -> rich.console.RenderResult:
        for segment in console.render(self._renderable, options):
            yield segment if segment.control else rich.segment.Segment(printable(segment.text), segment.style)


def _only_printable() -> rich.console.RenderHook:
    """Make all texts of a console printable, whatever their origin."""

    class OnlyPrintable(rich.console.RenderHook):
        def process_renderables(
            self, renderables: list[rich.console.ConsoleRenderable]
        ) -> list[rich.console.ConsoleRenderable]:
            return [_Printable(renderable) for renderable in renderables]

    return OnlyPrintable()
