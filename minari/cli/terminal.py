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
    rich = LazyModule("rich")  # not loaded by commands that print only lines of text


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

_ANY_WIDTH = 100_000  # columns; wider than any table
_PAGE_WIDTH = 110  # columns, if the width of the output is unknown
_ESCAPE_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
# Control characters, line and paragraph separators, invisible characters and those that change the writing direction,
# and halves of surrogate pairs.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)


def open_console(*, stderr: bool = False, width: int | None = None) -> rich.console.Console:
    """Return a console that prints text as it is: no markup, no emoji, no automatic colors."""
    _accept_any_letter(sys.stderr if stderr else sys.stdout)
    console = rich.console.Console(stderr=stderr, width=width, markup=False, emoji=False, highlight=False)
    console.push_render_hook(_only_printable())
    return console


def _accept_any_letter(stream: TextIO) -> None:
    """Replace characters that the encoding of the terminal lacks, which would end the command otherwise."""
    if isinstance(stream, TextIOWrapper):
        stream.reconfigure(errors="replace")


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, singular or plural.

    >>> counted(1, "episode"), counted(0, "episode")
    ('1 episode', '0 episodes')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def echo(text: str, *, err: bool = False, style: str = "") -> None:
    """Print text as one line that does not wrap; on standard error, line breaks become spaces.

    Args:
        text: the line.
        err: print on standard error.
        style: color on standard error, if that is a terminal.
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
    """Return the JSON value for a value of the metadata.

    Sets become sorted lists, arrays lists, and values of any other type their text. Numbers that are not finite become
    null, as JSON has neither infinity nor NaN; they stay inside the description of a space, which is text.

    >>> as_json({"author": {"Grace", "Ada"}, "ref_max_score": float("inf")})
    {'author': ['Ada', 'Grace'], 'ref_max_score': None}
    """
    if hasattr(value, "tolist"):  # an array, or a number of NumPy
        return as_json(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(map(as_json, value), key=str)
    if isinstance(value, Iterable) and not isinstance(value, (str, bytes)):
        return [as_json(item) for item in value]
    return value if value is None or isinstance(value, (str, int)) else str(value)


def show(renderable: rich.console.RenderableType) -> None:
    """Print a renderable on standard output, as wide as the terminal, or wider if a word would not fit.

    If the output is not a terminal and ``COLUMNS`` is not set, the renderable has its natural width.
    """
    console = open_console()
    needed = rich.measure.Measurement.get(console, console.options.update(width=_ANY_WIDTH), renderable)
    width = max(console.width, needed.minimum) if _has_width(console) else needed.maximum
    open_console(width=width).print(renderable)


def page_width() -> int:
    """Return the width of running text, in columns."""
    console = open_console()
    return console.width if _has_width(console) else _PAGE_WIDTH


def _has_width(console: rich.console.Console) -> bool:
    return console.is_terminal or "COLUMNS" in os.environ


def printable(text: str) -> str:
    r"""Return text without the characters with which metadata could control a terminal or deceive a reader.

    Colors are removed. Other control characters, and characters that change the writing direction, become
    replacement characters.

    >>> printable("\x1b[31mred\x1b[0m and \x07")
    'red and �'
    """
    return _UNSAFE.sub("\N{REPLACEMENT CHARACTER}", _ESCAPE_SEQUENCE.sub("", text))


class _Printable:
    """A renderable whose text passes through :func:`printable`."""

    def __init__(self, renderable: rich.console.RenderableType) -> None:
        self._renderable = renderable

    def __rich_console__(
        self, console: rich.console.Console, options: rich.console.ConsoleOptions
    ) -> rich.console.RenderResult:
        for segment in console.render(self._renderable, options):
            yield segment if segment.control else rich.segment.Segment(printable(segment.text), segment.style)


def _only_printable() -> rich.console.RenderHook:
    """Return a hook that makes everything that a console prints :func:`printable`."""

    class OnlyPrintable(rich.console.RenderHook):
        def process_renderables(
            self, renderables: list[rich.console.ConsoleRenderable]
        ) -> list[rich.console.ConsoleRenderable]:
            return [_Printable(renderable) for renderable in renderables]

    return OnlyPrintable()
