"""Remotes for the tests of what is done with them."""

from __future__ import annotations

import sys
import types
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from minari.storage.remotes import register_remote, registry
from support.remotes import SpyStorage


@pytest.fixture
def no_surprises() -> Iterator[None]:
    """A warning that a test does not expect is a failure."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture
def share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of the default remote."""
    directory = tmp_path / "share"
    directory.mkdir()
    monkeypatch.setenv("MINARI_REMOTE", directory.as_uri())
    return directory


@pytest.fixture
def spy(share: Path, monkeypatch: pytest.MonkeyPatch) -> type[SpyStorage]:
    """The default remote, counting."""
    module = types.ModuleType("spying_remote")
    module.SpyStorage = SpyStorage  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(registry, "_remotes", dict(registry._remotes))
    register_remote("spy", "spying_remote:SpyStorage", "")
    monkeypatch.setenv("MINARI_REMOTE", f"spy://{share}")
    monkeypatch.setattr(SpyStorage, "calls", Counter())
    monkeypatch.setattr(SpyStorage, "failures", {})
    return SpyStorage
