"""VectorDataCollector when the environment, a callback or Ctrl-C stops a step, and when the program ends."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import minari
from minari import VectorDataCollector
from minari._catalog.recordings import list_recordings
from minari.data_collector import flush_timer
from minari.data_collector.vector import recorder as vector_recorder
from support.flushed import eventually, written
from support.vector import DISABLED, MODES, NEXT, SAME, CountingVectorEnv, drive, episodes_by_env


pytestmark = pytest.mark.filterwarnings("ignore:`.*` is set to None", "ignore:.* not saved as a dataset")

MODULES = {str(path) for path in Path(minari.data_collector.__path__[0]).rglob("*.py")}


class PlainCallback(minari.StepDataCallback):
    """Changes nothing, but is called."""


def interrupted(step: Callable[[], Any], instruction: int) -> bool:
    """Raise KeyboardInterrupt at an instruction of the library; return whether the step took as many."""
    left, came = instruction, False

    def trace(frame: Any, event: str, argument: Any) -> Any:
        nonlocal left, came
        if frame.f_code.co_filename not in MODULES:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            left -= 1
            if left < 0 and not came:
                came = True
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        step()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(before)
    return came


class Transitions:
    """The transitions that the environment has made, by sub-environment, episode and time before the step."""

    def __init__(self, env: CountingVectorEnv) -> None:
        self.env, self.made = env, set[tuple[int, int, int]]()

    def step(self, collector: Any) -> set[tuple[int, int, int]]:
        """Step, and return the new transitions."""
        env = self.env
        is_reset = env.must_reset.copy()
        before = [*zip(range(3), env.number.tolist(), env.time.tolist(), strict=True)]
        collector.step(np.array([time % 5 for _, _, time in before]))
        return {state for state, must in zip(before, is_reset.tolist(), strict=True) if not must}


def assert_consecutive(dataset: minari.MinariDataset, *, is_random: bool = False) -> Counter[tuple[int, int, int]]:
    """Check that every recorded transition is one that the environment made; return how often each was recorded."""
    found: Counter[tuple[int, int, int]] = Counter()
    for index, episodes in episodes_by_env(dataset).items():
        for episode in episodes:
            (number,) = set(episode.observations[:, 1].tolist())
            times = episode.observations[:, 2].astype(int).tolist()
            assert set(episode.observations[:, 0].tolist()) == {index}
            assert times == [*range(times[0], times[0] + len(episode) + 1)]
            assert episode.rewards.tolist() == times[1:]
            assert is_random or episode.actions.tolist() == [at % 5 for at in times[:-1]]
            assert bool(episode.terminations[-1]) == (times[-1] == index + 2)
            assert episode.terminations[-1] or episode.truncations[-1]
            assert not (episode.terminations | episode.truncations)[:-1].any()
            if episode.infos:
                assert episode.infos["time"][1:].tolist() == times[1:]
            found.update((index, int(number), at) for at in times[:-1])
    return found


@pytest.mark.parametrize("callback", [minari.StepDataCallback, PlainCallback], ids=["direct", "callback"])
@pytest.mark.parametrize("mode", MODES)
def test_a_step_is_recorded_whole_or_not_at_all(
    mode: AutoresetMode, callback: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever instruction an interruption hits, no transition is invented or doubled, and only its own are lost."""
    monkeypatch.setattr(vector_recorder, "_MOST_ROWS", 5)  # so that blocks end as well
    monkeypatch.setattr(vector_recorder, "_FEWEST_ROWS", 5)
    env = CountingVectorEnv(mode)
    collector = VectorDataCollector(env, step_data_callback=callback, record_infos=callback is PlainCallback)
    collector.reset(seed=1)
    transitions, certain, instruction, came = Transitions(env), set(), 0, True

    def step() -> None:
        if mode is DISABLED and env.must_reset.any():
            collector.reset(options={"reset_mask": env.must_reset})
        transitions.step(collector)

    def step_and_count() -> None:
        transitions.step(collector)
        assert collector.total_episodes >= 0

    while came:
        if mode is DISABLED and env.must_reset.any():
            collector.reset(options={"reset_mask": env.must_reset})
        came = interrupted(step_and_count, instruction)
        if instruction % 3 == 0:
            collector.reset()
        else:  # the first step after an interruption is not recorded
            step()
        for _ in range(3):
            if mode is DISABLED and env.must_reset.any():
                collector.reset(options={"reset_mask": env.must_reset})
            certain |= transitions.step(collector)
        instruction += 29
    assert instruction > 1000
    found = assert_consecutive(collector.create_dataset("test/interrupted-v0"))
    assert set(found.values()) == {1}
    assert certain <= found.keys()
    assert len(certain) > instruction / 29


