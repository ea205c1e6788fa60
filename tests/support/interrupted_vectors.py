"""The server of `support.interrupted` for recorders of vector environments."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from gymnasium.vector import AutoresetMode, SyncVectorEnv

from minari import VectorDataCollector
from support.interrupted import Counted, Kind, is_running, main, wrong_values


class Numbered(Counted):
    """Makes the episodes of every ``count``-th number, without seeds."""

    def __init__(self, fails_at: int | None, first: int, count: int) -> None:
        super().__init__(fails_at)
        self.next, self.count = first, count

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, Any]:
        number, self.next = self.next, self.next + self.count
        return super().reset(seed=number)


def make_collector(mode: AutoresetMode, count: int, fails_at: int | None, **options: Any) -> VectorDataCollector:
    envs = [partial(Numbered, fails_at, first, count) for first in range(1, count + 1)]
    return VectorDataCollector(SyncVectorEnv(envs, autoreset_mode=mode), **options)


def run(collector: VectorDataCollector, last: int, report_end: Callable[[int], None]) -> None:
    """Record with all environments."""
    observations, _ = collector.reset()
    ended = 0
    while ended < last:
        numbers = observations[:, 0]
        observations, _, terminations, _, _ = collector.step(observations[:, 1].astype(int) % 9)
        for number in numbers[terminations].astype(int).tolist():
            ended += 1
            report_end(number)


def number(episode: Any, metadata: Any) -> tuple[int, bool]:
    """A save cuts the running episodes, of which the rest does not begin with a reset."""
    return int(episode.observations[0, 0]), not episode.observations[0, 1]


def kind(mode: AutoresetMode, count: int) -> Kind:
    def play(collector: Any, number: int) -> None:
        raise NotImplementedError

    return Kind(partial(make_collector, mode, count), play, wrong_values, is_running, number, run)


KINDS = {
    "next step": kind(AutoresetMode.NEXT_STEP, 3),
    "same step": kind(AutoresetMode.SAME_STEP, 20),
}


if __name__ == "__main__":
    main(KINDS[sys.argv.pop()])
