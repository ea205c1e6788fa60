"""Ways to draw batches from the same episodes: NumPy, this library, and what else people use.

The functions run in interpreters that have only NumPy and the library in question.
"""

from __future__ import annotations

import atexit
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


BATCH, WINDOWS, LENGTH = 256, 64, 32  # transitions of a batch, windows of a batch, and steps of a window
_SECONDS = 1.5  # of batches, after a few that are not counted
_WARM = 5

Draw = Callable[[], Any]


def load(directory: Path) -> dict[str, Any]:
    """Return the arrays of the episodes, with (episode, step) first; observations have one row more."""
    return {name: np.load(directory / f"{name}.npy") for name in ("observations", "actions", "rewards")}


def draw_with_numpy(data: Path, kind: str, options: dict[str, Any]) -> Draw:
    """Return fancy indexing of arrays in memory."""
    arrays = load(data)
    episodes, steps = arrays["rewards"].shape
    observations = arrays["observations"].reshape(episodes * (steps + 1), *arrays["observations"].shape[2:])
    actions = arrays["actions"].reshape(episodes * steps, *arrays["actions"].shape[2:])
    rewards = arrays["rewards"].reshape(-1)
    terminations = np.arange(episodes * steps) % steps == steps - 1
    truncations = np.zeros(episodes * steps, bool)
    rng = np.random.default_rng(0)
    if kind == "transitions":

        def transitions() -> Any:
            at = rng.integers(0, episodes * steps, BATCH)
            seen = at + at // steps
            return (
                observations[seen],
                actions[at],
                observations[seen + 1],
                rewards[at],
                terminations[at],
                truncations[at],
            )

        return transitions
    offsets = np.arange(LENGTH + 1)

    def windows() -> Any:
        episode, start = rng.integers(0, episodes, WINDOWS), rng.integers(0, steps - LENGTH + 1, WINDOWS)
        at = (episode * steps + start)[:, None] + offsets[:-1]
        seen = (episode * (steps + 1) + start)[:, None] + offsets
        return observations[seen], actions[at], rewards[at], terminations[at], truncations[at]

    return windows


def draw_with_minari(data: Path, kind: str, options: dict[str, Any]) -> Draw:
    """Return the batches of this library."""
    import minari

    os.environ["MINARI_DATASETS_PATH"] = str(data)
    dataset = minari.load_dataset(options["dataset_id"])
    cache = options.get("cache")
    if kind == "transitions":
        samples: Any = dataset.transitions(cache=cache)
    else:
        samples = dataset.windows(LENGTH, final_observation=True, cache=cache)
    if cache is not None:  # every row is decoded once
        for begin in range(0, len(samples), BATCH * LENGTH):
            samples[begin : begin + BATCH * LENGTH : 1 if kind == "transitions" else LENGTH]
    batches = samples.batches(BATCH if kind == "transitions" else WINDOWS, seed=0, prefetch=0)
    return lambda: next(batches)


def draw_with_released(data: Path, kind: str, options: dict[str, Any]) -> Draw:
    """Return the loop that users of the released package write: each element is a part of a whole episode."""
    import minari

    os.environ["MINARI_DATASETS_PATH"] = str(data)
    dataset = minari.load_dataset(options["dataset_id"])
    rng = np.random.default_rng(0)
    count = BATCH if kind == "transitions" else WINDOWS
    length = 1 if kind == "transitions" else LENGTH

    def draw() -> Any:
        parts = []
        for episode in dataset.sample_episodes(count) if count <= len(dataset) else _some(dataset, count, rng):
            start = int(rng.integers(0, len(episode.rewards) - length + 1))
            rows = slice(start, start + length)
            parts.append(
                (episode.observations[start : start + length + 1], episode.actions[rows], episode.rewards[rows])
            )
        return [np.stack(column) for column in zip(*parts, strict=True)]

    return draw


def _some(dataset: Any, count: int, rng: np.random.Generator) -> Any:
    numbers = rng.integers(0, len(dataset), count)
    return (dataset[int(number)] for number in numbers)


def draw_with_torchrl(data: Path, kind: str, options: dict[str, Any]) -> Draw:
    """Return a replay buffer over memory-mapped tensors."""
    import torch
    from tensordict import TensorDict
    from torchrl.data import LazyMemmapStorage, SliceSampler, TensorDictReplayBuffer

    torch.set_num_threads(options.get("threads", torch.get_num_threads()))
    scratch = tempfile.TemporaryDirectory(prefix="torchrl-", dir=data)
    atexit.register(scratch.cleanup)
    arrays = load(data)
    episodes, steps = arrays["rewards"].shape
    flat = {
        "observation": arrays["observations"][:, :-1],
        "action": arrays["actions"],
        "next_observation": arrays["observations"][:, 1:],
        "reward": arrays["rewards"],
        "terminated": np.broadcast_to(np.arange(steps) == steps - 1, (episodes, steps)),
        "truncated": np.zeros((episodes, steps), bool),
        "episode": np.broadcast_to(np.arange(episodes)[:, None], (episodes, steps)),
    }
    if kind == "windows":
        del flat["next_observation"]
    size = episodes * steps
    count = BATCH if kind == "transitions" else WINDOWS * LENGTH
    sampler = SliceSampler(slice_len=LENGTH, traj_key="episode") if kind == "windows" else None
    buffer = TensorDictReplayBuffer(
        storage=LazyMemmapStorage(size, scratch_dir=scratch.name), sampler=sampler, batch_size=count
    )
    for begin in range(0, episodes, 50):  # a few at a time, which takes less memory
        part = {key: torch.from_numpy(np.ascontiguousarray(value[begin : begin + 50])) for key, value in flat.items()}
        rows = part["reward"].numel()
        buffer.extend(TensorDict({k: v.reshape(rows, *v.shape[2:]) for k, v in part.items()}, batch_size=[rows]))
    return lambda: buffer.sample()


