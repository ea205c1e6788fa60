"""Splitting by return, and new datasets of the parts, of which all or none appear."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st

import minari
from minari.data_collector import MultiAgentEpisodeBuffer
from minari.dataset import split
from minari.dataset.split import save_parts
from minari.errors import (
    ArgumentError,
    CombineError,
    DatasetExistsError,
    DatasetIdError,
    EpisodeError,
    MinariError,
    StorageError,
)
from support.scripted import PLANE, buffer_of, listing


pytestmark = pytest.mark.filterwarnings("ignore::minari.errors.MissingMetadataWarning")

FORMATS = ["hdf5", "arrow", "parquet", "zarr"]
ACTIONS = spaces.Discrete(3)


def create(dataset_id: str, rewards: list[Any], **arguments: Any) -> minari.MinariDataset:
    buffers = [buffer_of(2, start=number, rewards=one, seed=number) for number, one in enumerate(rewards)]
    arguments = {"observation_space": PLANE, "action_space": ACTIONS, **arguments}
    return minari.create_dataset_from_buffers(dataset_id, buffers, **arguments)


def numbers(parts: list[minari.MinariDataset]) -> list[list[int]]:
    return [part.episode_indices.tolist() for part in parts]


@pytest.mark.parametrize("data_format", FORMATS)
def test_by_return(data_format: str) -> None:
    returns = [1.0, 5.0, float("nan"), -2.0, 5.0, float("inf")]
    dataset = create("split/a-v0", [[value, 0.0] for value in returns], data_format=data_format)
    assert numbers(minari.split_dataset(dataset, [2, 3, 1], by="return")) == [[5, 1], [4, 0, 3], [2]]
    assert numbers(minari.split_dataset(dataset, [0.5, 0.25], by="return")) == [[5, 1, 4], [0]]
    assert numbers(minari.split_dataset(dataset[[4, 3, 1]], [2], by="return")) == [[1, 4]]
    assert numbers(minari.split_dataset(dataset[:0], [0], by="return")) == [[]]


def test_by_return_of_door(real_root: Path) -> None:
    dataset = minari.load_dataset("D4RL/door/human-v2")
    best, rest = minari.split_dataset(dataset, [0.2, 0.8], by="return")
    assert best.statistics().returns.min() >= rest.statistics().returns.max()
    assert sorted([*best.episode_indices, *rest.episode_indices]) == list(range(25))


def test_by_return_of_many_agents_and_of_vectors() -> None:
    agents = dict.fromkeys("ab", PLANE)
    totals = [(3.0, -3.0), (1.0, 1.0), (0.0, 5.0)]
    buffers = [
        MultiAgentEpisodeBuffer({"a": buffer_of(2, rewards=[a, 0.0]), "b": buffer_of(1, rewards=[b])})
        for a, b in totals
    ]
    dataset = minari.create_dataset_from_buffers(
        "split/agents-v0", buffers, observation_space=agents, action_space=dict.fromkeys("ab", ACTIONS)
    )
    assert numbers(minari.split_dataset(dataset, [1, 2], by="return")) == [[2], [1, 0]]
    assert numbers(minari.split_dataset(dataset.for_agent("a"), [1, 2], by="return")) == [[0], [1, 2]]
    vector = create("split/vector-v0", [np.ones((2, 3))] * 2)
    with pytest.raises(ArgumentError, match="split/vector-v0 have 3 components, expected one"):
        minari.split_dataset(vector, [1, 1], by="return")
    assert sum(map(len, minari.split_dataset(vector, [1, 1], seed=0))) == 2


@given(st.lists(st.sampled_from([-1.0, 0.0, 2.0, 7.0]), min_size=1, max_size=7), st.data())
def test_by_return_is_what_sorting_does(returns: list[float], data: st.DataObject) -> None:
    if "model/a-v0" in minari.list_local_datasets():
        minari.delete_dataset("model/a-v0")
    dataset = create("model/a-v0", [[value, 0.0] for value in returns])
    cut = data.draw(st.integers(0, len(returns)))
    order = sorted(range(len(returns)), key=lambda number: (-returns[number], number))
    parts = minari.split_dataset(dataset, [cut, len(returns) - cut], by="return")
    assert numbers(parts) == [order[:cut], order[cut:]]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"sizes": [1], "by": "length"}, ArgumentError, "by is 'length', expected 'episode' or 'return'"),
        ({"sizes": [1], "by": "return", "seed": 0}, ArgumentError, "leave out one of them"),
        ({"sizes": [9], "by": "return"}, CombineError, "exceeds the 2 episodes"),
    ],
)
def test_arguments(arguments: dict[str, Any], error: type[MinariError], message: str) -> None:
    with pytest.raises(error, match=message):
        minari.split_dataset(create("split/a-v0", [[1.0, 0.0]] * 2), **arguments)


# New datasets


@pytest.mark.parametrize("data_format", FORMATS)
def test_parts_become_datasets_with_all_metadata(data_format: str) -> None:
    dataset = create("split/a-v0", [[float(n), 0.0] for n in range(5)], author="Ada", data_format=data_format)
    views = minari.split_dataset(dataset, [2, 3], by="return")
    new = save_parts(views, ["split/best-v0", "other/rest-v1"], {"by": "return", "sizes": [2, 3]})
    assert [one.id for one in new] == ["split/best-v0", "other/rest-v1"]
    for number, (one, view) in enumerate(zip(new, views, strict=True), 1):
        assert minari.diff_datasets(one, view, ignore_metadata=True).equal
        found = minari.diff_datasets(one, view)
        assert dict(found.metadata.only_in_a) == {
            "split_from": {"dataset_id": "split/a-v0", "part": number, "parts": 2, "by": "return", "sizes": [2, 3]}
        }
        assert found.episodes.are_equal
        assert (one.storage.FORMAT, one.storage.metadata["author"]) == (data_format, {"Ada"})
        again = one.convert(f"copies/part-v{number}", "hdf5")
        assert again.storage.metadata["split_from"]["part"] == number


@pytest.mark.parametrize(
    ("ids", "error"),
    [
        (["new/a-v0", "split/a-v0"], DatasetExistsError),
        (["new/a-v0", "new/a-v0"], DatasetExistsError),
        (["new/a-v0", "new/a"], DatasetIdError),
        (["new/a-v0", "split/a-v0/b-v0"], MinariError),
        (["new/a-v0"], ArgumentError),
    ],
)
def test_nothing_is_written_if_an_id_cannot_be(datasets_root: Path, ids: list[str], error: type[MinariError]) -> None:
    dataset = create("split/a-v0", [[1.0, 0.0]] * 4)
    before = listing(datasets_root)
    with pytest.raises(error):
        save_parts(minari.split_dataset(dataset, [2, 2]), ids)
    assert listing(datasets_root) == before


def test_nothing_is_written_if_a_part_is_empty(datasets_root: Path) -> None:
    dataset = create("split/a-v0", [[1.0, 0.0]] * 4)
    before = listing(datasets_root)
    with pytest.raises(EpisodeError, match="Part 2 of split/a-v0 has no episode"):
        save_parts(minari.split_dataset(dataset, [4, 0]), ["new/a-v0", "new/b-v0"])
    assert listing(datasets_root) == before


@pytest.mark.parametrize("error", [StorageError("full", 28, "full", "here"), KeyboardInterrupt()])
def test_parts_that_were_written_are_removed_if_a_later_one_fails(
    monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    dataset = create("split/a-v0", [[1.0, 0.0]] * 6)
    write = split.write_as_dataset

    def failing(source: Any, indices: Any, dataset_id: str, **options: Any) -> Path:
        if dataset_id == "new/c-v0":
            assert set(minari.list_local_datasets()) == {"split/a-v0", "new/a-v0", "new/b-v0"}
            raise error
        return write(source, indices, dataset_id, **options)

    monkeypatch.setattr(split, "write_as_dataset", failing)
    with pytest.raises(type(error)):
        save_parts(minari.split_dataset(dataset, [2, 2, 2]), ["new/a-v0", "new/b-v0", "new/c-v0"])
    assert set(minari.list_local_datasets()) == {"split/a-v0"}
