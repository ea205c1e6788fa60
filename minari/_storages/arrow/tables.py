"""Conversion of the tables of episodes to the bytes of files and back, through a template if there is one."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import pyarrow as pa

from minari._model.compression import Codec
from minari._storages.arrow.files import TableFiles
from minari._storages.arrow.schema import StoredLeaf, TableLayout, are_plain, values_of
from minari._storages.arrow.templates import Mould, Moulds, kind_of, same
from minari.errors import DatasetCorruptError
from minari.spaces import Columns, EpisodeColumns, Path


class TableReader:
    """Reader of the files of a dataset.

    Args:
        layout: layout of the tables.
        files: file functions of the format.
    """

    def __init__(self, layout: TableLayout, files: TableFiles) -> None:
        self._layout, self._files = layout, files
        self._moulds = Moulds()  # by the size of a file

    def read(self, data: Any, path: str, rows: int) -> Columns:
        """Return the columns in the bytes of a file, as views of them if possible.

        If the bytes are writable, the columns are too, and none shares memory with another.

        Args:
            data: an array of bytes.
            path: path of the file, for messages.
            rows: the required number of rows.

        Raises:
            DatasetCorruptError: the file is damaged, belongs to other spaces, or has another number of rows.
        """
        view = memoryview(data)
        for mould in self._moulds.under(len(view)):
            if mould.rows == rows and mould.fits(view):
                return mould.read(view)
        table = self._files.table(data, path, rows)
        try:
            leaves = self._layout.leaves(table)
            columns = self._layout.decode(leaves)
        except (pa.ArrowException, ValueError, TypeError, ArithmeticError, MemoryError) as error:
            raise DatasetCorruptError(
                f"The table in {path} does not fit the spaces of the dataset ({error}); it is damaged, or "
                f"belongs to another dataset."
            ) from error
        found = _mould(self._files, data, leaves, columns)
        if found is not None and same(found.read(view), columns):
            self._moulds.add(len(view), found)
        if view.readonly:
            return columns
        return {name: column if column.flags.writeable else column.copy() for name, column in columns.items()}


class TableWriter:
    """Writer of the files of episodes.

    Args:
        layout: layout of the tables.
        files: file functions of the format.
        codec_for: returns the codec of a column.
        like: the schema of an existing episode, which new ones follow.
    """

    def __init__(
        self, layout: TableLayout, files: TableFiles, codec_for: Callable[[Path], Codec | None], like: Any = None
    ) -> None:
        self._layout, self._files, self._codec_for = layout, files, codec_for
        self._like = like
        self._moulds = Moulds()  # by the kind of an episode
        self._seen: set[Hashable] = set()

    def takes(self, schema: Any) -> bool:
        """Return whether a file with this schema can be stored unchanged beside the others."""
        if self._like is None:
            self._like = schema
        return bool(self._like.equals(schema, check_metadata=True))

    def encode(self, episode: EpisodeColumns) -> Any:
        """Return the bytes of the file of an episode, which do not share memory with its arrays."""
        kind = kind_of(episode.columns)
        for mould in self._moulds.under(kind):
            return mould.cast(episode.columns)
        table = self._layout.encode(episode, like=self._like)
        if self._like is None:
            self._like = table.schema
        leaves = self._layout.leaves(table)
        codecs = [self._codec_for(leaf.path) for leaf in leaves]
        data = self._files.encode(table, codecs)
        if kind not in self._seen:  # a template costs as much as an episode, and most kinds may occur only once
            self._seen.add(kind)
        elif not any(codecs):
            self._learn(kind, data, episode.columns)
        return data

    def _learn(self, kind: Hashable, data: Any, columns: Columns) -> None:
        leaves = self._layout.leaves(self._files.decode(data))
        mould = _mould(self._files, data, leaves, columns)
        if mould is not None and mould.is_for_any_values() and pa.py_buffer(mould.cast(columns)).equals(data):
            self._moulds.add(kind, mould)


def _mould(files: TableFiles, data: Any, leaves: Sequence[StoredLeaf], columns: Columns) -> Mould | None:
    """Return the template of a file whose values are stored unchanged."""
    if not are_plain(leaves, columns):
        return None
    places = files.places(data, [leaf.array for leaf in leaves])
    if places is None:
        return None
    try:
        return Mould(data, values_of(leaves, columns, places))
    except ValueError:  # the values are elsewhere: they were decompressed, or are encoded
        return None