def draw_with_d3rlpy(data: Path, kind: str, options: dict[str, Any]) -> Draw:
    """Return the replay buffer of d3rlpy, which holds everything in memory."""
    import d3rlpy

    arrays = load(data)
    episodes, steps = arrays["rewards"].shape
    observations = arrays["observations"][:, :-1]
    if observations.ndim == 5:
        observations = np.ascontiguousarray(observations.transpose(0, 1, 4, 2, 3))
    found = [
        d3rlpy.dataset.Episode(
            observations[number], arrays["actions"][number].reshape(steps, -1), arrays["rewards"][number][:, None], True
        )
        for number in range(episodes)
    ]
    buffer = d3rlpy.dataset.ReplayBuffer(d3rlpy.dataset.InfiniteBuffer(), episodes=found)
    if kind == "transitions":
        return lambda: buffer.sample_transition_batch(BATCH)
    return lambda: buffer.sample_trajectory_batch(WINDOWS, LENGTH)


def draw_with_tianshou(data: Path, kind: str, options: dict[str, Any]) -> Draw | None:
    """Return the replay buffer of Tianshou, which holds everything in memory; it has no windows."""
    if kind == "windows":
        return None
    from tianshou.data import ReplayBuffer

    arrays = load(data)
    episodes, steps = arrays["rewards"].shape
    flat = {
        name: value.reshape(episodes * steps, *value.shape[2:])
        for name, value in arrays.items()
        if name != "observations"
    }
    size = episodes * steps
    terminated = np.arange(size) % steps == steps - 1
    buffer = ReplayBuffer.from_data(
        obs=arrays["observations"][:, :-1].reshape(size, *arrays["observations"].shape[2:]),
        act=flat["actions"],
        rew=flat["rewards"],
        terminated=terminated,
        truncated=np.zeros(size, bool),
        done=terminated,
        obs_next=arrays["observations"][:, 1:].reshape(size, *arrays["observations"].shape[2:]),
    )
    return lambda: buffer.sample(BATCH)


def draw_by_decoding(data: Path, kind: str, options: dict[str, Any]) -> Draw:
    """Return the decompression, in all cores, of the chunks that a batch touches, and nothing else."""
    import zlib
    from concurrent.futures import ThreadPoolExecutor

    import h5py

    file = h5py.File(data / options["dataset_id"] / "data" / "main_data.hdf5")
    episodes = len(np.load(data / "rewards.npy"))
    frames = [file[f"episode_{number}"]["observations"] for number in range(episodes)]
    steps, height = len(frames[0]) - 1, frames[0].chunks[0]
    stored: dict[tuple[int, int], list[bytes]] = {}
    for number, array in enumerate(frames):
        for place in range(array.id.get_num_chunks()):
            at = array.id.get_chunk_info(place).chunk_offset
            content = array.id.read_direct_chunk(at)[1]
            stored.setdefault((number, at[0] // height), []).append(content)
    rng = np.random.default_rng(0)
    pool = ThreadPoolExecutor(os.cpu_count() or 1)

    def draw() -> Any:
        count, length = (BATCH, 2) if kind == "transitions" else (WINDOWS, LENGTH + 1)
        episode, start = rng.integers(0, episodes, count), rng.integers(0, steps - length + 2, count)
        touched = {
            (one, block)
            for one, first in zip(episode.tolist(), start.tolist(), strict=True)
            for block in range(first // height, (first + length - 1) // height + 1)
        }
        chunks = [content for key in touched for content in stored[key]]
        parts = [chunks[begin : begin + 4] for begin in range(0, len(chunks), 4)]
        return list(pool.map(lambda part: [zlib.decompress(content) for content in part], parts))

    return draw


DRAWS: dict[str, Callable[[Path, str, dict[str, Any]], Draw | None]] = {
    "numpy": draw_with_numpy,
    "minari": draw_with_minari,
    "released": draw_with_released,
    "torchrl": draw_with_torchrl,
    "d3rlpy": draw_with_d3rlpy,
    "tianshou": draw_with_tianshou,
    "decoding": draw_by_decoding,
}


def sample(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the median of the seconds for a batch; None if the library cannot draw such batches."""
    options = arguments["options"]
    draw = DRAWS[arguments["side"]](Path(arguments["data"]), arguments["kind"], options)
    if draw is None:
        return {"seconds": None}
    for _ in range(_WARM):
        draw()
    seconds: list[float] = []
    end = time.perf_counter() + _SECONDS
    while time.perf_counter() < end:
        begin = time.perf_counter()
        draw()
        seconds.append(time.perf_counter() - begin)
    return {"seconds": statistics.median(seconds)}
