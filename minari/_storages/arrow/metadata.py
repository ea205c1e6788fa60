"""Metadata and checksums of an episode <-> ``metadata.json`` beside its table; see :mod:`json_metadata`.

>>> import numpy as np
>>> to_json(0, 9, {"seed": 3, "options": {"start": np.float32([0.5, 1.0])}})
'{"id": 0, "total_steps": 9, "seed": 3, "options": {"start": [0.5, 1.0]}, "_dtypes": {"options": \
{"start": ["float32", [2]]}}}'

The checksums of the episode follow under the key ``_checksums``, which other programs ignore and keep: of
the bytes of the file, of each column, and of the text of the metadata up to there. They are written
without spaces. Another program that changes the metadata writes them with spaces, as is usual in JSON, and
the checksum of the text no longer counts. If it has written the table too, that has another number of
rows than the checksums say, and none of them counts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
import xxhash

from minari._base.checksums import column_checksum
from minari._base.files import METADATA_LIMIT, FilesBeneath
from minari._base.json_text import shortened
from minari._storages import json_metadata
from minari.errors import ChecksumError, DatasetCorruptError, MetadataError
from minari.spaces import Column, ColumnPath, Columns


METADATA_NAME: Final = "metadata.json"

_MOST_STEPS: Final = 2**62  # of an episode; more do not fit into 64 bits with the row of the reset
_CHECKSUMS: Final = "_checksums"
_OURS: Final = b', "_checksums":{'
_TAIL: Final = re.compile(rb',"metadata":(\d{1,20})\}\}\Z')
_LONGEST_TAIL: Final = 64


@dataclass(frozen=True, slots=True)
class Checksums:
    """The checksums of an episode.

    Attributes:
        rows: number of rows of its table.
        file: checksum of the bytes of the file.
        columns: checksum of each column, by its name.
    """

    rows: int
    file: int
    columns: Mapping[str, int]

    @staticmethod
    def of(total_steps: int, data: Any, columns: Columns) -> Checksums:
        """Make the checksums of an episode from the bytes of its file and its columns."""
        found = {column_name(path): _checksum(column) for path, column in columns.items()}
        return Checksums(total_steps + 1, _digest(data), found)

    def check_file(self, data: Any, path: str) -> None:
        """Compare the bytes of a file with their checksum.

        Raises:
            ChecksumError: they differ from those written.
        """
        if _digest(data) != self.file:
            raise _not_as_written(f"The bytes of {path}", path)

    def check_columns(self, columns: Columns, index: int, path: str) -> None:
        """Compare the columns of an episode with their checksums.

        Raises:
            ChecksumError: a column was changed, added or removed.
        """
        names = {column_name(column): column for column in columns}
        for name in sorted(names.keys() | self.columns.keys()):
            if name not in names or self.columns.get(name) != _checksum(columns[names[name]]):
                raise _not_as_written(f"The values of {shortened(name)} of episode {index}", path)


@lru_cache(maxsize=4096)
def column_name(path: ColumnPath) -> str:
    """Return a unique name for a column: its path as a JSON pointer (RFC 6901)."""
    return "/".join(str(part).replace("~", "~0").replace("/", "~1") for part in path)


def to_json(index: int, total_steps: int, metadata: Mapping[str, Any]) -> str:
    """Return the text of the metadata of an episode.

    Args:
        index: the number of the episode.
        total_steps: the number of its steps.
        metadata: everything else; ``id`` and ``total_steps`` in it are ignored.

    Raises:
        MetadataError: a value cannot be stored.
    """
    others = {key: value for key, value in metadata.items() if key not in ("id", "total_steps")}
    if _CHECKSUMS in others:
        raise MetadataError(f"The episode metadata has the key {_CHECKSUMS!r}, which the format uses; rename it.")
    return json_metadata.to_json({"id": index, "total_steps": total_steps} | others)


def with_checksums(text: str, checksums: Checksums | None) -> str:
    """Return the text of :func:`to_json` with the checksums of the episode."""
    if checksums is None:
        return text
    values = {"rows": checksums.rows, "file": checksums.file, "columns": dict(checksums.columns)}
    compact = json.dumps(values, separators=(",", ":"))
    text = f'{text[:-1]}, "{_CHECKSUMS}":{compact[:-1]}'
    return f'{text},"metadata":{_digest(text.encode())}}}}}'


def read(files: FilesBeneath, name: str, *, verify: bool = False) -> tuple[dict[str, Any], Checksums | None]:
    """Read the metadata in a file, with ``id`` and ``total_steps``, and the checksums of the episode, if any.

    Args:
        files: of the dataset.
        name: of the file.
        verify: compare the text with its checksum.

    Raises:
        DatasetCorruptError: the file is missing or damaged.
        ChecksumError: the text differs from the one written.
    """
    path = f"{files.path}/{name}"
    try:
        text = files.read(name, METADATA_LIMIT)
        if verify:
            found = _TAIL.search(text, max(0, len(text) - _LONGEST_TAIL))
            # Otherwise another program has written it, or there are no checksums.
            is_ours = found is not None or _OURS in text
            if is_ours and (found is None or int(found[1]) != _digest(text[: found.start()])):
                raise _not_as_written(f"The metadata in {path}", path)
        metadata = json_metadata.from_json(text)
        total_steps = metadata.get("total_steps")
        if type(total_steps) is not int or not 0 <= total_steps <= _MOST_STEPS:
            raise ValueError(f"{shortened(total_steps)} steps")
    except FileNotFoundError as error:
        raise DatasetCorruptError(
            f"The file {path} of an episode is missing; copy or download the dataset again."
        ) from error
    except DatasetCorruptError:
        raise
    except (OSError, ValueError) as error:
        raise DatasetCorruptError(
            f"{path} is damaged, expected the metadata of an episode as a JSON object with its "
            f"'total_steps' ({error}); copy or download it again."
        ) from error
    return metadata, _checksums(metadata.pop(_CHECKSUMS, None), total_steps)


def _checksums(values: Any, total_steps: int) -> Checksums | None:
    """Return the checksums, unless they are of another table."""
    if not isinstance(values, dict) or values.get("rows") != total_steps + 1:
        return None
    columns, file = values.get("columns"), values.get("file")
    return Checksums(total_steps + 1, file, columns) if isinstance(columns, dict) and type(file) is int else None


def _checksum(column: Column) -> int:
    """Return the checksum of a column as it is read: storing it as a wider type makes all NaNs quiet ones."""
    if column.dtype.kind == "f" and column.dtype.itemsize < 8:
        with np.errstate(all="ignore"):
            if np.isnan(column.sum()):
                column = column.astype(np.float64).astype(column.dtype)
    return column_checksum(column)


def _digest(data: Any) -> int:
    return xxhash.xxh3_64_intdigest(data)


def _not_as_written(what: str, path: str) -> ChecksumError:
    return ChecksumError(
        f"{what} differ from what was written, their checksum does not match: {path} was damaged, or changed by "
        f"another program; copy or download the dataset again."
    )
