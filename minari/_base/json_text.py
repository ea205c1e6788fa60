"""JSON that somebody else may have written."""

from __future__ import annotations

import json
from typing import Any


__all__ = ["parse_json", "shortened"]

_LONGEST_REPR = 200  # characters of a value that a message shows


def parse_json(text: str | bytes) -> Any:
    """Return the value of a JSON text; :func:`json.loads` with every failure a ``ValueError``.

    >>> parse_json(b'{"total_steps": 3}')
    {'total_steps': 3}

    Raises:
        ValueError: the text is not JSON, not UTF-8, or nested deeper than Python can follow.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


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
