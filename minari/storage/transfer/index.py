"""The index of a remote: the metadata of all its datasets in one small file, so that a list is one request.

It only spares requests. Which datasets there are, the remote's own listing tells, and an entry counts
where the listing agrees with it.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping

from minari.errors import DatasetCorruptError


__all__ = ["INDEX_FILE_NAME", "dump_index", "parse_index"]

#: Lies at the root of a bucket, or of a repository.
INDEX_FILE_NAME = "datasets_index.json.gz"

_VERSION = 1


def dump_index(entries: Mapping[str, bytes]) -> bytes:
    """The content of an index file.

    Args:
        entries: for each dataset, by its path from where the index lies, the content of its
            ``metadata.json``.
    """
    datasets = {name: entries[name].decode("utf-8") for name in sorted(entries)}
    text = json.dumps({"index_version": _VERSION, "datasets": datasets}, ensure_ascii=False)
    return gzip.compress(text.encode("utf-8"), mtime=0)  # the same entries are the same bytes


def parse_index(content: bytes) -> dict[str, bytes]:
    """The entries of an index file.

    >>> parse_index(dump_index({"door/human-v2": b'{"total_steps": 3}'}))
    {'door/human-v2': b'{"total_steps": 3}'}

    Raises:
        DatasetCorruptError: it is damaged, or of a later version.
    """
    try:
        value = json.loads(gzip.decompress(content))
        if value["index_version"] != _VERSION:
            raise DatasetCorruptError(f"The index is of version {value['index_version']}, expected {_VERSION}.")
        return {str(name): text.encode("utf-8") for name, text in value["datasets"].items()}
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, DatasetCorruptError):
            raise
        raise DatasetCorruptError(f"The index is damaged: {error}.") from error
