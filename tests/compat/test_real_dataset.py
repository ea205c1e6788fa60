"""The hosted dataset ``D4RL/door/human-v2`` as people download it: from listing it to combining its parts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import h5py
import numpy as np
import pytest

import minari
from minari import namespace
from minari.errors import EnvironmentSpecError
from support.values import assert_identical


ID = "D4RL/door/human-v2"
ARRAYS = ("observations", "actions", "rewards", "terminations", "truncations")
#: Episodes of the second part of `split_dataset(sizes=[20, 5], seed=123)`.
SECOND_PART = [5, 14, 22, 3, 13]
BEST = 18


@pytest.fixture(scope="module")
def original(fixtures_dir: Path) -> list[dict[str, Any]]:
    """Every episode as it lies in the original file, read with h5py alone: its arrays and its attributes."""
    cache = fixtures_dir / "real" / "minari-door-human-v2" / "minari_cache"
    with h5py.File(cache.joinpath(*ID.split("/"), "data", "main_data.hdf5")) as file:
        return [
            {name: group[name][()] for name in ARRAYS}
            | {"infos": {name: group["infos"][name][()] for name in group["infos"]}}
            | {"attributes": dict(group.attrs)}
            for group in (file[f"episode_{index}"] for index in range(len(file)))
        ]


@pytest.fixture
def dataset(real_root: Path) -> Any:
    return minari.load_dataset(ID)


def nested_options(attributes: dict[str, Any]) -> dict[str, Any]:
    """The reset options of an episode out of its flat attributes ``options/<key>/<key>``."""
    options: dict[str, Any] = {}
    for name, value in attributes.items():
        head, *path, last = name.split("/") if "/" in name else (name, "")
        if head == "options":
            inside = options
            for key in path:
                inside = inside.setdefault(key, {})
            inside[last] = value
    return options


def assert_same_episodes(dataset: Any, original: list[dict[str, Any]], indices: Sequence[int]) -> None:
    """Require that `dataset` holds exactly the original episodes `indices`, with all their metadata."""
    assert dataset.total_episodes == len(indices)
    assert dataset.total_steps == sum(len(original[index]["rewards"]) for index in indices)
    assert dataset.observation_space == gym.spaces.Box(-np.inf, np.inf, (39,), np.float64)
    assert dataset.action_space == gym.spaces.Box(-1.0, 1.0, (28,), np.float32)
    metadata = list(dataset.storage.get_episode_metadata(dataset.episode_indices))
    assert len(metadata) == len(indices)
    for index, episode, read in zip(indices, dataset, metadata, strict=True):
        expected = original[index]
        for name in (*ARRAYS, "infos"):
            assert_identical(getattr(episode, name), expected[name], (name,))
        assert_same_metadata(read, expected["attributes"])


def assert_same_metadata(read: dict[str, Any], attributes: dict[str, Any]) -> None:
    assert type(read["seed"]) is int
    assert read["seed"] == int(attributes["seed"])
    options = nested_options(attributes)
    assert set(options["initial_state_dict"]) == {"door_body_pos", "qpos", "qvel"}
    assert_identical(read["options"], options, ("options",))
    plain = {name for name in attributes if not name.startswith("options/")} - {"id"}
    assert plain == set(read) - {"id", "options"}
    for name in plain - {"seed"}:
        assert read[name] == attributes[name], name


def test_listed_with_its_metadata(real_root: Path) -> None:
    listed = minari.list_local_datasets()
    assert list(listed) == [ID]
    assert (listed[ID]["total_episodes"], listed[ID]["total_steps"]) == (25, 6729)
    assert list(minari.list_local_datasets(prefix="D4RL/door", compatible_minari_version=True)) == [ID]
    assert list(minari.list_local_datasets(prefix="D4RL/pen")) == []
    assert namespace.list_local_namespaces() == ["D4RL", "D4RL/door"]
    assert namespace.get_namespace_metadata("D4RL/door")["display_name"] == "Door"


def test_spaces_metadata_and_scores(dataset: Any) -> None:
    assert repr(dataset.observation_space) == "Box(-inf, inf, (39,), float64)"
    assert repr(dataset.action_space) == "Box(-1.0, 1.0, (28,), float32)"
    assert (
        dataset.storage.metadata.items()
        >= {
            "author": {"Rodrigo de Lazcano"},
            "requirements": ["gymnasium-robotics>=1.2.4"],
            "dataset_size": 3.5,
            "num_episodes_average_score": 100,
        }.items()
    )
    spec = dataset.spec
    assert (spec.namespace, spec.dataset_name, spec.version) == ("D4RL/door", "human", 2)
    assert spec.minari_version == dataset.minari_version == "0.4.3"
    assert (spec.total_episodes, spec.total_steps, spec.combined_datasets) == (25, 6729, [])
    assert spec.env_spec.id == "AdroitHandDoor-v1"
    # Some of the demonstrations are longer than the environment allows its own episodes to be.
    assert spec.env_spec.max_episode_steps == 200
    assert max(len(episode) for episode in dataset) == 300
    low, high = -45.80706024169922, 2940.578369140625
    scores = minari.get_normalized_score(dataset, np.array([low, high, (low + high) / 2]))
    assert np.allclose(scores, [0.0, 1.0, 0.5], rtol=1e-12)


def test_every_episode_is_read_as_it_lies_in_the_file(dataset: Any, original: list[dict[str, Any]]) -> None:
    first, second = iter(dataset), iter(minari.load_dataset(ID))  # read in turn
    for expected in original:
        for episode in (next(first), next(second)):
            assert_identical(episode.observations, expected["observations"], ("observations",))
    assert next(first, None) is next(second, None) is None
    assert_same_episodes(dataset, original, range(25))
    assert sum(type(metadata["attributes"]["seed"]) is np.uint64 for metadata in original) == 12
    assert any(metadata["attributes"]["seed"] > 2**63 for metadata in original)


def test_sampling_gives_the_known_episodes(dataset: Any) -> None:
    dataset.set_seed(123)
    assert [[int(episode.id) for episode in dataset.sample_episodes(5)] for _ in range(5)] == [
        [1, 13, 0, 22, 15],
        [3, 10, 23, 7, 18],
        [12, 6, 0, 18, 19],
        [9, 4, 15, 3, 17],
        [19, 4, 12, 17, 21],
    ]


def best(dataset: Any) -> Any:
    """The tutorial's filter: episodes whose mean reward is above two."""
    return dataset.filter_episodes(lambda episode: episode.rewards.mean() > 2)


