"""HDF5 files that are written for other programs: column by column, or group by group."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from minari.errors import InterchangeError


__all__ = ["FlatOutput", "TreeOutput", "open_hdf5_output", "open_hdf5_tree"]

_CHUNK = 2**20  # bytes
_LEAST_COMPRESSED = 2**12  # bytes of an array


class FlatOutput:
    """Arrays to which the rows of one episode after the other are appended.

    Args:
        file: the open file.
        total: the number of rows in the end.
    """

    def __init__(self, file: Any, total: int) -> None:
        self._file, self._total = file, total
        self._lengths: dict[str, int] = {}
        self._arrays: dict[str, Any] = {}  # open, as closing one writes its unfinished chunk, to be read again
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
                if any(self._are_nested(path, known) for known in self._lengths):
                    self.incomplete.add(path)
                    continue
                self._start(path, values)
            array = self._arrays[path]
            if self._lengths[path] != self._rows or array.dtype != values.dtype or array.shape[1:] != values.shape[1:]:
                self.incomplete.add(path)
                continue
            array[self._rows : self._rows + count] = values
            self._lengths[path] += count
        self._rows += count

    @staticmethod
    def _are_nested(path: str, known: str) -> bool:
        return path.startswith(f"{known}/") or known.startswith(f"{path}/")

    def _start(self, path: str, values: npt.NDArray[Any]) -> None:
        row = max(1, values.nbytes // max(1, len(values)))
        rows = max(1, min(self._total, _CHUNK // row))
        shape = (self._total, *values.shape[1:])
        chunks = (rows, *values.shape[1:]) if all(shape) else None
        self._arrays[path] = self._file.create_dataset(
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
            if path in self._arrays:
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


class TreeOutput:
    """Groups of arrays, each written at once.

    Args:
        file: the open file.
    """

    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, path: str, values: Any, *, compress: bool = False) -> None:
        """Write an array or text, or nested dicts of them as groups.

        Args:
            path: path in the file.
            values: what is written; a dict that is empty becomes an empty group.
            compress: True to compress arrays that are not small with gzip.
        """
        if isinstance(values, Mapping):
            self._file.require_group(path)
            for key, part in values.items():
                self.write(f"{path}/{key}", part, compress=compress)
        elif compress and isinstance(values, np.ndarray) and values.ndim and values.nbytes >= _LEAST_COMPRESSED:
            rows = max(1, min(len(values), _CHUNK * len(values) // values.nbytes))
            chunks = (rows, *values.shape[1:])
            self._file.create_dataset(path, data=values, chunks=chunks, compression="gzip", compression_opts=4)
        else:
            self._file.create_dataset(path, data=values)

    def set_attributes(self, path: str, attributes: Mapping[str, Any]) -> None:
        """Set attributes of a group, which is made if there is none."""
        group = self._file.require_group(path) if path else self._file
        for key, value in attributes.items():
            group.attrs[key] = value


@contextmanager
def open_hdf5_tree(path: Path) -> Iterator[TreeOutput]:
    """Open a new file for groups of arrays.

    Args:
        path: the new file.
    """
    with h5py.File(path, "w-", libver=("earliest", "v110")) as file:
        yield TreeOutput(file)
