"""Comparison of what a library returns with the source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.errors import BenchmarkError
from benchmarks.rivals.rival import (
    DTYPES,
    EPISODES,
    FINALS,
    FLAGS,
    FLOAT32,
    PIXELS,
    SUCCESSORS,
    Content,
    joined,
)
from benchmarks.rivals.source import FIELDS, Array, Source


#: The mean difference of lossy pixels; more is something else than compression.
LOSSY = 25.0


def check_all(content: Content, source: Source, loses: frozenset[str]) -> None:
    """Compare everything that was read with the source.

    Raises:
        BenchmarkError: values differ, or the losses are not those that the library states.
    """
    comparison = _Comparison(source, loses)
    lengths = content.get("lengths")
    if lengths is None or not np.array_equal(np.asarray(lengths), source.lengths):
        comparison.lose(EPISODES, "the lengths of episodes")
    everything = np.arange(source.steps)
    comparison.compare_steps({name: joined(content[name]) for name in FIELDS[1:] if name in content}, everything)
    observations = joined(content["observations"])
    if len(observations) == len(source.observations):
        comparison.compare("observations", observations, source.observations)
    else:
        comparison.compare("observations", observations, source.observations[source.seen()])
        if "next_observations" in content:
            following = joined(content["next_observations"])
            comparison.compare("next_observations", following, source.observations[source.seen() + 1])
        else:
            comparison.lose(FINALS, "final observations")
    # Which dtypes there are, and whether float32 would be enough for them, depends on the data.
    optional = {DTYPES} if source.observations.dtype == np.float64 else {DTYPES, FLOAT32}
    if comparison.found | optional != loses | optional:
        raise BenchmarkError(f"it loses {_listed(comparison.found)}, and states that it loses {_listed(loses)}")


def check_transitions(batch: Mapping[str, Any], source: Source, loses: frozenset[str], count: int) -> None:
    """Compare a batch with the steps that have its rewards.

    Raises:
        BenchmarkError: values differ, more is lost than the library states, or there are not as many.
    """
    comparison = _Comparison(source, loses)
    rewards = np.asarray(batch["rewards"]).reshape(-1)
    if len(rewards) != count:
        raise BenchmarkError(f"a batch has {len(rewards)} transitions, expected {count}")
    steps = _find(source, rewards)
    comparison.compare_steps(batch, steps)
    seen = steps + source.numbers[steps]
    comparison.compare("observations", batch["observations"], source.observations[seen])
    if "next_observations" not in batch:
        comparison.lose(SUCCESSORS, "next observations")
        return
    kept = np.ones(len(steps), np.bool_)
    if FINALS in loses:
        kept = ~(source.terminations | source.truncations)[steps]
    following = np.asarray(batch["next_observations"])[kept]
    comparison.compare("next_observations", following, source.observations[seen + 1][kept])


def check_windows(batch: Mapping[str, Any], source: Source, loses: frozenset[str], shape: tuple[int, int]) -> None:
    """Compare windows with the steps that have their rewards.

    Raises:
        BenchmarkError: values differ, more is lost than the library states, or windows are not of consecutive steps.
    """
    comparison = _Comparison(source, loses)
    rewards = np.asarray(batch["rewards"])
    if rewards.size != shape[0] * shape[1]:
        raise BenchmarkError(f"windows have {rewards.size} steps, expected {shape[0]} × {shape[1]}")
    is_step = np.asarray(batch.get("masks", np.ones(shape))).reshape(shape).astype(np.bool_)
    steps = np.full(shape, -1)
    steps[is_step] = _find(source, rewards.reshape(shape)[is_step])
    pairs = is_step[:, 1:] & is_step[:, :-1]
    episodes = source.numbers[steps]
    if (np.diff(steps, axis=1) != 1)[pairs].any() or np.diff(episodes, axis=1)[pairs].any() or not is_step.any():
        raise BenchmarkError("windows are not of consecutive steps of one episode")
    comparison.compare_steps({name: _of(batch[name], is_step) for name in FIELDS[1:] if name in batch}, steps[is_step])
    seen = steps + episodes
    observations = np.asarray(batch["observations"])
    if observations.shape[:2] == (shape[0], shape[1] + 1):
        comparison.compare("observations", observations, source.observations[np.c_[seen, seen[:, -1] + 1]])
        return
    comparison.compare("observations", _of(observations, is_step), source.observations[seen[is_step]])
    if "next_observations" in batch:
        following = _of(batch["next_observations"], is_step)
        comparison.compare("next_observations", following, source.observations[seen[is_step] + 1])
    elif "last_observations" in batch:
        comparison.compare("last_observations", batch["last_observations"], source.observations[seen[:, -1] + 1])
    elif FINALS not in loses:
        comparison.lose(SUCCESSORS, "the observation after a window")


def _of(values: Any, is_step: Array) -> Array:
    """Return the rows that are not padding."""
    found = np.asarray(values)
    return found.reshape(*is_step.shape, *found.shape[2:])[is_step]


def _find(source: Source, rewards: Array) -> Array:
    steps = source.find(rewards)
    if (steps < 0).any():
        raise BenchmarkError(f"the reward {rewards[steps < 0][0]} is not in the source")
    return steps


def _listed(losses: frozenset[str] | set[str]) -> str:
    return ", ".join(sorted(losses)) or "nothing"


class _Comparison:
    """Comparison that collects what is lost, and permits what the library states."""

    def __init__(self, source: Source, loses: frozenset[str]) -> None:
        self._source = source
        self._loses = loses
        self.found: set[str] = set()

    def lose(self, loss: str, what: str) -> None:
        if loss not in self._loses:
            raise BenchmarkError(f"{what} differ from the source or are missing")
        self.found.add(loss)

    def compare_steps(self, content: Mapping[str, Any], steps: Array) -> None:
        """Compare what there is one of for each step."""
        for name in ("actions", "rewards"):
            self.compare(name, content[name], getattr(self._source, name)[steps])
        for name in ("terminations", "truncations"):
            expected = getattr(self._source, name)[steps]
            found = np.asarray(content[name]) if name in content else None
            if found is None or not np.array_equal(found.reshape(expected.shape).astype(np.bool_), expected):
                self.lose(FLAGS, name)
            elif found.dtype != np.bool_:
                self.lose(DTYPES, f"dtypes of {name}")

    def compare(self, name: str, values: Any, expected: Array) -> None:
        """Compare values, whatever dimensions of one element they have, and with channels first or last."""
        found = np.asarray(values)
        if found.shape != expected.shape:
            if found.ndim == expected.ndim and found.ndim > 3 and found.shape[-3] == expected.shape[-1]:
                found = np.moveaxis(found, -3, -1)
            if found.size != expected.size:
                raise BenchmarkError(f"{name} have the shape {found.shape}, expected {expected.shape}")
            found = found.reshape(expected.shape)
        if found.dtype != expected.dtype:
            is_float = expected.dtype == np.float64 and found.dtype == np.float32
            self.lose(FLOAT32 if is_float else DTYPES, f"dtypes of {name} ({found.dtype}, not {expected.dtype})")
            if is_float:
                expected = expected.astype(np.float32)
        if expected.dtype == np.float64 and np.array_equal(found, expected.astype(np.float32)):
            if not np.array_equal(found, expected):
                self.lose(FLOAT32, f"digits of {name}")
            return
        if not np.array_equal(found, expected):
            if not expected.dtype == np.uint8 or expected.ndim < 4 or self._error(found, expected) > LOSSY:
                raise BenchmarkError(f"{name} differ from the source")
            self.lose(PIXELS, name)

    def _error(self, found: Array, expected: Array) -> float:
        """Return the mean difference of some pixels."""
        apart = found[:64].astype(np.int16) - expected[:64].astype(np.int16)
        return float(np.abs(apart).mean())
