"""Kinds of values beyond numbers and text: stored by either package, and read by both."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minari.testing.comparison import assert_same
from support import kinds, operations


@pytest.mark.parametrize("kind", kinds.INFOS)
def test_infos(kind: str, reference: Any) -> None:
    operations.record_kind("ours-v0", info=kind)
    reference.record_kind("theirs-v0", info=kind)
    assert_same(operations.values_of_kind("ours-v0"), operations.values_of_kind("theirs-v0"))
    assert_same(reference.values_of_kind("ours-v0"), reference.values_of_kind("theirs-v0"))
    operations.combine(["theirs-v0", "ours-v0"], "both-v0")
    assert_same(reference.values_of_kind("both-v0"), reference.values_of_kind("theirs-v0") * 2)


@pytest.mark.parametrize("kind", ["bytes", "bytes-that-are-no-text", "bytes-of-numpy", "void", "arrays-of-bytes"])
def test_bytes_come_back_as_they_do_there(kind: str, reference: Any) -> None:
    reference.record_kind("theirs-v0", info=kind)
    for _, values in operations.values_of_kind("theirs-v0"):
        expected = [kinds.INFOS[kind](time) for time in range(5)]
        assert [np.asarray(value).tolist() for value in values] == [np.asarray(value).tolist() for value in expected]


@pytest.mark.parametrize("kind", kinds.REWARDS)
def test_rewards(kind: str, reference: Any) -> None:
    operations.record_kind("ours-v0", reward=kind)
    reference.record_kind("theirs-v0", reward=kind)
    expected = np.stack([np.asarray(kinds.REWARDS[kind](time)) for time in range(1, 5)])
    expected = expected.astype(expected.dtype.newbyteorder("="))
    for dataset_id in ("ours-v0", "theirs-v0"):
        for package in (operations, reference):
            for rewards, _ in package.values_of_kind(dataset_id):
                assert_same(rewards, expected)
    reference.record_kind("ours-v0", reward=kind)  # appended by it to ours, and by us to its
    operations.record_kind("theirs-v0", reward=kind)
    assert len(reference.values_of_kind("theirs-v0")) == len(operations.values_of_kind("ours-v0")) == 4
