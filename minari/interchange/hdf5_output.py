"""HDF5 files that are written column by column, for formats that consist of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy.typing as npt

from minari.errors import InterchangeError


__all__ = ["FlatOutput", "open_hdf5_output"]

_CHUNK = 2**20  # bytes


class FlatOutput:
    """Arrays to which the rows of one episode after the other are appended.

    Args:
        file: the open file.
        total: the number of rows in the end.
    """

    def __init__(self, file: Any, total: int) -> None:
        self._file, self._total = file, total
        self._lengths: dict[str, int] = {}
        self._rows = 0
        #: The paths of arrays that had no rows in some episode, or others than before.
        self.incomplete: set[str] = set()

    def append(self, columns: Iterable[tuple[str, npt.NDArray[Any]]]) -> None:
        """Append the rows of an episode, all of the same number."""
        count = 0
        for path, values in columns:
            count = len(values)
            if path in self.incomplete:
                continue
            if path not in self._lengths:
                self._start(path, values)
            array = self._file[path]
            if self._lengths[path] != self._rows or array.dtype != values.dtype or array.shape[1:] != values.shape[1:]:
                self.incomplete.add(path)
                continue
            array[self._rows : self._rows + count] = values
            self._lengths[path] += count
        self._rows += count

    def _start(self, path: str, values: npt.NDArray[Any]) -> None:
        row = max(1, values.nbytes // max(1, len(values)))
        rows = max(1, min(self._total, _CHUNK // row))
        shape = (self._total, *values.shape[1:])
        chunks = (rows, *values.shape[1:]) if all(shape) else None
        self._file.create_dataset(
            path,
            shape,
            values.dtype,
            chunks=chunks,
            compression="gzip" if chunks else None,
            compression_opts=1 if chunks else None,
        )
        self._lengths[path] = 0

    def finish(self, required: Iterable[str] = ()) -> None:
        """Remove arrays that do not have a row for each step.

        Raises:
            InterchangeError: one of the required arrays is among them.
        """
        self.incomplete |= {path for path, length in self._lengths.items() if length != self._total}
        for path in self.incomplete:
            if path in required:
                raise InterchangeError(
                    f"The {path} differ in dtype or shape between episodes, expected the same in all of them; export "
                    f"views of episodes that are alike."
                )
            del self._file[path]


@contextmanager
def open_hdf5_output(path: Path, total: int) -> Iterator[FlatOutput]:
    """Open a new file for flat arrays.

    Args:
        path: the new file.
        total: the number of rows in the end.
    """
    with h5py.File(path, "w-", libver=("earliest", "v110")) as file:
        yield FlatOutput(file, total)
