"""A storage format for Minari: one ``.npz`` file per episode, and a table with a line of JSON for each."""

from __future__ import annotations

import io
import json
import re
import uuid
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np

from minari.dataset._storages.file_lock import folder_lock
from minari.dataset.compression import Codec, Codecs
from minari.dataset.metadata import DatasetMetadata
from minari.dataset.minari_storage import METADATA_FILE_NAME, EpisodeWriter, MinariStorage
from minari.errors import DatasetCorruptError
from minari.spaces import Columns, EpisodeColumns, object_column
from minari.storage.publishing import write_atomically


TABLE_NAME = "episodes.jsonl"


class NpzStorage(MinariStorage):
    """Storage with one ``.npz`` file per episode."""

    FORMAT: ClassVar[str] = "npz"
    CODECS: ClassVar[Codecs] = {"deflate": range(1, 10)}
    FRAME_CODEC: ClassVar[Codec | None] = Codec("deflate")
    FILES: ClassVar[re.Pattern[str] | None] = re.compile(r"episodes\.jsonl|[0-9a-f]{32}\.npz")

    def _lines(self) -> list[dict[str, Any]]:
        """Return the table without lines that a killed writer left beyond the total."""
        table = self.data_path / TABLE_NAME
        texts = table.read_text(encoding="utf-8").split("\n") if table.exists() else []
        return [json.loads(text) for text in texts[: self.total_episodes]]

    def _count_episodes(self) -> int:
        return len(self._lines())

    def _read_columns(self, indices: Iterable[int]) -> Iterator[tuple[int, Columns]]:
        lines = self._lines()
        for index in indices:
            if not (self.data_path / lines[index]["file"]).exists():
                lines = self._lines()  # replaced in the meantime
            yield index, self._columns(lines[index])

    def _columns(self, line: Mapping[str, Any]) -> Columns:
        path = self.data_path / line["file"]
        try:
            with np.load(path) as arrays:
                return {tuple(where): _unpacked(arrays, n, kind) for n, (where, kind) in enumerate(line["columns"])}
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise DatasetCorruptError(f"{path} cannot be read ({error}); copy the dataset again.") from error

    def _read_episode_metadata(self, indices: Iterable[int]) -> Iterator[dict[str, Any]]:
        lines = self._lines()
        for index in indices:
            yield {**lines[index]["metadata"], "id": index, "total_steps": lines[index]["total_steps"]}

    @contextmanager
    def _writer(self) -> Iterator[EpisodeWriter]:
        with folder_lock(self.data_path):  # one writer at a time
            writer = NpzWriter(self)
            try:
                yield writer
            finally:
                writer.tidy_up()


class NpzWriter(EpisodeWriter):
    """One transaction: new files immediately, and the table that refers to them at the end."""

    def __init__(self, storage: NpzStorage) -> None:
        self._storage = storage
        self._lines = storage._lines()

    def append(self, first_index: int, episodes: Sequence[EpisodeColumns]) -> None:
        for episode in episodes:
            self._lines.append(self._written(episode))

    def replace(self, index: int, episode: EpisodeColumns) -> None:
        self._lines[index] = self._written(episode)

    def update_metadata(self, index: int, metadata: Mapping[str, Any]) -> None:
        line = self._lines[index]
        self._lines[index] = {**line, "metadata": {**line["metadata"], **metadata}}

    def size(self) -> int:
        return sum(line["size"] for line in self._lines)

    def commit(self, metadata: DatasetMetadata) -> None:
        table = "\n".join(json.dumps(line, default=_as_json) for line in self._lines)
        write_atomically(self._storage.data_path / TABLE_NAME, table)
        write_atomically(self._storage.data_path / METADATA_FILE_NAME, metadata.to_json())

    def tidy_up(self) -> None:
        """Delete the files that the table does not refer to: of replaced or uncommitted episodes."""
        named = {line["file"] for line in self._storage._lines()}
        for path in self._storage.data_path.glob("*.npz"):
            if path.name not in named:
                path.unlink()

    def _written(self, episode: EpisodeColumns) -> dict[str, Any]:
        """Write the file of an episode and return its line of the table."""
        file, columns = io.BytesIO(), []
        with zipfile.ZipFile(file, "w") as archive:
            for number, (where, column) in enumerate(episode.columns.items()):
                kind, arrays = _packed(column)
                codec = self._storage._codec_for(where) if kind == "numbers" else None
                for name, array in arrays.items():
                    _add(archive, f"{number}-{name}.npy", array, codec)
                columns.append([where, kind])
        name = f"{uuid.uuid4().hex}.npz"
        write_atomically(self._storage.data_path / name, file.getvalue())
        return {
            "file": name,
            "size": len(file.getvalue()),
            "total_steps": episode.total_steps,
            "columns": columns,
            "metadata": episode.metadata,
        }


def _packed(column: Any) -> tuple[str, dict[str, Any]]:
    """Return the arrays that store a column: itself, or the bytes of all its texts or JPEG frames and their sizes."""
    if column.dtype != object:
        return "numbers", {"values": column}
    kind = "bytes" if any(isinstance(value, bytes) for value in column) else "text"
    pieces = list(column) if kind == "bytes" else [text.encode() for text in column]
    joined = np.frombuffer(b"".join(pieces), np.uint8)
    return kind, {"values": joined, "sizes": np.array([len(piece) for piece in pieces], np.int64)}


def _unpacked(arrays: Mapping[str, Any], number: int, kind: str) -> Any:
    values = arrays[f"{number}-values"]
    if kind == "numbers":
        return values
    data = io.BytesIO(values.tobytes())
    pieces = [data.read(size) for size in arrays[f"{number}-sizes"].tolist()]
    return object_column(pieces if kind == "bytes" else [piece.decode() for piece in pieces])


def _add(archive: zipfile.ZipFile, name: str, array: Any, codec: Codec | None) -> None:
    content = io.BytesIO()
    np.lib.format.write_array(content, array, allow_pickle=False)
    if codec is None:
        archive.writestr(name, content.getvalue())
    else:
        archive.writestr(name, content.getvalue(), zipfile.ZIP_DEFLATED, codec.level)


def _as_json(value: Any) -> Any:
    return value.tolist()  # NumPy arrays and numbers
