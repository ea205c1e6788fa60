"""Addresses and server responses prepared for messages: without secrets, on one line, and short."""

from __future__ import annotations

import os
import re
from typing import Any


__all__ = ["is_path", "plain_text", "without_credentials"]

_LONGEST = 300  # characters
_USER = re.compile(r"(:/*)[^/\s]*@")
_QUERY = re.compile(r"[?#][^\s'\",]*")


def without_credentials(text: str) -> str:
    """Return a text without the parts of addresses before ``@`` and after ``?``.

    >>> without_credentials("no answer from https://ann:secret@host/x?signature=5")
    'no answer from https://host/x'
    """
    return _USER.sub(r"\1", _QUERY.sub("", text))


def plain_text(text: object) -> str:
    r"""Return an untrusted text prepared for a message: printable, on one line, and without secrets.

    >>> plain_text("Moved\x1b[2J\nto https://ann:secret@host")
    'Moved\ufffd[2J to https://host'
    """
    line = without_credentials(" ".join(str(text)[: 10 * _LONGEST].split()))
    shown = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in line)
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}..."


def is_path(text: Any) -> bool:
    """Return whether the path of a directory was given where an id or an address was expected."""
    if isinstance(text, os.PathLike):
        return True
    return isinstance(text, str) and "://" not in text and (text.startswith(("/", ".", "~")) or "\\" in text)
