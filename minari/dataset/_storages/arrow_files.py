"""The files of the tables: Arrow's own, which is mapped into memory, and Parquet."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from minari.errors import DatasetCorruptError


# Smaller files are read, which is faster, and a process may only have so many maps. On Windows a file
# that is mapped cannot be replaced.
_MAPPED_FROM = sys.maxsize if sys.platform == "win32" else 2**18


@dataclass(frozen=True, slots=True)
class TableFiles:
    """How the tables of a format are read and written.

    Attributes:
        name: of the file of an episode.
        read: a file as a table.
        read_schema: of the table in a file.
        write: a table into a new file.
    """

    name: str
    read: Callable[[Path], Any]
    read_schema: Callable[[Path], Any]
    write: Callable[[Any, Path], None]

    def table(self, path: Path) -> Any:
        """The table in a file, checked as far as that is cheap.

        Raises:
            DatasetCorruptError: the file is missing or damaged.
        """
        table = _checked(self.read, path)
        try:
            table.validate()
        except pa.ArrowException as error:
            raise _damaged(path, error) from error
        return table

    def schema(self, path: Path) -> Any:
        """The schema of the table in a file; raises as :meth:`table` does."""
        return _checked(self.read_schema, path)


def _checked(read: Callable[[Path], Any], path: Path) -> Any:
    try:
        return read(path)
    except FileNotFoundError as error:
        raise DatasetCorruptError(
            f"The file {path} of an episode is missing; copy or download the dataset again."
        ) from error
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> DatasetCorruptError:
    return DatasetCorruptError(
        f"{path} cannot be read ({error}); it is cut off, damaged or another kind of file, so copy or "
        f"download it again."
    )


def _read_arrow(path: Path) -> Any:
    if path.stat().st_size < _MAPPED_FROM:
        return pa.ipc.open_file(pa.py_buffer(path.read_bytes())).read_all()
    with pa.memory_map(str(path)) as file:
        return pa.ipc.open_file(file).read_all()


def _read_arrow_schema(path: Path) -> Any:
    with pa.OSFile(str(path)) as file:
        return pa.ipc.open_file(file).schema


def _write_arrow(table: Any, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def _read_parquet(path: Path) -> Any:
    with pq.ParquetFile(path) as file:
        return file.read(use_threads=False)  # threads only help where several columns are big


def _write_parquet(table: Any, path: Path) -> None:
    pq.write_table(table, path)


ARROW: Final = TableFiles("part-0.arrow", _read_arrow, _read_arrow_schema, _write_arrow)
PARQUET: Final = TableFiles("part-0.parquet", _read_parquet, pq.read_schema, _write_parquet)
