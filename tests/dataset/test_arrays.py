"""All values of a view as arrays: fields, dtypes that differ between episodes, and damage."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import minari
from minari import MinariDataset
from minari._storages.base import MinariStorage
from minari.data_collector import EpisodeBuffer
from minari.errors import ArgumentError, ArgumentTypeError, ChecksumError, DatasetCorruptError, EpisodeError
from minari.testing.comparison import assert_arrays
from support.copies import require_format


NESTED = gym.spaces.Dict({"x": gym.spaces.Box(-9, 9, (2,)), "pair": gym.spaces.Tuple([gym.spaces.Discrete(9)] * 2)})


def buffer_of(steps: int, seed: int = 0, dtype: Any = np.float32, **infos: Any) -> EpisodeBuffer:
    generator = np.random.default_rng(seed)
    return EpisodeBuffer(
        observations={
            "x": generator.standard_normal((steps + 1, 2)).astype(dtype),
            "pair": (generator.integers(9, size=steps + 1), generator.integers(9, size=steps + 1)),
        },
        actions=generator.integers(5, size=steps),
        rewards=generator.standard_normal(steps),
        terminations=np.arange(steps) == steps - 1,
        truncations=np.zeros(steps, bool),
        infos=infos,
    )


@pytest.fixture
def storage(tmp_path: Path) -> MinariStorage:
    storage = MinariStorage.new(tmp_path / "data", NESTED, gym.spaces.Discrete(5))
    storage.update_episodes(buffer_of(steps, steps) for steps in (3, 1, 7))
    return storage


def test_chosen_fields_are_nested_as_their_space(storage: MinariStorage) -> None:
    arrays = MinariDataset(storage)[1:].arrays(fields=["observations/pair/1", "rewards"])
    assert arrays.keys() == {"observations", "rewards", "episode_ids", "episode_starts"}
    first, second = arrays["observations"]["pair"]
    assert first is None
    assert second.shape == (10,)
    assert arrays["episode_ids"].tolist() == [1, 2]
    assert arrays["episode_starts"].tolist() == [0, 1, 8]


def test_what_is_wrong_is_named(storage: MinariStorage) -> None:
    dataset = MinariDataset(storage)
    with pytest.raises(ArgumentError, match=r"no field 'observation'.*'observations'"):
        dataset.arrays(fields=["observation"])
    with pytest.raises(ArgumentTypeError, match="fields is 'rewards', expected a list of names"):
        dataset.arrays(fields="rewards")
    with pytest.raises(EpisodeError, match="Episode 0 has no info 'speed'"):
        dataset.arrays(infos=["speed"])
    with pytest.raises(EpisodeError, match="has no episode, expected at least one to read"):
        dataset[:0].arrays()


def test_arrays_belong_to_the_caller(storage: MinariStorage) -> None:
    dataset = MinariDataset(storage)
    arrays = dataset.arrays()
    for name in ("rewards", "episode_ids", "episode_starts"):
        arrays[name][:] = 9
    assert_arrays(dataset)


def test_infos_are_lists_where_there_is_no_array(tmp_path: Path) -> None:
    storage = MinariStorage.new(tmp_path / "data", NESTED, gym.spaces.Discrete(5))
    storage.update_episodes(
        [buffer_of(2, n=np.arange(3), word=["a", "b", "c"]), buffer_of(1, n=np.arange(2), word=["d", "e"])]
    )
    infos = MinariDataset(storage).arrays(fields=[], infos=["n", "word"])["infos"]
    assert infos["n"].tolist() == [0, 1, 2, 0, 1]
    assert infos["word"] == ["a", "b", "c", "d", "e"]


def rewritten(storage: MinariStorage, index: int, dtype: Any, path: tuple[str, ...] = ("rewards",)) -> None:
    """Replace a column by values of another dtype, as another program may have written it."""
    import h5py

    with h5py.File(storage.data_path / "main_data.hdf5", "r+") as file:
        group, name = file[f"episode_{index}"], "/".join(path)
        values = group[name][()]
        del group[name]
        group.create_dataset(name, data=values.astype(dtype))


def test_dtypes_that_differ_between_episodes_have_a_common_one(storage: MinariStorage) -> None:
    before = MinariDataset(storage).arrays()
    for index, dtype in ((0, ">f8"), (1, np.float32), (2, np.float32)):
        rewritten(storage, index, dtype)
    arrays = MinariDataset(storage.data_path).arrays()
    assert arrays["rewards"].dtype == np.dtype(float)
    np.testing.assert_array_equal(arrays["rewards"][:3], before["rewards"][:3])
    np.testing.assert_array_equal(arrays["rewards"][3:], before["rewards"][3:].astype(np.float32))
    np.testing.assert_array_equal(arrays["observations"]["x"], before["observations"]["x"])


@pytest.mark.parametrize("data_format", ["hdf5", "arrow", "parquet", "zarr"])
def test_rewards_of_different_dtypes(tmp_path: Path, data_format: str) -> None:
    require_format(data_format)
    storage = MinariStorage.new(tmp_path / "data", NESTED, gym.spaces.Discrete(5), data_format=data_format)
    buffers = [buffer_of(2 + number) for number in range(40)]
    storage.update_episodes(
        replace(buffer, rewards=np.asarray(buffer.rewards, np.float32 if number % 3 else np.float64))
        for number, buffer in enumerate(buffers)
    )
    dataset = MinariDataset(storage)
    arrays = dataset.arrays(fields=["rewards"])
    assert arrays["rewards"].dtype == np.dtype(float)
    np.testing.assert_array_equal(arrays["rewards"], np.concatenate([episode.rewards for episode in dataset]))
    assert dataset[1:3].arrays()["rewards"].dtype == dataset[1].rewards.dtype


def test_bits_that_are_not_set_yet_are_not_converted(storage: MinariStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    def with_signals(shape: Any, dtype: Any) -> Any:  # NaNs, the conversion of which warns
        array = np.zeros(shape, dtype)
        if array.dtype == np.float32:
            array.view(np.uint32)[...] = 0x7F800001
        return array

    rewritten(storage, 0, "<f4")
    dataset = MinariDataset(MinariStorage.read(storage.data_path, verify_checksums=True))
    expected = np.concatenate([episode.rewards for episode in MinariDataset(storage.data_path)])
    monkeypatch.setattr(np, "empty", with_signals)
    with np.errstate(invalid="raise"):
        np.testing.assert_array_equal(dataset.arrays(fields=["rewards"])["rewards"], expected)


def test_whole_numbers_are_not_rounded(storage: MinariStorage) -> None:
    rewritten(storage, 1, np.int64)
    with pytest.raises(DatasetCorruptError, match="float64 would round them"):
        MinariDataset(storage.data_path).arrays()


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_damage_names_the_episode(tmp_path: Path, compression: str) -> None:
    storage = MinariStorage.new(tmp_path / "data", NESTED, gym.spaces.Discrete(5), compression=compression)
    storage.update_episodes(buffer_of(500, seed) for seed in range(3))
    dataset = MinariDataset(storage)
    file = storage.data_path / "main_data.hdf5"
    os.truncate(file, file.stat().st_size - 9000)
    with pytest.raises(DatasetCorruptError):
        dataset.arrays()


def test_checksums_are_verified_where_they_are_for_episodes(storage: MinariStorage) -> None:
    rewards = MinariDataset(storage)[2].rewards
    file = storage.data_path / "main_data.hdf5"
    status, content = file.stat(), bytearray(file.read_bytes())
    place = content.index(rewards.tobytes())
    content[place] ^= 1
    with file.open("r+b") as written:
        written.write(content)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    MinariDataset(storage.data_path).arrays()
    verified = MinariDataset(storage.data_path, verify_checksums=True)
    verified.arrays(fields=["observations"])
    verified[:2].arrays()
    with pytest.raises(ChecksumError, match=r"rewards.*of episode 2"):
        verified.arrays()


def test_many_short_and_few_long_episodes(tmp_path: Path) -> None:
    """As many pieces as need several calls of the system, and pieces with large gaps between them."""
    storage = MinariStorage.new(tmp_path / "data", gym.spaces.Box(-9, 9, (), float), gym.spaces.Discrete(5))
    lengths = [*[1, 2, 3] * 300, 50_000, 1, 2]
    storage.update_episodes(
        EpisodeBuffer(
            observations=np.arange(steps + 1.0) + number,
            actions=np.arange(steps) % 5,
            rewards=np.arange(float(steps)),
            terminations=np.arange(steps) == steps - 1,
            truncations=np.zeros(steps, bool),
        )
        for number, steps in enumerate(lengths)
    )
    for view in (MinariDataset(storage), MinariDataset(storage)[::-1], MinariDataset(storage)[[900, 0, 900]]):
        assert_arrays(view)


@pytest.mark.filterwarnings("ignore::minari.errors.MissingMetadataWarning")
def test_many_agents_are_refused() -> None:
    from minari.data_collector import MultiAgentEpisodeBuffer

    agents = {name: buffer_of(2) for name in ("a", "b")}
    dataset = minari.create_dataset_from_buffers(
        "arrays/agents-v0",
        [MultiAgentEpisodeBuffer(agents)],
        observation_space=dict.fromkeys(agents, NESTED),
        action_space=dict.fromkeys(agents, gym.spaces.Discrete(5)),
    )
    with pytest.raises(ArgumentError, match=r"has 2 agents, and arrays are those of one; use for_agent\('a'\).arrays"):
        dataset.arrays()
    assert_arrays(dataset.for_agent("b"))
