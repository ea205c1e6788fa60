"""The hosted dataset ``D4RL/door/human-v2`` as people download it: from listing it to combining its parts."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import h5py
import numpy as np
import pytest

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
    import minari

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


def test_it_is_listed_with_its_metadata(real_root: Path) -> None:
    import minari
    from minari import namespace

    listed = minari.list_local_datasets()
    assert list(listed) == [ID]
    assert (listed[ID]["total_episodes"], listed[ID]["total_steps"]) == (25, 6729)
    assert list(minari.list_local_datasets(prefix="D4RL/door")) == [ID]
    assert list(minari.list_local_datasets(prefix="D4RL/pen")) == []
    assert list(minari.list_local_datasets(compatible_minari_version=True)) == [ID]
    assert namespace.list_local_namespaces() == ["D4RL", "D4RL/door"]
    assert namespace.get_namespace_metadata("D4RL/door")["display_name"] == "Door"


def test_spaces_and_metadata(dataset: Any) -> None:
    assert repr(dataset.observation_space) == "Box(-inf, inf, (39,), float64)"
    assert repr(dataset.action_space) == "Box(-1.0, 1.0, (28,), float32)"
    metadata = dataset.storage.metadata
    assert metadata["author"] == {"Rodrigo de Lazcano"}
    assert metadata["requirements"] == ["gymnasium-robotics>=1.2.4"]
    assert metadata["dataset_size"] == 3.5
    assert metadata["num_episodes_average_score"] == 100
    spec = dataset.spec
    assert (spec.namespace, spec.dataset_name, spec.version) == ("D4RL/door", "human", 2)
    assert spec.minari_version == dataset.minari_version == "0.4.3"
    assert (spec.total_episodes, spec.total_steps, spec.combined_datasets) == (25, 6729, [])
    assert spec.env_spec.id == "AdroitHandDoor-v1"
    # Some of the demonstrations are longer than the environment allows its own episodes to be.
    assert spec.env_spec.max_episode_steps == 200
    assert max(len(episode) for episode in dataset) == 300


def test_normalized_scores(dataset: Any) -> None:
    import minari

    low, high = -45.80706024169922, 2940.578369140625
    scores = minari.get_normalized_score(dataset, np.array([low, high, (low + high) / 2]))
    assert np.allclose(scores, [0.0, 1.0, 0.5], rtol=1e-12)


def test_every_episode_is_read_as_it_lies_in_the_file(dataset: Any, original: list[dict[str, Any]]) -> None:
    assert_same_episodes(dataset, original, range(25))
    assert sum(type(metadata["attributes"]["seed"]) is np.uint64 for metadata in original) == 12
    assert any(metadata["attributes"]["seed"] > 2**63 for metadata in original)


def test_loading_and_iterating_twice(dataset: Any, original: list[dict[str, Any]]) -> None:
    import minari

    again = minari.load_dataset(ID)
    first, second = iter(dataset), iter(again)
    for expected in original:
        for episode in (next(first), next(second)):
            assert_identical(episode.observations, expected["observations"], ("observations",))
    assert next(first, None) is next(second, None) is None
    assert_same_episodes(dataset, original, range(25))


def test_sampling_gives_the_known_episodes(dataset: Any) -> None:
    dataset.set_seed(123)
    drawn = [[int(episode.id) for episode in dataset.sample_episodes(5)] for _ in range(5)]
    assert drawn == [
        [1, 13, 0, 22, 15],
        [3, 10, 23, 7, 18],
        [12, 6, 0, 18, 19],
        [9, 4, 15, 3, 17],
        [19, 4, 12, 17, 21],
    ]


def best(dataset: Any) -> Any:
    """The tutorial's filter: episodes whose mean reward is above two."""
    return dataset.filter_episodes(lambda episode: episode.rewards.mean() > 2)


def test_filtering(dataset: Any, original: list[dict[str, Any]]) -> None:
    view = best(dataset)
    chosen = [index for index, episode in enumerate(original) if episode["rewards"].mean() > 2]
    assert len(view) == view.total_episodes == len(chosen) == BEST
    assert list(view.episode_indices) == chosen
    assert view.total_steps == sum(len(original[index]["rewards"]) for index in chosen)
    assert dataset.total_episodes == 25


def test_splitting(dataset: Any) -> None:
    import minari

    first, second = minari.split_dataset(dataset, sizes=[20, 5], seed=123)
    assert (len(first), len(second)) == (20, 5)
    assert list(second.episode_indices) == SECOND_PART
    assert [episode.id for episode in second] == SECOND_PART
    assert sorted([*first.episode_indices, *second.episode_indices]) == list(range(25))
    with pytest.raises(ValueError, match="25"):
        minari.split_dataset(dataset, sizes=[20, 6], seed=123)


def test_combining_the_parts_of_a_split_keeps_everything(dataset: Any, original: list[dict[str, Any]]) -> None:
    import minari

    parts = minari.split_dataset(dataset, sizes=[20, 5], seed=123)
    order = [int(index) for part in parts for index in part.episode_indices]
    combined = minari.combine_datasets(parts, "door/again-v0")
    assert_same_episodes(combined, original, order)
    again = minari.load_dataset("door/again-v0")
    assert_same_episodes(again, original, order)
    assert [episode.id for episode in again] == list(range(25))
    assert set(again.combined_datasets) == {ID}
    assert again.storage.metadata["author"] == {"Rodrigo de Lazcano"}
    assert again.env_spec == dataset.env_spec


def test_combining_a_filtered_view_takes_only_the_view(dataset: Any, original: list[dict[str, Any]]) -> None:
    import minari

    view = best(dataset)
    minari.combine_datasets([view], "door/best-v0")
    assert_same_episodes(minari.load_dataset("door/best-v0"), original, list(view.episode_indices))
    assert_same_episodes(dataset, original, range(25))


def test_saving_a_view_makes_a_dataset_of_it(dataset: Any, original: list[dict[str, Any]]) -> None:
    import minari

    view = best(dataset)
    saved = view.save("door/best-v1")
    assert saved.id == "door/best-v1"
    loaded = minari.load_dataset("door/best-v1")
    assert_same_episodes(loaded, original, list(view.episode_indices))
    for key in ("author", "author_email", "requirements", "ref_min_score", "ref_max_score", "code_permalink"):
        assert loaded.storage.metadata[key] == dataset.storage.metadata[key], key
    assert loaded.env_spec == dataset.env_spec
    assert set(minari.list_local_datasets()) == {ID, "door/best-v1"}
    with pytest.raises(ValueError, match="door/best-v1"):
        view.save("door/best-v1")


def test_an_environment_that_is_not_installed_is_named(dataset: Any) -> None:
    from minari.errors import EnvironmentSpecError

    assert sum(len(episode) for episode in dataset) == 6729
    with warnings.catch_warnings():
        # A warning about the unmet requirement may come first; it is the error that counts here.
        warnings.simplefilter("ignore")
        with pytest.raises(EnvironmentSpecError, match=r"gymnasium[-_]robotics") as caught:
            dataset.recover_environment()
    assert isinstance(caught.value, ValueError)
    assert "\n" not in str(caught.value)


def test_unmet_requirements_are_warned_about(dataset: Any) -> None:
    with pytest.warns(UserWarning, match="gymnasium-robotics"), pytest.raises(ValueError, match="gymnasium"):
        dataset.recover_environment()


def test_infinite_bounds_survive_a_copy(dataset: Any) -> None:
    import minari

    dataset.save("door/copy-v0")
    space = minari.load_dataset("door/copy-v0").observation_space
    assert math.isinf(space.low[0])
    assert not space.is_bounded()
