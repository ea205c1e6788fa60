"""The replay buffer of Tianshou."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rivals.libraries.torch_tensors import TensorDict
from benchmarks.rivals.rival import Content, Draw, Rival, Starts, play
from benchmarks.rivals.source import FIELDS, Source


_NAMES = ("obs", "act", "rew", "terminated", "truncated")


class Tianshou(Rival):
    """One array for each field, which are held in memory."""

    NAME = "tianshou"
    TITLE = "Tianshou"
    NOTE = "`ReplayBuffer.save_hdf5` and `load_hdf5`, `sample`, and `get` with `stack_num` for windows."
    REQUIREMENTS = TensorDict.REQUIREMENTS
    ENVIRONMENT = "torch"
    COLLECTOR = "tianshou"
    RECORDS = True

    def prepare(self) -> None:
        from tianshou.data import ReplayBuffer  # noqa: F401

    def write(self, source: Source, path: Path) -> None:
        from tianshou.data import ReplayBuffer

        rows = source.transitions()
        columns = {name: rows[field] for name, field in zip(_NAMES, FIELDS, strict=True)}
        done = rows["terminations"] | rows["truncations"]
        buffer = ReplayBuffer.from_data(**columns, done=done, obs_next=rows["next_observations"])
        buffer.save_hdf5(str(path / "episodes.hdf5"), compression="gzip" if source.has_frames else None)

    def open(self, path: Path) -> Any:
        from tianshou.data import ReplayBuffer

        return ReplayBuffer.load_hdf5(str(path / "episodes.hdf5"))

    def read_all(self, opened: Any) -> Content:
        batch = opened[: len(opened)]
        ends = np.flatnonzero(batch.done) + 1
        return {**_named(batch), "lengths": np.diff(ends, prepend=0)}

    def transitions(self, opened: Any, count: int, rng: np.random.Generator) -> Draw:
        return lambda: _named(opened.sample(count)[0])

    def windows(self, opened: Any, count: int, length: int, rng: np.random.Generator) -> Draw:
        ends = np.flatnonzero(opened.done[: len(opened)]) + 1
        # A buffer that was made of arrays takes its first row for the end of an episode, so the first one is left out.
        starts = Starts(np.diff(ends), length)

        def draw() -> Mapping[str, Any]:
            last = starts.draw(count, rng)[0] + ends[0] + length - 1
            found = {
                field: opened.get(last, name, stack_num=length) for field, name in zip(FIELDS, _NAMES, strict=True)
            }
            return {**found, "last_observations": opened.obs_next[last]}

        return draw

    def record(self, env: Any, actions: Sequence[Any], path: Path) -> None:
        from tianshou.data import Batch, ReplayBuffer

        buffer = ReplayBuffer(len(actions))
        last: list[Any] = [None]

        def keep(action: Any, result: Any) -> None:
            if action is not None:
                following, reward, terminated, truncated, _ = result
                flags = {"terminated": terminated, "truncated": truncated, "done": terminated or truncated}
                buffer.add(Batch(obs=last[0], act=action, rew=reward, obs_next=following, **flags))
            last[0] = result[0]

        play(env, actions, keep)
        buffer.save_hdf5(str(path / "episodes.hdf5"))


def _named(batch: Any) -> dict[str, Any]:
    found = {field: batch[name] for field, name in zip(FIELDS, _NAMES, strict=True)}
    return {**found, "next_observations": batch.obs_next}
