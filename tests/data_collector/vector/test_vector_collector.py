"""VectorDataCollector: the dataset is the one that a recorder inside every sub-environment would make."""

from __future__ import annotations

from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from hypothesis import given
from hypothesis import strategies as st

import minari
from minari import VectorDataCollector
from minari._catalog.recordings import list_recordings
from minari._model.infos import append_info
from minari.data_collector import EpisodeBuffer
from minari.errors import ArgumentError, ArgumentTypeError, SpaceError
from minari.testing.comparison import assert_same
from support.cases import SPACES
from support.logged_env import LoggedEnv


pytestmark = pytest.mark.filterwarnings("ignore:`.*` is set to None", "ignore:.*no episode.*")

#: Gymnasium cannot combine the values of the others into a batch, or changes them.
BATCHED = {name: space for name, space in SPACES.items() if name not in ("box-empty",)}


def make(mode: AutoresetMode, count: int, kind: type[VectorEnv], case: str, **options: Any) -> VectorEnv:
    """A vector environment of logged ones."""
    space = BATCHED[case]
    makers = [partial(LoggedEnv, space, space, seed) for seed in range(count)]
    return kind(makers, autoreset_mode=mode, **options)  # type: ignore[call-arg]


def logged(env: VectorEnv, with_infos: bool) -> list[EpisodeBuffer]:
    """The finished episodes that the sub-environments have seen, in the order of their ends."""
    found = []
    for index, episodes in enumerate(env.unwrapped.get_attr("episodes")):  # type: ignore[attr-defined]
        for episode in episodes:
            if episode["end"] is None:
                continue
            fields = {name: value for name, value in episode.items() if name not in ("end", "infos")}
            infos: dict[str, Any] = {}
            for row, info in enumerate(episode["infos"] if with_infos else []):
                append_info(infos, info, row)
            found.append((episode["end"], index, EpisodeBuffer(infos=infos, metadata={"env_index": index}, **fields)))
    return [buffer for _, _, buffer in sorted(found, key=lambda one: one[:2])]


def assert_recorded(dataset: minari.MinariDataset, expected: list[EpisodeBuffer]) -> None:
    """Compare a dataset with one that is created from buffers."""
    truth = minari.create_dataset_from_buffers(
        "test/truth-v0", expected, observation_space=dataset.observation_space, action_space=dataset.action_space
    )
    try:
        assert len(dataset) == len(expected)
        ours, theirs = (d.storage.get_episode_metadata(range(len(d))) for d in (dataset, truth))
        for number, (episode, other) in enumerate(zip(dataset, truth, strict=True)):
            assert_same(episode, other, f"episode {number}")
        for one, other in zip(ours, theirs, strict=True):
            assert {key: one.get(key) for key in ("seed", "options", "env_index")} == {
                key: other.get(key) for key in ("seed", "options", "env_index")
            }
    finally:
        minari.delete_dataset("test/truth-v0")


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("step"), st.integers(1, 12)),
        st.tuples(st.just("reset"), st.sampled_from([None, 7, 2**32 - 1, "list"])),
        st.tuples(st.just("mask"), st.integers(0, 15)),
        st.tuples(st.just("save"), st.none()),
    ),
    min_size=1,
    max_size=8,
)


def drive(collector: VectorDataCollector, operations: list[Any], mode: AutoresetMode) -> minari.MinariDataset | None:
    """Run a script; DISABLED environments are reset where they have ended."""
    env: Any = collector.unwrapped
    count, clock = collector.num_envs, 0
    dataset = None
    over = np.zeros(count, bool)

    def tick() -> None:
        nonlocal clock
        clock += 1
        env.set_attr("clock", [clock] * count)

    collector.reset(seed=3)
    for name, argument in [*operations, ("save", None)]:
        tick()
        if name == "step":
            for _ in range(argument):
                tick()
                if mode is AutoresetMode.DISABLED and over.any():
                    collector.reset(options={"reset_mask": over, "note": "again"})
                *_, terminations, truncations, _ = collector.step(collector.action_space.sample())
                over = terminations | truncations
        elif name == "reset":
            seed = [5, None, 2**31, 8, 9][:count] if argument == "list" else argument
            collector.reset(seed=seed, options={"autoseed": 1, "minari_autoseed": argument is not None})
            over[:] = False
        elif name == "mask":
            mask = np.array([bool(argument >> index & 1) for index in range(count)])
            if mask.any():
                collector.reset(seed=11, options={"reset_mask": mask})
                over &= ~mask
        else:
            env.call("cut", True)
            if dataset is None:
                if collector.total_episodes or len(collector._recorder):
                    dataset = collector.create_dataset("test/vector-v0")
            else:
                collector.add_to_dataset(dataset)
    return dataset


