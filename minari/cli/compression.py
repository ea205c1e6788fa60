"""The option --compression: from what is typed to what the library takes."""

from __future__ import annotations

from minari._model.compression import CompressionChoice
from minari.cli.running import UsageError


def as_choice(texts: list[str] | None) -> CompressionChoice:
    """The compression of a dataset.

    Args:
        texts: a codec for all columns (``gzip:9``), or one for each of some (``observations/pixels=gzip``).

    Raises:
        UsageError: both are there, or a column comes twice.
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
