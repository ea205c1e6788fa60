"""Output: lines, tables and JSON, without anything that could deceive a reader or direct a terminal."""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections.abc import Iterable, Mapping
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any, TextIO

from minari._base.lazy import LazyModule


if TYPE_CHECKING:
    import rich.console
    import rich.measure
    import rich.segment
    import rich.text
else:
    rich = LazyModule("rich")  # commands that print lines of text only do not wait for it


__all__ = [
    "UNKNOWN",
    "as_json",
    "counted",
    "echo",
    "open_console",
    "page_width",
    "print_json",
    "printable",
    "show",
    "warn",
]

#: Stands in a table for a value that is missing.
UNKNOWN = "–"

_ANY_WIDTH = 100_000  # columns: more than any table has
_PAGE_WIDTH = 110  # columns, where nothing says how wide the output is
_ESCAPE_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
# Control characters, separators of lines and paragraphs, what turns the direction of writing or is not seen, and halves
# of surrogate pairs.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)


def open_console(*, stderr: bool = False, width: int | None = None) -> rich.console.Console:
    """A console that prints texts as they are: no markup, no emoji, no colors of its own choice."""
    _accept_any_letter(sys.stderr if stderr else sys.stdout)
    console = rich.console.Console(stderr=stderr, width=width, markup=False, emoji=False, highlight=False)
    console.push_render_hook(_only_printable())
    return console


def _accept_any_letter(stream: TextIO) -> None:
    """See to it that a name which the encoding of the terminal lacks does not end the command."""
    if isinstance(stream, TextIOWrapper):
        stream.reconfigure(errors="replace")


def counted(number: int, noun: str) -> str:
    """Return a number with the noun that it counts.

    >>> counted(1, "episode"), counted(0, "episode")
    ('1 episode', '0 episodes')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def echo(text: str, *, err: bool = False, style: str = "") -> None:
    """Print one line, however long it is and, on standard error, however many lines the text has.

    Args:
        text: the line.
        err: print on standard error.
        style: its color there, where that is a terminal.
    """
    if err:
        line = " ".join(printable(text).split())
        open_console(stderr=True).print(rich.text.Text(line, style=style), soft_wrap=True)
    else:
        _accept_any_letter(sys.stdout)
        print(printable(text), flush=True)


def warn(text: str) -> None:
    """Print a warning as one line on standard error."""
    echo(f"Warning: {text}", err=True, style="yellow")


def print_json(value: Any) -> None:
    """Print a value as JSON that every program reads."""
    print(json.dumps(as_json(value), indent=2))


def as_json(value: Any) -> Any:
    """Return what JSON holds for a value of the metadata.

    Sets become sorted lists. JSON knows neither infinity nor NaN, so that numbers which are not
    finite become null; inside the description of a space, which is a text, they stay.

    >>> as_json({"author": {"Grace", "Ada"}, "ref_max_score": float("inf")})
    {'author': ['Ada', 'Grace'], 'ref_max_score': None}
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(map(as_json, value), key=str)
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [as_json(item) for item in value]
    return value


def show(renderable: rich.console.RenderableType) -> None:
    """Print on standard output, as wide as the terminal, and wider where a word would not fit.

    Where the output is no terminal and ``COLUMNS`` does not say how wide it is, it is as wide as the
    renderable would like to be.
    """
    console = open_console()
    needed = rich.measure.Measurement.get(console, console.options.update(width=_ANY_WIDTH), renderable)
    width = max(console.width, needed.minimum) if _has_width(console) else needed.maximum
    open_console(width=width).print(renderable)


def page_width() -> int:
    """How wide running text may be, in columns."""
    console = open_console()
    return console.width if _has_width(console) else _PAGE_WIDTH


def _has_width(console: rich.console.Console) -> bool:
    return console.is_terminal or "COLUMNS" in os.environ


def printable(text: str) -> str:
    r"""Return a text without the characters by which a dataset's metadata could direct a terminal or deceive a reader.

    Colors are left out. Of other control characters, and of those that turn the direction of writing, it is
    shown that something was there.

    >>> printable("\x1b[31mred\x1b[0m and \x07")
    'red and �'
    """
    return _UNSAFE.sub("\N{REPLACEMENT CHARACTER}", _ESCAPE_SEQUENCE.sub("", text))


class _Printable:
    """A renderable as another one, with :func:`printable` texts."""

    def __init__(self, renderable: rich.console.RenderableType) -> None:
        self._renderable = renderable

    def __rich_console__(
        self, console: rich.console.Console, options: rich.console.ConsoleOptions
    ) -> rich.console.RenderResult:
        for segment in console.render(self._renderable, options):
            yield segment if segment.control else rich.segment.Segment(printable(segment.text), segment.style)


def _only_printable() -> rich.console.RenderHook:
    """What whatever a console prints passes through, wherever it comes from."""

    class OnlyPrintable(rich.console.RenderHook):
        def process_renderables(
            self, renderables: list[rich.console.ConsoleRenderable]
        ) -> list[rich.console.ConsoleRenderable]:
            return [_Printable(renderable) for renderable in renderables]

    return OnlyPrintable()
