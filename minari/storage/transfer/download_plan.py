"""Download plans: the expected files with their checksums, known before the transfer begins."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from minari._base.json_text import shortened
from minari._base.lazy import cached_property
from minari._base.warnings import warn
from minari._model.dataset_id import is_dataset_id
from minari._model.manifest import MANIFEST_NAME, PIECE_SIZE, Manifest
from minari.errors import DatasetCorruptError
from minari.storage.transfer.checksums import Checksum, can_compute, checksum_of
from minari.storage.transfer.limits import until_intact, with_retries
from minari.storage.transfer.remote_files import (
    METADATA_NAME,
    SMALL_FILE_LIMIT,
    RemoteDatasetNotFoundError,
    RemoteFile,
    check_size,
    is_hidden,
    refuse_bad_names,
)


__all__ = ["DownloadPlan", "ExpectedFile", "Source", "plan_download"]

_MOST_FILES = 1_000_000  # of one dataset; a longer listing is an error
_LARGEST_FILE = (1 << 63) - 1  # bytes
_CARD = "README.md"  # the dataset card of the Hub, which is created by the upload and belongs to the Hub


class Source(Protocol):
    """The primitives of a remote that a download needs."""

    max_workers: int

    def list_files(self, directory: str) -> Iterable[RemoteFile]:
        """List all files below a directory."""

    def read_file(self, name: str) -> bytes:
        """Read a small file."""

    def read_range(self, name: str, start: int, stop: int) -> bytes:
        """Read some bytes of a file."""


@dataclass(frozen=True)
class ExpectedFile:
    """A file that a download expects.

    Attributes:
        name: relative to the directory of the dataset.
        size: in bytes.
        checksum: checksum of the content, if the manifest or the store has one that can be computed.
        pieces: sha256 of each piece, if there are several and the manifest has them.
        version: a value of the store that changes with the file; None if a checksum makes it unnecessary.
        piece_size: in bytes.
    """

    name: str
    size: int
    checksum: Checksum | None
    pieces: tuple[str, ...]
    version: str | None
    piece_size: int

    @property
    def count(self) -> int:
        """Number of pieces, at least one."""
        return max(-(-self.size // self.piece_size), 1)

    def bounds(self, piece: int) -> tuple[int, int]:
        """Return the start and end of a piece in bytes."""
        return piece * self.piece_size, min((piece + 1) * self.piece_size, self.size)

    def accepts(self, piece: int, content: bytes) -> bool:
        """Return whether the content may be that piece, as far as this can be decided without the others."""
        start, stop = self.bounds(piece)
        if len(content) != stop - start:
            return False
        if self.pieces:
            return checksum_of(content, "sha256").value == self.pieces[piece]
        return self.count > 1 or self.checksum is None or self.is_whole(content)

    def is_whole(self, content: bytes) -> bool:
        """Return whether the content has the expected checksum, if there is one."""
        return self.checksum is None or checksum_of(content, self.checksum.algorithm) == self.checksum


@dataclass(frozen=True)
class DownloadPlan:
    """The files that a download expects.

    Attributes:
        dataset_id: of the dataset.
        files: sorted by name.
    """

    dataset_id: str
    files: tuple[ExpectedFile, ...]

    @cached_property
    def digest(self) -> str:
        """Digest of the expected contents: an interrupted download resumes only if it is the same."""
        contents = [(file.name, file.size, file.checksum, file.version, file.piece_size) for file in self.files]
        return hashlib.sha256(json.dumps([self.dataset_id, contents]).encode()).hexdigest()

    @property
    def size(self) -> int:
        """Size of all files, in bytes."""
        return sum(file.size for file in self.files)


def plan_download(source: Source, dataset_id: str, *, moved: bool = False) -> DownloadPlan:
    """Plan the download of a dataset, and check that the remote has all of its files.

    Args:
        source: the remote.
        dataset_id: of the dataset.
        moved: True if the manifest may name another id because the dataset was moved on the remote.

    Warns:
        UserWarning: there are files that do not belong to the dataset; they are not downloaded.

    Raises:
        RemoteDatasetNotFoundError: there are no files.
        DatasetCorruptError: a file is missing, has an unexpected size, or has a name that would
            lead out of the directory.
    """
    prefix = f"{dataset_id}/"
    found = {file.name.removeprefix(prefix): file for file in with_retries(lambda: _listed(source, dataset_id))}
    ending = f"/{METADATA_NAME}"
    directories = (name.removesuffix(ending) for name in found if name.endswith(ending))
    # Datasets below the directory of this one, whose namespace has its name:
    others = tuple(f"{name}/" for name in directories if is_dataset_id(name) and not name.startswith("data/"))
    listed = {name: file for name, file in found.items() if not (is_hidden(name) or name.startswith(others))}
    if not listed:
        raise RemoteDatasetNotFoundError(f"The remote has no dataset {dataset_id}; check the spelling.")
    if listed.pop(MANIFEST_NAME, None) is None:
        files = []
        for name, file in listed.items():  # as there is no manifest, from the listing of the store
            checksum = file.checksum if file.checksum is not None and can_compute(file.checksum.algorithm) else None
            files.append(ExpectedFile(name, file.size, checksum, (), file.version, PIECE_SIZE))
    else:
        files = _as_promised(dataset_id, _read_manifest(source, f"{prefix}{MANIFEST_NAME}"), listed, moved)
    refuse_bad_names(file.name for file in files)
    return DownloadPlan(dataset_id, tuple(sorted(files, key=lambda file: file.name)))


def _listed(source: Source, dataset_id: str) -> list[RemoteFile]:
    files = list(islice(source.list_files(dataset_id), _MOST_FILES + 1))
    if len(files) > _MOST_FILES:
        raise DatasetCorruptError(
            f"The remote lists more than {_MOST_FILES:,} files of {dataset_id}, more than a dataset can have; check "
            "the address."
        )
    for file in files:
        if type(file.size) is not int or not 0 <= file.size <= _LARGEST_FILE:
            raise DatasetCorruptError(
                f"The remote reports {shortened(file.size)} as the size of {shortened(file.name)}, expected a size "
                "in bytes; try again."
            )
    return files


def _as_promised(
    dataset_id: str, manifest: Manifest, listed: Mapping[str, RemoteFile], moved: bool
) -> list[ExpectedFile]:
    """Return the files of a manifest, which must agree with the listing."""
    if manifest.dataset_id != dataset_id and not moved:
        raise DatasetCorruptError(
            f"The manifest of {dataset_id} on the remote is that of {shortened(manifest.dataset_id)}; its owner should "
            "delete it there and upload it again."
        )
    hidden = sorted(filter(is_hidden, manifest.files))
    if hidden:
        raise DatasetCorruptError(
            f"The manifest of {dataset_id} names hidden files, which are not part of a dataset: {_some(hidden)}."
        )
    wrong = [
        f"{name} ({'is missing' if name not in listed else f'has {listed[name].size} bytes instead of {file.size}'})"
        for name, file in sorted(manifest.files.items())
        if name not in listed or listed[name].size != file.size
    ]
    if wrong:
        raise DatasetCorruptError(
            f"{dataset_id} is incomplete on the remote, its files are not those of its manifest: {_some(wrong)}. "
            "Whoever uploaded it should delete it there and upload it again."
        )
    extra = sorted(set(listed) - set(manifest.files) - {_CARD})
    if extra:
        warn(
            f"The remote has files beside {dataset_id} that its manifest does not name; they are not "
            f"downloaded: {_some(extra)}.",
        )
    return [
        ExpectedFile(name, file.size, Checksum("sha256", file.sha256), file.pieces, None, manifest.piece_size)
        for name, file in manifest.files.items()
    ]


def _some(names: list[str]) -> str:
    shown = ", ".join(name if name.isprintable() and len(name) < 200 else shortened(name) for name in names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"


def _read_manifest(source: Source, name: str) -> Manifest:
    def read() -> Manifest:
        content = with_retries(lambda: source.read_file(name))
        return Manifest.parse(check_size(content, SMALL_FILE_LIMIT, name), name)

    return until_intact(read)
