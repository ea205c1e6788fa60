"""Zarr datasets in stores that fsspec knows; that in memory stands for all of them."""

from __future__ import annotations

import itertools
import pickle
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
from minari.testing._suite import ACTIONS, OBSERVATIONS
from minari.testing.comparison import assert_episode
from minari.testing.examples import Truth, as_buffer, as_continuation, draw_truth


pytest.importorskip("zarr", minversion="3", reason="zarr 3 is not installed; it needs Python 3.11")
fsspec = pytest.importorskip("fsspec")

TRUTHS = [draw_truth(OBSERVATIONS, ACTIONS, steps, steps, {"n": np.arange(steps + 1.0)}) for steps in (2, 3, 40, 5)]


@pytest.fixture
def address() -> Any:
    yield "memory://bucket/my/data-v0/data"
    fsspec.filesystem("memory").rm("/bucket", recursive=True)


def make(address: str, truths: list[Truth] = TRUTHS, **options: Any) -> Any:
    storage = MinariStorage.new(address, OBSERVATIONS, ACTIONS, data_format="zarr", **options)
    storage.update_episodes([as_buffer(truth, seed=n) for n, truth in enumerate(truths)])
    return storage


def assert_holds(storage: MinariStorage, truths: list[Truth]) -> None:
    for opened in (storage, MinariStorage.read(str(storage.data_path)), pickle.loads(pickle.dumps(storage))):
        assert opened.total_episodes == len(truths)
        assert opened.total_steps == sum(len(truth["rewards"]) for truth in truths)
        for episode, truth in zip(opened.get_episodes(range(len(truths))), truths, strict=True):
            assert_episode(episode, OBSERVATIONS, ACTIONS, truth)


@pytest.mark.parametrize("compression", [None, "zstd"])
def test_episodes_are_appended_and_read(address: str, compression: str | None) -> None:
    storage = make(address, compression=compression)
    assert str(storage.data_path) == address
    assert_holds(storage, TRUTHS)
    other = MinariStorage.read(address)
    storage.update_episodes(map(as_buffer, TRUTHS))
    assert_holds(other, TRUTHS * 2)
    storage.update_metadata({"note": "a"})
    assert other.metadata["note"] == "a"
    assert storage.get_size() > 0
    assert [metadata["seed"] for metadata in other.get_episode_metadata(range(4))] == [0, 1, 2, 3]
    with pytest.raises(DatasetExistsError):
        MinariStorage.new(address, OBSERVATIONS, ACTIONS, data_format="zarr")


def test_as_a_dataset(address: str) -> None:
    make(address).update_metadata({"minari_version": "0.5.4", "dataset_id": "my/data-v0"})
    dataset = minari.MinariDataset(address)
    assert dataset.id == "my/data-v0"
    assert [len(episode) for episode in dataset] == [2, 3, 40, 5]
    assert dataset.spec.data_path == address


def test_an_append_that_is_interrupted(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever file is the last one that gets through: nothing is seen, and the next one succeeds."""
    storage = make(address)
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
        if allowed in (11, 26):
            storage.update_episodes([as_buffer(TRUTHS[1])])
            expected.append(TRUTHS[1])
            assert_holds(storage, expected)
    assert allowed > 30
    assert_holds(storage, [*expected, *more])


def test_what_cannot_happen_all_at_once_is_refused(address: str) -> None:
    storage = make(address)
    _, buffer = as_continuation(TRUTHS[0], TRUTHS[1], 0, OBSERVATIONS, ACTIONS)
    for change in (
        lambda: storage.update_episodes([buffer]),
        lambda: storage.update_episode_metadata([{"a": 1}], [0]),
        lambda: storage.repack(),
        lambda: storage.write_in_parts([3], [], 1),
    ):
        with pytest.raises(MetadataError, match=f"{address} is a remote store"):
            change()
    assert_holds(storage, TRUTHS)


def test_two_writers(address: str) -> None:
    storage = make(address)
    other = MinariStorage.read(address)

    def episodes() -> Any:
        yield as_buffer(TRUTHS[0])
        other.update_episodes([as_buffer(TRUTHS[1])])

    with pytest.raises(DatasetBusyError, match="Another program has changed"):
        storage.update_episodes(episodes())
    assert_holds(storage, [*TRUTHS, TRUTHS[1]])


def test_damage_is_told(address: str) -> None:
    make(address)
    fsspec.filesystem("memory").rm("/bucket/my/data-v0/data/main_data.zarr/data/rewards/c.0")
    with pytest.raises(DatasetCorruptError, match=r"shard data/rewards/c\.0 of .* is missing"):
        list(MinariStorage.read(address).get_episodes([0]))


def test_what_is_no_place_for_a_dataset(tmp_path: Any) -> None:
    for data_format in ("hdf5", "arrow"):
        with pytest.raises(DataPathError, match=f"format '{data_format}' keeps a dataset in a directory"):
            MinariStorage.new("memory://bucket/other", OBSERVATIONS, ACTIONS, data_format=data_format)
    with pytest.raises(DataPathError, match="No data found in data path memory://bucket/nothing"):
        MinariStorage.read("memory://bucket/nothing")
    with pytest.raises(MinariError, match="no-such-protocol://a"):
        MinariStorage.read("no-such-protocol://a")
    directory = f"file://{tmp_path}/data"
    MinariStorage.new(directory, OBSERVATIONS, ACTIONS, data_format="hdf5")
    assert MinariStorage.read(tmp_path / "data").total_episodes == 0