def test_filtered_view_is_combined_and_saved(dataset: Any, original: list[dict[str, Any]]) -> None:
    view = best(dataset)
    chosen = [index for index, episode in enumerate(original) if episode["rewards"].mean() > 2]
    assert len(view) == view.total_episodes == len(chosen) == BEST
    assert list(view.episode_indices) == chosen
    minari.combine_datasets([view], "door/best-v0")
    assert view.save("door/best-v1").id == "door/best-v1"
    for name in ("door/best-v0", "door/best-v1"):
        loaded = minari.load_dataset(name)
        assert_same_episodes(loaded, original, chosen)
        assert loaded.env_spec == dataset.env_spec
        assert np.isinf(loaded.observation_space.low[0])
    for key in ("author", "author_email", "requirements", "ref_min_score", "ref_max_score", "code_permalink"):
        assert loaded.storage.metadata[key] == dataset.storage.metadata[key], key
    assert set(minari.list_local_datasets()) == {ID, "door/best-v0", "door/best-v1"}
    with pytest.raises(ValueError, match="door/best-v1"):
        view.save("door/best-v1")
    assert_same_episodes(dataset, original, range(25))


def test_parts_of_a_split_are_combined(dataset: Any, original: list[dict[str, Any]]) -> None:
    parts = minari.split_dataset(dataset, sizes=[20, 5], seed=123)
    order = [int(index) for part in parts for index in part.episode_indices]
    assert [len(part) for part in parts] == [20, 5]
    assert [episode.id for episode in parts[1]] == order[20:] == SECOND_PART
    assert sorted(order) == list(range(25))
    with pytest.raises(ValueError, match="25"):
        minari.split_dataset(dataset, sizes=[20, 6], seed=123)
    combined = minari.combine_datasets(parts, "door/again-v0")
    assert_same_episodes(combined, original, order)
    again = minari.load_dataset("door/again-v0")
    assert_same_episodes(again, original, order)
    assert [episode.id for episode in again] == list(range(25))
    assert set(again.combined_datasets) == {ID}
    assert again.storage.metadata["author"] == {"Rodrigo de Lazcano"}
    assert again.env_spec == dataset.env_spec


def test_environment_that_is_not_installed_is_named(dataset: Any) -> None:
    with (
        pytest.warns(UserWarning, match="gymnasium-robotics"),  # an unmet requirement
        pytest.raises(EnvironmentSpecError, match=r"gymnasium[-_]robotics") as caught,
    ):
        dataset.recover_environment()
    assert isinstance(caught.value, ValueError)
    assert "\n" not in str(caught.value)
    assert sum(len(episode) for episode in dataset) == 6729
