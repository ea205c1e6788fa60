"""Behavior of the library and of the released package, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.behaviors import BEHAVIORS, outcome
from support.exchange import decode, encode


DIFFERENCES = Path(__file__).parents[2] / "docs" / "differences.md"


@pytest.mark.parametrize("name", BEHAVIORS)
def test_behavior(name: str, reference_process: Any, datasets_root: Path) -> None:
    expected = BEHAVIORS[name]
    their_root = datasets_root.parent / "theirs"
    their_root.mkdir()
    ours = decode(encode(outcome(name)))
    theirs = reference_process.call("outcome", their_root, {"name": name})
    for words in expected.words:
        for side in (ours, theirs):
            assert any(words in message for message in side["messages"]), (words, side["messages"])
    found = _differences(ours, theirs)
    if expected.row is not None:
        assert found, f"{name} does not differ, so that {expected.row!r} is no difference"
        assert expected.row in DIFFERENCES.read_text(encoding="utf-8")
        return
    assert not found, "\n".join(found)


def test_there_are_enough_of_them() -> None:
    assert len(BEHAVIORS) >= 60


def _differences(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """Say where two outcomes differ."""
    found = []
    if not _alike(ours["result"], theirs["result"]):
        found.append(f"returns {ours['result']!r}\nand {theirs['result']!r}")
    if (ours["error"] is None) != (theirs["error"] is None) or not _are_kinds_of(ours["error"], theirs["error"]):
        found.append(f"raises {ours['error']} and {theirs['error']}: {ours['messages']} {theirs['messages']}")
    if ours["warnings"] != theirs["warnings"]:
        found.append(f"warns {ours['messages']}\nand {theirs['messages']}")
    return found


def _alike(ours: Any, theirs: Any) -> bool:
    """Compare two results bit by bit, but for errors."""
    if isinstance(theirs, dict) and isinstance(ours, dict) and ours.keys() == theirs.keys() == {"raises"}:
        return _are_kinds_of(ours["raises"], theirs["raises"])
    if isinstance(theirs, (list, tuple)) and type(ours) is type(theirs) and len(ours) == len(theirs):
        return all(map(_alike, ours, theirs))
    if isinstance(theirs, (set, frozenset)) and type(ours) is type(theirs):
        return bool(ours == theirs)  # their order differs from process to process
    return encode(ours) == encode(theirs)


def _are_kinds_of(ours: list[str] | None, theirs: list[str] | None) -> bool:
    """Return whether an error is caught by whatever catches the other; it may be more than that."""
    return set(theirs or []) <= set(ours or [])
