"""The index of a remote."""

from __future__ import annotations

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minari.errors import DatasetCorruptError
from minari.storage.transfer.index import dump_index, parse_index


@given(st.dictionaries(st.text(), st.text().map(str.encode)))
def test_it_comes_back(entries: dict[str, bytes]) -> None:
    content = dump_index(entries)
    assert parse_index(content) == entries
    assert dump_index(dict(reversed(entries.items()))) == content


@pytest.mark.parametrize(
    "text",
    [
        b"{}",
        b"[]",
        b"{",
        b'{"index_version": 1, "datasets": []}',
        b'{"index_version": 1, "datasets": {"x": 3}}',
        b'{"index_version": 2, "datasets": {}}',
    ],
)
def test_one_that_says_something_else(text: bytes) -> None:
    with pytest.raises(DatasetCorruptError, match="index"):
        parse_index(gzip.compress(text))


@pytest.mark.parametrize("content", [b"", b"{}", dump_index({"x-v0": b"{}"})[:-9]])
def test_a_damaged_one(content: bytes) -> None:
    with pytest.raises(DatasetCorruptError, match="index"):
        parse_index(content)


def test_bounds_that_repeat_take_little_room() -> None:
    metadata = json.dumps({"low": [0.0] * 10_000}).encode()
    assert len(dump_index({f"x-v{n}": metadata for n in range(20)})) < len(metadata) / 10
