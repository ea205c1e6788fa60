"""RLlib's JSON files: every sample with its truth, round trips, its own reader, and files that are damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minari
from interchange.checks import (
    assert_like_truth,
    assert_read_or_refused,
    assert_same_episodes,
    damaged_copies,
    fresh,
    run_library,
)
from interchange.conftest import sample
from minari.data_collector import EpisodeBuffer
from minari.errors import InterchangeError
from minari.interchange import export_dataset, import_dataset, read


pytestmark = [
    pytest.mark.filterwarnings("ignore:`.*` is set to None"),
    pytest.mark.filterwarnings("ignore:.*assumed that"),
]

SAMPLES: dict[str, dict[str, Any]] = {
    "cartpole_plain": {},
    "cartpole_multiagent_batch": {},
    "cartpole_old_dones": {"done": "terminated"},
    "pendulum_no_new_obs": {"final_observation": "repeat"},
}


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_are_read_exactly(name: str) -> None:
    found = sample("rllib-json", name)
    dataset = import_dataset(found.path, "rllib/sample-v0", **SAMPLES[name])
    assert isinstance(dataset, minari.MinariDataset)
    assert (dataset.total_episodes, dataset.total_steps) == (
        found.truth["total_episodes"],
        found.truth["total_steps"],
    )
    split = found.truth["termination_split_in_file"]
    for number, episode in enumerate(dataset):
        final = found.truth["final_observation_in_file"]
        assert_like_truth(
            episode, found, number, final=final, skip=lambda name: not split and name in ("terminated", "truncated")
        )
        truth = found.episode(number)
        ends = truth["terminated"] | truth["truncated"]
        np.testing.assert_array_equal(episode.terminations | episode.truncations, ends)
        assert episode.metadata["eps_id"] == found.truth["episodes"][number]["eps_id"]
    assert minari.validate(dataset.id).ok


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cartpole_old_dones", "choose done='terminated' or done='truncated'"),
        ("pendulum_no_new_obs", "no observation after the last step"),
        ("pendulum_packed", "obs in line 1 .* is packed, a pickle that is not read"),
    ],
)
def test_what_is_missing_or_packed_is_refused(name: str, message: str) -> None:
    with pytest.raises(InterchangeError, match=message):
        list(read(sample("rllib-json", name).path).episodes)


def batch(**changes: Any) -> dict[str, Any]:
    columns = {
        "type": "SampleBatch",
        "eps_id": [1, 1, 1],
        "t": [0, 1, 2],
        "obs": [[0.0], [1.0], [2.0]],
        "new_obs": [[1.0], [2.0], [3.0]],
        "actions": [0, 1, 0],
        "rewards": [1.0, 1.0, 1.0],
        "terminateds": [False, False, True],
        "truncateds": [False] * 3,
        **changes,
    }
    return {name: values for name, values in columns.items() if values is not None}


def write_lines(path: Path, *batches: Any) -> Path:
    path.write_text("\n".join(json.dumps(one) for one in batches) + "\n")
    return path


def test_long_episodes_are_written_in_several_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minari.interchange.rllib._VALUES_OF_LINE", 20)
    dataset = minari.create_dataset_from_arrays(
        "rllib/long-v0",
        observations=np.arange(12.0, dtype=np.float32).reshape(6, 2),
        actions=np.arange(5),
        rewards=np.arange(5) * 0.5,
        terminations=np.arange(5) == 4,
    )
    export_dataset(dataset, tmp_path / "a.json", "rllib")
    assert [json.loads(line)["t"] for line in (tmp_path / "a.json").read_text().splitlines()] == [[0, 1, 2], [3, 4]]
    (episode,) = read(tmp_path / "a.json").episodes
    np.testing.assert_array_equal(episode.observations, dataset[0].observations)
    assert (episode.actions.tolist(), episode.terminations.tolist()) == (list(range(5)), [False] * 4 + [True])


def test_lines_that_are_too_long_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_lines(tmp_path / "a.json", batch(), batch(obs=[[0.5] * 500] * 3))
    monkeypatch.setattr("minari.interchange.rllib._LONGEST_LINE", 1000)
    with pytest.raises(InterchangeError, match=r"Line 2 of .* is longer than 1,000 bytes, .* rollout_fragment_length"):
        list(read(path).episodes)


@pytest.mark.parametrize(
    "line",
    ['{"type": "SampleBatch", "obs": [[1', '{"obs": ' + "[" * 100_000, "[1]", '{"a": nul}'],
    ids=["cut", "deep", "list", "damaged"],
)
def test_damaged_lines_give_one_sentence(tmp_path: Path, line: str) -> None:
    path = write_lines(tmp_path / "a.json", batch())
    path.write_text(path.read_text() + "\n  \n" + line)
    with pytest.raises(InterchangeError, match="Line 4 of ") as raised:
        list(read(path, "rllib").episodes)
    assert "\n" not in str(raised.value)


def test_fragments_of_several_episodes_are_joined(tmp_path: Path) -> None:
    flags = {"terminateds": [False] * 3}
    path = write_lines(
        tmp_path / "a.json",
        batch(**flags),
        batch(eps_id=[2, 2, 2], **flags),
        batch(t=[3, 4, 5]),
        batch(eps_id=[2, 2, 2], t=[7, 8, 9], **flags),
    )
    source = read(path)
    episodes = list(source.episodes)
    assert [len(one.rewards) for one in episodes] == [6, 3, 3]
    assert [bool(one.terminations[-1]) for one in episodes] == [True, False, False]
    assert any("next row is missing" in sentence for sentence in source.report.assumed)
    assert any("not ended" in sentence for sentence in source.report.taken)


def test_digits_beyond_float32_are_noted(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.json", batch(rewards=[0.1, 0.2, 0.3]))
    source = read(path)
    list(source.episodes)
    assert any("digits" in sentence for sentence in source.report.missing)
    (episode,) = read(path, floats="float64").episodes
    assert episode.rewards.tolist() == [0.1, 0.2, 0.3]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rewards": None}, "has no obs, actions, rewards"),
        ({"rewards": [1.0]}, "has 1 rewards and 3"),
        ({"eps_id": None}, "has no eps_id"),
        ({"obs": [[0.0], [1.0, 2.0], []]}, "obs in line 1 .* has no numbers"),
        ({"obs": ["a", "b", "c"]}, "obs in line 1 .* has no numbers"),
        ({"agent_index": [0, 1, 0]}, "rows of several agents"),
        ({"terminateds": [2, 2, 2]}, "other values than 0 and 1"),
        ({"policy_batches": {"a": {}, "b": {}}}, "expected one agent"),
        ({"new_obs": [[1.0, 1], [2.0, 1], [3.0, 1]]}, "differ in columns or shape"),
        ({"actions": [10**30, 1, 1]}, "has no numbers"),
    ],
)
def test_other_contents_are_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InterchangeError, match=message):
        list(read(write_lines(tmp_path / "a.json", batch(**changes)), "rllib").episodes)


def test_damaged_files_give_one_clear_error(tmp_path: Path) -> None:
    (file,) = sample("rllib-json", "cartpole_plain").path.iterdir()
    for changed in damaged_copies(file.read_bytes(), 40):
        (tmp_path / "a.json").write_bytes(changed)
        assert_read_or_refused(tmp_path / "a.json", "rllib")


@st.composite
def datasets(draw: st.DrawFn) -> minari.MinariDataset:
    """A dataset whose dtypes are those that import assumes."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    space = gym.spaces.Box(-9, 9, draw(st.sampled_from([(), (3,), (2, 2)])), np.float32)
    action_space = draw(st.sampled_from([gym.spaces.Discrete(3), gym.spaces.Box(-1, 1, (2,), np.float32)]))
    space.seed(1)
    action_space.seed(1)
    episodes = []
    for _ in range(draw(st.integers(1, 5))):
        steps, end = draw(st.integers(1, 4)), draw(st.sampled_from(["terminated", "truncated"]))
        last = np.arange(steps) == steps - 1
        buffer = EpisodeBuffer(
            observations=np.stack([space.sample() for _ in range(steps + 1)]),
            actions=np.stack([action_space.sample() for _ in range(steps)]),
            rewards=generator.random(steps).astype(np.float32),
            terminations=last & (end == "terminated"),
            truncations=last & (end == "truncated"),
        )
        episodes.append(buffer)
    fresh("rllib/drawn-v0")
    return minari.create_dataset_from_buffers(
        "rllib/drawn-v0", episodes, observation_space=space, action_space=action_space
    )


