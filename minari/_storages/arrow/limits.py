"""Limits on the claims of a table file, by the bytes that it has."""

from __future__ import annotations

from typing import Final

from minari.errors import DatasetCorruptError


#: A file may claim to expand to this many bytes for each of its own: zstd makes 32,768 bytes of one at most.
#: A table of constants takes next to nothing in Parquet, so that some bytes are always allowed.
_MOST_PER_BYTE: Final = 2**15
_ALWAYS: Final = 2**28


class RowCountError(DatasetCorruptError):
    """A table has a different number of rows than its episode.

    Args:
        found: number of its rows.
    """

    def __init__(self, found: int) -> None:
        super().__init__(f"it has {found} rows")
        self.found = found


def check_expansion(claimed: int, size: int) -> None:
    """Check the number of bytes that a file claims to expand to.

    Raises:
        ValueError: no recorded data expands so much.
    """
    if claimed > _ALWAYS + _MOST_PER_BYTE * size:
        raise ValueError(f"its {size:,} bytes claim to expand to {claimed:,}, which no recorded values do")


def check_rows(found: int, rows: int | None) -> None:
    """Check the number of rows that a file claims to have.

    Raises:
        RowCountError: it is not that of the episode.
    """
    if rows is not None and found != rows:
        raise RowCountError(found)
