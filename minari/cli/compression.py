"""The option --compression: conversion of its text to the argument of the library."""

from __future__ import annotations

from minari._model.compression import CompressionChoice
from minari.cli.running import UsageError


def as_choice(texts: list[str] | None) -> CompressionChoice:
    """Return the compression of a dataset.

    Args:
        texts: a codec for all columns (``gzip:9``), or codecs for some (``observations/pixels=gzip``).

    Raises:
        UsageError: both are given, or a column is repeated.
    """
    if not texts:
        return None
    if len(texts) == 1 and "=" not in texts[0]:
        return texts[0]
    choice: dict[str, str] = {}
    for text in texts:
        column, equals, codec = text.rpartition("=")
        if not equals or column in choice:
            raise UsageError(
                f"--compression is given as {', '.join(texts)}; expected one codec for all columns, such as gzip:9, "
                f"or one for each of some, such as observations/pixels=gzip:9."
            )
        choice[column] = codec
    return choice
