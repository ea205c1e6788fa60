"""Remotes for the tests of what is done with them."""

from __future__ import annotations

import sys
import types
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import minari
from minari.storage.remotes import registry
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
    directory = tmp_path / "shared lab"
    directory.mkdir()
    monkeypatch.setenv("MINARI_REMOTE", directory.as_uri())
    return directory


@pytest.fixture
def arrival(tmp_path: Path) -> Path:
    """A root of datasets that is empty, for those that are downloaded."""
    directory = tmp_path / "arrival"
    directory.mkdir()
    return directory


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, type], None]:
    """A function ``register(scheme, class)``: a kind of remote, as a package brings it, for one test."""

    def make(scheme: str, remote_class: type) -> None:
        module = types.ModuleType(f"package_of_{scheme}")
        module.Remote = remote_class  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(registry.REMOTES, scheme, (f"{module.__name__}:Remote", ""))

    return make


@pytest.fixture
def spy(share: Path, register: Callable[[str, type], None], monkeypatch: pytest.MonkeyPatch) -> type[SpyStorage]:
    """The default remote, counting."""
    register("spy", SpyStorage)
    monkeypatch.setenv("MINARI_REMOTE", f"spy://{share}")
    monkeypatch.setattr(SpyStorage, "calls", Counter())
    monkeypatch.setattr(SpyStorage, "failures", {})
    return SpyStorage


@pytest.fixture
def record() -> Callable[..., minari.MinariDataset]:
    """A function ``record(id, episodes=1, root=None, data_format="hdf5")``; episode number i has the rewards i, i."""

    def make(
        dataset_id: str, episodes: int = 1, root: Path | None = None, data_format: str = "hdf5"
    ) -> minari.MinariDataset:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return minari.create_dataset_from_arrays(
                dataset_id,
                observations=np.zeros(3 * episodes),
                actions=np.zeros(2 * episodes),
                rewards=np.repeat(np.arange(float(episodes)), 2),
                terminations=np.tile([False, True], episodes),
                root=root,
                data_format=data_format,
            )

    return make
