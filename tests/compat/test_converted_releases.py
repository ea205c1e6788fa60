"""Datasets of official releases, converted to every format and repacked: every value, and all metadata."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import minari
from minari._storages.hdf5 import process as hdf5_process
from minari.dataset.minari_storage import MinariStorage
from support.copies import FORMATS, assert_copy, is_installed, require_format, stored_jpeg
from support.killing import killed
from support.official import OfficialDataset, official_datasets
from support.scripted import listing
from support.values import assert_identical


pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

FIELDS = ("observations", "actions", "rewards", "terminations", "truncations", "infos")
#: Frames that are JPEG in these, and not what was recorded.
LOSSY = {("0.5.3", "toy/frames-v0"), ("0.5.4", "toy/frames-v0"), ("0.5.3", "toy/dict-v0")}
REAL = "D4RL/door/human-v2"

CopyFixture = Callable[[str, str], Path]

ABSENT = pytest.param(None, id="absent", marks=pytest.mark.skip(reason="no recorded datasets: set MINARI_FIXTURES"))
DATASETS = official_datasets()
every_dataset = pytest.mark.parametrize("official", DATASETS or [ABSENT], ids=str)


@pytest.fixture
def dataset(official: OfficialDataset, copy_fixture: CopyFixture) -> minari.MinariDataset:
    if not is_installed(official.data_format):
        pytest.skip(f"the format {official.data_format!r} cannot be used here")
    copy_fixture(official.release, official.dataset_id)
    return minari.load_dataset(official.dataset_id)


def assert_true(dataset: minari.MinariDataset, official: OfficialDataset) -> None:
    """The dataset holds what the environment returned when it was recorded, where frames lost nothing since."""
    truth = official.truth()
    assert len(dataset) == len(truth)
    for episode, expected in zip(dataset, truth, strict=True):
        for field in FIELDS:
            if (official.release, official.dataset_id) not in LOSSY or field != "observations":
                assert_identical(getattr(episode, field), expected[field], (field,))


@every_dataset
def test_converted(official: OfficialDataset, dataset: minari.MinariDataset) -> None:
    """To one of the formats; which one goes by turns, so that each of them has its share of each release."""
    targets = [name for name in FORMATS if is_installed(name)]
    assert_converted(official, dataset, targets[DATASETS.index(official) % len(targets)])


@pytest.mark.slow
@pytest.mark.parametrize("target", FORMATS)
@every_dataset
def test_converted_to_every_format(official: OfficialDataset, dataset: minari.MinariDataset, target: str) -> None:
    require_format(target)
    assert_converted(official, dataset, target)


def assert_converted(official: OfficialDataset, dataset: minari.MinariDataset, target: str) -> None:
    copy = dataset.convert("copies/copy-v0", target)
    opened = minari.load_dataset(copy.id)
    assert target == opened.storage.FORMAT
    assert_true(opened, official)
    assert_copy(opened.storage, dataset.storage)
    assert opened.minari_version == ("0.6" if opened.storage.has_byte_frames else "0.5.4")
    assert opened.storage.jpeg_encoding == dataset.storage.jpeg_encoding


def assert_read_without_h5py(data_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All episodes can be read with their metadata, without h5py."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("h5py was asked for")

    with monkeypatch.context() as context:
        for name in ("count", "root_attributes", "leaves", "leaf_types", "columns", "metadata"):
            context.setattr(hdf5_process, name, refuse)
        storage = MinariStorage.read(data_path)
        numbers = range(storage.total_episodes)
        assert [episode["id"] for episode in storage.get_episodes(numbers)] == list(numbers)
        assert [metadata["id"] for metadata in storage.get_episode_metadata(numbers)] == list(numbers)


@every_dataset
def test_repacked(
    official: OfficialDataset, dataset: minari.MinariDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = dataset.storage
    original = MinariStorage.read(shutil.copytree(storage.data_path, tmp_path / "original"))
    storage.repack()
    for opened in (storage, MinariStorage.read(storage.data_path)):
        assert_copy(opened, original)
        assert opened.metadata["minari_version"] == "0.5.4"
    assert_true(minari.load_dataset(dataset.id), official)
    if original.jpeg_encoding and original.image_leaves:
        assert stored_jpeg(storage) == stored_jpeg(original)
    if official.data_format == "hdf5" and not storage.jpeg_encoding and not official.name.startswith("toy-text"):
        assert_read_without_h5py(storage.data_path, monkeypatch)
    storage.update_from_storage(original, [0])
    assert storage.total_episodes == original.total_episodes + 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the child processes are forks")
@pytest.mark.parametrize(
    ("release", "dataset_id"), [("0.3.1", "cartpole-random-v0"), ("0.4.0", "toy-frames-v0"), ("0.5.3", "toy/dict-v0")]
)
def test_killed_while_it_is_repacked(release: str, dataset_id: str, copy_fixture: CopyFixture, tmp_path: Path) -> None:
    """Whichever files are the old ones and which the new ones, they fit each other."""
    source = copy_fixture(release, dataset_id) / "data"
    original = MinariStorage.read(shutil.copytree(source, tmp_path / "original"))
    for at in range(1, 1000, 7):
        data_path = shutil.copytree(source, tmp_path / f"{at}")
        was_killed = killed(at, lambda: MinariStorage.read(data_path).repack())  # noqa: B023
        assert_copy(MinariStorage.read(data_path), original)
        MinariStorage.read(data_path).repack()
        assert_copy(MinariStorage.read(data_path), original)
        shutil.rmtree(data_path)
        if not was_killed:
            break
    assert at > 20, "there are more places than that where the disk changes"


@pytest.fixture
def original(fixtures_dir: Path, tmp_path: Path) -> MinariStorage:
    cache = fixtures_dir / "real" / "minari-door-human-v2" / "minari_cache"
    return MinariStorage.read(shutil.copytree(cache.joinpath(*REAL.split("/"), "data"), tmp_path / "original"))


def test_real_dataset_converted(real_root: Path, original: MinariStorage) -> None:
    dataset = minari.load_dataset(REAL)
    for target in filter(is_installed, FORMATS):
        copy = dataset.convert(f"copies/{target}-v0", target)
        assert_copy(copy.storage, original)
        assert (copy.total_episodes, copy.total_steps) == (25, 6729)
        assert copy.spec.env_spec == dataset.spec.env_spec


def test_real_dataset_repacked(real_root: Path, original: MinariStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = minari.load_dataset(REAL)
    view = dataset[0].observations
    before = view.copy()
    files = set(listing(dataset.storage.data_path))
    dataset.storage.repack()
    assert_copy(dataset.storage, original)
    assert (view == before).all()
    assert {name for name in listing(dataset.storage.data_path) if not name.startswith(".")} <= files
    assert_read_without_h5py(dataset.storage.data_path, monkeypatch)
