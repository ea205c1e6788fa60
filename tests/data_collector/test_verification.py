"""Replays of datasets in their environments: equal wherever nothing has changed, and the first difference elsewhere."""

from __future__ import annotations

import json
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers import RescaleAction
from hypothesis import given
from hypothesis import strategies as st

import minari
from minari.data_collector import EpisodeBuffer
from minari.data_collector.verification import VerificationReport
from minari.dataset.description import dataset_facts
from minari.errors import (
    ArgumentError,
    ArgumentTypeError,
    DatasetCorruptError,
    EnvironmentModuleError,
    EnvironmentSpecError,
    EpisodeIndexError,
    VerificationError,
)
from support.hidden import Hidden, make, slow_replay


pytestmark = [
    pytest.mark.filterwarnings("ignore:.*is set to None"),
    pytest.mark.filterwarnings("ignore:.*out of date"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:gymnasium"),
]


@pytest.fixture(autouse=True)
def own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MuJoCo writes its warnings to a file in the current directory."""
    monkeypatch.chdir(tmp_path)


FORMATS = ["hdf5", "arrow", "parquet", "zarr"]
NEEDS = {"arrow": "pyarrow", "parquet": "pyarrow", "zarr": "zarr"}
formats = pytest.mark.parametrize(
    "data_format",
    [
        pytest.param(name, marks=pytest.mark.skipif(not find_spec(NEEDS.get(name, "h5py")), reason="an extra"))
        for name in FORMATS
    ],
)


def record(
    env: gym.Env[Any, Any],
    dataset_id: str = "verified/a-v0",
    *,
    episodes: int = 4,
    most: int = 60,
    options: dict[str, Any] | None = None,
    **arguments: Any,
) -> minari.MinariDataset:
    """Record episodes of at most so many steps; the last one is cut off after five."""
    collector = minari.DataCollector(env, **arguments)
    collector.action_space.seed(0)
    for number in range(episodes):
        collector.reset(seed=number, options=options)
        for _ in range(most if number < episodes - 1 else 5):
            *_, terminated, truncated, _ = collector.step(collector.action_space.sample())
            if terminated or truncated:
                break
    return collector.create_dataset(dataset_id)


def rewritten(dataset: minari.MinariDataset, change: Any, dataset_id: str = "verified/changed-v0") -> Any:
    """The dataset after a function has changed the columns of each episode, and its metadata."""
    buffers = []
    metadatas = dataset.storage.get_episode_metadata(range(len(dataset)))
    for episode, metadata in zip(dataset, metadatas, strict=True):
        fields = {
            "observations": episode.observations,
            "actions": episode.actions,
            "rewards": episode.rewards,
            "terminations": episode.terminations,
            "truncations": episode.truncations,
            "seed": metadata.get("seed"),
            "options": metadata.get("options"),
        }
        if "env_index" in metadata:
            fields["metadata"] = {"env_index": metadata["env_index"]}
        change(episode.id, fields)
        buffers.append(EpisodeBuffer(**fields))
    return minari.create_dataset_from_buffers(
        dataset_id,
        buffers,
        env=dataset.env_spec,
        observation_space=dataset.observation_space,
        action_space=dataset.action_space,
        data_format=dataset.storage.FORMAT,
        jpeg_encoding=dataset.storage.jpeg_encoding,
    )


def statuses(report: VerificationReport) -> list[str]:
    return [episode.status for episode in report.episodes]


def divergence(report: VerificationReport) -> Any:
    assert report.first_divergence is not None
    assert not report.ok
    return report.first_divergence.divergence


# Real environments


@pytest.mark.parametrize(
    ("env_id", "needs"),
    [
        ("CartPole-v1", None),
        ("Pendulum-v1", None),
        ("Blackjack-v1", None),
        ("HalfCheetah-v5", "mujoco"),
        ("Ant-v5", "mujoco"),
        ("LunarLander-v3", "Box2D"),
        ("BipedalWalker-v3", "Box2D"),
    ],
)
def test_recorded_environments_are_exact(env_id: str, needs: str | None) -> None:
    if needs is not None:
        pytest.importorskip(needs)
        if needs == "mujoco":
            pytest.importorskip("imageio")
    dataset = record(gym.make(env_id))
    report = minari.verify(dataset)
    assert report.counts == {"exact": 4, "within tolerance": 0, "diverged": 0, "not reproducible": 0}
    assert report.ok
    assert report.notes == ()
    last = dataset[3]
    is_cut = bool(last.truncations[-1])
    assert report.episodes[3].note == ("cut off at its last step" if is_cut else None)
    assert report.recorded_with == report.replayed_with
    if needs is not None:
        assert report.replayed_with[needs]


def test_another_version_of_an_environment_diverges_where_it_differs() -> None:
    pytest.importorskip("mujoco")
    pytest.importorskip("imageio")
    dataset = record(gym.make("InvertedPendulum-v5"), episodes=3)  # gives no reward for the fall
    assert statuses(minari.verify(dataset)) == ["exact"] * 3
    found = divergence(minari.verify(dataset, env="InvertedPendulum-v4"))
    assert (found.step, found.leaf, found.recorded, found.replayed) == (len(dataset[0]) - 1, "rewards", 0.0, 1.0)
    assert found.difference == 1


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"env_kwargs": {"g": 9.0}}, (0, "observations")),
        ({"env": "Pendulum-v1", "env_kwargs": {"g": 9.0}}, (0, "observations")),
        ({"env": lambda: gym.make("Pendulum-v1", g=9.0)}, (0, "observations")),
        ({"env": "gymnasium.envs.classic_control.pendulum:PendulumEnv", "env_kwargs": {"g": 9.0}}, (0, "observations")),
    ],
)
def test_another_gravity_diverges_at_the_first_step(arguments: Any, expected: Any) -> None:
    found = divergence(minari.verify(record(gym.make("Pendulum-v1")), **arguments))
    assert (found.step, found.leaf) == expected
    assert found.difference == pytest.approx(abs(found.recorded - found.replayed), rel=1e-3)


def test_time_limits_that_are_missing_are_found_at_their_step() -> None:
    dataset = record(gym.make("Pendulum-v1", max_episode_steps=30), episodes=2)
    assert statuses(minari.verify(dataset)) == ["exact", "exact"]
    dataset = record(gym.make("CartPole-v1"), "verified/long-v0", episodes=2)
    short = minari.verify(dataset, env=lambda: gym.make("CartPole-v1", max_episode_steps=7))
    assert (divergence(short).step, divergence(short).leaf) == (6, "truncations")
    assert (divergence(short).recorded, divergence(short).replayed, divergence(short).difference) == (False, True, None)


def test_options_of_resets_are_given_again() -> None:
    dataset = record(gym.make("CartPole-v1"), options={"low": -0.01, "high": 0.02})
    assert statuses(minari.verify(dataset)) == ["exact"] * 4

    def forget_options(number: int, fields: Any) -> None:
        fields["options"] = None if number == 2 else fields["options"]

    report = minari.verify(rewritten(dataset, forget_options))
    assert statuses(report) == ["exact", "exact", "diverged", "exact"]
    assert (divergence(report).step, divergence(report).leaf) == (None, "observations")
    assert "diverged at the reset in observations[" in str(report.first_divergence)


# Changed data


@formats
@pytest.mark.parametrize("kind", ["box", "nested", "frames"])
def test_tampered_actions_are_found_at_their_step(kind: str, data_format: str) -> None:
    dataset = record(make(kind=kind), data_format=data_format, episodes=3)
    assert statuses(minari.verify(dataset)) == ["exact"] * 3
    step = len(dataset[1]) // 2

    def tamper(number: int, fields: Any) -> None:
        if number == 1:
            fields["actions"][step] = (fields["actions"][step] + 1) % 5

    report = minari.verify(rewritten(dataset, tamper))
    assert statuses(report) == ["exact", "diverged", "exact"]
    assert divergence(report).step == step
    assert divergence(report).leaf.startswith("observations")


@pytest.mark.parametrize("field", ["observations", "rewards", "terminations"])
@pytest.mark.parametrize("row", [0, 1, 4])
def test_other_tampered_values_are_found(field: str, row: int) -> None:
    def tamper(number: int, fields: Any) -> None:
        if number == 1:
            values = np.array(fields[field])
            values[row] = ~values[row] if field == "terminations" else values[row] + 0.5
            fields[field] = values

    report = minari.verify(rewritten(record(make(), episodes=3), tamper))
    expected = (row - 1 if row else None) if field == "observations" else row
    assert statuses(report) == ["exact", "diverged", "exact"]
    assert (divergence(report).step, divergence(report).leaf) == (expected, field)


@formats
@pytest.mark.parametrize("components", [1, 3])
def test_vector_rewards(components: int, data_format: str) -> None:
    dataset = record(make(rewards=components), data_format=data_format, episodes=3)
    assert statuses(minari.verify(dataset)) == ["exact"] * 3

    def tamper(number: int, fields: Any) -> None:
        fields["rewards"].reshape(-1, components)[3, -1] += 0.25

    found = divergence(minari.verify(rewritten(dataset, tamper)))
    assert (found.step, found.leaf, found.index) == (3, "rewards", (components - 1,) if components > 1 else ())
    assert found.difference == pytest.approx(0.25)


def test_jpeg_frames_are_left_out_with_a_note() -> None:
    pytest.importorskip("PIL")
    dataset = record(make(kind="frames"), jpeg_encoding=True)
    report = minari.verify(dataset)
    assert statuses(report) == ["exact"] * 4
    assert report.notes == ("The observations/picture were not compared: they are stored as JPEG, which is lossy.",)

    def tamper(number: int, fields: Any) -> None:
        fields["observations"]["place"][2] += 1

    found = divergence(minari.verify(rewritten(dataset, tamper)))
    assert (found.step, found.leaf) == (1, "observations/place")


def test_deduplicated_stacks_of_frames() -> None:
    env = gym.wrappers.FrameStackObservation(
        gym.wrappers.TransformObservation(
            make(kind="frames"), lambda both: both["picture"], Hidden("frames").observation_space["picture"]
        ),
        3,
    )
    dataset = record(env, frame_stack="deduplicate")

    def again() -> Any:
        inner = gym.wrappers.TransformObservation(
            make(kind="frames"), lambda both: both["picture"], Hidden("frames").observation_space["picture"]
        )
        return gym.wrappers.FrameStackObservation(inner, 3)

    assert statuses(minari.verify(dataset, env=again)) == ["exact"] * 4


def test_tolerance_separates_rounding_from_divergence() -> None:
    dataset = record(make(), episodes=2)

    def shift(number: int, fields: Any) -> None:
        fields["observations"][3, 0] += 1e-6

    changed = rewritten(dataset, shift)
    assert divergence(minari.verify(changed)).difference == pytest.approx(1e-6, rel=1e-3)
    report = minari.verify(changed, tolerance=1e-5)
    assert statuses(report) == ["within tolerance"] * 2
    assert report.ok
    assert report.episodes[0].largest_difference == pytest.approx(1e-6, rel=1e-3)


def test_nan_equals_nan() -> None:
    class Blind(Hidden):
        def observe(self) -> Any:
            return np.array([np.nan, np.inf if self.time % 2 else self.hidden])

    dataset = record(Blind())
    assert statuses(minari.verify(dataset, env=Blind)) == ["exact"] * 4

    def tamper(number: int, fields: Any) -> None:
        fields["observations"][2] = [0.0, fields["observations"][2, 1]]

    found = divergence(minari.verify(rewritten(dataset, tamper), env=Blind, tolerance=10.0))
    assert (found.step, found.index, found.recorded, found.replayed) == (1, (0,), 0.0, "nan")


# What differs for other reasons


def test_state_between_episodes_is_told_apart() -> None:
    collected = record(make(leaks=True), episodes=1)
    metadata = next(iter(collected.storage.get_episode_metadata([0])))
    whole = minari.combine_datasets([collected, collected], "verified/twice-v0")
    assert metadata["seed"] == 0
    report = minari.verify(whole)
    assert statuses(report) == ["exact", "exact"]
    assert report.episodes[0].note == "cut off at its last step"
    assert "only in a fresh environment" in str(report.episodes[1].note)


def test_noise_without_a_seed_diverges() -> None:
    report = minari.verify(record(make(noisy=True)))
    assert statuses(report) == ["diverged"] * 4
    assert divergence(report).step is None


def test_environment_that_fails_diverges_at_its_step() -> None:
    class Failing(Hidden):
        def step(self, action: Any) -> Any:
            if self.time == 2:
                raise RuntimeError("the motor broke")
            return super().step(action)

    found = divergence(minari.verify(record(make(), episodes=1), env=Failing))
    assert (found.step, found.leaf, found.replayed) == (2, "steps", "RuntimeError: 'the motor broke'")


def test_environment_that_exits_is_a_divergence() -> None:
    class Leaving(Hidden):
        def step(self, action: Any) -> Any:
            sys.exit("no display")

    found = divergence(minari.verify(record(make(), episodes=1), env=Leaving))
    assert (found.step, found.leaf, found.replayed) == (0, "steps", "SystemExit: 'no display'")


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


def test_exception_without_a_text_is_named() -> None:
    class Speechless(Hidden):
        def step(self, action: Any) -> Any:
            raise Unspeakable

    found = divergence(minari.verify(record(make(), episodes=1), env=Speechless))
    assert (found.step, found.replayed) == (0, "Unspeakable")


def test_flags_that_are_no_flags_diverge_at_their_step() -> None:
    class TwoFlags(Hidden):
        def step(self, action: Any) -> Any:
            observation, reward, terminated, truncated, info = super().step(action)
            return observation, reward, terminated, np.array([truncated] * 2) if self.time == 3 else truncated, info

    found = divergence(minari.verify(record(make(), episodes=1), env=TwoFlags))
    assert (found.step, found.leaf) == (2, "steps")
    assert "ValueError" in found.replayed


def test_unseeded_episodes_are_not_reproducible() -> None:
    collector = minari.DataCollector(make())
    for seed in (3, None):
        collector.reset(seed=seed, options=None if seed else {"minari_autoseed": False})
        for _ in range(3):
            collector.step(1)
    first = collector.create_dataset("verified/part-v0")
    collector.reset(options={"minari_autoseed": False})
    collector.step(1)
    second = collector.create_dataset("verified/unseeded-v0")
    assert statuses(minari.verify(first)) == ["exact", "exact"]  # the second one continues the first one
    report = minari.verify(second)
    assert statuses(report) == ["not reproducible"]
    assert report.episodes[0].note == "no seed is recorded"
    assert report.ok
    both = minari.verify(minari.combine_datasets([second, first, second], "verified/both-v0"))
    assert statuses(both) == ["not reproducible", "exact", "exact", "exact"]
    other = minari.verify(minari.combine_datasets([first, first[1:], first[1:]], "verified/other-v0"), episodes=[3])
    assert statuses(other) == ["not reproducible"]
    assert "does not go on" in str(other.episodes[0].note) or "is not reproduced" in str(other.episodes[0].note)


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_episodes_of_vector_environments_continue_each_other(mode: AutoresetMode) -> None:
    envs = gym.vector.SyncVectorEnv([make] * 3, autoreset_mode=mode)
    collector = minari.VectorDataCollector(envs)
    collector.action_space.seed(0)
    collector.reset(seed=5)
    for _ in range(150):
        collector.step(collector.action_space.sample())
    dataset = collector.create_dataset("verified/vector-v0")
    assert len(dataset) > 9
    report = minari.verify(dataset)
    assert statuses(report) == ["exact"] * len(dataset)
    assert statuses(minari.verify(dataset, episodes=[8, 5])) == ["exact"] * 2
    members = [
        episode
        for episode, metadata in enumerate(dataset.storage.get_episode_metadata(range(len(dataset))))
        if metadata["env_index"] == 1
    ]

    def tamper(number: int, fields: Any) -> None:
        if number == members[1]:
            fields["rewards"][0] += 1

    changed = minari.verify(rewritten(dataset, tamper))
    assert changed.counts["diverged"] == 1
    assert divergence(changed).step == 0
    assert changed.counts["not reproducible"] == len(members) - 2
    assert "before it is not reproduced" in str(changed.episodes[members[2]].note)


def test_native_vector_environments_are_not_reproducible() -> None:
    collector = minari.VectorDataCollector(gym.make_vec("CartPole-v1", 2, vectorization_mode="vector_entry_point"))
    collector.reset(seed=1)
    for _ in range(50):
        collector.step(collector.action_space.sample())
    report = minari.verify(collector.create_dataset("verified/native-v0"))
    assert set(statuses(report)) == {"not reproducible"}
    assert "shared a generator" in str(report.episodes[0].note)


def test_real_dataset_begins_as_recorded(real_root: Path) -> None:
    if find_spec("gymnasium_robotics") is None:
        with pytest.raises(EnvironmentModuleError, match="No module named 'gymnasium_robotics'; the dataset asks for"):
            minari.verify("D4RL/door/human-v2")
        return
    report = minari.verify("D4RL/door/human-v2", tolerance=1e-6, episodes=range(5))
    assert not report.recorded_with
    for episode in report.episodes:  # an older MuJoCo rounded differently, and contacts enlarge that
        assert episode.divergence is None or (episode.divergence.step or 0) > 10


class Halved(minari.StepDataCallback):
    def __call__(self, env: Any, **step: Any) -> Any:
        data = super().__call__(env, **step)
        return {**data, "observation": data["observation"][:1]}


def test_observations_of_a_callback_are_left_out_with_a_note() -> None:
    space = gym.spaces.Box(-np.inf, np.inf, (1,), np.float64)
    dataset = record(make(), step_data_callback=Halved, observation_space=space)
    report = minari.verify(dataset)
    assert statuses(report) == ["exact"] * 4
    (note,) = report.notes
    assert note.startswith("The observations were not compared: they are recorded as Box(-inf, inf, (1,), float64)")

    def tamper(number: int, fields: Any) -> None:
        fields["rewards"][1] += 1

    assert divergence(minari.verify(rewritten(dataset, tamper))).leaf == "rewards"


def test_actions_stored_in_another_dtype_are_noted() -> None:
    env = gym.make("Pendulum-v1")
    space = gym.spaces.Box(-2.0, 2.0, (1,), np.float64)
    dataset = record(env, action_space=space)
    (note,) = minari.verify(dataset).notes
    assert "another dtype" in note


# Errors


class Elsewhere(Hidden):
    def __init__(self) -> None:
        super().__init__()
        self.action_space = gym.spaces.Box(-1, 1, (2,))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"episodes": [7]},
            EpisodeIndexError,
            "There is no episode 7 in verified/a-v0, expected a number from 0 to 1.",
        ),
        ({"episodes": "1"}, ArgumentTypeError, "episodes is '1', expected a list"),
        ({"sample": 3}, ArgumentError, "sample is 3, expected at most the 2 episodes"),
        ({"tolerance": -1}, ArgumentError, "tolerance is -1, expected a number from 0."),
        ({"tolerance": float("nan")}, ArgumentError, "tolerance is nan"),
        ({"processes": 0}, ArgumentError, "processes is 0"),
        ({"env": 3}, ArgumentTypeError, "env is 3, expected a function"),
        ({"env": "nowhere:make"}, EnvironmentModuleError, "No module named 'nowhere'"),
        ({"env": "math:make"}, EnvironmentSpecError, "The module math has no 'make'"),
        ({"env": "os:getcwd"}, EnvironmentSpecError, "expected an environment of Gymnasium"),
        ({"env": "No-v0"}, EnvironmentSpecError, "The environment 'No-v0' cannot be made"),
        ({"env": Elsewhere}, EnvironmentSpecError, "actions is Discrete(5) and Box(-1.0, 1.0, (2,), float32)"),
        ({"env_kwargs": {"wind": 3}}, EnvironmentSpecError, "wind"),
        ({"env": lambda: make(), "processes": 2}, ArgumentTypeError, "cannot be sent to other processes"),
        ({"env": "math:inf"}, EnvironmentSpecError, "math:inf is inf, expected a function that makes an environment."),
    ],
)
def test_errors_are_one_sentence(arguments: Any, error: type[Exception], message: str) -> None:
    dataset = record(make(), episodes=2)
    with pytest.raises(error) as raised:
        minari.verify(dataset, **arguments)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_dataset_without_an_environment() -> None:
    dataset = minari.create_dataset_from_arrays(
        "verified/arrays-v0", observations=np.arange(3.0), actions=np.zeros(2), rewards=np.ones(2),
        terminations=np.array([False, True]),
    )  # fmt: skip
    assert statuses(minari.verify(dataset)) == ["not reproducible"]
    dataset.storage.update_episode_metadata([{"seed": 1}])
    with pytest.raises(
        EnvironmentSpecError, match=r"has no env_spec to make its environment of; give a function .* as env "
    ):
        minari.verify(dataset)


# Selection, processes


def test_selection() -> None:
    dataset = record(make(), episodes=6)
    assert [one.episode for one in minari.verify(dataset, episodes=[4, 1, 4]).episodes] == [4, 1]
    assert [one.episode for one in minari.verify(dataset[2:4]).episodes] == [2, 3]
    drawn = [one.episode for one in minari.verify(dataset, sample=3, seed=2).episodes]
    assert len(drawn) == 3
    assert drawn == [one.episode for one in minari.verify(dataset.id, sample=3, seed=2).episodes]
    assert minari.verify(dataset, episodes=[]).counts["exact"] == 0


def test_processes_give_the_same_report_in_order() -> None:
    dataset = record(make(kind="nested"), episodes=7)

    def tamper(number: int, fields: Any) -> None:
        if number in (2, 5):
            fields["rewards"][number - 1] += 1

    changed = rewritten(dataset, tamper)
    report = minari.verify(changed, processes=2)
    assert report == minari.verify(changed)
    assert statuses(report) == ["exact", "exact", "diverged", "exact", "exact", "diverged", "exact"]


def test_process_that_dies_gives_one_error() -> None:
    dataset = record(make(), episodes=3)
    with pytest.raises(VerificationError, match="ended with the exit code 7") as raised:
        minari.verify(dataset, env_kwargs={"fails": True}, processes=2)
    assert "\n" not in str(raised.value)


def test_process_that_fails_gives_its_reason() -> None:
    dataset = record(make(), episodes=3)
    file = dataset.storage.data_path / "main_data.hdf5"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises((VerificationError, DatasetCorruptError)):
        minari.verify(minari.MinariDataset(dataset.storage.data_path), processes=2)


# The report


def verified_line(metadata: Any) -> str | None:
    return next((fact.text for fact in dataset_facts(metadata) if fact.title == "Verified"), None)


@formats
def test_report_is_kept_and_becomes_stale(data_format: str) -> None:
    dataset = record(make(), data_format=data_format)
    report = minari.verify(dataset, keep_report=False)
    assert "verification" not in dataset.storage.metadata
    report = minari.verify(dataset)
    opened = minari.load_dataset(dataset.id)
    kept = opened.storage.metadata["verification"]
    assert kept == report.summary()
    assert json.loads(json.dumps(report.as_dict()))["counts"] == report.counts
    line = verified_line(opened.storage.metadata)
    assert line is not None
    assert line.startswith(f"exact in 4 of 4 episodes on {report.date} (gymnasium ")
    minari.verify(dataset, episodes=[1])
    assert "exact in 1 of 1 episodes, of 4 in all, on" in str(verified_line(dataset.storage.metadata))
    for copy in (
        dataset.convert("verified/converted-v0"),
        dataset[:2].save("verified/saved-v0"),
        minari.combine_datasets([dataset, dataset], "verified/combined-v0"),
    ):
        assert "verification" not in copy.storage.metadata
        assert copy.storage.metadata["recorded_with"] == dataset.storage.metadata["recorded_with"]
    collector = minari.DataCollector(make())
    collector.reset(seed=1)
    collector.step(1)
    collector.add_to_dataset(dataset)
    assert str(verified_line(dataset.storage.metadata)).endswith("; stale, as the dataset has changed since")


def test_report_says_where_it_diverged_and_in_which_environment() -> None:
    dataset = record(make(), episodes=2)
    report = minari.verify(dataset, env_kwargs={"gain": 2.0})
    kept = dataset.storage.metadata["verification"]
    assert kept["first_divergence"]["divergence"]["step"] == divergence(report).step
    assert kept["env"] == "the recorded environment with {'gain': 2.0}"
    assert "diverged in 2 of 2 episodes in " in str(verified_line(dataset.storage.metadata))


def test_dataset_that_is_read_only_gives_a_report_and_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = record(make(), episodes=2)

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied", "metadata.json")

    monkeypatch.setattr(type(dataset.storage), "update_metadata", refuse)
    with pytest.warns(UserWarning, match="is not kept in the metadata of verified/a-v0"):
        assert minari.verify(dataset).ok


GOOD = {
    "counts": {"exact": 3},
    "episodes": 3,
    "total_episodes": 3,
    "total_steps": 9,
    "date": "2026-11-29",
    "replayed_with": {"gymnasium": "1.2.0", "mujoco": "3.3"},
}
ODD: list[Any] = [None, 3, "x" * 10_000, [], {}, -1, True, {"a": [{}]}, 1e400, 10**5000, "\x1b[31m\n|"]


@pytest.mark.parametrize("value", ODD, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("key", [None, *GOOD])
def test_odd_values_in_a_file_break_no_line(key: str | None, value: Any) -> None:
    report = value if key is None else {**GOOD, key: value}
    line = verified_line({"total_episodes": 3, "total_steps": 9, "verification": report})
    assert line is None or (line.startswith("exact in") and len(line) < 1000) or line.startswith("none of 3")


def test_the_line() -> None:
    metadata = {"total_episodes": 3, "total_steps": 9, "verification": GOOD}
    assert verified_line(metadata) == "exact in 3 of 3 episodes on 2026-11-29 (gymnasium 1.2.0, mujoco 3.3)"


# The versions of what has recorded


def test_versions_are_recorded_by_all_collectors(tmp_path: Path) -> None:
    dataset = record(make(), episodes=2)
    versions = dataset.storage.metadata["recorded_with"]
    assert versions["minari"] == minari.__version__
    assert versions["gymnasium"] == gym.__version__
    assert versions["numpy"] == np.__version__
    assert {"python", "platform"} <= versions.keys()
    collector = minari.VectorDataCollector(gym.vector.SyncVectorEnv([make] * 2))
    collector.reset(seed=1)
    collector.step(np.array([1, 2]))
    vector = collector.create_dataset("verified/vector-v0")
    assert vector.storage.metadata["recorded_with"]["gymnasium"] == gym.__version__


def test_versions_that_differ_are_listed() -> None:
    first, second = record(make(), "verified/first-v0", episodes=1), record(make(), "verified/second-v0", episodes=1)
    old = {**first.storage.metadata["recorded_with"], "gymnasium": "0.29.1"}
    first.storage.update_metadata({"recorded_with": old})
    both = minari.combine_datasets([first, second], "verified/both-v0")
    assert both.storage.metadata["recorded_with"]["gymnasium"] == ["0.29.1", gym.__version__]
    report = minari.verify(both)
    assert report.differing_versions == {"gymnasium": (f"0.29.1, {gym.__version__}", gym.__version__)}
    collector = minari.DataCollector(make())
    collector.reset(seed=1)
    collector.step(1)
    collector.add_to_dataset(first)
    assert first.storage.metadata["recorded_with"]["gymnasium"] == ["0.29.1", gym.__version__]


def test_versions_are_known_of_recovered_and_resumed_recordings() -> None:
    collector = minari.DataCollector(make())
    collector.reset(seed=1)
    collector.step(1)
    with pytest.warns(UserWarning, match="minari recover"):
        collector.close()
    (recording,) = minari.storage.recordings.list_recordings()
    resumed = minari.DataCollector(make(), resume=recording.name)
    resumed.reset(seed=2)
    resumed.step(1)
    with pytest.warns(UserWarning, match="minari recover"):
        resumed.close()
    dataset = minari.storage.recordings.recover_recording(recording.name, "verified/recovered-v0")
    assert dataset.storage.metadata["recorded_with"]["gymnasium"] == gym.__version__
    assert statuses(minari.verify(dataset)) == ["exact", "exact"]


# Random episodes


@given(
    kind=st.sampled_from(["box", "nested"]),
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=4),
    changes=st.lists(
        st.tuples(
            st.integers(0, 3),
            st.integers(0, 39),
            st.sampled_from(["actions", "rewards", "terminations", "truncations", "seed"]),
        ),
        max_size=3,
    ),
    tolerance=st.sampled_from([0.0, 1e-3, 0.2]),
    first_seed=st.integers(0, 2**32),
)
def test_report_equals_that_of_a_slow_replay(
    kind: str, lengths: list[int], changes: list[tuple[int, int, str]], tolerance: float, first_seed: int
) -> None:
    env, episodes, buffers = Hidden(kind), [], []
    for number, length in enumerate(lengths):
        rng = np.random.default_rng([first_seed, number])
        observation, _ = env.reset(seed=first_seed + number)
        episode: dict[str, Any] = {
            **{field: [] for field in ("actions", "rewards", "terminations", "truncations")},
            "observations": [observation],
            "seed": first_seed + number,
        }
        for _ in range(length):
            action = int(rng.integers(5))
            observation, reward, terminated, truncated, _ = env.step(action)
            for field, value in zip(
                ("observations", "actions", "rewards", "terminations", "truncations"),
                (observation, action, reward, terminated, truncated),
                strict=True,
            ):
                episode[field].append(value)
            if terminated:
                break
        episode["truncations"][-1] = not episode["terminations"][-1]
        episodes.append(episode)
    for number, step, field in changes:
        episode = episodes[number % len(episodes)]
        step %= len(episode["actions"])
        if field == "seed":
            episode["seed"] += 1
        elif field == "actions":
            episode["actions"][step] = (episode["actions"][step] + 1) % 5
        else:
            value = episode[field][step]
            episode[field][step] = value + 0.1 if field == "rewards" else not value
    buffers = [EpisodeBuffer(**episode) for episode in episodes]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        minari.delete_dataset("verified/random-v0") if "verified/random-v0" in minari.list_local_datasets() else None
        dataset = minari.create_dataset_from_buffers(
            "verified/random-v0", buffers, observation_space=env.observation_space, action_space=env.action_space
        )
        report = minari.verify(dataset, env=lambda: Hidden(kind), tolerance=tolerance, keep_report=False)
    for result, episode in zip(report.episodes, episodes, strict=True):
        expected = slow_replay(Hidden(kind), episode, tolerance)
        if expected is None:
            assert result.status in ("exact", "within tolerance")
            assert result.status == ("exact" if slow_replay(Hidden(kind), episode, 0.0) is None else "within tolerance")
        else:
            assert result.divergence is not None
            assert result.divergence.step == expected[0]
            assert result.divergence.leaf in expected[1]


def test_wrappers_of_the_spec_are_made_again() -> None:
    dataset = record(RescaleAction(gym.make("Pendulum-v1"), np.float32(-1), np.float32(1)))
    assert statuses(minari.verify(dataset)) == ["exact"] * 4
