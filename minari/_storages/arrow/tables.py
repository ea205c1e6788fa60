"""Tables of episodes <-> the bytes of files, by a template if there is one."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

from minari._model.compression import Codec
from minari._storages.arrow.files import TableFiles
from minari._storages.arrow.library import Schema, pa
from minari._storages.arrow.schema import StoredLeaf, TableLayout, are_plain, values_of
from minari._storages.arrow.templates import Template, Templates, kind_of, same
from minari.errors import DatasetCorruptError
from minari.spaces import ColumnPath, Columns, EpisodeColumns


class TableReader:
    """Reader of the files of a dataset.

    Args:
        layout: layout of the tables.
        files: file functions of the format.
    """

    def __init__(self, layout: TableLayout, files: TableFiles) -> None:
        self._layout, self._files = layout, files
        self._templates = Templates()  # by the size of a file

    def read(self, data: Any, path: str, rows: int) -> Columns:
        """Return the columns in the bytes of a file, as views of them if possible.

        If the bytes are writable, so are the columns, and none shares memory with another.

        Args:
            data: an array of bytes.
            path: of the file, for messages.
            rows: the number that the table must have.

        Raises:
            DatasetCorruptError: the file is damaged, belongs to other spaces, or has another number of rows.
        """
        view = memoryview(data)
        for template in self._templates.under(len(view)):
            if template.rows == rows and template.fits(view):
                return template.read(view)
        table = self._files.table(data, path, rows)
        try:
            leaves = self._layout.leaves(table)
            columns = self._layout.decode(leaves)
        except (pa.ArrowException, ValueError, TypeError, ArithmeticError, MemoryError) as error:
            raise DatasetCorruptError(
                f"The table in {path} does not fit the spaces of the dataset ({error}); it is damaged, or "
                f"belongs to another dataset."
            ) from error
        found = template_of(self._files, data, leaves, columns)
        if found is not None and same(found.read(view), columns):
            self._templates.add(len(view), found)
        if view.readonly:
            return columns
        return {name: column if column.flags.writeable else column.copy() for name, column in columns.items()}


class TableWriter:
    """Makes the files of episodes.

    Args:
        layout: layout of the tables.
        files: file functions of the format.
        codec_for: returns the codec of a column.
        like: the schema of a stored episode, which the new ones follow.
    """

    def __init__(
        self,
        layout: TableLayout,
        files: TableFiles,
        codec_for: Callable[[ColumnPath], Codec | None],
        like: Schema = None,
    ) -> None:
        self._layout, self._files, self._codec_for = layout, files, codec_for
        self._like = like
        self._templates = Templates()  # by the kind of an episode
        self._seen: set[Hashable] = set()

    def takes(self, schema: Schema) -> bool:
        """Return whether a file with this schema can lie among the others as it is."""
        if self._like is None:
            self._like = schema
        return bool(self._like.equals(schema, check_metadata=True))

    def encode(self, episode: EpisodeColumns) -> Any:
        """Return the bytes of the file of an episode, which are independent of its arrays."""
        kind = kind_of(episode.columns)
        for template in self._templates.under(kind):
            return template.fill(episode.columns)
        table = self._layout.encode(episode, like=self._like)
        if self._like is None:
            self._like = table.schema
        leaves = self._layout.leaves(table)
        codecs = [self._codec_for(leaf.path) for leaf in leaves]
        data = self._files.encode(table, codecs)
        if kind not in self._seen:  # a template costs as much as an episode, and most kinds may come once
            self._seen.add(kind)
        elif not any(codecs):
            leaves = self._layout.leaves(self._files.decode(data))
            found = template_of(self._files, data, leaves, episode.columns)
            if (
                found is not None
                and found.holds_any_values()
                and data.equals(pa.py_buffer(found.fill(episode.columns)))
            ):
                self._templates.add(kind, found)
        return data


def template_of(files: TableFiles, data: Any, leaves: Sequence[StoredLeaf], columns: Columns) -> Template | None:
    """Return the template of a file, None if its values are not stored as they are."""
    if not are_plain(leaves, columns):
        return None
    places = files.places(data, [leaf.array for leaf in leaves])
    if places is None:
        return None
    try:
        return Template(data, values_of(leaves, columns, places))
    except ValueError:  # the values were decompressed, or are encoded
        return None
