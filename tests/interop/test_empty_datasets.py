"""Datasets without an episode, which programs make to append to them: created by either package, filled by both."""

from __future__ import annotations

from typing import Any

import pytest

from support import operations


@pytest.mark.parametrize("data_format", ["hdf5", "arrow", "parquet"])
def test_what_one_creates_the_other_fills(data_format: str, reference: Any) -> None:
    operations.create_empty("ours-v0", data_format)
    reference.create_empty("theirs-v0", data_format)
    assert reference.fill("ours-v0", 3) == operations.fill("theirs-v0", 3) == [3]
    assert operations.fill("ours-v0", 2) == reference.fill("theirs-v0", 2) == [3, 2]


def test_what_is_combined_of_nothing_can_be_filled(reference: Any) -> None:
    operations.create_empty("ours-v0", "hdf5")
    operations.combine(["ours-v0", "ours-v0"], "both-v0")
    assert reference.fill("both-v0", 4) == [4]
