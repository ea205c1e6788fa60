"""Metadata of episodes: given when they are made, read with them, in filters and in the table of episodes."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow
import pytest
from gymnasium import spaces

import minari
from minari import MinariDataset
from minari._model.episode import same_values
from minari.data_collector import MultiAgentEpisodeBuffer
from minari.errors import ArgumentError, EpisodeError, MetadataError, MissingDependencyError
from support.scripted import PLANE, buffer_of


pytestmark = [
    pytest.mark.filterwarnings("ignore:`.*` is set to None"),
    pytest.mark.filterwarnings("ignore:.*assumed that"),
]

FORMATS = ["hdf5", "arrow", "parquet", "zarr"]
METADATA: list[dict[str, Any]] = [
    {"task": "pick", "goal": np.array([0.5, -1.0]), "level": {"number": 3, "name": "start"}, "tried": None},
    {"task": "place", "success": True, "raw": b"\x00\xff", "length": 7},
    {"task": "pick", "success": False, "score": 2**70, "tags": ["a", 1]},
]


def create(**options: Any) -> MinariDataset:
    episodes = [
        buffer_of(2 + number, seed=number if number else None, options={"goal": number}, metadata=metadata)
        for number, metadata in enumerate(METADATA)
    ]
    return minari.create_dataset_from_buffers(
        "test/metadata-v0", episodes, observation_space=PLANE, action_space=spaces.Discrete(3), **options
    )


@pytest.fixture(params=FORMATS)
def dataset(request: pytest.FixtureRequest) -> MinariDataset:
    return create(data_format=request.param)


def refuse_arrays(monkeypatch: pytest.MonkeyPatch, dataset: MinariDataset, *names: str) -> None:
    """Let reading episodes fail by the methods of these names."""

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("arrays were read")

    for name in names:
        monkeypatch.setattr(type(dataset.storage), name, refuse)


def assert_metadata(found: dict[str, Any], number: int) -> None:
    expected = {"options": {"goal": number}, **METADATA[number]}
    assert found.get("seed") == (number or None)
    assert same_values({key: value for key, value in found.items() if key in expected}, expected)
    assert "id" not in found
    assert "total_steps" not in found


def test_episodes_have_their_metadata(dataset: MinariDataset) -> None:
    ways: dict[str, Callable[[], list[Any]]] = {
        "iteration": lambda: list(dataset),
        "index": lambda: [dataset[number] for number in range(3)],
        "generator": lambda: list(dataset.iterate_episodes(number for number in range(3))),
        "array": lambda: list(dataset.iterate_episodes(np.arange(3), copy=False)),
        "sample": lambda: sorted(dataset.sample_episodes(3), key=lambda episode: episode.id),
        "copies": lambda: [episode.copy() for episode in dataset],
        "pickles": lambda: [pickle.loads(pickle.dumps(episode)) for episode in dataset],
        "deep copies": lambda: [copy.deepcopy(episode) for episode in dataset],
    }
    for name, episodes in ways.items():
        found = episodes()
        for number in (2, 0, 1):
            assert found[number].id == number, name
            assert_metadata(found[number].metadata, number)
    assert [episode.id for episode in dataset[[2, 0]] if assert_metadata(episode.metadata, episode.id) is None] == [
        2,
        0,
    ]


def test_metadata_belongs_to_its_episode(dataset: MinariDataset) -> None:
    episode = dataset[0]
    twin = episode.copy()
    episode.metadata["task"] = "changed"
    assert episode.metadata["task"] == "changed"
    assert twin.metadata["task"] == dataset[0].metadata["task"] == "pick"
    assert list(vars(dataset[0])) == [field.name for field in dataclasses.fields(minari.EpisodeData)]
    assert minari.EpisodeData(0, [], [], np.zeros(0), np.zeros(0, bool), np.zeros(0, bool), {}).metadata == {}


def test_many_episodes_are_read_ahead(dataset: MinariDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    many = [buffer_of(1, metadata={"number": number}) for number in range(300)]
    dataset.update_dataset_from_buffer(many)
    reads: list[int] = []
    read = type(dataset.storage).get_episode_metadata

    def counted(storage: Any, indices: Any) -> Any:
        reads.append(len(indices))
        return read(storage, indices)

    monkeypatch.setattr(type(dataset.storage), "get_episode_metadata", counted)
    assert [episode.metadata["number"] for episode in dataset[3:]] == list(range(300))
    assert sum(reads) == 300
    assert len(reads) < 8


def test_filter_by_metadata_reads_no_arrays(dataset: MinariDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_arrays(monkeypatch, dataset, "get_outcomes", "get_episodes")
    seen: list[Any] = []

    def condition(episode: Any) -> bool:
        seen.append(episode)
        return episode.metadata["task"] == "pick" and len(episode) > 2

    assert dataset.filter_episodes(condition).episode_indices.tolist() == [2]
    monkeypatch.undo()
    assert seen[1] == dataset[1]
    assert type(pickle.loads(pickle.dumps(seen[2]))) is minari.EpisodeData
    assert_metadata(pickle.loads(pickle.dumps(seen[2])).metadata, 2)
    refuse_arrays(monkeypatch, dataset, "get_episodes")
    by_both = dataset.filter_episodes(lambda one: one.metadata["task"] == "pick" and one.rewards.sum() < 100)
    assert by_both.episode_indices.tolist() == [0, 2]


def test_table_has_everything_recorded_without_arrays(dataset: MinariDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    returns = [episode.rewards.sum() for episode in dataset]
    refuse_arrays(monkeypatch, dataset, "get_episodes")
    table = dataset.episodes_table("numpy")
    for name, expected in {"id": [0, 1, 2], "length": [2, 3, 4], "return": returns, "options/goal": [0, 1, 2]}.items():
        assert table[name].dtype.kind in "if"
        np.testing.assert_array_equal(table[name], expected)
    assert table["terminated"].dtype == table["truncated"].dtype == np.bool_
    for name, values in {
        "seed": [None, 1, 2],
        "task": ["pick", "place", "pick"],
        "success": [None, True, False],
        "level/number": [3, None, None],
        "level/name": ["start", None, None],
        "metadata/length": [None, 7, None],
        "raw": [None, b"\x00\xff", None],
        "score": [None, None, 2**70],
        "tags": [None, None, ["a", 1]],
        "tried": [None, None, None],
    }.items():
        assert table[name].tolist() == values, name
    np.testing.assert_array_equal(table["goal"][0], METADATA[0]["goal"])
    refuse_arrays(monkeypatch, dataset, "get_outcomes")
    again = dataset[[2, 0]].episodes_table("numpy")
    assert again["return"].tolist() == [returns[2], returns[0]]
    assert again["task"].tolist() == ["pick", "pick"]
    assert "success" in again
    assert "raw" not in again


def test_tables_of_libraries_keep_values_and_gaps(dataset: MinariDataset) -> None:
    frame = dataset.episodes_table()
    assert list(frame.columns[:6]) == ["id", "length", "return", "terminated", "truncated", "seed"]
    assert str(frame.dtypes["seed"]) == "Int64"
    assert frame["seed"].isna().tolist() == [True, False, False]
    assert frame.query("task == 'pick' and length > 2")["id"].tolist() == [2]
    table = dataset.episodes_table("arrow")
    assert isinstance(table, pyarrow.Table)
    assert table.column("success").to_pylist() == [None, True, False]
    assert table.column("goal").to_pylist() == [[0.5, -1.0], None, None]
    assert table.column("tags").to_pylist() == [None, None, '["a", 1]']
    assert len(dataset[:0].episodes_table()) == dataset[:0].episodes_table("arrow").num_rows == 0


def test_table_of_an_unknown_or_missing_library(dataset: MinariDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ArgumentError, match="library is 'polars', expected one of 'pandas', 'arrow', 'numpy'"):
        dataset.episodes_table("polars")  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingDependencyError, match="run pip install pandas"):
        dataset.episodes_table()


@pytest.mark.parametrize("data_format", FORMATS)
def test_vector_rewards_have_a_return_of_each_component(data_format: str) -> None:
    rewards = np.arange(10.0).reshape(5, 2)
    dataset = minari.create_dataset_from_arrays(
        "test/vector-v0",
        observations=np.zeros(7),
        actions=np.zeros(5),
        rewards=rewards,
        terminations=np.array([0, 0, 1, 0, 1]),
        episode_metadata=[{"task": "a"}, {"task": "b"}],
        data_format=data_format,
    )
    expected = [rewards[:3].sum(axis=0).tolist(), rewards[3:].sum(axis=0).tolist()]
    assert dataset.episodes_table("numpy")["return"].tolist() == expected
    assert [one.tolist() for one in dataset.episodes_table()["return"]] == expected
    assert dataset.episodes_table("arrow").column("return").to_pylist() == expected
    assert [episode.metadata["task"] for episode in dataset] == ["a", "b"]


@pytest.mark.parametrize("data_format", FORMATS)
def test_many_agents_have_metadata_and_a_table(data_format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    episodes = [
        MultiAgentEpisodeBuffer(
            {"a": buffer_of(3), **({7: buffer_of(2)} if number else {})},
            seed=number,
            metadata={"map": f"m{number}", "agents": {"a": {"role": "scout"}}},
        )
        for number in range(3)
    ]
    dataset = minari.create_dataset_from_buffers(
        "test/agents-v0",
        episodes,
        observation_space=dict.fromkeys(["a", 7], PLANE),
        action_space=dict.fromkeys(["a", 7], spaces.Discrete(3)),
        data_format=data_format,
    )
    for number, episode in enumerate(dataset):
        assert episode.metadata["map"] == f"m{number}"
        assert episode.metadata["agents"]["a"]["role"] == "scout"
        of_agent = pickle.loads(pickle.dumps(episode))["a"].metadata  # type: ignore[index]
        assert (of_agent["map"], of_agent["seed"], of_agent["role"]) == (f"m{number}", number, "scout")
        assert "agents" not in of_agent
    assert dataset.for_agent("a")[1].metadata["role"] == "scout"
    edited = dataset.edit(
        episode_metadata={1: {"agents/a/skill/level": 3, "agents/a/role": "guard", "agents": {7: {"role": "cook"}}}},
        new_dataset_id="test/edited-v0",
    ).dataset
    assert minari.validate("test/edited-v0").ok
    assert edited[1]["a"].metadata["skill"] == {"level": 3}  # type: ignore[index]
    assert [edited[1][agent].metadata["role"] for agent in ("a", 7)] == ["guard", "cook"]  # type: ignore[index]
    assert edited[2].metadata == dataset[2].metadata
    for wrong in ({"agents/a": {"x": 1}}, {"agents/b/x": 1}, {"agents/a/x": 1, "agents": {"a": {"x": 2}}}):
        with pytest.raises((MetadataError, EpisodeError), match=r"expected .*\.$"):
            dataset.edit(episode_metadata={1: wrong})
    table = dataset.episodes_table("numpy")
    assert table["agents/a/length"].tolist() == [3, 3, 3]
    name = next(key for key in table if key.endswith("/length") and "a/" not in key.removeprefix("agents/"))
    assert table[name].tolist() == [0, 2, 2]
    assert table["agents/a/role"].tolist() == ["scout"] * 3
    assert "agents/a/total_steps" not in table
    both = [dataset[number]["a"].rewards.sum() for number in range(3)]  # type: ignore[index]
    both = [total + (dataset[i][7].rewards.sum() if i else 0) for i, total in enumerate(both)]  # type: ignore[index]
    assert table["return"].tolist() == both
    refuse_arrays(monkeypatch, dataset, "get_outcomes", "get_episodes")
    seen: list[Any] = []
    view = dataset.filter_episodes(
        lambda one: not seen.append(one) and one.metadata["map"] != "m1" and len(one) >= 3  # type: ignore[func-returns-value]
    )
    assert view.episode_indices.tolist() == [0, 2]
    monkeypatch.undo()
    assert seen[1] == pickle.loads(pickle.dumps(seen[1])) == dataset[1]
    by_rewards = dataset.filter_episodes(lambda one: 7 in one)
    assert by_rewards.episode_indices.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ([{"a": 1}], "has 1 dicts, expected one for each of 2 episodes"),
        ({"a": [1, 2]}, "expected a list of dicts"),
        ("ab", "expected a list of dicts"),
        (3, "expected a list of dicts"),
        ([{"a": 1}, 2], "The metadata of episode 1 is 2, expected a dict"),
        ([{"a": 1}, {"a": object()}], "Episode 1 cannot be stored"),
    ],
)
def test_metadata_that_does_not_fit_the_arrays_is_refused(metadata: Any, message: str) -> None:
    with pytest.raises(MetadataError, match=message):
        minari.create_dataset_from_arrays(
            "test/refused-v0",
            observations=np.zeros(5),
            actions=np.zeros(3),
            rewards=np.zeros(3),
            terminations=np.array([0, 1, 1]),
            episode_metadata=metadata,
        )
    assert not minari.list_local_datasets()


def test_dropped_episodes_take_their_metadata_along() -> None:
    dataset = minari.create_dataset_from_arrays(
        "test/dropped-v0",
        observations=np.zeros(5),
        actions=np.zeros(5),
        rewards=np.zeros(5),
        terminations=np.array([0, 1, 1, 0, 1]),
        final_observation="drop_last_step",
        episode_metadata=[{"n": 0}, {"n": 1}, {"n": 2}],
    )
    assert [episode.metadata["n"] for episode in dataset] == [0, 2]


#: Values that no format stores as they are, also inside of others.
TAGGED = {
    "raw": b"\x00\xff",
    "day": np.datetime64("2020-01-01"),
    "deep": {"raw": [b"a", {"at": np.datetime64("2020-01-01T00:00:00")}], "numbers": {"x": np.arange(3)}},
    "by_number": [{1: 2}],
    "like_a_tag": [{"_type": "bytes", "base64": "eA=="}],
}


@pytest.mark.parametrize("target", FORMATS)
@pytest.mark.parametrize("data_format", FORMATS)
def test_values_of_every_type_survive_copies(data_format: str, target: str) -> None:
    episodes = [buffer_of(2, seed=number, metadata={**TAGGED, "more": number}) for number in range(3)]
    made = minari.create_dataset_from_buffers(
        "toy/tagged-v0", episodes, observation_space=PLANE, action_space=spaces.Discrete(3), data_format=data_format
    )
    copies = [made.convert("toy/copy-v0", target)]
    if target == data_format:
        copies.append(made.edit(remove_episode_metadata=["more"], new_dataset_id="toy/less-v0").dataset)
        copies.append(made.edit(episode_metadata={1: {"new": b"x"}}, new_dataset_id="toy/new-v0").dataset)
        copies.append(minari.combine_datasets([made, made], "toy/both-v0"))
    for copied in copies:
        for episode in copied:
            assert {type(episode.metadata["raw"]), type(episode.metadata["day"])} == {bytes, np.datetime64}
            for key in TAGGED:
                assert same_values(episode.metadata[key], made[0].metadata[key]), key


def test_long_doubles_in_metadata_are_verified_and_tabulated() -> None:
    values = [np.longdouble(number) / 3 for number in (1, 2)]
    episodes = [buffer_of(2, metadata={"wide": value, "both": np.array([value, value])}) for value in values]
    made = minari.create_dataset_from_buffers(
        "toy/wide-v0", episodes, observation_space=PLANE, action_space=spaces.Discrete(3)
    )
    assert minari.validate("toy/wide-v0", checksums=True).ok
    assert made.save("toy/copy-v0")[1].metadata["wide"] == values[1]
    assert made.episodes_table("arrow")["wide"].to_pylist() == [float(value) for value in values]


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize(
    ("dtype", "reward"), [("float16", 1000), ("float32", 100_000_003), ("int64", 2**62), ("uint8", 200), ("bool", 1)]
)
def test_returns_are_summed_in_double_precision(dtype: str, reward: int, data_format: str) -> None:
    rewards = np.full(100, reward).astype(dtype)
    made = minari.create_dataset_from_buffers(
        "toy/narrow-v0",
        [buffer_of(100, rewards=rewards)],
        observation_space=PLANE,
        action_space=spaces.Discrete(3),
        data_format=data_format,
    )
    expected = [float(rewards.astype(np.float64).sum())]
    assert made.episodes_table("numpy")["return"].tolist() == expected
    assert made.transitions().episode_returns().tolist() == expected
    assert made.filter_episodes("return > 1e18").total_episodes == (dtype == "int64")


@pytest.mark.parametrize("data_format", FORMATS)
def test_tables_of_libraries_keep_odd_values(data_format: str) -> None:
    values = {"big": [2**63, 2**64 - 1, -(2**63)], "half": ["\ud800", "x", "y"]}
    made = minari.create_dataset_from_buffers(
        "toy/odd-v0",
        [buffer_of(2, metadata={key: one[place] for key, one in values.items()}) for place in range(3)],
        observation_space=PLANE,
        action_space=spaces.Discrete(3),
        data_format=data_format,
    )
    for library in ("numpy", "pandas"):
        table = made.episodes_table(library)
        assert {key: list(table[key]) for key in values} == values
    stored = made.episodes_table("arrow")
    assert {key: list(map(json.loads, stored[key].to_pylist())) for key in values} == values
