"""Tables of episodes <-> the bytes of files, by a template if there is one."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any

from minari._model.compression import Codec
from minari._storages.arrow.files import TableFiles
from minari._storages.arrow.library import Schema, Table, pa
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

    def begin(self, data: Any, path: str, rows: int) -> tuple[int, Callable[[], Columns]]:
        """Begin to decode the columns in the bytes of a file.

        They are views of the bytes if possible. If the bytes are writable, so are the columns, and none shares memory
        with another.

        Args:
            data: an array of bytes.
            path: of the file, for messages.
            rows: the number that the table must have.

        Returns:
            The number of bytes that are being decompressed in other threads, and a function that returns the columns,
            and raises as this one does.

        Raises:
            DatasetCorruptError: the file is damaged, belongs to other spaces, or has another number of rows.
        """
        view = memoryview(data)
        for template in self._templates.under(len(view)):
            if template.rows == rows and template.fits(view):
                return 0, partial(template.read, view)
        size, table = self._files.begin(data, path, rows)
        return size, lambda: self._columns(view, table(), path)

    def _columns(self, view: memoryview, table: Table, path: str) -> Columns:
        """Return the columns of a table, and keep the template of its file if it has one."""
        try:
            leaves = self._layout.leaves(table)
            columns = self._layout.decode(leaves)
        except (pa.ArrowException, ValueError, TypeError, ArithmeticError, MemoryError) as error:
            raise DatasetCorruptError(
                f"The table in {path} does not fit the spaces of the dataset ({error}); it is damaged, or "
                f"belongs to another dataset."
            ) from error
        found = template_of(self._files, view, leaves, columns)
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

    def begin(self, episode: EpisodeColumns) -> Callable[[], Any]:
        """Begin to encode an episode, whose arrays must stay as they are until it is done.

        Returns:
            A function, safe to call in any thread, that returns the bytes of its file, which are independent of its
            arrays.
        """
        columns = episode.columns
        kind = kind_of(columns)
        for template in self._templates.under(kind):
            return partial(template.fill, columns)
        table = self._layout.encode(episode, like=self._like)
        if self._like is None:
            self._like = table.schema
        leaves = self._layout.leaves(table)
        codecs = [self._codec_for(leaf.path) for leaf in leaves]
        encode = partial(self._files.encode, table, codecs)
        if any(codecs):
            return encode
        data = encode()
        if kind in self._seen:
            self._keep_template(kind, data, columns)
        self._seen.add(kind)  # a template costs as much as an episode, and most kinds may come once
        return lambda: data

    def _keep_template(self, kind: Hashable, data: Any, columns: Columns) -> None:
        leaves = self._layout.leaves(self._files.decode(data))
        found = template_of(self._files, data, leaves, columns)
        if found is not None and found.holds_any_values() and data.equals(pa.py_buffer(found.fill(columns))):
            self._templates.add(kind, found)


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
