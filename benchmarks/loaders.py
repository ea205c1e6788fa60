"""The same episodes for every format, and the loaders that users of other programs have for their files.

The functions run in interpreters that have only NumPy and the library in question.
"""

from __future__ import annotations

import gc
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


#: Steps of an episode of each kind.
LENGTHS = {"vectors": 1000, "frames": 100, "jpeg": 100, "encoded": 100}
#: Rows of LeRobot that are read: there is no way to read many at once.
FEW_ROWS = 1000


def arrays_of(kind: str, number: int) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of one episode, which ends in a termination if its number is odd."""
    rng, steps = np.random.default_rng(number), LENGTHS[kind]
    if kind != "vectors":
        # Smooth pictures with some noise, which PNG compresses as it does those of games.
        corners = rng.integers(0, 256, (steps + 1, 7, 7, 3), dtype=np.uint8)
        observations: npt.NDArray[Any] = corners.repeat(12, axis=1).repeat(12, axis=2)
        observations[:, ::4] ^= rng.integers(0, 4, observations[:, ::4].shape, dtype=np.uint8)
    else:
        observations = rng.standard_normal((steps + 1, 17), np.float32)
    last = np.arange(steps) == steps - 1
    return {
        "observations": observations,
        "actions": rng.uniform(-1, 1, (steps, 6)).astype(np.float32),
        "rewards": rng.random(steps),
        "terminations": last & bool(number % 2),
        "truncations": last & (not number % 2),
    }


def bytes_of(kind: str, episodes: int) -> int:
    """Return the bytes of the values of all episodes."""
    return episodes * sum(values.nbytes for values in arrays_of(kind, 0).values())


def load(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the seconds in which a loader reads all values, the steps it read, and the sum of their rewards."""
    path, loader = Path(arguments["path"]), LOADERS[arguments["format"]]
    next(loader(path))  # imports, and is used for the first time
    gc.collect()
    begin = time.perf_counter()
    rewards = list(loader(path))
    seconds = time.perf_counter() - begin
    return {
        "seconds": seconds,
        "steps": sum(len(values) for values in rewards),
        "rewards": float(sum(np.sum(values, dtype=np.float64) for values in rewards)),
    }


def make(arguments: dict[str, Any]) -> dict[str, Any]:
    """Write the episodes with the library itself, for formats that we only read."""
    episodes = [arrays_of(arguments["kind"], number) for number in range(arguments["size"])]
    rows = {name: np.concatenate([one[name] for one in episodes]) for name in list(episodes[0])[1:]}
    rows["observations"] = np.concatenate([one["observations"][:-1] for one in episodes])
    rows["next_observations"] = np.concatenate([one["observations"][1:] for one in episodes])
    MAKERS[arguments["format"]](rows, Path(arguments["path"]))
    return {}


def _make_tianshou(rows: dict[str, npt.NDArray[Any]], path: Path) -> None:
    from tianshou.data import ReplayBuffer

    done = rows["terminations"] | rows["truncations"]
    names = ("observations", "actions", "rewards", "terminations", "truncations")
    columns: list[Any] = [*(rows[name] for name in names), done, rows["next_observations"]]
    ReplayBuffer.from_data(*columns).save_hdf5(str(path))


def _make_torchrl(rows: dict[str, npt.NDArray[Any]], path: Path) -> None:
    import torch
    from tensordict import TensorDict
    from torchrl.data import LazyMemmapStorage, ReplayBuffer

    count = len(rows["rewards"])
    ended = {"terminated": rows["terminations"], "truncated": rows["truncations"]}
    ended["done"] = rows["terminations"] | rows["truncations"]
    flags = {name: torch.from_numpy(values)[:, None] for name, values in ended.items()}
    following = {
        "observation": torch.from_numpy(rows["next_observations"]),
        "reward": torch.from_numpy(rows["rewards"])[:, None],
        **flags,
    }
    now = {
        "observation": torch.from_numpy(rows["observations"]),
        "action": torch.from_numpy(rows["actions"]),
        **{name: torch.zeros_like(values) for name, values in flags.items()},
        "next": TensorDict(following, [count]),
    }
    buffer = ReplayBuffer(storage=LazyMemmapStorage(count))
    buffer.extend(TensorDict(now, [count]))
    buffer.dumps(str(path))


MAKERS: dict[str, Callable[[dict[str, npt.NDArray[Any]], Path], None]] = {
    "tianshou": _make_tianshou,
    "torchrl": _make_torchrl,
}


def _load_d4rl(path: Path) -> Iterator[npt.NDArray[Any]]:
    import h5py

    file: Any
    with h5py.File(path, "r") as file:
        arrays = {name: values[:] for name, values in file.items() if isinstance(values, h5py.Dataset)}
    ends = np.flatnonzero(arrays["terminals"] | arrays["timeouts"]) + 1
    for parts in zip(*(np.split(values, ends) for values in (arrays["rewards"], *arrays.values())), strict=True):
        yield parts[0]


