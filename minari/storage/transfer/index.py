"""Index of a remote: the metadata of all its datasets in one small file, so that listing takes one request.

The index only saves requests. The listing of the remote decides which datasets exist, and an entry of the
index counts only if the listing agrees with it.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping

from minari._base.json_text import parse_json, shortened
from minari.errors import DatasetCorruptError


__all__ = ["INDEX_FILE_NAME", "dump_index", "parse_index"]

#: Name of the index at the root of a bucket or repository.
INDEX_FILE_NAME = "datasets_index.json.gz"

_VERSION = 1
_LARGEST = 1 << 28  # bytes, decompressed
_SURELY_FINE = 1 << 26  # bytes that may be decompressed, whatever the size of the file
_LARGEST_RATIO = 100  # beyond that; bounds of spaces that repeat compress well
_GZIP = 16 + zlib.MAX_WBITS


def dump_index(entries: Mapping[str, bytes]) -> bytes:
    """Return the content of an index file.

    Args:
        entries: path of each dataset, relative to the index -> content of its ``metadata.json``.
    """
    datasets = {name: entries[name].decode("utf-8") for name in sorted(entries)}
    text = json.dumps({"index_version": _VERSION, "datasets": datasets}, ensure_ascii=False)
    return gzip.compress(text.encode("utf-8"), mtime=0)  # equal entries give equal bytes


def parse_index(content: bytes, largest: int = _LARGEST) -> dict[str, bytes]:
    """Return the entries of an index file.

    >>> parse_index(dump_index({"door/human-v2": b'{"total_steps": 3}'}))
    {'door/human-v2': b'{"total_steps": 3}'}

    Args:
        content: content of the file.
        largest: maximum decompressed size in bytes.

    Raises:
        DatasetCorruptError: it is damaged, too large, or of a later version.
    """
    try:
        value = parse_json(_decompressed(content, min(largest, _SURELY_FINE + _LARGEST_RATIO * len(content))))
        if value["index_version"] != _VERSION:
            raise DatasetCorruptError(
                f"The index has version {shortened(value['index_version'])}, expected {_VERSION}."
            )
        return {str(name): text.encode("utf-8") for name, text in value["datasets"].items()}
    except (EOFError, zlib.error, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, DatasetCorruptError):
            raise
        raise DatasetCorruptError(f"The index is damaged: {error}.") from error


def _decompressed(content: bytes, limit: int) -> bytes:
    decompressor = zlib.decompressobj(_GZIP)
    text = decompressor.decompress(content, limit)
    if decompressor.unconsumed_tail:
        raise ValueError(f"its {len(content):,} bytes expand to more than {limit:,}")
    if not decompressor.eof or decompressor.unused_data:
        raise EOFError("it is truncated, or other data follows it")
    return text
