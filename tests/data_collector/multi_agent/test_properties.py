"""The dataset holds, value for value, what a logger inside the environment saw, whatever agents do."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import minari
from support.agents import KINDS, Part, all_differences, parallel_env, turns_env


pytest.importorskip("pettingzoo")
pytestmark = pytest.mark.filterwarnings("ignore:`.*` is set to None")

FORMATS = ["hdf5", "arrow", "parquet", "zarr"]
AGENTS = ["agent_0", "team/left", 3, ("pair", 1), "state"]


@st.composite
def scripts(draw: st.DrawFn) -> dict[str, Any]:
    """Arguments of a scripted environment: who appears and ends when."""
    length = draw(st.integers(1, 12))
    agents = draw(st.lists(st.sampled_from(AGENTS), min_size=1, max_size=5, unique=True))
    parts = []
    for agent in agents:
        first = draw(st.integers(0, length)) if parts and draw(st.booleans()) else 0
        last = draw(st.integers(first + 1, length + 3))
        parts.append(Part(agent, draw(st.sampled_from(sorted(KINDS))), first, last, draw(st.booleans())))
    return {
        "parts": parts,
        "length": length,
        "seed": draw(st.integers(0, 2**32)),
        "reuses": draw(st.booleans()),
        "knows": draw(st.booleans()),
    }


@st.composite
def plans(draw: st.DrawFn) -> dict[str, Any]:
    """Plans of a program: the steps of each episode, the time of a save, the form of the recording."""
    return {
        "episodes": draw(st.lists(st.one_of(st.just(100), st.integers(1, 8)), min_size=1, max_size=3)),
        "saves_at": draw(st.one_of(st.none(), st.integers(1, 6))),
        "data_format": draw(st.sampled_from(FORMATS)),
        "buffer_steps": draw(st.sampled_from([1, 10, 10_000])),
        "seed": draw(st.integers(0, 2**32)),
    }


class Program:
    """Records episodes as a plan says, with random actions.

    Args:
        env: The environment.
        plan: What to do.
        root: Of the catalog.
    """

    def __init__(self, env: Any, plan: dict[str, Any], root: Path) -> None:
        self.env, self.plan, self.rng = env, plan, random.Random(plan["seed"])
        self.collector = minari.MultiAgentDataCollector(
            env,
            record_infos=True,
            record_state=True,
            data_format=plan["data_format"],
            buffer_steps=plan["buffer_steps"],
            root=root,
        )
        self.count = 0
        self.dataset: Any = None

    def action(self) -> Any:
        return np.array(self.rng.randrange(5))

    def save(self) -> None:
        """Save all, at the time that the plan says, in the middle of an episode."""
        self.count += 1
        if self.count == self.plan["saves_at"] and self.env.has_steps and self.env.agents:
            self.dataset = self.collector.create_dataset("test/first-v0")
            self.env.saved()

    def finish(self) -> Any:
        """The dataset of everything."""
        self.collector.reset()
        self.env.episodes.pop()
        if self.collector.total_episodes:
            if self.dataset is None:
                self.dataset = self.collector.create_dataset("test/first-v0")
            else:
                self.collector.add_to_dataset(self.dataset)
        return self.dataset

    def play_parallel(self) -> Any:
        for steps in self.plan["episodes"]:
            self.collector.reset(seed=7)
            while self.env.agents and steps:
                self.collector.step({agent: self.action() for agent in self.env.agents if self.rng.random() < 0.9})
                self.save()
                steps -= 1
        return self.finish()

    def play_turns(self) -> Any:
        for steps in self.plan["episodes"]:
            self.collector.reset(seed=7)
            for agent in self.collector.agent_iter(steps):
                for way in self.rng.sample(["last", "last", "observe", "other", "unseen"], self.rng.randrange(3)):
                    if way == "last":
                        self.collector.last()
                    elif way == "unseen":
                        self.collector.last(observe=False)
                    else:
                        self.collector.observe(agent if way == "observe" else self.rng.choice(self.env.agents))
                self.save()
                is_dead = self.env.terminations[agent] or self.env.truncations[agent]
                self.collector.step(None if is_dead else self.action())
        return self.finish()


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(script=scripts(), plan=plans(), returns_dead=st.booleans())
def test_joint_steps_are_those_of_the_environment(
    script: dict[str, Any], plan: dict[str, Any], returns_dead: bool, tmp_path: Path
) -> None:
    env = parallel_env(**script, returns_dead=returns_dead)
    check(Program(env, plan, tmp_path / "root").play_parallel(), env, tmp_path / "root")


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(script=scripts(), plan=plans())
def test_turns_are_those_of_the_environment(script: dict[str, Any], plan: dict[str, Any], tmp_path: Path) -> None:
    env = turns_env(**script)
    check(Program(env, plan, tmp_path / "root").play_turns(), env, tmp_path / "root")


def check(dataset: Any, env: Any, root: Path) -> None:
    try:
        if dataset is None:
            assert env.expected(cut=True) == []
        else:
            assert all_differences(dataset, env) == []
            assert dataset.total_steps == sum(map(len, dataset))
    finally:
        shutil.rmtree(root, ignore_errors=True)
