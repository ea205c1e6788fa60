"""Manifest of a dataset on a remote: its files with their sizes and checksums.

The manifest is made when a dataset is uploaded and lies beside the data; a download is checked against it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from minari._base.json_text import parse_json, shortened
from minari.errors import DatasetCorruptError


__all__ = ["MANIFEST_NAME", "PIECE_SIZE", "Manifest", "ManifestFile"]

#: Of the file, in the directory of a dataset.
MANIFEST_NAME = "data/manifest.json"

#: Bytes that are fetched, checked and counted as one.
PIECE_SIZE = 1 << 22

_VERSION = 1
_LARGEST_FILE = (1 << 63) - 1  # bytes; what file systems can count
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PIECE_SIZES = range(1 << 16, (1 << 26) + 1)  # those that a manifest may name: each is held in memory


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """One file of a dataset.

    Attributes:
        size: in bytes.
        sha256: of the content, in hexadecimal digits.
        pieces: the same of each piece of the content; empty where there is only one.
    """

    size: int
    sha256: str
    pieces: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Manifest:
    """All files of a dataset but the manifest itself.

    Attributes:
        dataset_id: of the dataset.
        format_version: that of the dataset's layout, as in its metadata; None where that has none.
        files: by their names relative to the directory of the dataset.
        piece_size: in bytes.
    """

    dataset_id: str
    format_version: str | None
    files: Mapping[str, ManifestFile]
    piece_size: int = PIECE_SIZE

    def dump(self) -> bytes:
        """Return the content of the file; the same for the same dataset."""
        value = {
            "manifest_version": _VERSION,
            "format_version": self.format_version,
            "dataset_id": self.dataset_id,
            "piece_size": self.piece_size,
            "files": {
                name: {
                    "size": file.size,
                    "sha256": file.sha256,
                    **({"pieces": list(file.pieces)} if file.pieces else {}),
                }
                for name, file in sorted(self.files.items())
            },
        }
        return (json.dumps({**value, "digest": _digest(value)}, indent=1) + "\n").encode("utf-8")

    @classmethod
    def parse(cls, content: bytes, source: str) -> Manifest:
        """Read a manifest.

        Args:
            content: of the file.
            source: where it comes from, for messages.

        Raises:
            DatasetCorruptError: it is damaged, or of a later version.
        """
        try:
            value = parse_json(content)
            version = value["manifest_version"]
            if version != _VERSION:
                raise DatasetCorruptError(
                    f"The manifest {source} is of version {shortened(version)}, and this release reads {_VERSION}; "
                    "upgrade minari to download the dataset."
                )
            digest = value.pop("digest")
            files = {str(name): _parsed_file(entry) for name, entry in value["files"].items()}
            found = cls(value["dataset_id"], value["format_version"], files, value["piece_size"])
            if digest != _digest(value):
                raise ValueError("its digest is another")
            if not isinstance(found.dataset_id, str) or not isinstance(found.format_version, str | None):
                raise ValueError("its dataset id or format version is not text")
            if type(found.piece_size) is not int or found.piece_size not in _PIECE_SIZES:
                raise ValueError(f"its pieces have {shortened(found.piece_size)} bytes")
            if any(file.pieces and not _fits(file, found.piece_size) for file in files.values()):
                raise ValueError("pieces and sizes disagree")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            if isinstance(error, DatasetCorruptError):
                raise
            raise DatasetCorruptError(f"The manifest {source} is damaged: {error}.") from error
        return found


def _parsed_file(entry: Mapping[str, Any]) -> ManifestFile:
    size, sha256, pieces = entry["size"], entry["sha256"], entry.get("pieces", [])
    if type(size) is not int or not 0 <= size <= _LARGEST_FILE:
        raise ValueError(f"a size is {shortened(size)}")
    if not isinstance(pieces, list):
        raise ValueError("a checksum is malformed")
    if not all(isinstance(value, str) and _SHA256.fullmatch(value) for value in [sha256, *pieces]):
        raise ValueError("a checksum is malformed")
    return ManifestFile(size, sha256, tuple(pieces))


def _fits(file: ManifestFile, piece_size: int) -> bool:
    return len(file.pieces) == -(-file.size // piece_size)


def _digest(value: Mapping[str, Any]) -> str:
    """Of all that the file says, however it is laid out."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
