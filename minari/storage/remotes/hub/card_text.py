"""Escaping of arbitrary text for a dataset card."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any


__all__ = [
    "as_markdown",
    "as_quotation",
    "link_or_text",
    "markdown_table",
    "number",
    "one_line",
    "readable_size",
]

_MEANS_SOMETHING = re.compile(r"([\\`*_\[\]<>|&~$#!])")
_MOST = 10**30  # larger numbers are not counts
_TAG = re.compile(r"<(?=[A-Za-z/!?])(?!https?://|mailto:)")
_ADDRESS = re.compile(r"https?://[^\s<>|\\\"`]+")


def one_line(value: object) -> str:
    r"""Return the text of a value on one line, without characters that cannot be printed.

    >>> one_line("two\nlines and a \x07 bell")
    'two lines and a � bell'
    """
    return _printable(" ".join(_text(value).split()))


def as_markdown(value: object) -> str:
    r"""Return Markdown that shows the text of a value literally, also in a table.

    >>> as_markdown("a|b <i>")
    'a\\|b \\<i\\>'
    """
    return _MEANS_SOMETHING.sub(r"\\\1", one_line(value))


def link_or_text(value: object) -> str:
    """Return a web address as a link, and anything else as text.

    >>> link_or_text("https://example.org/a_b"), link_or_text("javascript:alert(1)")
    ('<https://example.org/a_b>', 'javascript:alert(1)')
    """
    text = one_line(value)
    return f"<{text}>" if _ADDRESS.fullmatch(text) else as_markdown(text)


def as_quotation(text: str) -> str:
    r"""Return untrusted Markdown as a quotation, which ends open constructs and shows HTML as text.

    >>> print(as_quotation("A *fence*, <b>\n```"))
    > A *fence*, &lt;b>
    > ```
    """
    shown = _TAG.sub("&lt;", text.strip())
    return "\n".join(f"> {_printable(line.expandtabs(4))}".rstrip() for line in shown.splitlines())


def _text(value: object) -> str:
    try:
        return str(value)
    except (RecursionError, ValueError):  # nested too deeply, or a number of thousands of digits
        return f"a {type(value).__name__}"


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def markdown_table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table whose cells are Markdown.

    >>> print(markdown_table(["a", "b"], [["1", "2"]]))
    | a | b |
    |---|---|
    | 1 | 2 |
    """
    rule = "|---" * len(headers) + "|"
    top, *others = (f"| {' | '.join(cells)} |" for cells in (headers, *rows))
    return "\n".join([top, rule, *others])


def readable_size(size: int) -> str:
    """Return a number of bytes in readable form.

    >>> readable_size(999), readable_size(3_500_000), readable_size(999_999_999)
    ('999 bytes', '3.5 MB', '1.0 GB')
    """
    if size < 1000:
        return f"{size} bytes"
    amount = float(size)
    for unit in ("kB", "MB", "GB"):
        amount /= 1000
        if amount < 999.95:
            return f"{amount:.1f} {unit}"
    return f"{amount / 1000:.1f} TB"


def number(value: Any) -> str:
    """Return a number of the metadata in readable form, and any other value as escaped text.

    >>> number(6729), number(2940.578369140625), number("many")
    ('6,729', '2940.58', 'many')
    """
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < _MOST:
        return f"{value:,}"
    return f"{value:.6g}" if isinstance(value, float) else as_markdown(value)
