"""Limits of what the file of a table may claim, compared with its number of bytes."""

from __future__ import annotations

from typing import Final

from minari.errors import DatasetCorruptError


#: Maximum decompressed size, whatever a file claims: zstd expands one byte to at most 32,768, and a table of
#: constants takes almost nothing in Parquet.
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
        ValueError: no real data expands that much.
    """
    if claimed > _ALWAYS + _MOST_PER_BYTE * size:
        raise ValueError(f"its {size:,} bytes claim to expand to {claimed:,}, which no recorded values do")


def check_rows(found: int, rows: int | None) -> None:
    """Check the number of rows that a file claims to have.

    Raises:
        RowCountError: it differs from that of the episode.
    """
    if rows is not None and found != rows:
        raise RowCountError(found)
