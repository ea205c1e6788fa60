"""Datasets rewritten in place, atomically, with concurrent readers."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from minari._base.locks import Lock
from minari._storages.hdf5 import storage as hdf5_storage
from minari.dataset.minari_storage import MinariStorage
from minari.errors import DatasetBusyError, DatasetCorruptError
from minari.progress import observe_progress
from minari.testing.examples import as_buffer, draw_truth
from minari.testing.sharing import Interference, interrupt
from support.copies import installed_codecs
from support.scripted import listing
from support.stored import assert_holds, store


pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

SPACES = spaces.Box(-9.0, 9.0, (64,), np.float32), spaces.Discrete(5)
#: Episodes whose observations are one number, so that what is compressed is much smaller.
TRUTHS = [
    {**draw_truth(*SPACES, steps, seed), "observations": [np.full(64, seed, np.float32)] * (steps + 1)}
    for seed, steps in enumerate((3, 300, 1, 64, 200))
]


def new(directory: Path, data_format: str, **options: Any) -> MinariStorage:
    return MinariStorage.read(store(directory, data_format, TRUTHS, *SPACES, **options))


def visible(storage: MinariStorage) -> dict[str, bytes | None]:
    found = listing(storage.data_path)
    return {name: content for name, content in found.items() if not any(p.startswith(".") for p in name.split("/"))}


def size(storage: MinariStorage) -> int:
    return sum(len(content) for content in visible(storage).values() if content)


def test_empty_dataset_is_repacked_and_extended(data_format: str, tmp_path: Path) -> None:
    storage = MinariStorage.read(store(tmp_path, data_format, [], *SPACES))
    storage.repack()
    storage.update_episodes([as_buffer(TRUTHS[0])])
    assert_holds(storage.data_path, TRUTHS[:1], *SPACES)


def test_choice_takes_effect_and_stays(data_format: str, tmp_path: Path) -> None:
    storage = new(tmp_path, data_format)
    for codec in installed_codecs(data_format):
        storage.repack(compression="none")
        large = size(storage)
        storage.repack(compression=codec)
        small = size(storage)
        assert small < large, codec
        storage.repack()
        assert size(storage) == small
        assert storage.compression == MinariStorage.read(storage.data_path).compression == codec


def forbid_h5py(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what reads through h5py, in another process, not be imported."""
    monkeypatch.setitem(sys.modules, "minari._storages.hdf5.process", None)


def test_arrays_that_only_hdf5_reads_become_plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    h5py = pytest.importorskip("h5py")
    storage = new(tmp_path, "hdf5")
    options: dict[str, dict[str, Any]] = {
        "observations": {"chunks": (1, 64), "compression": "gzip", "fletcher32": True},
        "actions": {"chunks": (1,), "scaleoffset": 0},
        "rewards": {"chunks": (1,), "shuffle": True},
    }
    with h5py.File(storage.data_path / "main_data.hdf5", "r+") as file:
        for group in file.values():
            for name, given in options.items():
                values = group[name][()]
                del group[name]
                group.create_dataset(name, data=values, **given)
    MinariStorage.read(storage.data_path).repack()
    forbid_h5py(monkeypatch)
    assert_holds(storage.data_path, TRUTHS, *SPACES)


def test_files_linked_from_the_main_one_are_folded_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    h5py = pytest.importorskip("h5py")
    data_path = new(tmp_path, "hdf5").data_path
    main, other = data_path / "main_data.hdf5", data_path / "additional_data_0.hdf5"
    with h5py.File(main, "r+") as file, h5py.File(other, "w") as additional:
        for number, name in enumerate(("episode_1", "episode_3")):
            file.copy(file[name], additional, f"episode_{number}")
            del file[name]
            file[name] = h5py.ExternalLink(other.name, f"/episode_{number}")
    storage = MinariStorage.read(data_path)
    assert_holds(storage, TRUTHS, *SPACES)
    storage.repack()
    assert not other.exists()
    forbid_h5py(monkeypatch)
    for opened in (storage, data_path):
        assert_holds(opened, TRUTHS, *SPACES)


def test_changes_just_before_the_lock_is_taken_are_kept(
    data_format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, take = new(tmp_path, data_format), Lock.take

    def take_late(self: Lock) -> bool:
        monkeypatch.setattr(Lock, "take", take)
        other = MinariStorage.read(storage.data_path)
        other.update_episodes([as_buffer(TRUTHS[1])])
        other.update_metadata({"noted": "late"})
        return take(self)

    monkeypatch.setattr(Lock, "take", take_late)
    storage.repack(compression="none")
    for opened in (storage, MinariStorage.read(storage.data_path)):
        assert_holds(opened, [*TRUTHS, TRUTHS[1]], *SPACES)
        assert (opened.metadata["noted"], opened.compression) == ("late", "none")


def test_file_replaced_before_it_is_opened_is_read_by_its_own_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, open_file = new(tmp_path, "hdf5", compression="none"), hdf5_storage.DataFile

    def open_too_late(path: Path, change: Any) -> Any:
        monkeypatch.setattr(hdf5_storage, "DataFile", open_file)
        MinariStorage.read(tmp_path / "data").repack(compression="gzip")
        return open_file(path, change)

    monkeypatch.setattr(hdf5_storage, "DataFile", open_too_late)
    assert_holds(reader, TRUTHS, *SPACES)
    assert hdf5_storage.DataFile is open_file


def corrupt() -> None:
    raise DatasetCorruptError("damaged")


@pytest.mark.parametrize(("action", "error"), [(interrupt, KeyboardInterrupt), (corrupt, DatasetCorruptError)])
def test_failure_on_the_way_changes_nothing(
    data_format: str, tmp_path: Path, action: Callable[[], object], error: type[BaseException]
) -> None:
    storage = new(tmp_path, data_format, compression="none")
    before = visible(storage)
    with observe_progress(Interference(action, after=3)), pytest.raises(error):
        storage.repack(compression=next(installed_codecs(data_format)))
    assert visible(storage) == before
    storage.repack()
    assert_holds(storage, TRUTHS, *SPACES)


def test_other_writers_are_refused_meanwhile(data_format: str, tmp_path: Path) -> None:
    storage = new(tmp_path, data_format)
    other = MinariStorage.read(storage.data_path)

    def interfere() -> None:
        for change in (other.repack, lambda: other.update_metadata({"note": "b"})):
            with pytest.raises(DatasetBusyError):
                change()
        assert_holds(other, TRUTHS, *SPACES)

    with observe_progress(observer := Interference(interfere)):
        storage.repack()
    assert observer.acted
    other.update_episodes([as_buffer(TRUTHS[0])])
    assert_holds(storage, [*TRUTHS, TRUTHS[0]], *SPACES)
