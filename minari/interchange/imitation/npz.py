"""NPZ files of other programs, whose arrays are read by rows, from the first to the last, and never unpickled."""

from __future__ import annotations

import math
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import numpy.typing as npt

from minari.errors import InterchangeError
from minari.spaces import native


__all__ = ["NpzFile", "NpzStream", "is_npz"]

_MOST_EXPANDED: Final = 1032  # bytes that deflate makes of one
_MOST_MEMBERS: Final = 1000
_LONGEST_HEADER: Final = 10_000  # characters
_SUFFIX: Final = ".npy"
_HEADERS: Final = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def is_npz(path: Path) -> bool:
    """Return whether a path is that of a zip archive, by its first bytes."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


class NpzFile:
    """An archive of arrays.

    Args:
        path: path of the file.

    Raises:
        InterchangeError: it is not a zip archive, or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self.guarded():
            self._archive = zipfile.ZipFile(path)
            names = self._archive.namelist()
            if len(names) > _MOST_MEMBERS or len(set(names)) < len(names):
                raise ValueError(f"it has {len(names)} members")
        self.names = {name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX)}

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Raise failures of reading as errors of this library."""
        try:
            yield
        except (
            zipfile.BadZipFile,
            zlib.error,
            OSError,
            EOFError,
            ValueError,
            LookupError,
            ArithmeticError,
            NotImplementedError,
            RuntimeError,
            SyntaxError,
            TypeError,
            MemoryError,
            tokenize.TokenError,
        ) as error:
            if isinstance(error, InterchangeError):
                raise
            why = " ".join(str(error).split())[:200] or type(error).__name__
            raise InterchangeError(
                f"{self.path} cannot be read as NPZ ({why}); it is damaged or incomplete, so copy or download it again."
            ) from error

    def stream(self, name: str) -> NpzStream:
        """Return an array, to be read from its first row on.

        Raises:
            InterchangeError: there is none with that name, it is damaged, or it has objects, which are pickled.
        """
        if name not in self.names:
            raise InterchangeError(f"{self.path} has no array {name!r}, expected one; is it another kind of file?")
        with self.guarded():
            member = self._archive.getinfo(f"{name}{_SUFFIX}")
            if member.file_size > _MOST_EXPANDED * member.compress_size + 1024:
                raise ValueError(f"{member.compress_size} bytes cannot become {member.file_size}")
            file = self._archive.open(member)
            version = np.lib.format.read_magic(file)
            if version not in _HEADERS:
                raise ValueError(f"{name} is of version {version}")
            shape, is_fortran, dtype = _HEADERS[version](file, max_header_size=_LONGEST_HEADER)
        if dtype.hasobject:
            raise InterchangeError(
                f"{name} in {self.path} has objects, which are pickled and never read, as they could run any program; "
                f"store arrays of numbers."
            )
        if dtype.kind not in "biuf" or not shape or (is_fortran and len(shape) > 1):
            raise InterchangeError(
                f"{name} in {self.path} has {dtype} values of shape {shape}, expected numbers with time first."
            )
        if math.prod(shape, start=dtype.itemsize) > member.file_size:
            raise InterchangeError(f"{name} in {self.path} is shorter than its shape {shape}; copy the file again.")
        return NpzStream(self, file, dtype, shape)

    def read(self, name: str) -> npt.NDArray[Any]:
        """Return a whole array."""
        stream = self.stream(name)
        return stream.take(stream.shape[0])


class NpzStream:
    """An array of an archive, read by consecutive rows.

    Args:
        file: the archive.
        data: the values, of which none has been read.
        dtype: dtype of the values in the file.
        shape: shape of the array.
    """

    def __init__(self, file: NpzFile, data: IO[bytes], dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        self._file, self._data, self._stored = file, data, dtype
        self.dtype, self.shape = dtype.newbyteorder("="), shape

    def take(self, count: int) -> npt.NDArray[Any]:
        """Return the next rows.

        Raises:
            InterchangeError: the file ends before.
        """
        size = math.prod(self.shape[1:], start=count * self._stored.itemsize)
        with self._file.guarded():
            data = bytearray(self._data.read(size))
            if len(data) < size:
                raise EOFError("an array ends before its last row")
        rows: npt.NDArray[Any] = np.frombuffer(data, self._stored).reshape((count, *self.shape[1:]))
        return native(rows)
