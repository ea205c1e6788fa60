"""JSON that somebody else may have written."""

from __future__ import annotations

import json
from typing import Any


__all__ = ["parse_json", "shortened"]

_MOST_LEVELS = 200  # of lists and objects in each other, which every function that goes through them can follow
_LONGEST_REPR = 200  # characters of a value that a message shows


def parse_json(text: str | bytes) -> Any:
    """Return the value of a JSON text; :func:`json.loads` with every failure a ``ValueError``.

    >>> parse_json(b'{"total_steps": 3}')
    {'total_steps': 3}

    Raises:
        ValueError: the text is not JSON, not UTF-8, or nested more than 200 levels deep.
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    brackets: Any = (b"[", b"{") if isinstance(text, bytes) else ("[", "{")
    if sum(map(text.count, brackets)) > _MOST_LEVELS:  # as in few texts, and only then it takes a look
        _check_nesting(value)
    return value


def _check_nesting(value: Any) -> None:
    level, depth = [value] if isinstance(value, (dict, list)) else [], 0
    while level:
        if depth > _MOST_LEVELS:
            raise ValueError("it is nested too deeply")
        items = (item for outer in level for item in (outer.values() if isinstance(outer, dict) else outer))
        level, depth = [item for item in items if isinstance(item, (dict, list))], depth + 1


def shortened(value: object) -> str:
    """Return the ``repr`` of a value from data, cut to the length of a message.

    >>> shortened("x" * 1000)[-9:]
    'xxxxxx...'
    """
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # nested too deeply, or an integer of too many digits
        return f"a {type(value).__name__}"
    return text if len(text) <= _LONGEST_REPR else f"{text[:_LONGEST_REPR]}..."