@pytest.mark.parametrize("mode", MODES)
def test_an_error_of_the_environment_ends_the_episodes(mode: AutoresetMode) -> None:
    class Failing(CountingVectorEnv):
        def step(self, actions: Any) -> Any:
            if failures and failures[-1] == "before":
                raise failures.pop() and RuntimeError("before")
            result = super().step(actions)
            if failures and failures[-1] == "after":
                raise failures.pop() and RuntimeError("after")
            return result

    failures: list[str] = []
    env = Failing(mode)
    collector = VectorDataCollector(env, record_infos=True)
    collector.reset(seed=1)
    certain: set[tuple[int, int, int]] = set()
    for number in range(60):
        if mode is DISABLED and env.must_reset.any():
            collector.reset(options={"reset_mask": env.must_reset})
        if number % 7 == 5:
            failures.append("after" if number % 2 else "before")
            with pytest.raises(RuntimeError):
                Transitions(env).step(collector)
            if mode is DISABLED and env.must_reset.any():
                collector.reset(options={"reset_mask": env.must_reset})
        made = Transitions(env).step(collector)
        if number % 7 != 5:
            certain |= made
    found = assert_consecutive(collector.create_dataset("test/failing-v0"))
    assert set(found.values()) == {1}
    assert certain <= found.keys()


# Between the end of an episode and the disk


@pytest.fixture
def flush_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write episodes right after they have ended, with a timer that does not wait for those of other tests."""
    monkeypatch.setattr(flush_timer, "FLUSH_AFTER", 0.02)
    monkeypatch.setattr(flush_timer, "flush_timer", flush_timer.FlushTimer())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.usefixtures("flush_soon")
def test_episodes_are_written_while_the_program_sleeps(mode: AutoresetMode) -> None:
    collector = VectorDataCollector(CountingVectorEnv(mode), record_infos=True)
    drive(collector, mode, steps=2)
    eventually(lambda: written() == 1)  # the others go on
    collector.step(np.zeros(3, int))
    eventually(lambda: written() == 2)
    dataset = collector.create_dataset("test/slept-v0")
    assert_consecutive(dataset, is_random=True)
    assert [len(episode) for episode in dataset][:2] == [2, 3]


@pytest.mark.usefixtures("flush_soon")
def test_a_collector_that_is_garbage_is_written_soon_even_if_no_episode_runs() -> None:
    collector = VectorDataCollector(CountingVectorEnv(DISABLED))
    collector.reset()
    for _ in range(4):
        collector.step(np.zeros(3, int))
    del collector
    eventually(lambda: written() == 3 and not list_recordings()[0].is_in_progress)


@pytest.mark.parametrize("callback", [minari.StepDataCallback, PlainCallback], ids=["direct", "callback"])
def test_steps_past_an_end_are_not_recorded(callback: Any) -> None:
    collector = VectorDataCollector(CountingVectorEnv(DISABLED), step_data_callback=callback)
    collector.reset()
    for _ in range(10):
        collector.step(np.zeros(3, int))
    assert [len(episode) for episode in collector.create_dataset("test/past-v0")] == [2, 3, 4]


@pytest.mark.parametrize("mode", MODES)
def test_episodes_and_infos_are_discarded_before_they_are_handed_over(mode: AutoresetMode) -> None:
    collector = VectorDataCollector(CountingVectorEnv(mode), record_infos=True)
    drive(collector, mode, steps=3)
    collector.discard_info("time")
    assert collector.total_episodes == 2
    collector.discard_episode(0)
    assert collector.total_episodes == 1
    collector.step(np.zeros(3, int))
    collector.discard_episode(-1)  # the third has ended now
    dataset = collector.create_dataset("test/discarded-v0")
    assert len(dataset[0]) == 3
    assert "start" in dataset[0].infos
    assert "time" not in dataset[0].infos
    assert all("time" in (episode.infos or {}) for episode in dataset.iterate_episodes([1]))


PROGRAM = """
import os, sys, time
sys.path.insert(0, {tests!r})
import minari
from minari.data_collector import flush_timer
from support.vector import AutoresetMode, CountingVectorEnv, drive
flush_timer.FLUSH_AFTER = 0.05
collector = minari.VectorDataCollector(CountingVectorEnv(AutoresetMode({mode!r})), record_infos=True)
drive(collector, AutoresetMode({mode!r}), steps=12)
print("ended", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("mode", [NEXT, SAME])
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_killed_program_is_recovered(mode: AutoresetMode) -> None:
    source = PROGRAM.format(tests=str(Path(__file__).parents[2]), mode=mode.value)
    program = subprocess.Popen([sys.executable, "-W", "ignore", "-c", source], stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    assert program.stdout.readline() == "ended\n"
    ended = {steps: 13 // (steps + 1) if mode is NEXT else 12 // steps for steps in (2, 3, 4)}
    eventually(lambda: written() == sum(ended.values()))
    program.send_signal(signal.SIGKILL)
    program.communicate()
    (recording,) = list_recordings()
    command = [sys.executable, "-m", "minari", "recover", recording.name, "--dataset-id", "test/killed-v0"]
    subprocess.run(command, check=True, capture_output=True)
    found = assert_consecutive(minari.load_dataset("test/killed-v0"), is_random=True)
    assert set(found.values()) == {1}
    assert len(found) == sum(steps * episodes for steps, episodes in ended.items())
