"""The files ``zarr.json`` of a store: parsed, and each with a checksum of what it says.

The checksum stands among the attributes, where other programs pass over it. It covers what Zarr
says of an array or a group, and the attributes that are Minari's; what others add makes no difference,
and neither does how the text is laid out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import xxhash

from minari._base.json_text import parse_json


#: The key among the attributes.
ATTRIBUTE: Final = "minari"

_CHECKSUM: Final = "checksum"
_COVERED: Final = (
    *("zarr_format", "node_type", "shape", "data_type", "chunk_grid", "chunk_key_encoding"),
    *("fill_value", "codecs", "storage_transformers"),
)


def parse_zarr_json(text: bytes) -> dict[str, Any]:
    """Return the object that a file holds.

    Raises:
        ValueError: it holds something else.
    """
    value = parse_json(text)
    if not isinstance(value, dict):
        raise ValueError("it is no JSON object")
    return value


def to_zarr_json(value: Mapping[str, Any]) -> bytes:
    """Return the content of a file, with its checksum."""
    own = {**_own(value), _CHECKSUM: _digest(value)}
    return json.dumps({**value, "attributes": {**value["attributes"], ATTRIBUTE: own}}).encode()


def is_as_written(value: Mapping[str, Any]) -> bool | None:
    """Whether a file says what its checksum is of; None where it has none."""
    own = _own(value)
    return own[_CHECKSUM] == _digest(value) if _CHECKSUM in own else None


def _own(value: Mapping[str, Any]) -> Mapping[str, Any]:
    attributes = value.get("attributes")
    own = attributes.get(ATTRIBUTE) if isinstance(attributes, dict) else None
    return own if isinstance(own, dict) else {}


def _digest(value: Mapping[str, Any]) -> str:
    covered = {key: value[key] for key in _COVERED if key in value}
    own = {key: inner for key, inner in _own(value).items() if key != _CHECKSUM}
    text = json.dumps([covered, own], sort_keys=True, separators=(",", ":"))
    return xxhash.xxh3_64_hexdigest(text.encode())
