"""Whatever a JSON text is, it gives a value or a ValueError."""

from __future__ import annotations

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
