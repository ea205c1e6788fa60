"""Manifest of a dataset on a remote: its files with their sizes and checksums.

The manifest is created by the upload of a dataset and stored beside the data; downloads are verified with it.
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

#: Path of the manifest in the directory of a dataset.
MANIFEST_NAME = "data/manifest.json"

#: Size of the pieces that are fetched and verified, in bytes.
PIECE_SIZE = 1 << 22

_VERSION = 1
_LARGEST_FILE = (1 << 63) - 1  # bytes; the limit of file systems
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PIECE_SIZES = range(1 << 16, (1 << 26) + 1)  # that a manifest may have, since each is held in memory


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """File of a dataset.

    Attributes:
        size: in bytes.
        sha256: checksum of the content, in hexadecimal digits.
        pieces: checksum of each piece of the content; empty if there is only one.
    """

    size: int
    sha256: str
    pieces: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Manifest:
    """All files of a dataset except the manifest itself.

    Attributes:
        dataset_id: of the dataset.
        format_version: format version of the dataset, as in its metadata; None if that has none.
        files: path relative to the directory of the dataset -> file.
        piece_size: in bytes.
    """

    dataset_id: str
    format_version: str | None
    files: Mapping[str, ManifestFile]
    piece_size: int = PIECE_SIZE

    def dump(self) -> bytes:
        """Return the content of the manifest file, which is equal for equal datasets."""
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
            content: content of the file.
            source: origin of the content, for messages.

        Raises:
            DatasetCorruptError: it is damaged, or its version is newer.
        """
        try:
            value = parse_json(content)
            version = value["manifest_version"]
            if version != _VERSION:
                raise DatasetCorruptError(
                    f"The manifest {source} has version {shortened(version)}, and this release reads {_VERSION}; "
                    "upgrade minari to download the dataset."
                )
            digest = value.pop("digest")
            files = {str(name): _parsed_file(entry) for name, entry in value["files"].items()}
            found = cls(value["dataset_id"], value["format_version"], files, value["piece_size"])
            if digest != _digest(value):
                raise ValueError("its digest does not match")
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
    """Digest of the values, independent of the layout of the file."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
