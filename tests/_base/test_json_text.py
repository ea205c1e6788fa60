"""Every JSON text gives a value or a ValueError."""

from __future__ import annotations

import json

import pytest

from minari._base.json_text import parse_json, shortened


@pytest.mark.parametrize("text", ["[" * 100_000, b'{"a":' * 100_000, "1" * 10_000, b"\xff", "", "nul"])
def test_every_failure_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_json(text)


def test_messages_show_a_part_of_large_values() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    assert len(shortened(list(range(10**6)))) < 300
    assert shortened(deep) == "a list"
    assert shortened(3) == "3"


@pytest.mark.parametrize("encoding", [None, "utf-8", "utf-16"])
def test_only_brackets_outside_of_strings_are_levels(encoding: str | None) -> None:
    """Also after quotes and backslashes that are escaped, and beside brackets that close again."""
    value = {'[{\\"[': "[" * 300, "list": [[i, {"]\\": "}"}] for i in range(300)]}
    deep = "[" * 202 + "]" * 202
    text = json.dumps(value)
    refused = f'{text[:-1]}, "deep": {deep[:-202]}"]]" {"]" * 202}}}'
    assert parse_json(text if encoding is None else text.encode(encoding)) == value
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json(refused if encoding is None else refused.encode(encoding))
