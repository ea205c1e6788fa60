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
from minari.testing.comparison import assert_metadata
from support.scripted import PLANE, ScriptedEnv, buffer_of, collected, listing, play, recorded
from support.toys import gradient


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
    numbers = range(first, first + len(lengths))
    dataset.storage.update_episode_metadata([{"grade": f"g{n}", "deep": {"x": np.arange(n)}} for n in numbers])
    return minari.load_dataset(dataset_id)


def of_environment(dataset_id: str, limit: int | None = 7, **make: Any) -> MinariDataset:
    env = gym.make("CartPole-v1", max_episode_steps=limit, **make)
    dataset: MinariDataset = recorded(env, steps=5, reset={"seed": 1}, dataset_id=dataset_id)
    return dataset


def assert_combines(combined: MinariDataset, parts: list[MinariDataset]) -> None:
    """Require that a dataset, loaded again, consists of its sources in order with all metadata."""
    loaded = minari.load_dataset(combined.id)
    originals = [(part, index) for part in parts for index in part.episode_indices.tolist()]
    assert len(combined) == len(loaded) == len(originals)
    assert loaded.total_steps == sum(part.total_steps for part in parts)
    assert loaded.combined_datasets == [part.id for part in parts]
    for number, (part, index) in enumerate(originals):
        (original,), (expected,) = part.iterate_episodes([index]), part.storage.get_episode_metadata([index])
        assert loaded[number] == dataclasses.replace(original, id=number)
        (metadata,) = loaded.storage.get_episode_metadata([number])
        assert metadata.keys() == expected.keys()
        assert_metadata(metadata, {**expected, "id": number})


# Combining


def test_datasets_and_views_give_exactly_their_episodes() -> None:
    one, two = create("test/one-v0", (2, 3, 4, 5)), create("test/two-v1", (1, 6, 2), first=10)
    parts = [
        one.filter_episodes(lambda episode: len(episode) != 3),
        *minari.split_dataset(two, [1, 1], seed=4),
        two,
        one[[3, 0, 3]],
        one[:0],
        create("three-v0", (1, 1), first=8),
    ]
    combined = minari.combine_datasets(parts, "other/deep/all-v4")
    assert_combines(combined, parts)
    assert (combined.spec.namespace, combined.spec.version) == ("other/deep", 4)
    assert minari.namespace.list_local_namespaces() == ["other", "other/deep", "test"]
    assert [len(part) for part in (one, two)] == [4, 3]


def test_a_combination_can_be_combined_changed_and_deleted() -> None:
    one = create("test/one-v0")
    both = minari.combine_datasets([one, one], "test/both-v0")
    again = minari.combine_datasets([both, one[:1]], "test/again-v0")
    assert_combines(again, [both, one[:1]])
    again.update_dataset_from_buffer([buffer_of(3)])
    minari.delete_dataset("test/one-v0")
    minari.delete_dataset("test/both-v0")
    assert [len(episode) for episode in minari.load_dataset("test/again-v0")] == [2, 3, 2, 3, 2, 3]


def test_metadata_of_the_parts_are_joined() -> None:
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
    spec = minari.combine_datasets(parts, "test/all-v0").env_spec
    assert spec is not None
    assert validate_datasets_to_combine(parts).max_episode_steps == spec.max_episode_steps == expected
    assert spec.id == "CartPole-v1"


def test_an_evaluation_environment_is_kept_where_all_agree() -> None:
    parts = [create(f"test/part-v{number}", eval_env="CartPole-v1") for number in range(2)]
    assert minari.combine_datasets(parts, "test/all-v0").eval_env_spec.id == "CartPole-v1"
    parts.append(create("test/part-v2", eval_env="Acrobot-v1"))
    assert minari.combine_datasets(parts, "test/all-v1").eval_env_spec is None


@pytest.mark.parametrize("kinds", [[True, True], [False, False], [False, True], [True, False]])
def test_stored_frames_are_never_encoded_again(kinds: list[bool]) -> None:
    pytest.importorskip("PIL")
    space = spaces.Box(0, 255, (40, 36, 3), np.uint8)
    env = ScriptedEnv(lambda time: gradient((40, 36, 3), 20 * time), observation_space=space)
    parts = [recorded(env, dataset_id=f"test/part-v{n}", jpeg_encoding=kind) for n, kind in enumerate(kinds)]
    combined = minari.combine_datasets(parts, "test/all-v0")
    assert_combines(combined, parts)  # to the last bit, also of those that are JPEG
    assert combined.storage.jpeg_encoding == all(kinds)
    again = minari.combine_datasets([combined, combined], "test/again-v0")
    assert_combines(again, [combined, combined])


