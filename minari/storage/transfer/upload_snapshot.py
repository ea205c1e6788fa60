"""Snapshot of a local dataset for an upload: its files at one moment, with their checksums."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from minari._base.files import METADATA_LIMIT, Directory
from minari._catalog.layout import dataset_exists, get_dataset_path
from minari._model.dataset_id import DatasetId
from minari._model.manifest import MANIFEST_NAME, PIECE_SIZE, Manifest, ManifestFile
from minari._model.metadata_json import with_id_of_place
from minari._storages.metadata_file import read_raw_metadata, refuse_unfinished
from minari.errors import DatasetBusyError, DatasetNotFoundError, RemoteError
from minari.progress import track
from minari.storage.transfer.checksums import Checksum, checksum_of, checksums_of
from minari.storage.transfer.remote_files import METADATA_NAME, RemoteFile, file_within, refuse_bad_names


__all__ = [
    "LocalFile",
    "UploadSnapshot",
    "SnapshotFile",
    "take_snapshot",
    "local_files",
    "old_layout",
    "regular_file",
]

_HASHING_THREADS = 4


@dataclass(frozen=True, slots=True)
class LocalFile:
    """File of a local dataset.

    Attributes:
        name: path relative to the directory of the dataset, with parts joined by ``/``.
        size: in bytes.
        stamp: changes whenever the file is written.
    """

    name: str
    size: int
    stamp: tuple[int, int]


@dataclass(frozen=True, slots=True)
class SnapshotFile:
    """File of a snapshot.

    Attributes:
        name: path relative to the directory of the dataset, with parts joined by ``/``.
        directory: directory of the dataset.
        size: in bytes.
        checksums: algorithm -> checksum of the content: sha256, and those of the remote.
        pieces: sha256 of each piece, if there are several.
    """

    name: str
    directory: Path
    size: int
    checksums: Mapping[str, Checksum]
    pieces: tuple[str, ...]

    @property
    def path(self) -> Path:
        """Path of the file."""
        return file_within(self.directory, self.name)

    def open(self) -> BinaryIO:
        """Open the file for reading; it must be a regular file beneath the directory of the dataset."""
        with Directory(self.directory) as directory:
            return os.fdopen(directory.open(self.name), "rb")

    @property
    def sha256(self) -> str:
        """SHA-256 of the content, in hexadecimal digits."""
        return self.checksums["sha256"].value

    def is_held_by(self, stored: RemoteFile) -> bool | None:
        """Return whether a file of a remote has this content; None if the remote reports too little to decide."""
        if stored.size != self.size:
            return False
        if stored.checksum is None or stored.checksum.algorithm not in self.checksums:
            return None
        return self.checksums[stored.checksum.algorithm] == stored.checksum


@dataclass(frozen=True, slots=True)
class UploadSnapshot:
    """State of a local dataset at one moment.

    Attributes:
        dataset_id: id of the dataset.
        directory: its directory.
        files: all but the hidden ones, ``data/metadata.json`` and ``data/manifest.json``.
        manifest: the content of ``data/manifest.json``, which is created with the snapshot.
        metadata: the content of ``data/metadata.json``; None for an old dataset without one.
        raw_metadata: the values in that.
        at_rest: the files when the snapshot was taken, without hidden ones.
    """

    dataset_id: str
    directory: Path
    files: tuple[SnapshotFile, ...]
    manifest: bytes
    metadata: bytes | None
    raw_metadata: Mapping[str, Any]
    at_rest: tuple[LocalFile, ...]

    @property
    def size(self) -> int:
        """Size of all that is sent, in bytes."""
        return sum(file.size for file in self.files) + len(self.manifest) + len(self.metadata or b"")

    @property
    def count(self) -> int:
        """Number of files that are sent."""
        return len(self.files) + 1 + (self.metadata is not None)

    def check_unchanged(self) -> None:
        """Raise if the dataset has changed since the snapshot.

        Raises:
            DatasetBusyError: a file has been written since.
        """
        if local_files(self.directory) != self.at_rest:
            raise _changed(self.directory)


def old_layout(dataset_id: str) -> RemoteError:
    """Return the error for a dataset without a metadata file, which remotes need."""
    return RemoteError(
        f"{dataset_id} was written by an old release without metadata.json, which remotes need; upload a copy in the "
        f"current layout: `minari convert {dataset_id} NEW_ID`."
    )


def take_snapshot(
    dataset_id: str, *, root: str | os.PathLike[str] | None, algorithms: Collection[str] = ()
) -> UploadSnapshot:
    """Take a snapshot of a local dataset; every file is read once.

    Args:
        dataset_id: id of the dataset.
        root: root of the catalog; by default that of ``MINARI_DATASETS_PATH``.
        algorithms: algorithms of further checksums of each file, in addition to sha256.

    Raises:
        DatasetIdError: the id is malformed.
        DatasetNotFoundError: there is no such local dataset.
        DatasetCorruptError: its metadata is damaged.
        RemoteError: one of its files cannot be sent.
    """
    directory = get_dataset_path(str(DatasetId.parse(dataset_id)), root=root)
    if not dataset_exists(directory):
        raise DatasetNotFoundError(f"There is no dataset {dataset_id} at {directory} to upload.")
    raw = read_raw_metadata(directory / "data")
    refuse_unfinished(directory / "data")
    at_rest = local_files(directory)
    refuse_bad_names(file.name for file in at_rest)
    wanted = {"sha256", *algorithms}
    with ThreadPoolExecutor(_HASHING_THREADS) as pool:
        looked_at = pool.map(partial(_look_at, directory, wanted), at_rest)
        files = list(track(looked_at, f"checking {dataset_id}", total=len(at_rest), unit="files"))
    listed = {file.name: ManifestFile(file.size, file.sha256, file.pieces) for file in files}
    metadata = None
    if METADATA_NAME in listed:
        with Directory(directory) as opened:
            metadata = opened.read(METADATA_NAME, METADATA_LIMIT)
        if raw.get("dataset_id") not in (None, dataset_id):  # it was moved or copied here
            raw = with_id_of_place(raw, dataset_id)
            metadata = json.dumps(raw).encode()
            starts = range(0, len(metadata), PIECE_SIZE) if len(metadata) > PIECE_SIZE else ()
            pieces = tuple(checksum_of(metadata[start : start + PIECE_SIZE], "sha256").value for start in starts)
            listed[METADATA_NAME] = ManifestFile(len(metadata), checksum_of(metadata, "sha256").value, pieces)
    return UploadSnapshot(
        dataset_id,
        directory,
        tuple(file for file in files if file.name != METADATA_NAME),
        Manifest(dataset_id, raw.get("minari_version"), listed).dump(),
        metadata,
        raw,
        at_rest,
    )


def _look_at(directory: Path, algorithms: Collection[str], file: LocalFile) -> SnapshotFile:
    pieces: list[str] = []

    def content() -> Iterator[bytes]:
        size = 0
        with Directory(directory) as opened, os.fdopen(opened.open(file.name), "rb") as reader:
            while piece := reader.read(PIECE_SIZE):
                size += len(piece)
                if size > file.size:
                    break
                if file.size > PIECE_SIZE:
                    pieces.append(checksum_of(piece, "sha256").value)
                yield piece
        if size != file.size:
            raise _changed(directory)

    checksums = checksums_of(content(), file.size, algorithms)
    return SnapshotFile(file.name, directory, file.size, checksums, tuple(pieces))


def _changed(directory: Path) -> DatasetBusyError:
    return DatasetBusyError(
        f"The dataset {directory} was changed while it was copied; try again when no program is writing it."
    )


def local_files(directory: Path) -> tuple[LocalFile, ...]:
    """Return the files in the directory of a dataset, sorted, without hidden ones and the manifest of a remote.

    Raises:
        RemoteError: a link leads out of the dataset, or an entry is not a file.
    """
    files = (file for file in _files_below(directory) if file.name != MANIFEST_NAME)
    return tuple(sorted(files, key=lambda file: file.name.split("/")))


def _files_below(directory: Path) -> Iterator[LocalFile]:
    base = directory.resolve()
    pending = [(directory, "")]
    while pending:
        inner, prefix = pending.pop()
        for path in inner.iterdir():
            if path.name.startswith("."):
                continue
            if path.is_dir() and not path.is_symlink():
                pending.append((path, f"{prefix}{path.name}/"))
            else:
                yield LocalFile(f"{prefix}{path.name}", *regular_file(path, base))


def regular_file(path: Path, base: Path) -> tuple[int, tuple[int, int]]:
    """Return the size of a regular file in bytes, and its stamp; links that lead out of the dataset are rejected."""
    if not Path(os.path.realpath(path)).is_relative_to(base):  # which, unlike `resolve`, raises for circular links
        raise RemoteError(
            f"{path} is a link that leads out of {base}, and only files in it are copied; replace the link by the file."
        )
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise RemoteError(f"{path} is a link to a directory, or no file at all; remove it from the dataset.")
    return status.st_size, (status.st_ino, status.st_mtime_ns)
