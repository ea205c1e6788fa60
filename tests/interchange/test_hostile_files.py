"""Damaged and lying files of every format are read, or refused in one sentence, in bounded time and memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from interchange.mutants import faults
from minari.interchange import formats


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory with an export in each format that can be written."""
    return tmp_path_factory.mktemp("exports")


@pytest.mark.parametrize("name", formats())
def test_mutants_do_no_harm(name: str, exports: Path) -> None:
    """No mutant crashes, hangs, takes much memory, writes elsewhere, or raises something else than one sentence."""
    assert faults(name, 12, exports) == {}


@pytest.mark.soak
@pytest.mark.parametrize("name", formats())
def test_many_mutants_do_no_harm(name: str, exports: Path) -> None:
    """As above, with many more of them."""
    assert faults(name, 2000, exports, first=1000) == {}