@pytest.mark.parametrize("mode", AutoresetMode)
@given(
    operations=OPERATIONS,
    count=st.integers(1, 4),
    case=st.sampled_from(sorted(BATCHED)),
    copies=st.booleans(),
    with_infos=st.booleans(),
)
def test_the_dataset_is_what_each_sub_environment_saw(
    mode: AutoresetMode, operations: list[Any], count: int, case: str, copies: bool, with_infos: bool
) -> None:
    env = make(mode, count, SyncVectorEnv, case, copy=copies)
    collector = VectorDataCollector(env, record_infos=with_infos)
    dataset = drive(collector, operations, mode)
    expected = logged(env, with_infos)
    if dataset is None:
        assert expected == []
        return
    try:
        assert_recorded(dataset, expected)
    finally:
        collector.close()
        minari.delete_dataset("test/vector-v0")


@pytest.mark.parametrize("mode", AutoresetMode)
@pytest.mark.parametrize("with_infos", [False, True])
def test_episodes_longer_than_a_block(mode: AutoresetMode, with_infos: bool) -> None:
    space = spaces.Box(0, 1, (13_613,), np.float64)  # a block has 51 rows of three; drawn fast, and not compressed
    makers = [partial(LoggedEnv, space, spaces.Discrete(3), seed, longest=90, ends=0.004) for seed in range(3)]
    env = SyncVectorEnv(makers, autoreset_mode=mode)
    collector = VectorDataCollector(env, record_infos=with_infos)
    dataset = drive(collector, [("step", 130), ("mask", 2), ("step", 40), ("save", None), ("step", 50)], mode)
    assert dataset is not None
    lengths = [len(episode) for episode in dataset]
    assert max(lengths) > 64
    assert_recorded(dataset, logged(env, with_infos))


@pytest.mark.parametrize("buffer_steps", [1, 1000, 100_000])
def test_episodes_are_written_when_there_are_many_steps_in_memory(buffer_steps: int) -> None:
    collector = VectorDataCollector(native(16), buffer_steps=buffer_steps)
    collector.action_space.seed(0)
    collector.reset(seed=0)
    for _ in range(400):
        collector.step(collector.action_space.sample())
    written = sum(recording.storage.total_steps for recording in list_recordings())
    # As many in the queue and again on their way to it, and what ended in the last step.
    assert collector.total_steps - written <= 2 * buffer_steps + 16 * 60
    collector.create_dataset("test/vector-v0")


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
@pytest.mark.parametrize("shared", [True, False])
def test_environments_in_processes(mode: AutoresetMode, shared: bool) -> None:
    env = make(mode, 3, AsyncVectorEnv, "multi-discrete" if shared else "dict-nested", shared_memory=shared)
    collector = VectorDataCollector(env, record_infos=True)
    try:
        dataset = drive(collector, [("step", 30), ("reset", "list"), ("step", 5)], mode)
        assert dataset is not None
        assert_recorded(dataset, logged(env, with_infos=True))
    finally:
        collector.close()


def native(count: int = 4, **options: Any) -> VectorEnv:
    return gym.make_vec("CartPole-v1", num_envs=count, vectorization_mode="vector_entry_point", **options)


def test_a_native_environment_has_the_seed_of_its_generator() -> None:
    collector = VectorDataCollector(native())
    collector.reset(seed=np.int64(5))
    for _ in range(60):
        collector.step(collector.action_space.sample())
    dataset = collector.create_dataset("test/native-v0")
    metadata = list(dataset.storage.get_episode_metadata(range(len(dataset))))
    first = {int(one["env_index"]): one for one in reversed(metadata)}
    assert sorted(first) == [0, 1, 2, 3]
    assert [one.get("vector_seed") for one in first.values()] == [5] * 4
    assert not any("seed" in one for one in metadata)
    assert sum("vector_seed" in one for one in metadata) == 4
    assert dataset.env_spec == gym.spec("CartPole-v1")
    dataset.recover_environment().close()


