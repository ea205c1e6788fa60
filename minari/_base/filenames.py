"""Names of files and directories that several layers use."""

from __future__ import annotations

from typing import Final


__all__ = ["METADATA_FILE_NAME", "NAMESPACE_METADATA_FILENAME", "RECORDINGS_DIRECTORY"]

METADATA_FILE_NAME: Final = "metadata.json"

NAMESPACE_METADATA_FILENAME: Final = "namespace_metadata.json"

#: Hidden directory, below the root, of recordings that are not datasets yet.
RECORDINGS_DIRECTORY: Final = ".recordings"
