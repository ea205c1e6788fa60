"""VectorDataCollector when the environment, a callback or Ctrl-C stops a step, and when the program ends."""

from __future__ import annotations

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
from minari.data_collector import vector_recorder
from support.vector import DISABLED, MODES, CountingVectorEnv, episodes_by_env


pytestmark = pytest.mark.filterwarnings("ignore:`.*` is set to None", "ignore:.* not saved as a dataset")

MODULES = {str(path) for path in Path(minari.data_collector.__path__[0]).glob("*.py")}


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


def assert_consecutive(dataset: minari.MinariDataset) -> Counter[tuple[int, int, int]]:
    """Check that every recorded transition is one that the environment made; return how often each was recorded."""
    found: Counter[tuple[int, int, int]] = Counter()
    for index, episodes in episodes_by_env(dataset).items():
        for episode in episodes:
            (number,) = set(episode.observations[:, 1].tolist())
            times = episode.observations[:, 2].astype(int).tolist()
            assert set(episode.observations[:, 0].tolist()) == {index}
            assert times == [*range(times[0], times[0] + len(episode) + 1)]
            assert episode.rewards.tolist() == times[1:]
            assert episode.actions.tolist() == [at % 5 for at in times[:-1]]
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
        instruction += 17
    assert instruction > 1000
    found = assert_consecutive(collector.create_dataset("test/interrupted-v0"))
    assert set(found.values()) == {1}
    assert certain <= found.keys()
    assert len(certain) > instruction / 17


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
