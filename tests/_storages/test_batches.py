"""Episodes written in batches are those written one by one, in every format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import h5py
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st

from minari import create_dataset_from_buffers
from minari._model.episode_buffer import BufferBatch
from minari._model.episode_codec import EpisodeCodec
from minari._storages.write_session import append_encoded
from minari.data_collector import EpisodeBuffer
from minari.data_collector.callbacks import EpisodeMetadataCallback
from minari.data_collector.callbacks.episode_metadata import statistics_of_batch
from minari.dataset.minari_storage import MinariStorage
from minari.errors import CombineError, EpisodeError
from minari.spaces import EpisodeBatch
from minari.testing.comparison import assert_same


FORMATS = ["hdf5", "arrow", "parquet", "zarr"]
OBSERVATIONS: dict[str, gym.Space[Any]] = {
    "vector": spaces.Box(-np.inf, np.inf, (3,), np.float32),
    "byte": spaces.Box(0, 255, (), np.uint8),
    "frame": spaces.Box(0, 255, (36, 33, 3), np.uint8),
    "nested": spaces.Dict(
        {"a": spaces.MultiBinary(3), "b": spaces.Tuple((spaces.Discrete(4), spaces.Box(-1, 1, (2, 2))))}
    ),
}
ACTIONS = spaces.Discrete(3)


def batch_of(space: gym.Space[Any], lengths: list[int], seed: int = 0, rewards: type = np.float64) -> BufferBatch:
    """Random episodes of these lengths."""
    space.seed(seed)
    rng, total = np.random.default_rng(seed), sum(lengths)
    values = [space.sample() for _ in range(total + len(lengths))]

    def column(parts: list[Any]) -> Any:
        if isinstance(parts[0], dict):
            return {key: column([part[key] for part in parts]) for key in parts[0]}
        if isinstance(parts[0], tuple):
            return tuple(column(list(group)) for group in zip(*parts, strict=True))
        return np.stack(parts)

    return BufferBatch(
        np.array(lengths, np.int64),
        column(values),
        rng.integers(0, 3, total),
        rng.normal(size=total).astype(rewards),
        rng.random(total) < 0.3,
        np.zeros(total, bool),
        {"env_index": np.arange(len(lengths)), "seed": rng.integers(0, 2**32, len(lengths))},
    )


def encoded(codec: EpisodeCodec, batch: BufferBatch) -> EpisodeBatch:
    columns = codec.encode_batch(batch)
    assert columns is not None
    statistics = statistics_of_batch(columns["rewards",], batch.total_steps)
    assert statistics is not None
    return EpisodeBatch(batch.total_steps, columns, {**batch.metadata, **statistics})


def assert_equal(ours: MinariStorage, theirs: MinariStorage) -> None:
    assert ours.total_episodes == theirs.total_episodes
    assert ours.total_steps == theirs.total_steps
    every = range(ours.total_episodes)
    for one, other in zip(ours.get_episodes(every), theirs.get_episodes(every), strict=True):
        assert_same(one, other)
    for found, expected in zip(ours.get_episode_metadata(every), theirs.get_episode_metadata(every), strict=True):
        assert_same(found, expected)
        assert {name: type(value) for name, value in found.items()} == {
            name: type(value) for name, value in expected.items()
        }


#: Each kind of values in each format, every other time compressed.
STORED = [(case, name, (i + j) % 2 == 1) for i, case in enumerate(OBSERVATIONS) for j, name in enumerate(FORMATS)]


@pytest.mark.parametrize(("case", "data_format", "is_compressed"), STORED)
def test_a_batch_is_stored_as_its_episodes(case: str, data_format: str, is_compressed: bool, tmp_path: Path) -> None:
    compression = ("zstd" if data_format == "arrow" else "gzip") if is_compressed else None
    space = OBSERVATIONS[case]
    ours, theirs = (
        MinariStorage.new(tmp_path / name, space, ACTIONS, data_format=data_format, compression=compression)
        for name in ("batches", "single")
    )
    for seed, lengths in enumerate([[3, 1, 7], [1] * 40, [5, 2] * 12]):
        batch = batch_of(space, lengths, seed)
        append_encoded(ours, [encoded(ours.episode_codec, batch)])
        theirs.update_episodes(list(batch.buffers()), describe=EpisodeMetadataCallback())
    read = MinariStorage.read(tmp_path / "batches", verify_checksums=True)
    assert_equal(read, theirs)
    copy = MinariStorage.new(tmp_path / "copy", space, ACTIONS, data_format=data_format)
    copy.update_from_storage(read)
    assert_equal(copy, theirs)


@given(
    groups=st.lists(st.tuples(st.booleans(), st.lists(st.integers(1, 6), min_size=1, max_size=40)), max_size=5),
    rewards=st.sampled_from([np.float64, np.float32]),
)
def test_batches_among_single_episodes(groups: Any, rewards: type, tmp_path_factory: pytest.TempPathFactory) -> None:
    path, space = tmp_path_factory.mktemp("among"), OBSERVATIONS["vector"]
    ours, theirs = (MinariStorage.new(path / name, space, ACTIONS) for name in ("ours", "theirs"))
    parts: list[Any] = []
    for seed, (is_batch, lengths) in enumerate(groups):
        batch = batch_of(space, lengths, seed, rewards)
        whole = encoded(ours.episode_codec, batch)
        parts += [whole] if is_batch else list(whole)
        theirs.update_episodes(list(batch.buffers()), describe=EpisodeMetadataCallback())
    append_encoded(ours, parts)
    assert_equal(MinariStorage.read(path / "ours", verify_checksums=True), theirs)
    if parts:
        with h5py.File(path / "ours" / "main_data.hdf5") as file:
            for number, episode in enumerate(theirs.get_episodes(range(theirs.total_episodes))):
                group = file[f"episode_{number}"]
                assert_same(group["observations"][:], episode["observations"])
                assert_same(group["rewards"][:], episode["rewards"])
                assert group.attrs["total_steps"] == len(episode["rewards"])


def test_joined_batches_are_their_episodes_in_order() -> None:
    codec = EpisodeCodec(OBSERVATIONS["nested"], ACTIONS)
    parts = [encoded(codec, batch_of(OBSERVATIONS["nested"], lengths, 3)) for lengths in ([2, 4], [1], [3, 3, 3])]
    together = EpisodeBatch.joined(parts)
    singles = [episode for part in parts for episode in part]
    assert len(together) == len(singles) == 6
    for found, expected in zip(together, singles, strict=True):
        assert (found.total_steps, found.metadata) == (expected.total_steps, expected.metadata)
        assert_same(dict(found.columns), dict(expected.columns))


@pytest.mark.parametrize("change", [{"rewards": "text"}, {"observations": np.zeros((3, 9))}, {"actions": np.zeros(1)}])
def test_unusual_episodes_are_left_to_be_encoded_one_by_one(change: dict[str, Any]) -> None:
    batch = batch_of(OBSERVATIONS["vector"], [1, 2])
    values = {name: getattr(batch, name) for name in BufferBatch.__slots__} | change
    assert EpisodeCodec(OBSERVATIONS["vector"], ACTIONS).encode_batch(BufferBatch(**values)) is None


def test_rewards_of_another_shape_are_refused(tmp_path: Path) -> None:
    storage = MinariStorage.new(tmp_path, OBSERVATIONS["vector"], ACTIONS)
    batch = encoded(storage.episode_codec, batch_of(OBSERVATIONS["vector"], [2, 3]))
    append_encoded(storage, [batch])
    pairs = np.zeros((5, 2))
    other = EpisodeBatch(batch.total_steps, {**batch.columns, ("rewards",): pairs}, batch.metadata)
    with pytest.raises((EpisodeError, CombineError), match="The rewards have the shape"):
        append_encoded(storage, [other])
    assert storage.total_episodes == 2


@given(
    lengths=st.lists(st.integers(1, 300), min_size=1, max_size=30),
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from([np.float64, np.float32]),
    special=st.sampled_from([None, 0.0, -0.0, np.inf, -np.inf]),
)
def test_statistics_are_those_of_the_callback_bit_for_bit(
    lengths: list[int], seed: int, kind: type, special: float | None
) -> None:
    rng = np.random.default_rng(seed)
    rewards = (rng.normal(size=sum(lengths)) * 10.0 ** rng.integers(-3, 5)).astype(kind)
    if special is not None:
        rewards[rng.random(len(rewards)) < 0.5] = special
    with np.errstate(invalid="ignore"):
        found = statistics_of_batch(rewards, np.array(lengths))
        assert found is not None
        start = 0
        for number, length in enumerate(lengths):
            expected = EpisodeMetadataCallback()({"rewards": rewards[start : start + length]})
            start += length
            for name, value in expected.items():
                assert_same(found[name][number], np.asarray(value)[()], name)
                assert np.signbit(found[name][number]) == np.signbit(value) or np.isnan(value)


def buffers_of(space: gym.Space[Any], lengths: list[int], seed: int = 0) -> list[EpisodeBuffer]:
    """Random episodes that can be joined."""
    batch = batch_of(space, lengths, seed)
    return [replace(buffer, metadata=None) for buffer in batch.buffers()]


#: Changes that keep an episode from being joined with others, or give it another kind.
UNUSUAL: list[Callable[[EpisodeBuffer], EpisodeBuffer]] = [
    lambda buffer: replace(buffer, infos={"k": np.arange(len(buffer) + 1)}),
    lambda buffer: replace(buffer, seed=2**64 + 1),
    lambda buffer: replace(buffer, seed=3),
    lambda buffer: replace(buffer, options={"x": 1}),
    lambda buffer: replace(buffer, metadata={"task": "pick"}),
    lambda buffer: replace(buffer, rewards=buffer.rewards.astype(np.float32)),
    lambda buffer: replace(buffer, rewards=buffer.rewards.astype(">f8")),
    lambda buffer: replace(buffer, rewards=buffer.rewards.tolist()),
    lambda buffer: replace(buffer, rewards=buffer.rewards[:, None]),
    lambda buffer: replace(buffer, terminations=buffer.terminations.astype(np.int8)),
    lambda buffer: replace(buffer, actions=buffer.actions.astype(np.float64)),
    lambda buffer: replace(buffer, actions=list(map(int, buffer.actions))),
]


@pytest.mark.parametrize("data_format", FORMATS)
def test_a_list_of_episodes_is_stored_as_they_come_one_by_one(data_format: str, tmp_path: Path) -> None:
    space = OBSERVATIONS["nested"]
    buffers = buffers_of(space, [3] * 20 + [1, 2] * 20)
    for number, change in enumerate(UNUSUAL):
        buffers.insert(5 * number, change(buffers[0]))
    seeded = [replace(buffer, seed=number) for number, buffer in enumerate(buffers_of(space, [2] * 20, 1))]
    first = buffers[-1].observations
    further = {"a": first["a"][1:], "b": tuple(part[1:] for part in first["b"])}
    buffers += [*seeded, replace(buffers[-1], id=1, observations=further)]  # the last one continues another
    together, single = (
        MinariStorage.new(tmp_path / name, space, ACTIONS, data_format=data_format) for name in ("together", "single")
    )
    for storage, episodes in ((together, buffers[:-1]), (single, iter(buffers[:-1]))):
        storage.update_episodes(episodes)
        storage.update_episodes([buffers[-1]])
    assert_equal(MinariStorage.read(tmp_path / "together", verify_checksums=True), single)


def test_an_episode_among_others_that_cannot_be_stored_is_named(tmp_path: Path) -> None:
    space = OBSERVATIONS["vector"]
    storage = MinariStorage.new(tmp_path, space, ACTIONS)
    buffers = buffers_of(space, [2] * 40)
    for wrong in (np.zeros(2) + 0.5, np.array(["a", "b"]), np.zeros((2, 3), int)):
        buffers[30] = replace(buffers[30], actions=wrong)
        with pytest.raises(EpisodeError, match="Episode 30 cannot be stored"):
            storage.update_episodes(buffers)
    buffers[:] = [replace(buffer, actions=np.full(2, 0.5)) for buffer in buffers]  # a batch, which is refused
    with pytest.raises(EpisodeError, match="Episode 0 cannot be stored"):
        storage.update_episodes(buffers)
    assert storage.total_episodes == 0


def test_values_outside_are_counted_in_batches_as_in_episodes(tmp_path: Path) -> None:
    space = OBSERVATIONS["nested"]
    warnings = []
    for name, convert in (("list", list), ("iterator", iter)):
        buffers = buffers_of(space, [2] * 40)
        buffers[20] = replace(buffers[20], actions=np.array([1, 7]))
        buffers[35] = replace(buffers[35], actions=np.array([-1, 9]))
        with pytest.warns(UserWarning, match="in episode 20 first at step 1; 3 steps are outside") as caught:
            create_dataset_from_buffers(
                f"outside/{name}-v0", convert(buffers), observation_space=space, action_space=ACTIONS, root=tmp_path
            )
        warnings.append(sorted(str(warning.message) for warning in caught))
    assert warnings[0] == warnings[1]
