"""One dataset used by both packages, in turn and concurrently."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minari
from support import operations
from support.checks import assert_holds, forgotten
from support.values import assert_identical


@pytest.mark.parametrize("data_format", ["hdf5", "arrow", "parquet"])
def test_taking_turns(data_format: str, reference: Any) -> None:
    """Cached positions must never survive a change by the other side."""
    infos = data_format == "hdf5"
    truth = operations.record("shared-v0", "dict-nested", data_format=data_format, infos=infos, seed=0)
    for turn in range(1, 6):
        assert_holds(operations.dump("shared-v0", "dict-nested"), truth)
        side, how = (reference, "steps") if turn % 2 else (operations, "collector")
        truth += side.append("shared-v0", "dict-nested", how=how, infos=infos, seed=100 * turn, episodes=turn)
        assert_holds(operations.dump("shared-v0", "dict-nested"), truth)
        assert_holds(reference.dump("shared-v0", "dict-nested"), truth)


def test_a_dataset_that_is_open_survives_the_other_appending(reference: Any) -> None:
    """An iterator and the arrays it gave hold neither the file nor the other package up."""
    truth = operations.record("shared-v0", "box-unbounded", seed=0, episodes=3)
    dataset = minari.load_dataset("shared-v0")
    iterator = iter(dataset)
    first = next(iterator)
    kept = np.array(first.observations)

    truth += forgotten(reference.append("shared-v0", "box-unbounded", seed=10, episodes=40))
    assert_identical(first.observations, kept, ("observations",))
    for episode, expected in zip(iterator, truth[1:3], strict=True):
        assert_identical(episode.observations, expected["observations"], ("observations",))
    for index in range(3):
        assert_identical(dataset[index].actions, truth[index]["actions"], ("actions",))
    assert_holds(operations.dump("shared-v0", "box-unbounded"), truth)


def test_a_dataset_replaced_by_another_of_the_same_size(reference: Any) -> None:
    operations.record("shared-v0", "box-float32", seed=0)
    operations.dump("shared-v0")
    reference.delete("shared-v0")
    truth = reference.record("shared-v0", "box-float32", seed=50)
    assert_holds(operations.dump("shared-v0", "box-float32"), truth)


def test_a_data_file_copied_over_ours(reference: Any, datasets_root: Path) -> None:
    operations.record("ours-v0", "box-float32", seed=0)
    operations.dump("ours-v0")
    truth = reference.record("theirs-v0", "box-float32", seed=50)
    for name in ("main_data.hdf5", "metadata.json"):
        shutil.copy(datasets_root / "theirs-v0" / "data" / name, datasets_root / "ours-v0" / "data" / name)
    assert_holds(operations.dump("ours-v0", "box-float32") | {"id": "theirs-v0"}, truth)


def test_an_empty_append_changes_nothing(reference: Any) -> None:
    truth = operations.record("shared-v0", "tuple", seed=0)
    assert reference.append("shared-v0", "tuple", how="buffers", episodes=0) == []
    assert_holds(operations.dump("shared-v0", "tuple"), truth)


def test_views_that_we_save_are_datasets_to_the_other(reference: Any) -> None:
    truth = operations.record("ours-v0", "dict-of-tuples", infos=True, seed=3, episodes=6)
    dataset = minari.load_dataset("ours-v0")
    chosen = [index for index, episode in enumerate(truth) if sum(episode["rewards"]) >= 0]
    assert 0 < len(chosen) < 6
    view = dataset.filter_episodes(lambda episode: bool(episode.rewards.sum() >= 0))
    view.save("kept-v0")
    assert_holds(reference.dump("kept-v0", "dict-of-tuples"), [truth[index] for index in chosen])
    first, second = minari.split_dataset(dataset, sizes=[4, 2], seed=1)
    minari.combine_datasets([second, first], "turned-v0")
    order = [int(index) for part in (second, first) for index in part.episode_indices]
    assert_holds(reference.dump("turned-v0", "dict-of-tuples"), [truth[index] for index in order])


def test_both_choose_the_same_episodes(reference: Any) -> None:
    """The same seed draws, splits and filters alike, so that published splits stay what they were."""
    truth = operations.record("ours-v0", "discrete", seed=0, episodes=12)
    for seed in (0, 1, 123, 2**31):
        assert operations.split("ours-v0", [7, 3, 1], seed) == reference.split("ours-v0", [7, 3, 1], seed)
        assert operations.sample("ours-v0", 5, seed, 6) == reference.sample("ours-v0", 5, seed, 6)
    returns = sorted(float(episode["rewards"].sum()) for episode in truth)
    for least in (returns[0], returns[6], returns[-1], 1e9):
        ours = operations.filter_by_return("ours-v0", least)
        assert ours == reference.filter_by_return("ours-v0", least)
        assert len(ours) == sum(value >= least for value in returns)


@pytest.mark.parametrize("turned", [False, True])
def test_parts_of_the_real_dataset(reference: Any, real_root: Path, turned: bool) -> None:
    """Seeds above 2**63 and arrays among the options reach the release through our combined dataset."""
    parts = minari.split_dataset(minari.load_dataset("D4RL/door/human-v2"), sizes=[20, 5], seed=123)
    parts = parts[::-1] if turned else parts
    minari.combine_datasets(parts, "door/again-v0")
    order = [int(index) for part in parts for index in part.episode_indices]
    original, again = reference.dump("D4RL/door/human-v2"), reference.dump("door/again-v0")
    assert (again["total_episodes"], again["total_steps"]) == (25, 6729)
    assert max(metadata["seed"] for metadata in again["episode_metadata"]) > 2**63
    for position, index in enumerate(order):
        for field in operations.FIELDS:
            assert_identical(again["episodes"][position][field], original["episodes"][index][field], (field,))
        metadata, stored = again["episode_metadata"][position], original["episode_metadata"][index]
        assert_identical(metadata.pop("options"), stored.pop("options"), ("options",))
        assert metadata == {**stored, "id": metadata["id"]}
