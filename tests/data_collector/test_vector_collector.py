"""VectorDataCollector: the dataset is the one that a recorder inside every sub-environment would make."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from hypothesis import given
from hypothesis import strategies as st

import minari
from minari import VectorDataCollector
from minari._model.infos import append_info
from minari.data_collector import EpisodeBuffer
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
