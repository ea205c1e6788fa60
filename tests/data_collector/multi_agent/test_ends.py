"""Every way out of a program: what agents have done so far is written, and can be recovered."""

from __future__ import annotations

import gc
import time
from typing import Any

import pytest

import minari
from minari import MultiAgentDataCollector
from minari._catalog.recordings import list_recordings
from minari.data_collector import flush_timer
from minari.storage.local import recover_recording
from support.agents import Part, all_differences, parallel_env, turns_env
from support.programs import run


pytest.importorskip("pettingzoo")
pytestmark = pytest.mark.filterwarnings("ignore:`.*` is set to None", "ignore:.* were not saved", "ignore:.* was not")

ENVS = {"parallel": parallel_env, "turns": turns_env}
PARTS = [Part("a", "box", 0, 99, True), Part("b", "nested", 0, 99, True)]


def play(kind: str, env: Any, steps: int, **options: Any) -> Any:
    """A collector that has recorded two episodes, the second one up to a step."""
    collector = MultiAgentDataCollector(env, record_infos=True, **options)
    for most in (99, steps):
        collector.reset(seed=most)
        while collector.agents and most:
            if kind == "turns":
                *_, terminated, truncated, _ = collector.last()
                collector.step(None if terminated or truncated else most % 5)
            else:
                collector.step(dict.fromkeys(collector.agents, most % 5))
            most -= 1
    return collector


PROGRAM = """
import sys
from data_collector.multi_agent.test_ends import ENVS, PARTS, play
env = ENVS[sys.argv[1]](PARTS, 9, seed=5)
collector = play(sys.argv[1], env, 4, data_format=sys.argv[2])
{end}
"""
ENDS = {
    "end": "",
    "exit": "sys.exit(0)",
    "close": "collector.close()",
    "garbage": "keep = [collector]; keep.append(keep)",
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("kind", ENVS)
def test_running_episode_is_written_at_the_end_of_the_program(kind: str, end: str) -> None:
    run(PROGRAM.format(end=ENDS[end]), kind, "hdf5", flags=("-W", "ignore"))
    (recording,) = list_recordings()
    recovered = recover_recording(recording.name, "test/left-v0")
    env = ENVS[kind](PARTS, 9, seed=5)
    play(kind, env, 4).create_dataset("test/whole-v0")  # which looks at the environment in the same order
    assert all_differences(recovered, env) == []


@pytest.mark.parametrize("kind", ENVS)
def test_agents_that_nobody_knew_before_are_written_at_the_end(kind: str) -> None:
    run(PROGRAM.format(end="").replace("seed=5)", "seed=5, knows=False)"), kind, "hdf5", flags=("-W", "ignore"))
    (recording,) = list_recordings()
    env = ENVS[kind](PARTS, 9, seed=5)
    play(kind, env, 4).create_dataset("test/whole-v0")
    assert all_differences(recover_recording(recording.name, "test/left-v0"), env) == []


@pytest.mark.parametrize("kind", ENVS)
def test_dropped_collector_leaves_its_rows_without_an_open_action(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flush_timer, "FLUSH_AFTER", 0.05)
    env = ENVS[kind](PARTS, 9, seed=5)
    collector = play(kind, env, 4)
    del collector
    gc.collect()
    wait_for(2)
    (recording,) = list_recordings()
    last = recover_recording(recording.name, "test/left-v0")[1]
    whole = env.expected(cut=True)[1]
    for agent in last.agents:  # the environment may have gone on since, and nobody can ask it
        open_actions = 1 if kind == "turns" else 0
        assert len(last[agent]) == len(whole[agent]["actions"]) - open_actions
        assert last[agent].truncations[-1:].all()


def wait_for(episodes: int) -> None:
    """Wait until so many episodes are on disk, which other threads see to."""
    for _ in range(1000):
        if sum(recording.episodes for recording in list_recordings()) >= episodes:
            return
        time.sleep(0.01)
    raise AssertionError("it never came about")


@pytest.mark.parametrize("data_format", ["hdf5", "arrow", "parquet", "zarr"])
@pytest.mark.parametrize("kind", ENVS)
def test_finished_episodes_are_written_in_time(kind: str, data_format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flush_timer, "FLUSH_AFTER", 0.05)
    env = ENVS[kind](PARTS, 9, seed=5)
    collector = play(kind, env, 4, data_format=data_format)
    wait_for(1)
    dataset = collector.create_dataset("test/a-v0")
    assert all_differences(dataset, env) == []
    assert all_differences(minari.load_dataset("test/a-v0"), env) == []


@pytest.mark.parametrize("kind", ENVS)
def test_closed_environment_is_not_asked(kind: str) -> None:
    env = ENVS[kind](PARTS, 9, seed=5)
    collector = play(kind, env, 4)
    collector.close()
    assert env.closed
    (recording,) = list_recordings()
    assert all_differences(recover_recording(recording.name, "test/a-v0"), env) == []
