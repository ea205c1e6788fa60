"""The replay buffer of d3rlpy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rivals.rival import DTYPES, FINALS, FLAGS, FLOAT32, SUCCESSORS, Content, Draw, Rival, play
from benchmarks.rivals.source import Source


class D3rlpy(Rival):
    """A list of episodes, which is held in memory."""

    NAME = "d3rlpy"
    TITLE = "d3rlpy"
    NOTE = (
        "`ReplayBuffer.dump` and `load`, `sample_transition_batch` and `sample_trajectory_batch`, whose windows are "
        "padded where they begin before an episode; `append` makes rewards float32."
    )
    REQUIREMENTS = ("torch==2.13.0", "d3rlpy==2.8.1", "stable-baselines3==2.9.2")
    ENVIRONMENT = "d3rlpy"
    # A truncated episode of one step has no transition, and is dropped.
    KINDS = ("vectors", "frames")
    LOSES = frozenset({FINALS})
    BATCHES_LOSE = frozenset({FLOAT32, DTYPES, FLAGS, SUCCESSORS})
    RECORDS = True
    RECORDING_LOSES = frozenset({FLOAT32})

    def prepare(self) -> None:
        import d3rlpy

        d3rlpy.logging.set_log_context()
        import structlog

        structlog.configure(logger_factory=structlog.ReturnLoggerFactory())

    def write(self, source: Source, path: Path) -> None:
        import d3rlpy

        episodes = []
        for episode in source.episodes():
            seen = episode.observations[:-1]
            if source.has_frames:
                seen = np.ascontiguousarray(np.moveaxis(seen, -1, -3))
            shape = (len(episode.rewards), -1)
            is_terminated = bool(episode.terminations[-1])
            episodes.append(
                d3rlpy.dataset.Episode(seen, episode.actions.reshape(shape), episode.rewards[:, None], is_terminated)
            )
        self._dump(_buffer(episodes), path)

    def _dump(self, buffer: Any, path: Path) -> None:
        with (path / "episodes.h5").open("w+b") as file:
            buffer.dump(file)

    def open(self, path: Path) -> Any:
        import d3rlpy

        with (path / "episodes.h5").open("rb") as file:
            return d3rlpy.dataset.ReplayBuffer.load(file, d3rlpy.dataset.InfiniteBuffer())

    def read_all(self, opened: Any) -> Content:
        episodes = opened.episodes
        lengths = np.array([len(episode.rewards) for episode in episodes])
        flags = np.zeros((2, lengths.sum()), np.bool_)
        flags[[int(not episode.terminated) for episode in episodes], np.cumsum(lengths) - 1] = True
        return {
            "observations": [episode.observations for episode in episodes],
            "actions": [episode.actions for episode in episodes],
            "rewards": [episode.rewards[:, 0] for episode in episodes],
            "terminations": flags[0],
            "truncations": flags[1],
            "lengths": lengths,
        }

    def transitions(self, opened: Any, count: int, rng: np.random.Generator) -> Draw:
        return lambda: _named(opened.sample_transition_batch(count))

    def windows(self, opened: Any, count: int, length: int, rng: np.random.Generator) -> Draw:
        return lambda: _named(opened.sample_trajectory_batch(count, length))

    def record(self, env: Any, actions: Sequence[Any], path: Path) -> None:
        import d3rlpy

        buffer = d3rlpy.dataset.create_infinite_replay_buffer(env=env)
        last: list[Any] = [None]

        def keep(action: Any, result: Any) -> None:
            if action is not None:
                buffer.append(last[0], action, float(result[1]))
                if result[2] or result[3]:
                    buffer.clip_episode(bool(result[2]))
            last[0] = result[0]

        play(env, actions, keep)
        self._dump(buffer, path)


def _buffer(episodes: list[Any]) -> Any:
    import d3rlpy

    return d3rlpy.dataset.ReplayBuffer(d3rlpy.dataset.InfiniteBuffer(), episodes=episodes)


def _named(batch: Any) -> Mapping[str, Any]:
    found = {"observations": batch.observations, "actions": batch.actions, "rewards": batch.rewards[..., 0]}
    for name in ("next_observations", "masks"):
        if hasattr(batch, name):
            found[name] = getattr(batch, name)
    return found
