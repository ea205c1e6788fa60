"""Storage formats by name."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from gymnasium import spaces

from minari._storages import registry
from minari.dataset._storages import get_minari_storage, get_storage_keys, register_storage
from minari.dataset._storages.hdf5_storage import HDF5Storage
from minari.dataset.minari_storage import MinariStorage
from minari.errors import MissingDependencyError, UnknownFormatError
from minari.testing.memory_storage import MemoryStorage


MEMORY = "minari.testing.memory_storage:MemoryStorage"


@pytest.fixture(autouse=True)
def formats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget afterwards what a test registers."""
    monkeypatch.setattr(registry, "FORMATS", {k: v for k, v in registry.FORMATS.items() if k != "memory"})


def new(directory: Path, data_format: str) -> MinariStorage:
    return MinariStorage.new(directory / "data", spaces.Discrete(2), spaces.Discrete(2), data_format=data_format)


def test_formats_of_the_library_are_known_and_sorted() -> None:
    assert {"hdf5", "arrow", "parquet", "zarr"} <= set(get_storage_keys())
    assert get_storage_keys() == sorted(get_storage_keys())
    assert get_minari_storage("hdf5") is HDF5Storage


def test_unknown_format_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    for use in (lambda: get_minari_storage("csv"), lambda: new(tmp_path, "csv")):
        with pytest.raises(UnknownFormatError, match=r"No storage implemented .*'csv'.*'hdf5'"):
            use()
    assert not (tmp_path / "data").exists()
    assert issubclass(UnknownFormatError, ValueError)


def test_registered_format_is_used(tmp_path: Path) -> None:
    register_storage("mine", MEMORY, "mine-package")
    assert "mine" in get_storage_keys()
    storage = new(tmp_path, "mine")
    assert storage.metadata["data_format"] == "mine"
    assert type(MinariStorage.read(storage.data_path)) is get_minari_storage("mine") is MemoryStorage


def test_format_that_cannot_be_imported_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    assert issubclass(MissingDependencyError, ImportError)
    register_storage("far", "no_such_package.storage:Storage", "far-package")
    with pytest.raises(MissingDependencyError, match=r'no_such_package.*pip install "far-package"'):
        get_minari_storage("far")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for module in [name for name in sys.modules if name.startswith("minari._storages.arrow")]:
        monkeypatch.delitem(sys.modules, module)
    with pytest.raises(MissingDependencyError, match=r'pip install "minari\[arrow\]"'):
        get_minari_storage("arrow")
    monkeypatch.setattr(registry, "LEAST_PYTHON", {"hdf5": (99, 1)})
    with pytest.raises(MissingDependencyError, match=r"'hdf5' needs Python 99\.1 or newer.*this is Python 3\."):
        get_minari_storage("hdf5")


def test_entry_point_adds_a_format_and_replaces_none(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [EntryPoint(name, MEMORY, registry.ENTRY_POINT_GROUP) for name in ("far", "hdf5")]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: points if group == "minari.storages" else [])
    assert "far" in get_storage_keys()
    assert (get_minari_storage("far"), get_minari_storage("hdf5")) == (MemoryStorage, HDF5Storage)