def test_datasets_of_the_same_id_in_different_roots_both_count(tmp_path: Path) -> None:
    one = create("test/one-v0", (2,))
    collector = DataCollector(gym.make("CartPole-v1"), root=tmp_path)
    play(collector, seed=1)
    other = collector.create_dataset("test/one-v0")
    with pytest.raises(CombineError, match="have no env_spec"):
        minari.combine_datasets([one, other], "test/all-v0")
    same = one.save("test/one-v0", root=tmp_path / "b")
    combined = minari.combine_datasets([one, same], "two-v0", root=tmp_path)
    assert (len(combined), combined.storage.data_path) == (2, tmp_path / "two-v0" / "data")


# What is refused


def of_space(dataset_id: str, space: spaces.Space[Any]) -> MinariDataset:
    collector = collected(ScriptedEnv(lambda time: space.sample(), observation_space=space))
    dataset: MinariDataset = collector.create_dataset(dataset_id)
    return dataset


def nested(leaf: spaces.Space[Any]) -> spaces.Dict:
    return spaces.Dict(a=spaces.Discrete(3), b=spaces.Tuple([spaces.Discrete(2), leaf]))


DO_NOT_GO = "The observations of a-v0 and of b-v0 are of spaces that do not go together: observations"
BAD_COMBINATIONS: dict[str, tuple[Any, str]] = {
    "none": (list, "no datasets to combine"),
    "only-one-environment": (lambda: [create("a-v0"), of_environment("b-v0")], r"\['a-v0'\] have no env_spec"),
    "other-arguments": (
        lambda: [of_environment("a-v0"), of_environment("b-v0", sutton_barto_reward=True)],
        r"different environments.*of a-v0 and of b-v0, kwargs/sutton_barto_reward is",
    ),
    "other-dtype": (
        lambda: [create("a-v0"), create("b-v0", observation_space=spaces.Box(-9, 9, (2,), np.float64))],
        f"{DO_NOT_GO} is Box",
    ),
    "other-leaf": (
        lambda: [of_space(f"{name}-v0", nested(spaces.Box(-1, 1, (n,)))) for name, n in (("a", 2), ("b", 3))],
        rf"{DO_NOT_GO}/b/1 is Box\(.*\(2,\), float32\) and Box\(.*\(3,",
    ),
    "other-keys": (
        lambda: [of_space(f"{name}-v0", spaces.Dict({key: ACTIONS})) for name, key in (("a", "x"), ("b", "y"))],
        rf"{DO_NOT_GO} has the keys \['x'\] and \['y'\]",
    ),
    "other-nesting": (lambda: [create("a-v0"), of_space("b-v0", spaces.Dict(a=PLANE))], f"{DO_NOT_GO} is"),
}


@pytest.mark.parametrize("name", BAD_COMBINATIONS)
@pytest.mark.filterwarnings("ignore:.* is not in .* space")
def test_datasets_that_do_not_go_together_are_refused(name: str, datasets_root: Path) -> None:
    make, text = BAD_COMBINATIONS[name]
    datasets = make()
    before = listing(datasets_root)
    with pytest.raises(CombineError, match=text) as caught:
        minari.combine_datasets(datasets, "new/all-v0")
    assert isinstance(caught.value, ValueError)
    assert listing(datasets_root) == before


@pytest.mark.parametrize(
    ("new_id", "error"),
    [
        *(("test/one-v0", DatasetExistsError), ("test/one-v0/in-v0", DatasetExistsError), ("all", DatasetIdError)),
        *(("", DatasetIdError), (None, DatasetIdError), ("../all-v0", DatasetIdError)),
    ],
)
def test_wrong_ids_of_combinations_are_refused(new_id: Any, error: type[Exception], datasets_root: Path) -> None:
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


@pytest.mark.parametrize("sizes", [[6], [3, 3], [-1, 2], [1.5], [True], ["1"], [None]])
def test_sizes_that_do_not_fit_are_refused(sizes: Any) -> None:
    dataset = create("test/five-v0", (1, 2, 3, 4, 5))
    with pytest.raises(CombineError, match="sizes") as caught:
        minari.split_dataset(dataset, sizes)
    assert isinstance(caught.value, ValueError)
