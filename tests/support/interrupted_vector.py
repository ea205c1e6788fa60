"""Recorders of vector environments that are interrupted; see ``interrupted``."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

from gymnasium.vector import AutoresetMode, SyncVectorEnv

import minari
from support.interrupted import Counted, Kind, is_running, main, wrong_values


COUNT = 3


class Numbered(Counted):
    """Makes the episodes of every third number, whatever the seeds."""

    def __init__(self, fails_at: int | None, first: int) -> None:
        super().__init__(fails_at)
        self.next = first

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, Any]:
        number, self.next = self.next, self.next + COUNT
        return super().reset(seed=number)


def make(mode: AutoresetMode, fails_at: int | None, **options: Any) -> Any:
    envs = [partial(Numbered, fails_at, first) for first in range(1, COUNT + 1)]
    collector: Any = minari.VectorDataCollector(SyncVectorEnv(envs, autoreset_mode=mode), **options)
    collector.observations, _ = collector.reset()
    collector.ended = set()
    return collector


def play(collector: Any, number: int) -> None:
    """Step until the episode has ended."""
    while number not in collector.ended:
        before = collector.observations
        collector.observations, _, terminations, _, _ = collector.step(before[:, 1].astype(int) % 9)
        collector.ended.update(before[terminations, 0].astype(int).tolist())


def number_of(episode: Any, metadata: Any) -> int | None:
    number, time = episode.observations[0]
    return None if time else int(number)


KINDS = {
    mode.value: Kind(partial(make, mode), play, wrong_values, is_running, number_of)
    for mode in (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP)
}


if __name__ == "__main__":
    main(KINDS[sys.argv.pop()])
