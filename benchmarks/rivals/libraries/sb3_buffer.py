"""The replay buffer of Stable-Baselines3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rivals.libraries.d3rlpy_buffer import D3rlpy
from benchmarks.rivals.libraries.minari_datasets import spaces
from benchmarks.rivals.rival import DTYPES, FLAGS, FLOAT32, Content, Draw, Rival, play
from benchmarks.rivals.source import Source


class StableBaselines(Rival):
    """One array for each field, added to step by step and pickled."""

    NAME = "sb3"
    TITLE = "Stable-Baselines3"
    NOTE = "`ReplayBuffer.add`, a pickle (`save_to_pkl`), and `sample`; there are no windows."
    REQUIREMENTS = D3rlpy.REQUIREMENTS
    ENVIRONMENT = "d3rlpy"
    LOSES = frozenset({FLOAT32, DTYPES})
    BATCHES_LOSE = frozenset({FLAGS})
    RECORDS = True

    def prepare(self) -> None:
        from stable_baselines3.common.buffers import ReplayBuffer  # noqa: F401
        from stable_baselines3.common.save_util import load_from_pkl, save_to_pkl  # noqa: F401

    def write(self, source: Source, path: Path) -> None:
        known = spaces(source)
        buffer = self._make(source.steps, known["observation_space"], known["action_space"])
        for episode in source.episodes():
            for step, reward in enumerate(episode.rewards):
                flags = bool(episode.terminations[step]), bool(episode.truncations[step])
                seen = episode.observations[step], episode.observations[step + 1]
                self._add(buffer, *seen, episode.actions[step], float(reward), *flags)
        self._save(buffer, path)

    def _make(self, size: int, observation_space: Any, action_space: Any) -> Any:
        from stable_baselines3.common.buffers import ReplayBuffer

        return ReplayBuffer(size, observation_space, action_space, device="cpu", handle_timeout_termination=True)

    def _add(
        self, buffer: Any, seen: Any, following: Any, action: Any, reward: float, terminated: bool, truncated: bool
    ) -> None:
        infos = [{"TimeLimit.truncated": truncated and not terminated}]
        buffer.add(seen, following, np.asarray(action), np.float32(reward), np.array(terminated or truncated), infos)

    def _save(self, buffer: Any, path: Path) -> None:
        from stable_baselines3.common.save_util import save_to_pkl

        save_to_pkl(path / "buffer.pkl", buffer)

    def open(self, path: Path) -> Any:
        from stable_baselines3.common.save_util import load_from_pkl

        return load_from_pkl(path / "buffer.pkl")

    def read_all(self, opened: Any) -> Content:
        size = opened.size()
        ends = np.flatnonzero(opened.dones[:size, 0]) + 1
        return {
            "observations": opened.observations[:size, 0],
            "next_observations": opened.next_observations[:size, 0],
            "actions": opened.actions[:size, 0],
            "rewards": opened.rewards[:size, 0],
            "terminations": opened.dones[:size, 0] * (1 - opened.timeouts[:size, 0]),
            "truncations": opened.timeouts[:size, 0],
            "lengths": np.diff(ends, prepend=0),
        }

    def transitions(self, opened: Any, count: int, rng: np.random.Generator) -> Draw:
        np.random.seed(int(rng.integers(2**31)))

        def draw() -> Mapping[str, Any]:
            batch = opened.sample(count)
            return {
                "observations": batch.observations,
                "next_observations": batch.next_observations,
                "actions": batch.actions,
                "rewards": batch.rewards[:, 0],
                "terminations": batch.dones[:, 0],
            }

        return draw

    def windows(self, opened: Any, count: int, length: int, rng: np.random.Generator) -> None:
        return None

    def record(self, env: Any, actions: Sequence[Any], path: Path) -> None:
        buffer = self._make(len(actions), env.observation_space, env.action_space)
        last: list[Any] = [None]

        def keep(action: Any, result: Any) -> None:
            if action is not None:
                self._add(buffer, last[0], result[0], action, *result[1:4])
            last[0] = result[0]

        play(env, actions, keep)
        self._save(buffer, path)