@settings(deadline=None, max_examples=20)
@given(data=st.data())
def test_import_of_an_export_is_the_same(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    fresh("rllib/again-v0")
    dataset = data.draw(datasets())
    path = tmp_path_factory.mktemp("out") / "a.json"
    report = export_dataset(dataset, path, "rllib")
    assert any("dtypes" in sentence for sentence in report.missing)
    assert_same_episodes(import_dataset(path, "rllib/again-v0"), dataset)


LOAD = """
import sys, json
import numpy as np
from ray.rllib.offline.json_reader import JsonReader
from ray.rllib.offline.json_writer import JsonWriter
path, again, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
reader, found = JsonReader([path]), []
writer = JsonWriter(again, compress_columns=[])
for _ in range(count):
    batch = reader.next()
    writer.write(batch)
    found.append([int(batch["eps_id"][0]), float(np.sum(batch["obs"], dtype=np.float64)), len(batch["rewards"]),
        bool(batch["terminateds"][-1]), bool(batch["truncateds"][-1])])
print("found", json.dumps(sorted(found)))
"""


def test_rllib_reads_exports_and_we_read_what_it_writes(tmp_path: Path) -> None:
    dataset = import_dataset(sample("rllib-json", "cartpole_plain").path, "rllib/sample-v0")
    assert isinstance(dataset, minari.MinariDataset)
    export_dataset(dataset, tmp_path / "a.json", "rllib")
    lines = run_library("MINARI_RLLIB_PYTHON", LOAD, tmp_path / "a.json", tmp_path / "again", len(dataset)).splitlines()
    found = json.loads(next(line.removeprefix("found") for line in lines if line.startswith("found")))
    expected = [
        (
            number,
            episode.observations[:-1].sum(dtype=np.float64),
            len(episode),
            bool(episode.terminations[-1]),
            bool(episode.truncations[-1]),
        )
        for number, episode in enumerate(dataset)
    ]
    for ours, theirs in zip(expected, found, strict=True):
        assert ours[0] == theirs[0]
        assert ours[2:] == tuple(theirs[2:])
        np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-5)
    again = {episode.metadata["eps_id"]: episode for episode in read(tmp_path / "again").episodes}
    for number, episode in enumerate(dataset):
        np.testing.assert_array_equal(again[number].observations, episode.observations)
        np.testing.assert_array_equal(again[number].actions, episode.actions)
