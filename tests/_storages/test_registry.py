"""Storage formats by name."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from gymnasium import spaces

from minari._storages import registry
from minari.dataset._storages import get_minari_storage, get_storage_keys, register_storage
from minari.dataset._storages.hdf5_storage import HDF5Storage
from minari.dataset.minari_storage import MinariStorage
from minari.errors import MissingDependencyError, UnknownFormatError
from minari.testing.memory_storage import MemoryStorage


@pytest.fixture(autouse=True)
def formats(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The registered formats, as they are at first; what a test adds is gone afterwards."""
    known = {name: value for name, value in registry.FORMATS.items() if name != "memory"}
    monkeypatch.setattr(registry, "FORMATS", known)
    return known


def test_a_format_that_needs_a_newer_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Installing something would not help, and is not advised."""
    monkeypatch.setattr("minari._storages.registry.LEAST_PYTHON", {"hdf5": (99, 1)})
    with pytest.raises(MissingDependencyError, match=r"'hdf5' needs Python 99\.1 or newer.*this is Python 3\."):
        get_minari_storage("hdf5")


def test_known_formats() -> None:
    assert {"hdf5", "arrow", "parquet"} <= set(get_storage_keys())
    assert get_storage_keys() == sorted(get_storage_keys())
    assert get_minari_storage("hdf5") is HDF5Storage


def test_unknown_format(tmp_path: Path) -> None:
    for use in (
        lambda: get_minari_storage("csv"),
        lambda: MinariStorage.new(tmp_path / "data", spaces.Discrete(2), spaces.Discrete(2), data_format="csv"),
    ):
        with pytest.raises(UnknownFormatError, match=r"No storage implemented .*'csv'.*'hdf5'"):
            use()
    assert not (tmp_path / "data").exists()
    assert issubclass(UnknownFormatError, ValueError)


def test_registered_format(tmp_path: Path) -> None:
    register_storage("mine", "minari.testing.memory_storage:MemoryStorage", "mine-package")
    assert "mine" in get_storage_keys()
    assert get_minari_storage("mine") is MemoryStorage
    storage = MinariStorage.new(tmp_path / "data", spaces.Discrete(2), spaces.Discrete(2), data_format="mine")
    assert isinstance(storage, MemoryStorage)
    assert storage.metadata["data_format"] == "mine"
    assert isinstance(MinariStorage.read(storage.data_path), MemoryStorage)


def test_format_whose_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message has what to install; whatever import inside the module fails."""
    register_storage("far", "no_such_package.storage:Storage", "far-package")
    with pytest.raises(MissingDependencyError, match=r'no_such_package.*pip install "far-package"'):
        get_minari_storage("far")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for module in [name for name in sys.modules if name.startswith("minari._storages.arrow")]:
        monkeypatch.delitem(sys.modules, module)
    with pytest.raises(MissingDependencyError, match=r'pip install "minari\[arrow\]"'):
        get_minari_storage("arrow")
    assert issubclass(MissingDependencyError, ImportError)


def test_format_of_another_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by its entry point; it cannot take the place of a format of the library."""
    points = [
        EntryPoint("far", "minari.testing.memory_storage:MemoryStorage", registry.ENTRY_POINT_GROUP),
        EntryPoint("hdf5", "minari.testing.memory_storage:MemoryStorage", registry.ENTRY_POINT_GROUP),
    ]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: points if group == "minari.storages" else [])
    assert "far" in get_storage_keys()
    assert get_minari_storage("far") is MemoryStorage
    assert get_minari_storage("hdf5") is HDF5Storage