@pytest.mark.parametrize(
    ("seed", "expected"),
    [
        (7, [7, 8, 9]),
        (np.uint32(2**32 - 2), [2**32 - 2, 2**32 - 1, 0]),
        (2**40, [2**40, 2**40 + 1, 2**40 + 2]),
        ([4, np.int8(2), 4], [4, 2, 4]),
        ((1, None, 3), [1, None, 3]),
        (None, [None, None, None]),
    ],
)
def test_seeds_of_the_sub_environments(seed: Any, expected: list[int | None]) -> None:
    for options in ({}, {"minari_autoseed": False, "level": 2}):
        env = make(AutoresetMode.NEXT_STEP, 3, SyncVectorEnv, "discrete")
        collector = VectorDataCollector(env)
        given_options = dict(options)
        collector.reset(seed=seed, options=options or None)
        assert options == given_options, "the dict of the caller is unchanged"
        collector.step(collector.action_space.sample())
        dataset = collector.create_dataset("test/seeds-v0")
        metadata = sorted(dataset.storage.get_episode_metadata(range(3)), key=lambda one: int(one["env_index"]))
        found = [one.get("seed") for one in metadata]
        seen = [env.envs[index].episodes[0] for index in range(3)]  # type: ignore[attr-defined]
        assert found == [episode["seed"] for episode in seen]
        assert [episode["options"] for episode in seen] == [{"level": 2} if options else None] * 3
        drawn = [number for number, value in enumerate(expected) if value is None and not options]
        assert all(isinstance(found[number], int) and 0 <= found[number] < 2**32 for number in drawn)
        assert [value for number, value in enumerate(found) if number not in drawn] == [
            value for number, value in enumerate(expected) if number not in drawn
        ]
        minari.delete_dataset("test/seeds-v0")


@pytest.mark.parametrize(
    ("seed", "error", "message"),
    [
        ([1, 2], ArgumentError, "seed has 2 seeds, expected one for each of 3 sub-environments"),
        (-1, ArgumentError, "seed is -1"),
        ("7", ArgumentTypeError, "seed is '7'"),
        ([1, 2.5, 3], ArgumentTypeError, "seed is 2.5"),
    ],
)
def test_bad_seeds_are_refused(seed: Any, error: type[Exception], message: str) -> None:
    collector = VectorDataCollector(make(AutoresetMode.NEXT_STEP, 3, SyncVectorEnv, "discrete"))
    with pytest.raises(error, match=message):
        collector.reset(seed=seed)


class NoMode(VectorEnv):
    """A vector environment that does not say when it resets."""

    num_envs = 2
    single_observation_space = observation_space = single_action_space = action_space = spaces.Discrete(2)


def test_what_cannot_be_recorded_rightly_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"The autoreset mode of .* is None, expected one of Gymnasium's"):
        VectorDataCollector(NoMode())
    with pytest.raises(TypeError, match=r"VectorDataCollector records a vector environment, got .*DataCollector"):
        VectorDataCollector(gym.make("CartPole-v1"))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="VectorDataCollector"):
        minari.DataCollector(native())  # type: ignore[arg-type]
    texts = make(AutoresetMode.NEXT_STEP, 1, AsyncVectorEnv, "text")
    with pytest.raises(SpaceError, match="make it with shared_memory=False"):
        VectorDataCollector(texts)
    texts.close()
    with pytest.raises(gym.error.ResetNeeded):
        VectorDataCollector(native()).step(np.zeros(4, np.int64))


def test_the_spec_is_that_of_the_single_environment() -> None:
    for options in ({"vectorization_mode": "sync"}, {"vectorization_mode": "vector_entry_point"}):
        collector = VectorDataCollector(gym.make_vec("CartPole-v1", num_envs=2, max_episode_steps=7, **options))
        collector.reset(seed=1)
        for _ in range(20):
            collector.step(collector.action_space.sample())
        dataset = collector.create_dataset("test/spec-v0")
        assert max(len(episode) for episode in dataset) <= 7
        env = dataset.recover_environment()
        assert env.spec is not None
        assert (env.spec.max_episode_steps, env.spec.kwargs) == (7, {})
        minari.delete_dataset("test/spec-v0")
