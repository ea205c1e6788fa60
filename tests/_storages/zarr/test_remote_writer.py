"""Zarr datasets in stores that fsspec knows; that in memory stands for all of them."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minari
from minari.dataset.minari_storage import MinariStorage
from minari.errors import (
    DataPathError,
    DatasetBusyError,
    DatasetCorruptError,
    DatasetExistsError,
    MetadataError,
    MinariError,
)
from minari.testing.examples import Truth, as_buffer, as_continuation, draw_truth
from minari.testing.storage_suites.suite import ACTIONS, OBSERVATIONS
from support.stored import TRUTHS
from support.stored import assert_holds as holds


fsspec = pytest.importorskip("fsspec")
ADDRESS = "memory://bucket/my/data-v0/data"


def new(compression: str | None = None) -> Any:
    storage = MinariStorage.new(ADDRESS, OBSERVATIONS, ACTIONS, data_format="zarr", compression=compression)
    storage.update_episodes([as_buffer(truth, seed=number) for number, truth in enumerate(TRUTHS)])
    return storage


@pytest.fixture
def storage() -> Iterator[Any]:
    yield new()
    fsspec.filesystem("memory").rm("/bucket", recursive=True)


def assert_holds(storage: MinariStorage, truths: list[Truth]) -> None:
    for opened in (storage, MinariStorage.read(ADDRESS), pickle.loads(pickle.dumps(storage))):
        holds(opened, truths)


@pytest.mark.parametrize("compression", [None, "zstd"])
def test_episodes_are_appended_and_read(storage: Any, compression: str | None) -> None:
    if compression is not None:
        fsspec.filesystem("memory").rm("/bucket", recursive=True)
        storage = new(compression)
    assert str(storage.data_path) == ADDRESS
    assert_holds(storage, TRUTHS)
    other = MinariStorage.read(ADDRESS)
    storage.update_episodes(map(as_buffer, TRUTHS))
    assert_holds(other, TRUTHS * 2)
    storage.update_metadata({"note": "a"})
    assert other.metadata["note"] == "a"
    assert storage.get_size() > 0 or compression
    assert [metadata["seed"] for metadata in other.get_episode_metadata(range(4))] == [0, 1, 2, 3]
    with pytest.raises(DatasetExistsError):
        new()


def test_address_is_opened_as_a_dataset(storage: Any) -> None:
    storage.update_metadata({"minari_version": "0.5.4", "dataset_id": "my/data-v0"})
    dataset = minari.MinariDataset(ADDRESS)
    assert (dataset.id, dataset.spec.data_path) == ("my/data-v0", ADDRESS)
    assert [len(episode) for episode in dataset] == [2, 3, 40, 5]


def test_interrupted_append_is_not_seen_and_the_next_one_succeeds(
    storage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    filesystem = type(fsspec.filesystem("memory"))
    pipe = filesystem.pipe_file
    more = [draw_truth(OBSERVATIONS, ACTIONS, 7, 1, {"other": np.arange(8)}), TRUTHS[2]]
    expected, writes = list(TRUTHS), 0

    def interrupted(self: Any, path: str, value: bytes, **options: Any) -> Any:
        nonlocal writes
        writes -= 1
        if writes == 0:
            raise KeyboardInterrupt
        return pipe(self, path, value, **options)

    for allowed in itertools.count(1, 5):
        with monkeypatch.context() as patch:
            patch.setattr(filesystem, "pipe_file", interrupted)
            writes = allowed
            try:
                storage.update_episodes(map(as_buffer, more))
            except KeyboardInterrupt:
                pass
            else:
                break
        assert_holds(storage, expected)
        if allowed in (11, 21):
            storage.update_episodes([as_buffer(TRUTHS[1])])
            expected.append(TRUTHS[1])
            assert_holds(storage, expected)
    assert allowed > 25
    assert_holds(storage, [*expected, *more])


def test_changes_that_cannot_be_atomic_are_refused(storage: Any) -> None:
    _, buffer = as_continuation(TRUTHS[0], TRUTHS[1], 0, OBSERVATIONS, ACTIONS)
    for change in (
        lambda: storage.update_episodes([buffer]),
        lambda: storage.update_episode_metadata([{"a": 1}], [0]),
        lambda: storage.repack(),
        lambda: storage.write_in_parts([3], [], 1),
    ):
        with pytest.raises(MetadataError, match=f"{ADDRESS} is a remote store"):
            change()
    assert_holds(storage, TRUTHS)


def test_slower_of_two_writers_is_refused(storage: Any) -> None:
    def episodes() -> Any:
        yield as_buffer(TRUTHS[0])
        MinariStorage.read(ADDRESS).update_episodes([as_buffer(TRUTHS[1])])

    with pytest.raises(DatasetBusyError, match="Another program has changed"):
        storage.update_episodes(episodes())
    assert_holds(storage, [*TRUTHS, TRUTHS[1]])


def test_missing_shard_is_reported(storage: Any) -> None:
    fsspec.filesystem("memory").rm("/bucket/my/data-v0/data/main_data.zarr/data/rewards/c.0")
    with pytest.raises(DatasetCorruptError, match=r"shard data/rewards/c\.0 of .* is missing"):
        list(MinariStorage.read(ADDRESS).get_episodes([0]))


def test_addresses_without_a_dataset_are_refused(tmp_path: Path) -> None:
    for data_format in ("hdf5", "arrow"):
        with pytest.raises(DataPathError, match=f"format '{data_format}' keeps a dataset in a directory"):
            MinariStorage.new("memory://bucket/other", OBSERVATIONS, ACTIONS, data_format=data_format)
    with pytest.raises(DataPathError, match="No data found in data path memory://bucket/nothing"):
        MinariStorage.read("memory://bucket/nothing")
    with pytest.raises(MinariError, match="no-such-protocol://a"):
        MinariStorage.read("no-such-protocol://a")
    MinariStorage.new(f"file://{tmp_path}/data", OBSERVATIONS, ACTIONS, data_format="hdf5")
    assert MinariStorage.read(tmp_path / "data").total_episodes == 0
