"""A slow and obvious model of transitions and windows, over whole episodes, to compare the samplers with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym
import numpy as np

import minari
from minari import EpisodeData, MinariDataset
from minari.data_collector import EpisodeBuffer


SPACES = {
    "vector": gym.spaces.Box(-9, 9, (3,), np.float64),
    "number": gym.spaces.Box(-9, 9, (), np.float32),
    "discrete": gym.spaces.Discrete(5),
    "frames": gym.spaces.Box(0, 255, (40, 36, 3), np.uint8),
    "nested": gym.spaces.Dict(
        {
            "camera": gym.spaces.Box(0, 255, (33, 34), np.uint8),
            "arm": gym.spaces.Tuple((gym.spaces.Box(-1, 1, (2, 2), np.float32), gym.spaces.MultiBinary(3))),
        }
    ),
    "text": gym.spaces.Dict({"mission": gym.spaces.Text(6), "at": gym.spaces.Box(-1, 1, (2,), np.float32)}),
    "sequence": gym.spaces.Tuple((gym.spaces.Sequence(gym.spaces.Discrete(3)), gym.spaces.Discrete(4))),
}


LENGTHS = (5, 1, 12, 7, 40)


def make(dataset_id: str, lengths: tuple[int, ...] = LENGTHS, space: str = "vector", **options: Any) -> MinariDataset:
    """Return a dataset whose actions are the number of the step in the whole dataset."""
    rng = np.random.default_rng(0)
    buffers, start = [], 0
    for length in lengths:
        buffer = episode(SPACES[space], SPACES["number"], length, rng)
        buffers.append(replace(buffer, actions=np.arange(start, start + length, dtype=np.float32)))
        start += length
    return minari.create_dataset_from_buffers(
        dataset_id,
        buffers,
        observation_space=SPACES[space],
        action_space=SPACES["number"],
        **options,
    )


def episode(
    observation_space: gym.Space[Any],
    action_space: gym.Space[Any],
    length: int,
    rng: np.random.Generator,
    **choices: Any,
) -> EpisodeBuffer:
    """Return an episode of random values.

    Args:
        observation_space, action_space: its spaces.
        length: the number of steps.
        rng: chooses the values.
        **choices: ``reward_shape``, ``ends`` ("terminated", "truncated" or "cut"), ``infos`` (True for some).
    """
    for space in (observation_space, action_space):
        space.seed(int(rng.integers(2**31)))
    ends = np.arange(length) == length - 1
    never = np.zeros(length, bool)
    how = choices.get("ends", "terminated")
    infos = {"clock": rng.random(length + 1), "deep": {"word": [f"w{rng.integers(9)}" for _ in range(length + 1)]}}
    return EpisodeBuffer(
        observations=sampled(observation_space, length + 1, rng),
        actions=sampled(action_space, length, rng),
        rewards=rng.integers(-4, 5, (length, *choices.get("reward_shape", ()))).astype(np.float64),
        terminations=ends if how == "terminated" else never,
        truncations=ends if how == "truncated" else never,
        infos=infos if choices.get("infos") else None,
    )


def sampled(space: gym.Space[Any], count: int, rng: np.random.Generator) -> Any:
    """Return so many values of a space, frames all at once."""
    if isinstance(space, gym.spaces.Box) and space.dtype == np.uint8:
        return rng.integers(0, 256, (count, *space.shape), np.uint8)
    return [space.sample() for _ in range(count)]


@dataclass(frozen=True)
class Plain:
    """A value without a fixed shape, of which a batch is a list."""

    value: Any


def row(values: Any, index: int) -> Any:
    """Return one step of values that are nested as a space is."""
    if isinstance(values, dict):
        return {key: row(inner, index) for key, inner in values.items()}
    if isinstance(values, tuple):
        return tuple(row(inner, index) for inner in values)
    return Plain(values[index]) if isinstance(values, list) else values[index]


def zero(values: Any) -> Any:
    """Return what stands for padding in the place of a step."""
    if isinstance(values, dict):
        return {key: zero(inner) for key, inner in values.items()}
    if isinstance(values, tuple):
        return tuple(map(zero, values))
    if isinstance(values, Plain):
        return Plain("" if isinstance(values.value, str) else None)
    return np.zeros_like(values)


def stacked(values: Sequence[Any]) -> Any:
    """Return steps as a batch."""
    first = values[0]
    if isinstance(first, dict):
        return {key: stacked([value[key] for value in values]) for key in first}
    if isinstance(first, tuple):
        return tuple(map(stacked, zip(*values, strict=True)))
    return [value.value for value in values] if isinstance(first, Plain) else stack_lists(values)


def stack_lists(values: Sequence[Any]) -> Any:
    """Return arrays as one, and lists as a list of lists."""
    return list(values) if isinstance(values[0], list) else np.stack(values)


def steps_of(episodes: Iterable[EpisodeData]) -> list[tuple[EpisodeData, int]]:
    """Return every step of the episodes, in order."""
    return [(episode, step) for episode in episodes for step in range(len(episode))]


def return_to_go(episode: EpisodeData, step: int, discount: float) -> Any:
    """Return the discounted sum of the rewards from a step to the end."""
    total: Any = np.zeros_like(episode.rewards[0], dtype=np.float64)
    for reward in reversed(episode.rewards[step:]):
        total = reward + discount * total
    return total


def info_at(episode: EpisodeData, name: str, step: int) -> Any:
    """Return the value of an info at a step."""
    value: Any = episode.infos
    for key in name.split("/"):
        value = value[key]
    return Plain(value[step]) if isinstance(value[step], str) else value[step]


def transition(episode: EpisodeData, step: int, n_step: int = 1, discount: float = 1.0) -> dict[str, Any]:
    """Return one transition with all fields."""
    count = min(n_step, len(episode) - step)
    found: dict[str, Any] = {
        "observations": row(episode.observations, step),
        "actions": row(episode.actions, step),
        "next_observations": row(episode.observations, step + count),
        "rewards": episode.rewards[step],
        "terminations": np.bool_(episode.terminations[step : step + count].any()),
        "truncations": np.bool_(episode.truncations[step : step + count].any()),
        "episode_ids": np.int64(episode.id),
        "timesteps": np.int64(step),
        "returns_to_go": return_to_go(episode, step, discount),
    }
    if n_step > 1:
        found["rewards"] = sum(discount**k * np.float64(episode.rewards[step + k]) for k in range(count))
    if n_step > 1 or discount != 1:
        found["discounts"] = discount**count
    return found


def rows_around(
    get: Callable[[int], Any], rows: Iterable[int], least: int, most: int, edge: bool
) -> tuple[Any, np.ndarray[Any, Any]]:
    """Return the values at some rows, padded outside of ``least`` to ``most``, and the mask."""
    values, mask = [], []
    for number in rows:
        mask.append(least <= number <= most)
        value = get(min(max(number, least), most))
        values.append(value if mask[-1] or edge else zero(value))
    return stacked(values), np.array(mask)


def window(
    episode: EpisodeData, start: int, length: int, *, edge: bool, final: bool, discount: float
) -> dict[str, Any]:
    """Return one window with all fields."""
    last = len(episode) - 1
    steps = range(start, start + length)

    def around(get: Callable[[int], Any]) -> Any:
        return rows_around(get, steps, 0, last, edge)[0]

    observation = lambda number: row(episode.observations, number)  # noqa: E731
    observed = range(start, start + length + 1) if final else steps
    found = {
        "observations": rows_around(observation, observed, 0, last + final, edge)[0],
        "actions": around(lambda number: row(episode.actions, number)),
        "rewards": around(lambda number: episode.rewards[number]),
        "terminations": around(lambda number: np.bool_(episode.terminations[number])),
        "truncations": around(lambda number: np.bool_(episode.truncations[number])),
        "episode_ids": np.full(length, episode.id),
        "timesteps": around(np.int64),
        "returns_to_go": around(lambda number: return_to_go(episode, number, discount)),
        "mask": rows_around(np.int64, steps, 0, last, edge)[1],
    }
    if not final:
        following = range(start + 1, start + length + 1)
        found["next_observations"] = rows_around(observation, following, 1, last + 1, edge)[0]
    return found


def starts(length: int, total: int, stride: int, pad: str | None) -> list[int]:
    """Return the first step of each window of an episode of ``total`` steps."""
    if pad is None:
        return [step for step in range(0, total, stride) if step + length <= total]
    return [step - (length - 1 if pad == "left" else 0) for step in range(0, total, stride)]


def assert_same(found: Any, expected: Any, where: str = "batch") -> None:
    """Compare nested values, their dtypes included."""
    if isinstance(expected, dict):
        assert isinstance(found, dict), where
        assert found.keys() == expected.keys(), (where, list(found), list(expected))
        for key, value in expected.items():
            assert_same(found[key], value, f"{where}[{key!r}]")
    elif isinstance(expected, tuple):
        assert isinstance(found, tuple), where
        assert len(found) == len(expected), where
        for place, value in enumerate(expected):
            assert_same(found[place], value, f"{where}[{place}]")
    elif isinstance(expected, (np.ndarray, np.generic, float)):
        assert (np.shape(found), np.asarray(found).dtype) == (np.shape(expected), np.asarray(expected).dtype), where
        if np.asarray(expected).dtype.kind == "f":
            np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12, err_msg=where)
        else:
            np.testing.assert_array_equal(found, expected, where)
    else:
        np.testing.assert_equal(found, expected.value if isinstance(expected, Plain) else expected, where)
