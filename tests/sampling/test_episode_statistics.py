"""Returns, lengths and flags of episodes: computed in one pass, kept beside the data, and dropped when it changes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xxhash
from gymnasium import spaces

import minari
from minari import MinariDataset
from minari.data_collector import MultiAgentEpisodeBuffer
from support.scripted import PLANE, buffer_of, listing


pytestmark = pytest.mark.filterwarnings("ignore:`.*` is set to None")

FILE = ".episode_statistics.json"
FORMATS = ["hdf5", "arrow", "parquet", "zarr"]
LENGTHS = [3, 1, 4]
KINDS = ["one", "vector", "agents"]


def create(kind: str = "one", **options: Any) -> MinariDataset:
    if kind == "agents":
        last = np.array([False, False, True])
        cut = {"terminations": np.zeros(3, bool), "truncations": last}
        episodes: list[Any] = [
            MultiAgentEpisodeBuffer({"a": buffer_of(3), **({"b": buffer_of(3, **cut)} if number % 2 else {})})
            for number in range(3)
        ]
        options = {
            "observation_space": dict.fromkeys("ab", PLANE),
            "action_space": dict.fromkeys("ab", spaces.Discrete(3)),
            **options,
        }
    else:
        shape = (2,) if kind == "vector" else ()
        episodes = [buffer_of(length, rewards=np.full((length, *shape), length / 7)) for length in LENGTHS]
        options = {"observation_space": PLANE, "action_space": spaces.Discrete(3), **options}
    return minari.create_dataset_from_buffers("test/statistics-v0", episodes, **options)


def assert_statistics(dataset: MinariDataset) -> None:
    """Compare statistics and table with the episodes one by one."""
    table, found = dataset.episodes_table("numpy"), dataset.statistics()
    np.testing.assert_array_equal(found.returns, table["return"])
    np.testing.assert_array_equal(found.lengths, table["length"])
    for place, episode in enumerate(dataset):
        agents: Any = getattr(episode, "episodes", None)
        parts = [episode] if agents is None else list(agents.values())
        assert table["length"][place] == len(episode)
        np.testing.assert_array_equal(table["return"][place], sum(part.rewards.sum(axis=0) for part in parts))
        assert table["terminated"][place] == all(part.terminations[-1] for part in parts)
        assert table["truncated"][place] == any(part.truncations[-1] for part in parts)


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("kind", KINDS)
def test_they_are_computed_once(kind: str, data_format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = create(kind, data_format=data_format)
    assert_statistics(dataset[[2, 0]])
    assert FILE not in listing(dataset.storage.data_path)
    expected = dataset.statistics()
    again = MinariDataset(dataset.storage.data_path)
    reads: list[Any] = []
    for name in ("get_outcomes", "get_episodes", "read_parts"):
        monkeypatch.setattr(type(again.storage), name, lambda *args, **options: reads.append(args))
    found, of_view = again.statistics(), again[[2, 0]].statistics()
    assert reads == []
    monkeypatch.undo()
    np.testing.assert_array_equal(found.returns, expected.returns)
    np.testing.assert_array_equal(of_view.returns, expected.returns[[2, 0]])
    assert found.returns.flags.writeable
    assert (found.agents is None) == (kind != "agents")
    for agent, one in (found.agents or {}).items():
        np.testing.assert_array_equal(one.returns, dataset.for_agent(agent).statistics().returns)
    assert_statistics(again)
    assert_statistics(again[[2, 0]])


@pytest.mark.parametrize("data_format", FORMATS)
def test_a_pass_for_field_statistics_gives_them_too(data_format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = create(data_format=data_format)
    dataset.field_statistics(["observations"])
    monkeypatch.setattr(type(dataset.storage), "get_outcomes", lambda *args: pytest.fail("the rewards were read again"))
    assert dataset.statistics().returns.tolist() == [dataset[number].rewards.sum() for number in range(3)]


@pytest.mark.parametrize("data_format", FORMATS)
def test_a_change_makes_them_stale(data_format: str) -> None:
    dataset = create(data_format=data_format)
    dataset.statistics()
    dataset.update_dataset_from_buffer([buffer_of(5)])
    assert_statistics(dataset)
    other = MinariDataset(dataset.storage.data_path)
    other.storage.update_episodes([buffer_of(2, id=1, observations=np.zeros((2, 2), np.float32))])
    assert_statistics(MinariDataset(dataset.storage.data_path))


def test_a_change_by_another_program_makes_them_stale() -> None:
    dataset = create()
    before = dataset.statistics().returns
    path = dataset.storage.data_path / "main_data.hdf5"
    before_change = path.stat()
    with h5py.File(path, "r+") as file:
        file["episode_1/rewards"][...] = 41.0
    os.utime(path, ns=(before_change.st_atime_ns, before_change.st_mtime_ns))  # as if nothing had happened
    found = MinariDataset(dataset.storage.data_path).statistics().returns
    assert found.tolist() == [before[0], 41.0, before[2]]


def signed(content: Any) -> bytes:
    """Return the content of a file whose own checksum is right."""
    text = json.dumps(content).encode()
    return f"{xxhash.xxh3_64_intdigest(text):016x}".encode() + text


def with_values(stored: Any, **values: Any) -> bytes:
    return signed({**stored, "values": {**stored["values"], **values}})


@pytest.mark.parametrize(
    "change",
    [
        lambda stored: b"",
        lambda stored: signed([[[]]])[:16] + b"[" * 100_000,
        lambda stored: json.dumps(stored).encode(),
        lambda stored: signed(stored).replace(b"returns", b"retunrs"),
        lambda stored: signed({"state": stored["state"]}),
        lambda stored: signed({**stored, "values": [1]}),
        lambda stored: with_values(stored, returns="AAAA"),
        lambda stored: with_values(stored, components=[-3]),
        lambda stored: with_values(stored, components=[10**30]),
        lambda stored: with_values(stored, components=[float("inf")]),
        lambda stored: with_values(stored, lengths="é"),
        lambda stored: signed({**stored, "state": [*stored["state"][:-1], 0]}),
    ],
    ids=[
        "empty",
        "deep",
        "unsigned",
        "flipped",
        "no-values",
        "list",
        "short",
        "negative",
        "huge",
        "infinite",
        "no-base64",
        "version",
    ],
)
def test_a_damaged_file_is_replaced(change: Any) -> None:
    dataset = create()
    expected = dataset.statistics().returns
    file = dataset.storage.data_path / FILE
    whole = file.read_bytes()
    assert signed(json.loads(whole[16:])) == whole
    file.write_bytes(change(json.loads(whole[16:])))
    np.testing.assert_array_equal(MinariDataset(dataset.storage.data_path).statistics().returns, expected)
    assert file.read_bytes() == whole


def test_links_and_directories_in_its_place_are_left_alone(tmp_path: Path) -> None:
    dataset = create()
    target = tmp_path / "target"
    target.write_text("precious")
    (dataset.storage.data_path / FILE).symlink_to(target)
    assert_statistics(dataset)
    assert target.read_text() == "precious"


def test_the_file_is_no_part_of_the_dataset() -> None:
    dataset = create()
    dataset.statistics()
    dataset.field_statistics()
    assert FILE in listing(dataset.storage.data_path)
    report = minari.validate(dataset.id)
    assert report.findings == ()
    copied = dataset.save("test/copied-v0")
    assert FILE not in listing(copied.storage.data_path)
