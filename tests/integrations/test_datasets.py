"""The adapter to Hugging Face Datasets, with the real library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import minari
from minari.errors import ArgumentError, ArgumentTypeError, SpaceError
from support.replay_datasets import MARKS, NESTABLE, STRICT, assert_refused, assert_same_episodes, make, spaces_of
from support.sampling_model import make as make_other


datasets = pytest.importorskip("datasets")
adapter = pytest.importorskip("minari.integrations.datasets")
pytestmark = MARKS

#: Spaces of which the adapters to buffers support none.
OTHERS = ("nested", "text")


def made(space: str, **choices: Any) -> minari.MinariDataset:
    if space.startswith("other "):
        return make_other("buffers/first-v0", (5, 1, 3), space.removeprefix("other "))
    return make("buffers/first-v0", space, **choices)


@STRICT
@pytest.mark.parametrize("space", [*NESTABLE, *(f"other {name}" for name in OTHERS)])
@pytest.mark.parametrize("rows", ["transitions", "episodes"])
def test_a_round_trip_keeps_all_values(space: str, rows: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minari.integrations.datasets._CHUNK_BYTES", 700)
    dataset = made(space)
    table = adapter.to_hf(dataset.transitions() if rows == "transitions" else dataset)
    assert len(table) == (dataset.total_steps if rows == "transitions" else len(dataset))
    again = adapter.from_hf(table, "buffers/again-v0", **spaces_of(dataset))
    assert_same_episodes(again, dataset)


@pytest.mark.parametrize("rewards", [np.float32, np.int64])
@pytest.mark.parametrize("shape", [(), (2,)], ids=["scalar", "vector"])
@pytest.mark.parametrize("rows", ["transitions", "episodes"])
def test_rewards_keep_their_dtype_and_shape(rewards: type, shape: tuple[int, ...], rows: str) -> None:
    dataset = made("number", rewards=rewards, reward_shape=shape)
    table = adapter.to_hf(dataset.transitions() if rows == "transitions" else dataset)
    assert_same_episodes(adapter.from_hf(table, "buffers/again-v0", **spaces_of(dataset)), dataset)


@pytest.mark.parametrize("rows", ["transitions", "episodes"])
def test_a_table_on_disk_and_in_another_order(rows: str, tmp_path: Path) -> None:
    dataset = made("nested")
    table = adapter.to_hf(dataset.transitions() if rows == "transitions" else dataset)
    table.save_to_disk(tmp_path / "table")
    loaded = datasets.load_from_disk(str(tmp_path / "table"))
    shuffled = loaded.shuffle(seed=1)
    again = adapter.from_hf(shuffled, "buffers/again-v0", **spaces_of(dataset))
    first = list(dict.fromkeys(shuffled["episode_ids"]))
    assert first != sorted(first)
    assert_same_episodes(again, [dataset[number] for number in first])


def test_columns_have_the_dtypes_of_the_data() -> None:
    features = adapter.to_hf(made("nested").transitions()).features
    assert features["observations/camera"] == datasets.Array2D((6, 5), "uint8")
    assert features["observations/arm/joints"] == datasets.List(datasets.Value("float32"), length=2)
    assert features["actions/b"] == datasets.Value("int64")
    assert features["terminations"] == datasets.Value("bool")
    assert features["episode_ids"] == datasets.Value("int64")


def test_rows_are_the_elements() -> None:
    dataset = made("float64", infos=True)
    transitions = dataset.transitions(infos=["clock"], returns_to_go=True)
    table = adapter.to_hf(transitions).with_format("numpy")
    for row, expected in zip(table, transitions, strict=True):
        np.testing.assert_allclose(row["observations"], expected["observations"], rtol=1e-6)
        assert row["returns_to_go"] == expected["returns_to_go"]
        assert row["infos/clock"] == pytest.approx(expected["infos"]["clock"])
    windows = dataset.windows(3, pad="left")
    table = adapter.to_hf(windows)
    assert len(table) == len(windows)
    assert table.features["observations"] == datasets.Array2D((3, 3), "float64")
    assert table["mask"][:] == windows[:]["mask"].tolist()
    assert table["timesteps"][:] == windows[:]["timesteps"].tolist()
    with pytest.raises(ArgumentError, match="rows of the table are windows"):
        adapter.from_hf(table, "buffers/e-v0")


def test_what_is_lost_is_named() -> None:
    dataset = made("float64", infos=True)
    with pytest.warns(UserWarning, match=r"The infos of buffers/first-v0 \(clock, deep\) are left out"):
        adapter.to_hf(dataset)
    table = adapter.to_hf(dataset.transitions(infos=["clock"]))
    with pytest.warns(UserWarning, match="The columns infos/clock, next_infos/clock of the table are left out"):
        again = adapter.from_hf(table, "buffers/again-v0", **spaces_of(dataset))
    assert_same_episodes(again, dataset)
    with pytest.warns(UserWarning, match="episodes are split in 1 places"):
        holes = adapter.from_hf(
            adapter.to_hf(dataset.transitions()).select([0, 1, 3]), "buffers/holes-v0", **spaces_of(dataset)
        )
    assert [len(one) for one in holes] == [2, 1]
    np.testing.assert_array_equal(holes[0].observations, dataset[0].observations[:3])


def test_a_table_with_other_names_and_without_next_observations() -> None:
    table = datasets.Dataset.from_dict(
        {
            "episode_index": [0, 0, 0, 1, 1],
            "frame_index": [0, 1, 2, 0, 1],
            "observation.state": np.arange(10, dtype=np.float32).reshape(5, 2),
            "action": np.arange(5, dtype=np.float32).reshape(5, 1),
            "next.reward": np.arange(5.0),
            "next.done": [False, False, True, False, False],
            "task": ["a"] * 5,
        },
    )
    columns = {
        "observations": "observation.state", "actions": "action", "rewards": "next.reward",
        "terminations": "next.done", "episode_ids": "episode_index", "timesteps": "frame_index",
    }  # fmt: skip
    with pytest.raises(ArgumentError, match="choose final_observation="):
        adapter.from_hf(table.remove_columns("task"), "buffers/e-v0", columns=columns)
    with pytest.warns(UserWarning, match="The columns task of the table are left out"):
        dataset = adapter.from_hf(table, "buffers/robot-v0", columns=columns, final_observation="repeat", author="Ada")
    assert [len(one) for one in dataset] == [3, 2]
    assert dataset[0].terminations.tolist() == [False, False, True]
    assert dataset[1].observations.tolist() == [[6, 7], [8, 9], [8, 9]]
    assert dataset.observation_space == gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)


def test_what_does_not_fit_is_one_clear_error() -> None:
    dataset = made("float64")
    table = adapter.to_hf(dataset.transitions())
    sequences = make_other("buffers/s-v0", (3,), "sequence")
    assert_refused(
        (lambda: adapter.to_hf(sequences.transitions()), SpaceError, "observations/0 are of no fixed shape"),
        (lambda: adapter.to_hf(dataset[0]), ArgumentTypeError, "expected a dataset, or its transitions"),
        (lambda: adapter.from_hf(dataset, "buffers/e-v0"), ArgumentTypeError, "expected a datasets.Dataset"),
        (
            lambda: adapter.from_hf(datasets.DatasetDict(train=table), "buffers/e-v0"),
            ArgumentTypeError,
            "one split of load_dataset",
        ),
        (lambda: adapter.from_hf(table.select([]), "buffers/e-v0"), ArgumentError, "has no row"),
        (lambda: adapter.from_hf(table.remove_columns("rewards"), "buffers/e-v0"), ArgumentError, "also rewards; give"),
        (
            lambda: adapter.from_hf(table.remove_columns("timesteps"), "buffers/e-v0"),
            ArgumentError,
            "no column timesteps",
        ),
        (
            lambda: adapter.from_hf(table, "buffers/e-v0", columns={"actions": "move"}),
            ArgumentError,
            "columns names 'move'",
        ),
    )
