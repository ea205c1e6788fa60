"""Combining and splitting: exactly the episodes that were meant, with everything that belongs to them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from packaging.specifiers import SpecifierSet

import minari
from minari import DataCollector, MinariDataset
from minari.dataset.combine import validate_datasets_to_combine
from minari.errors import CombineError, DatasetExistsError, DatasetIdError, MinariError
from support.scripted import PLANE, ScriptedEnv, buffer_of, listing, play
from support.toys import gradient
from support.values import assert_identical


pytestmark = pytest.mark.filterwarnings("ignore:`.*` is set to None")

ACTIONS = spaces.Discrete(3)


def create(dataset_id: str, lengths: tuple[int, ...] = (2, 3), first: int = 0, **arguments: Any) -> MinariDataset:
    """A dataset whose episodes have seeds, options and metadata of their own, numbered from `first` on."""
    buffers = [
        buffer_of(
            length, start=10 * number, seed=number, options={"number": number}, infos={"k": np.arange(length + 1)}
        )
        for number, length in enumerate(lengths, first)
    ]
    dataset = minari.create_dataset_from_buffers(
        dataset_id, buffers, **{"observation_space": PLANE, "action_space": ACTIONS, **arguments}
    )
    dataset.storage.update_episode_metadata(
        [{"grade": f"g{number}", "deep": {"x": np.arange(number)}} for number in range(first, first + len(lengths))]
    )
    return minari.load_dataset(dataset_id)


def of_environment(dataset_id: str, limit: int | None = 7, **make: Any) -> MinariDataset:
    collector = DataCollector(gym.make("CartPole-v1", max_episode_steps=limit, **make))
    play(collector, seed=1, steps=5)
    return collector.create_dataset(dataset_id)


def assert_combines(combined: MinariDataset, parts: list[MinariDataset]) -> None:
    """Require that a dataset, loaded again, consists of its sources in order with all metadata."""
    loaded = minari.load_dataset(combined.id)
    originals = [(part, index) for part in parts for index in part.episode_indices.tolist()]
    assert len(combined) == len(loaded) == len(originals)
    assert loaded.total_steps == sum(part.total_steps for part in parts)
    assert loaded.combined_datasets == [part.id for part in parts]
    for number, (part, index) in enumerate(originals):
        (original,) = part.iterate_episodes([index])
        assert loaded[number] == dataclasses.replace(original, id=number)
        (ours,), (theirs,) = (
            list(dataset.storage.get_episode_metadata([i])) for dataset, i in ((loaded, number), (part, index))
        )
        assert_same_metadata(ours, theirs | {"id": number})


def assert_same_metadata(ours: Any, theirs: Any) -> None:
    if isinstance(theirs, dict):
        assert ours.keys() == theirs.keys()
        for key in theirs:
            assert_same_metadata(ours[key], theirs[key])
    else:
        assert np.array_equal(ours, theirs)


# Combining


def test_whole_datasets() -> None:
    parts = [create("test/one-v0"), create("test/two-v1", (4,), first=5), create("three-v0", (1, 1), first=8)]
    combined = minari.combine_datasets(parts, "other/deep/all-v4")
    assert_combines(combined, parts)
    assert (combined.spec.namespace, combined.spec.version) == ("other/deep", 4)
    assert minari.namespace.list_local_namespaces() == ["other", "other/deep", "test"]
    assert [len(part) for part in parts] == [2, 1, 2]


def test_views_give_exactly_their_episodes() -> None:
    one, two = create("test/one-v0", (2, 3, 4, 5)), create("test/two-v0", (1, 6, 2), first=10)
    parts = [
        one.filter_episodes(lambda episode: len(episode) != 3),
        *minari.split_dataset(two, [1, 1], seed=4),
        one[[3, 0, 3]],
        one[:0],
    ]
    assert_combines(minari.combine_datasets(parts, "test/parts-v0"), parts)


def test_a_combination_can_be_combined_changed_and_deleted() -> None:
    one = create("test/one-v0")
    both = minari.combine_datasets([one, one], "test/both-v0")
    assert_combines(both, [one, one])
    again = minari.combine_datasets([both, one[:1]], "test/again-v0")
    assert_combines(again, [both, one[:1]])
    again.update_dataset_from_buffer([buffer_of(3)])
    minari.delete_dataset("test/one-v0")
    minari.delete_dataset("test/both-v0")
    assert [len(episode) for episode in minari.load_dataset("test/again-v0")] == [2, 3, 2, 3, 2, 3]


def test_metadata_of_the_combination() -> None:
    people: list[dict[str, Any]] = [
        {"author": {"Ann", "Bo"}, "author_email": "ann@x", "requirements": ["numpy"], "description": "one"},
        {"author": "Bo", "requirements": ["gymnasium", "numpy"], "algorithm_name": "PPO"},
        {},
    ]
    parts = [create(f"test/part-v{number}", **one) for number, one in enumerate(people)]
    metadata = minari.combine_datasets(parts, "test/all-v0").storage.metadata
    assert (metadata["author"], metadata["author_email"]) == ({"Ann", "Bo"}, {"ann@x"})
    assert metadata["requirements"] == ["gymnasium", "numpy"]
    assert metadata["minari_version"] == "0.5.4"
    assert "ref_min_score" not in metadata
    assert (metadata["total_episodes"], metadata["total_steps"]) == (6, 15)


def test_specifiers_of_versions_are_intersected() -> None:
    parts = []
    for number, version in enumerate(["~=0.4.0", ">=0.4.2"]):
        dataset = create(f"test/part-v{number}")
        file = dataset.storage.data_path / "metadata.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"minari_version": version}))
        parts.append(minari.load_dataset(dataset.id))
    both = SpecifierSet(minari.combine_datasets(parts, "test/all-v0").minari_version)
    candidates = ["0.3.1", "0.4.0", "0.4.2", "0.4.3", "0.5.0"]
    assert [version for version in candidates if both.contains(version)] == ["0.4.2", "0.4.3"]


@pytest.mark.parametrize(
    ("limits", "expected"), [([7, 9], 9), ([9, 7, 8], 9), ([7, None], None), ([None, None], None), ([7, 7], 7)]
)
def test_the_largest_limit_of_steps_is_kept(limits: list[int | None], expected: int | None) -> None:
    parts = [of_environment(f"test/part-v{number}", limit or -1) for number, limit in enumerate(limits)]
    combined = minari.combine_datasets(parts, "test/all-v0")
    assert validate_datasets_to_combine(parts).max_episode_steps == expected
    assert combined.env_spec.max_episode_steps == expected
    assert combined.env_spec.id == "CartPole-v1"


def test_an_evaluation_environment_is_kept_where_all_agree() -> None:
    parts = [create(f"test/part-v{number}", eval_env="CartPole-v1") for number in range(2)]
    assert minari.combine_datasets(parts, "test/all-v0").eval_env_spec.id == "CartPole-v1"
    parts.append(create("test/part-v2", eval_env="Acrobot-v1"))
    assert minari.combine_datasets(parts, "test/all-v1").eval_env_spec is None


def frames(dataset_id: str, jpeg_encoding: bool) -> MinariDataset:
    space = spaces.Box(0, 255, (40, 36, 3), np.uint8)
    collector = DataCollector(
        ScriptedEnv(lambda time: gradient((40, 36, 3), 20 * time), observation_space=space), jpeg_encoding=jpeg_encoding
    )
    play(collector)
    return collector.create_dataset(dataset_id)


@pytest.mark.parametrize("kinds", [[True, True], [False, False], [False, True], [True, False]])
def test_stored_frames_are_never_encoded_again(kinds: list[bool]) -> None:
    pytest.importorskip("PIL")
    parts = [frames(f"test/part-v{number}", kind) for number, kind in enumerate(kinds)]
    combined = minari.combine_datasets(parts, "test/all-v0")
    assert_combines(combined, parts)  # to the last bit, also of those that are JPEG
    assert combined.storage.jpeg_encoding == all(kinds)
    again = minari.combine_datasets([combined, combined], "test/again-v0")
    assert_combines(again, [combined, combined])


def test_another_root(tmp_path: Path) -> None:
    combined = minari.combine_datasets([create("test/one-v0")], "two-v0", root=tmp_path)
    assert combined.storage.data_path == tmp_path / "two-v0" / "data"


def test_datasets_of_the_same_id_in_different_roots(tmp_path: Path) -> None:
    """The root determines the dataset of an id; both count."""
    one = create("test/one-v0", (2,))
    collector = DataCollector(gym.make("CartPole-v1"), root=tmp_path)
    play(collector, seed=1)
    other = collector.create_dataset("test/one-v0")
    with pytest.raises(CombineError, match="have no env_spec"):
        minari.combine_datasets([one, other], "test/all-v0")
    same = one.save("test/one-v0", root=tmp_path / "b")
    assert len(minari.combine_datasets([one, same], "test/all-v0")) == 2


# What is refused


def bad_combinations() -> dict[str, tuple[list[Any], str]]:
    plain, shaped = (
        create("test/plain-v0"),
        create("test/shaped-v0", observation_space=spaces.Box(-9, 9, (2,), np.float64)),
    )
    env, other_env = of_environment("test/env-v0"), of_environment("test/env-v1", sutton_barto_reward=True)
    nested = minari.create_dataset_from_buffers(
        "test/nested-v0",
        [buffer_of(2, observations={"a": np.zeros((3, 2), np.float32)})],
        observation_space=spaces.Dict(a=PLANE),
        action_space=ACTIONS,
    )
    return {
        "none": ([], "no datasets to combine"),
        "with-and-without-environment": ([plain, env], r"\['test/plain-v0'\] have no env_spec"),
        "other-arguments": ([env, other_env], "different environments"),
        "other-dtype": ([plain, shaped], "The observations of .* do not go together: observations"),
        "other-nesting": (
            [plain, nested],
            "The observations of .* do not go together: observations",
        ),
        "ids": (["test/plain-v0"], "load it with minari.load_dataset"),
        "nothing": ([plain, None], "A dataset to combine is None, expected a MinariDataset"),
    }


@pytest.mark.parametrize(
    "name",
    ["none", "with-and-without-environment", "other-arguments", "other-dtype", "other-nesting", "ids", "nothing"],
)
def test_datasets_that_do_not_go_together(name: str, datasets_root: Path) -> None:
    datasets, text = bad_combinations()[name]
    before = listing(datasets_root)
    with pytest.raises(CombineError, match=text) as caught:
        minari.combine_datasets(datasets, "new/all-v0")
    assert isinstance(caught.value, ValueError)
    assert listing(datasets_root) == before


@pytest.mark.parametrize(
    ("new_id", "error"),
    [
        ("test/one-v0", DatasetExistsError), ("test/one-v0/in-v0", DatasetExistsError), ("all", DatasetIdError),
        ("", DatasetIdError), (None, DatasetIdError), ("../all-v0", DatasetIdError),
    ],
)  # fmt: skip
def test_ids_of_combinations(new_id: Any, error: type[Exception], datasets_root: Path) -> None:
    dataset = create("test/one-v0")
    before = listing(datasets_root)
    with pytest.raises(error):
        minari.combine_datasets([dataset], new_id)
    assert listing(datasets_root) == before


def test_a_damaged_part_leaves_nothing(datasets_root: Path) -> None:
    parts = [create("test/one-v0"), create("test/two-v0")]
    (parts[1].storage.data_path / "main_data.hdf5").write_bytes(b"no longer")
    for file in parts[1].storage.data_path.glob(".*"):
        file.unlink()
    before = listing(datasets_root)
    with pytest.raises((MinariError, OSError)):
        minari.combine_datasets(parts, "new/all-v0")
    assert listing(datasets_root).keys() - before.keys() <= {"test/two-v0/data/.lock"}


# Splitting


@pytest.mark.parametrize(("sizes", "seed"), [([2, 3], 0), ([1, 1, 1], 9), ([5], 1), ([0, 5], 2), ([], 3), ((2, 2), 4)])
def test_splits_are_parts_of_a_seeded_permutation(sizes: Any, seed: int) -> None:
    dataset = create("test/five-v0", (1, 2, 3, 4, 5))
    parts = minari.split_dataset(dataset, sizes, seed)
    assert [len(part) for part in parts] == list(sizes)
    order = np.random.default_rng(seed).permutation(5)
    assert [i for part in parts for i in part.episode_indices] == order[: sum(sizes)].tolist()
    for part in parts:
        assert [episode.id for episode in part] == part.episode_indices.tolist()


def test_splitting_a_view_stays_inside_it() -> None:
    view = create("test/five-v0", (1, 2, 3, 4, 5))[[4, 1, 2]]
    first, second = minari.split_dataset(view, sizes=[2, 1])
    assert sorted([*first.episode_indices, *second.episode_indices]) == [1, 2, 4]


@pytest.mark.parametrize("sizes", [[6], [3, 3], [-1, 2], [1.5], [True], ["1"], [None]])
def test_sizes_that_are_refused(sizes: Any) -> None:
    dataset = create("test/five-v0", (1, 2, 3, 4, 5))
    with pytest.raises(CombineError, match="sizes") as caught:
        minari.split_dataset(dataset, sizes)
    assert isinstance(caught.value, ValueError)


def test_parts_hold_the_data() -> None:
    dataset = create("test/five-v0", (1, 2, 3))
    for part in minari.split_dataset(dataset, [1, 1, 1], seed=0):
        (episode,), (number,) = list(part), part.episode_indices
        assert_identical(episode.observations[0], np.full(2, 10 * number, np.float32))
