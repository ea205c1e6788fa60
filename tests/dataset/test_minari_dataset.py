"""MinariDataset: views of views, sampling, changing, saving, opening and recovering."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import minari
from minari import EpisodeData, MinariDataset
from minari._model.episode import same_values
from minari.dataset.minari_storage import MinariStorage
from minari.errors import (
    DataPathError,
    DatasetBusyError,
    DatasetVersionError,
    EpisodeError,
    EpisodeIndexError,
)
from support.scripted import PLANE, buffer_of, listing


pytestmark = pytest.mark.filterwarnings("ignore:`.*` is set to None")

LENGTHS = [3, 1, 4, 1, 5, 9, 2, 6]
ACTIONS = gym.spaces.Discrete(3)


def create(dataset_id: str = "test/views-v0", lengths: list[int] = LENGTHS, **more: Any) -> MinariDataset:
    """A dataset of episodes of these lengths; episode i has the seed i and observations from 10 i on."""
    episodes = [
        buffer_of(
            length, start=10 * number, seed=number, options={"number": number}, infos={"k": np.arange(length + 1)}
        )
        for number, length in enumerate(lengths)
    ]
    return minari.create_dataset_from_buffers(
        dataset_id, episodes, observation_space=PLANE, action_space=ACTIONS, **more
    )


@pytest.fixture
def dataset() -> MinariDataset:
    return create()


def ids(view: Any) -> list[int]:
    """The numbers of the episodes of a view, as reading them gives them."""
    return [episode.id for episode in view]


def assert_is_view(view: MinariDataset, numbers: list[int]) -> None:
    """Require that a view is consistent in all that it says, and holds the data of just these episodes."""
    assert isinstance(view, MinariDataset)
    assert view.episode_indices.tolist() == numbers
    assert view.total_episodes == len(view) == view.spec.total_episodes == len(numbers)
    assert view.total_steps == view.spec.total_steps == sum(LENGTHS[number] for number in numbers)
    assert ids(view) == ids(view.iterate_episodes()) == numbers
    for episode, number in zip(view, numbers, strict=True):
        assert episode.observations[0, 0] == 10 * number
        assert len(episode) == LENGTHS[number]


# Views


def test_the_whole_dataset(dataset: MinariDataset) -> None:
    assert_is_view(dataset, list(range(8)))
    assert dataset.id == "test/views-v0"
    assert repr(dataset) == "MinariDataset(id='test/views-v0', total_episodes=8, total_steps=31)"
    assert all(isinstance(episode, EpisodeData) for episode in dataset)


@pytest.mark.parametrize(
    ("key", "numbers"),
    [
        (slice(1, 3), [1, 2]),
        (slice(None, None, -1), [7, 6, 5, 4, 3, 2, 1, 0]),
        (slice(-2, None), [6, 7]),
        (slice(90, 99), []),
        ([0, 2], [0, 2]),
        ([2, 2, -1], [2, 2, 7]),
        ([], []),
        (np.array([5, 1]), [5, 1]),
        (np.array([5, 1], np.uint8), [5, 1]),
        (np.array([], int), []),
        ([True, False] * 4, [0, 2, 4, 6]),
        (np.array(LENGTHS) > 3, [2, 4, 5, 7]),
        (np.zeros(8, bool), []),
    ],
)
def test_slices_lists_and_masks_give_views(dataset: MinariDataset, key: Any, numbers: list[int]) -> None:
    assert_is_view(dataset[key], numbers)


def test_a_number_gives_an_episode(dataset: MinariDataset) -> None:
    for key in (3, -5, np.int64(3), np.int8(-5), np.uint64(3), np.array(3)):
        assert dataset[key].id == 3
    assert dataset[2:][1].id == 3


@pytest.mark.parametrize(
    "key",
    [8, -9, 2**70, "a", 1.0, None, (0, 1), [9], [0.5], ["a"], [True], np.zeros((2, 2), int), slice("a"), {}],
)
def test_what_is_no_index_is_refused(dataset: MinariDataset, key: Any) -> None:
    with pytest.raises(EpisodeIndexError, match="in a dataset of 8") as caught:
        dataset[key]
    assert isinstance(caught.value, IndexError)


def test_an_empty_view_is_a_view_of_nothing(dataset: MinariDataset) -> None:
    empty = dataset[:0]
    assert_is_view(empty, [])
    assert_is_view(empty[:3], [])
    assert_is_view(empty.filter_episodes(lambda episode: True), [])
    assert empty.sample_episodes(0) == []
    for use in (lambda: empty[0], lambda: empty.sample_episodes(1), lambda: empty.save("test/empty-v0")):
        with pytest.raises((EpisodeIndexError, EpisodeError)):
            use()


@pytest.mark.parametrize("data_format", ["hdf5", "arrow", "parquet", "zarr"])
def test_filtering_gives_whole_episodes(data_format: str) -> None:
    """The condition may access any fields at any time, and keep them."""
    dataset = create(data_format=data_format)
    expected = list(dataset)
    kept: list[EpisodeData] = []

    def by_rewards(episode: EpisodeData) -> bool:
        kept.append(episode)
        return len(episode.rewards) > 2

    assert_is_view(dataset.filter_episodes(by_rewards), [0, 2, 4, 5, 7])
    pickled = pickle.loads(pickle.dumps(kept[3]))
    assert type(pickled) is EpisodeData
    assert pickled == copy.deepcopy(kept[3]) == expected[3]
    assert dataclasses.replace(kept[1], id=7).observations[0, 0] == expected[1].observations[0, 0]
    assert kept == expected
    assert repr(kept[0]) == repr(expected[0])
    with pytest.raises(AttributeError, match="observation"):
        _ = kept[0].observation  # type: ignore[attr-defined]
    later = dataset.filter_episodes(lambda episode: episode.id < 3 or bool(episode.observations[0, 0] > 45))
    assert_is_view(later, [0, 1, 2, 5, 6, 7])
    for name in ("observations", "actions", "infos"):
        seen: list[EpisodeData] = []
        dataset.filter_episodes(lambda episode, name=name, seen=seen: bool(seen.append(getattr(episode, name))))
        assert all(same_values(a, getattr(b, name)) for a, b in zip(seen, expected, strict=True))


def test_what_a_condition_changes_stays_changed(dataset: MinariDataset) -> None:
    kept: list[EpisodeData] = []

    def condition(episode: EpisodeData) -> bool:
        episode.rewards[:] = 50.0
        kept.append(episode)
        return episode.observations is not None

    assert len(dataset.filter_episodes(condition)) == 8
    assert all((episode.rewards == 50.0).all() for episode in kept)
    assert not any((episode.rewards == 50.0).any() for episode in dataset)


def test_an_episode_that_changes_while_it_is_filtered_is_told(dataset: MinariDataset) -> None:
    kept: list[EpisodeData] = []
    dataset.filter_episodes(lambda episode: bool(kept.append(episode)) or not len(episode.rewards))
    whole = dataset[2]
    further = dataclasses.replace(buffer_of(1), id=2, observations=np.zeros((1, 2), np.float32), infos={"k": [7]})
    minari.load_dataset(dataset.id).storage.update_episodes([further])
    with pytest.raises(DatasetBusyError, match="changed from 4 to 5 steps"):
        _ = kept[2].observations
    for episode in (kept[2], whole):
        with pytest.raises(DatasetBusyError, match="has 5 steps now and had 4"):
            _ = episode.metadata


def test_indices_can_be_set(dataset: MinariDataset) -> None:
    assert dataset.total_steps == 31
    for indices in ([4, 0, 4], np.array([4, 0, 4], np.int32), (4, 0, 4)):
        dataset.episode_indices = indices
        assert_is_view(dataset, [4, 0, 4])
    dataset.episode_indices = []
    assert_is_view(dataset, [])
    assert_is_view(MinariDataset(dataset.storage, [1]), [1])
    assert_is_view(MinariDataset(dataset.storage.data_path, episode_indices=np.array([1, 7])), [1, 7])


@pytest.mark.parametrize("indices", [[8], [-1], [0.5], "1", [[0, 1]], 3, ["a"], [None]])
def test_indices_that_are_none_are_refused(dataset: MinariDataset, indices: Any) -> None:
    with pytest.raises(EpisodeIndexError, match="The episode indices"):
        dataset.episode_indices = indices
    with pytest.raises(EpisodeIndexError):
        MinariDataset(dataset.storage, indices)
    assert_is_view(dataset, list(range(8)))


def test_iterating_over_numbers_of_the_whole_dataset(dataset: MinariDataset) -> None:
    view = dataset[4:]
    assert ids(view.iterate_episodes([0, 7, 0])) == [0, 7, 0]
    assert ids(view.iterate_episodes(number for number in (3, 1))) == [3, 1]
    assert ids(view.iterate_episodes(np.array([2]))) == [2]
    with pytest.raises(EpisodeIndexError, match="no episode 8"):
        list(view.iterate_episodes([0, 8]))


# Sampling


@pytest.mark.parametrize("seed", [0, 1, 123])
def test_sampling_is_numpys_choice_for_each_view(dataset: MinariDataset, seed: int) -> None:
    view, other = dataset[1:], minari.load_dataset(dataset.id)[1:]
    for one in (view, other):
        one.set_seed(seed)
    generator = np.random.default_rng(seed)
    for size in (3, 7, 1, 3):
        expected = generator.choice(np.arange(1, 8), size=size, replace=False).tolist()
        assert ids(view.sample_episodes(size)) == ids(other.sample_episodes(size)) == expected
        assert len(set(expected)) == size
    unseeded = {tuple(ids(minari.load_dataset(dataset.id).sample_episodes(8))) for _ in range(4)}
    assert len(unseeded) > 1  # all equal with a probability of 1 in 6e13


@pytest.mark.parametrize("size", [9, 100, -1])
def test_more_episodes_than_there_are_cannot_be_drawn(dataset: MinariDataset, size: int) -> None:
    with pytest.raises(EpisodeError, match=f"^{size} episodes were asked for and the dataset has 8"):
        dataset.sample_episodes(size)


def test_the_spec_is_a_dict_for_json(dataset: MinariDataset) -> None:
    spec = dataclasses.asdict(dataset.spec)
    for key in ("observation_space", "action_space", "env_spec"):
        del spec[key]
    assert json.loads(json.dumps(spec)) == {
        "total_episodes": 8, "total_steps": 31, "dataset_id": "test/views-v0", "combined_datasets": [],
        "data_path": str(dataset.storage.data_path), "minari_version": "0.5.4",
        "namespace": "test", "dataset_name": "views", "version": 0,
    }  # fmt: skip


def test_statistics_are_those_of_the_view(dataset: MinariDataset) -> None:
    statistics = dataset[[4, 0]].statistics()
    assert statistics.lengths.tolist() == [5, 3]
    assert statistics.returns.tolist() == [10.0, 3.0]


# Changing


@pytest.mark.parametrize(
    "buffers",
    [
        lambda: [buffer_of(2), buffer_of(2, rewards=[1.0])],
        lambda: [buffer_of(2, actions=np.zeros((2, 3)))],
        lambda: [buffer_of(2, id=99)],
        lambda: [buffer_of(2), "episode"],
        lambda: buffer_of(2),
        lambda: None,
    ],
)
def test_episodes_that_are_refused_change_nothing(dataset: MinariDataset, buffers: Callable[[], Any]) -> None:
    before = listing(dataset.storage.data_path)
    with pytest.raises(EpisodeError) as caught:
        dataset.update_dataset_from_buffer(buffers())
    assert isinstance(caught.value, ValueError)
    assert listing(dataset.storage.data_path) == before
    assert_is_view(dataset, list(range(8)))


# Saving a view


# Opening


def test_a_directory_that_is_in_no_catalog_is_opened(dataset: MinariDataset, tmp_path: Path) -> None:
    moved = tmp_path / "some where" / "else"
    moved.parent.mkdir()
    dataset.storage.data_path.parent.rename(moved)
    for path in (moved, moved / "data", str(moved), f"{moved}/"):
        opened = minari.open_dataset(path)
        assert_is_view(opened, list(range(8)))
        assert opened.id == "test/views-v0"
    assert_is_view(MinariDataset(str(moved / "data")), list(range(8)))
    # Without an id it is called as the directory is.
    MinariStorage.new(tmp_path / "loose" / "data", PLANE, ACTIONS).update_episodes([buffer_of(2)])
    opened = minari.open_dataset(tmp_path / "loose")
    assert (opened.id, len(opened)) == ("loose", 1)


def test_what_is_no_dataset_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, text in ((tmp_path / "no", "doesn't exist"), (tmp_path, "No data found"), (tmp_path / "file", "a file")):
        with pytest.raises(DataPathError, match=text) as caught:
            minari.open_dataset(path)
        assert isinstance(caught.value, ValueError)


def test_a_format_of_the_future_is_refused(dataset: MinariDataset) -> None:
    file = dataset.storage.data_path / "metadata.json"
    file.write_text(file.read_text().replace('"0.5.4"', '"1.7.0"'))
    with pytest.raises(DatasetVersionError, match=r"1\.7\.0"):
        minari.load_dataset(dataset.id)
