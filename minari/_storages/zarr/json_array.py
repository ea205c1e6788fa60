"""The ``zarr.json`` files of a store: parsing, and checksums of their content.

The checksum is among the attributes, where other programs ignore it. It covers the Zarr metadata of an array
or group and the attributes of Minari; attributes of other programs and the layout of the text do not matter.
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
    """Return the object in a file.

    Raises:
        ValueError: the file does not contain a JSON object.
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
    """Return whether the content of a file matches its checksum; None if it has none."""
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