def _load_groups(path: Path, inside: str) -> Iterator[npt.NDArray[Any]]:
    """Read all arrays of each group, in which the episodes are."""
    import h5py

    file: Any
    with h5py.File(path, "r") as file:
        for group in file[inside].values():
            arrays = [values[()] for values in _datasets(group)]
            assert arrays
            yield group["rewards"][:]


def _datasets(group: Any) -> Iterator[Any]:
    for one in group.values():
        if hasattr(one, "dtype"):
            yield one
        else:
            yield from _datasets(one)


def _load_robomimic(path: Path) -> Iterator[npt.NDArray[Any]]:
    return _load_groups(path, "data")


def _load_maniskill(path: Path) -> Iterator[npt.NDArray[Any]]:
    json.loads((path / "trajectory.json").read_text(encoding="utf-8"))
    return _load_groups(path / "trajectory.h5", "/")


def _load_d3rlpy(path: Path) -> Iterator[npt.NDArray[Any]]:
    import d3rlpy

    with path.open("rb") as file:
        buffer = d3rlpy.dataset.ReplayBuffer.load(file, d3rlpy.dataset.InfiniteBuffer())
    for episode in buffer.episodes:
        yield np.asarray(episode.rewards)


def _load_tianshou(path: Path) -> Iterator[npt.NDArray[Any]]:
    from tianshou.data import ReplayBuffer

    buffer = ReplayBuffer.load_hdf5(str(path))
    yield np.asarray(buffer.rew[: len(buffer)])


def _load_torchrl(path: Path) -> Iterator[npt.NDArray[Any]]:
    from torchrl.data import LazyTensorStorage, ReplayBuffer

    count = int(json.loads((path / "storage" / "storage_metadata.json").read_text(encoding="utf-8"))["len"])
    buffer = ReplayBuffer(storage=LazyTensorStorage(count))
    buffer.loads(str(path))
    yield buffer[:].clone()["next", "reward"].numpy()


def _load_imitation(path: Path) -> Iterator[npt.NDArray[Any]]:
    from imitation.data import serialize

    for trajectory in serialize.load(str(path)):
        yield np.asarray(trajectory.rews)


def _load_rlds(path: Path) -> Iterator[npt.NDArray[Any]]:
    os.environ |= {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(str(path))
    split = next(iter(builder.info.splits))
    episodes = builder.as_dataset(split=split, shuffle_files=False)
    # All steps of an episode at once, within the graph of TensorFlow: the fastest way.
    whole = episodes.map(lambda episode: episode["steps"].batch(100_000).get_single_element())
    for steps in tfds.as_numpy(whole):
        yield steps["reward"][:-1]


def _load_lerobot(path: Path) -> Iterator[npt.NDArray[Any]]:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    found = LeRobotDataset("benchmarks/interchange", root=str(path), video_backend="pyav")
    for number in range(min(FEW_ROWS, len(found))):
        yield np.atleast_1d(found[number]["next.reward"].numpy())


def _load_parquet(path: Path) -> Iterator[npt.NDArray[Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    def values(column: Any) -> npt.NDArray[Any]:
        whole = column.combine_chunks()
        is_vector = pa.types.is_fixed_size_list(whole.type)
        found: npt.NDArray[Any] = (whole.flatten() if is_vector else whole).to_numpy(zero_copy_only=False)
        return found.reshape(len(whole), -1) if is_vector else found

    table = pq.read_table(path)
    yield from _cut({name: values(table[name]) for name in table.column_names})


def _load_csv(path: Path) -> Iterator[npt.NDArray[Any]]:
    import pandas as pd

    frame = pd.read_csv(path)
    yield from _cut({name: frame[name].to_numpy() for name in frame.columns})


def _cut(columns: dict[str, npt.NDArray[Any]]) -> Iterator[npt.NDArray[Any]]:
    ends = np.flatnonzero(np.diff(columns["episode"])) + 1
    for parts in zip(*(np.split(values, ends) for values in (columns["reward"], *columns.values())), strict=True):
        yield parts[0]


def _load_rllib(path: Path) -> Iterator[npt.NDArray[Any]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            batch = {name: np.asarray(values) for name, values in json.loads(line).items()}
            yield batch["rewards"]


LOADERS: dict[str, Callable[[Path], Iterator[npt.NDArray[Any]]]] = {
    "d4rl": _load_d4rl,
    "robomimic": _load_robomimic,
    "maniskill": _load_maniskill,
    "d3rlpy": _load_d3rlpy,
    "tianshou": _load_tianshou,
    "torchrl": _load_torchrl,
    "imitation": _load_imitation,
    "rllib": _load_rllib,
    "rlds": _load_rlds,
    "lerobot": _load_lerobot,
    "parquet": _load_parquet,
    "csv": _load_csv,
}
