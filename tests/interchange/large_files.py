"""Programs that write and read large files of other formats, each in a process of its own, which says how it grows."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

import minari
from minari.data_collector import EpisodeBuffer
from minari.interchange import export_dataset, import_dataset


_PERIOD = 0.002  # seconds between two looks at the memory of a process
_WIDTH = 60  # values of an observation
_ACTIONS = 8
_STEPS = {"vectors": 1000, "frames": 100}
_SIDE = 84


@dataclass(frozen=True)
class Growth:
    """Memory of a process in MB, beyond what it had when it began to work.

    Attributes:
        peak: the most memory of its own, without mapped files.
        steps: the number of steps that it has converted.
        size: MB of the file or directory.
    """

    peak: float
    steps: int
    size: float


def megabytes(kind: str, episodes: int) -> float:
    """Return the MB of the observations, actions and outcomes of some episodes."""
    row = 4 * (_WIDTH + _ACTIONS) if kind == "vectors" else _SIDE * _SIDE * 3 + 4 * _ACTIONS
    return episodes * _STEPS[kind] * (row + 10) / 1e6


def arrays(kind: str, episodes: int) -> Iterator[dict[str, Any]]:
    """Yield the arrays of episodes: T+1 observations, T actions, rewards and flags."""
    random, steps = np.random.default_rng(0), _STEPS[kind]
    noise = random.standard_normal((steps + 1, _WIDTH)).astype(np.float32)
    across = np.add.outer(np.arange(_SIDE), np.arange(_SIDE))[None, :, :, None] * np.ones(3, np.int64)
    grain = random.integers(0, 4, (_SIDE, _SIDE, 3))
    ends = np.arange(steps) == steps - 1
    for number in range(episodes):
        if kind == "vectors":
            observations = noise * np.float32(1 + number / 1024)
        else:
            observations = (across + grain + np.arange(steps + 1)[:, None, None, None] + number).astype(np.uint8)
        yield {
            "observations": observations,
            "actions": noise[:-1, :_ACTIONS] + np.float32(number),
            "rewards": np.arange(steps) * 0.5,
            "terminations": ends & (number % 2 == 0),
            "truncations": ends & (number % 2 == 1),
        }


def store(kind: str, episodes: int) -> None:
    """Create the dataset ``large/source-v0``."""
    width = (_WIDTH,) if kind == "vectors" else (_SIDE, _SIDE, 3)
    observations = (
        gym.spaces.Box(-np.inf, np.inf, width, np.float32)
        if kind == "vectors"
        else gym.spaces.Box(0, 255, width, np.uint8)
    )
    minari.create_dataset_from_buffers(
        "large/source-v0",
        (EpisodeBuffer(**one) for one in arrays(kind, episodes)),
        observation_space=observations,
        action_space=gym.spaces.Box(-np.inf, np.inf, (_ACTIONS,), np.float32),
        author="a",
        author_email="a",
        code_permalink="a",
        algorithm_name="a",
        description="a",
        eval_env="CartPole-v1",
    )


def _fill_tianshou(path: Path, kind: str, episodes: int, **how: Any) -> None:
    import h5py

    total = episodes * _STEPS[kind]
    with h5py.File(path, "w") as file:
        file.attrs.update({"maxsize": total, "_size": total, "_insertion_idx": 0})
        row = 0
        for one in arrays(kind, episodes):
            steps = len(one["rewards"])
            columns = {
                "obs": one["observations"][:-1],
                "obs_next": one["observations"][1:],
                "act": one["actions"],
                "rew": one["rewards"],
                "terminated": one["terminations"],
                "truncated": one["truncations"],
                "done": one["terminations"] | one["truncations"],
                "info/t": np.arange(steps),
            }
            for name, values in columns.items():
                if not row:
                    array = file.create_dataset(f"_meta/{name}", (total, *values.shape[1:]), values.dtype, **how)
                    array.attrs["__data_type__"] = "ndarray"
                file[f"_meta/{name}"][row : row + steps] = values
            row += steps


def _tianshou(path: Path, kind: str, episodes: int) -> None:
    _fill_tianshou(path, kind, episodes)


def _tianshou_gzip(path: Path, kind: str, episodes: int) -> None:
    _fill_tianshou(path, kind, episodes, compression="gzip", compression_opts=1)


def _torchrl(path: Path, kind: str, episodes: int) -> None:
    total = episodes * _STEPS[kind]
    tensors: dict[str, tuple[str, list[int]]] = {}
    for directory in ("storage/next", "storage/collector", "writer"):
        (path / directory).mkdir(parents=True)
    names = {"bool": "torch.bool", "float32": "torch.float32", "float64": "torch.float64", "int64": "torch.int64"}
    names["uint8"] = "torch.uint8"
    files: dict[str, Any] = {}
    for number, one in enumerate(arrays(kind, episodes)):
        steps = len(one["rewards"])
        done = one["terminations"] | one["truncations"]
        columns = {
            "observation": one["observations"][:-1],
            "action": one["actions"],
            "next/observation": one["observations"][1:],
            "next/reward": one["rewards"][:, None],
            "next/terminated": one["terminations"][:, None],
            "next/truncated": one["truncations"][:, None],
            "next/done": done[:, None],
            "collector/traj_ids": np.full(steps, number),
        }
        for name, values in columns.items():
            if name not in files:
                files[name] = (path / f"storage/{name}.memmap").open("wb")
                tensors[name] = names[values.dtype.name], [total, *values.shape[1:]]
            files[name].write(np.ascontiguousarray(values).tobytes())
    for file in files.values():
        file.close()
    for directory in ("", "next/", "collector/"):
        found: dict[str, Any] = {
            name.removeprefix(directory): {"device": "cpu", "shape": shape, "dtype": dtype, "is_nested": False}
            for name, (dtype, shape) in tensors.items()
            if name.startswith(directory) and "/" not in name.removeprefix(directory)
        }
        if not directory:
            found |= {inner: {"type": "TensorDict"} for inner in ("next", "collector")}
        found |= {"shape": [total], "device": "cpu", "_type": "TensorDict"}
        (path / f"storage/{directory}meta.json").write_text(json.dumps(found))
    (path / "storage/storage_metadata.json").write_text(json.dumps({"len": total, "is_pytree": False}))
    (path / "writer/metadata.json").write_text(json.dumps({"cursor": 0}))


def _npz(path: Path, kind: str, episodes: int) -> None:
    steps = _STEPS[kind]
    total = episodes * steps
    arrays_of: dict[str, tuple[int, Callable[[dict[str, Any]], Any]]] = {
        "obs": (total + episodes, lambda one: one["observations"]),
        "acts": (total, lambda one: one["actions"]),
        "rews": (total, lambda one: one["rewards"]),
        "terminal": (episodes, lambda one: one["terminations"][-1:]),
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, (count, values_of) in arrays_of.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                for number, one in enumerate(arrays(kind, episodes)):
                    values = np.ascontiguousarray(values_of(one))
                    if not number:
                        header = np.lib.format.header_data_from_array_1_0(values)
                        np.lib.format.write_array_header_1_0(member, {**header, "shape": (count, *values.shape[1:])})
                    member.write(values.tobytes())
        with archive.open("indices.npy", "w") as member:
            np.lib.format.write_array(member, np.arange(steps, total, steps))


def _rl_unplugged(path: Path, kind: str, episodes: int) -> None:
    from minari.interchange.tf_example import written_example
    from minari.interchange.tfrecord import RecordWriter

    with gzip.open(path, "wb", compresslevel=1) as stream:
        writer = RecordWriter(stream)
        for one in arrays(kind, episodes):
            rewards = np.concatenate([[0], one["rewards"]]).astype(np.float32)
            rows = len(rewards)
            record = {
                "observation/joints": one["observations"].reshape(-1),
                "action": np.concatenate([one["actions"], one["actions"][-1:]]).reshape(-1),
                "reward": rewards,
                "discount": np.ones(rows, np.float32),
                "step_type": np.minimum(np.arange(rows), 1).astype(np.float32),
                "seed": np.array([3]),
            }
            writer.append(written_example(record))


def _og_marl(path: Path, kind: str, episodes: int) -> None:
    import tensorstore

    path.mkdir()
    steps, agents = _STEPS[kind], 3
    context = tensorstore.Context({"cache_pool": {"total_bytes_limit": 10**8}})

    def array(name: str, values: Any) -> Any:
        base = {"driver": "ocdbt", "base": {"driver": "file", "path": f"{path.resolve()}{os.sep}"}}
        spec = {
            "driver": "zarr",
            "kvstore": base,
            "path": name,
            "metadata": {
                "shape": [1, 10**9 if values.ndim > 1 or name != "vault_index" else 1, *values.shape[1:]][
                    : values.ndim + 1
                ],
                "chunks": [1, steps if name != "vault_index" else 1, *values.shape[1:]][: values.ndim + 1],
                "dtype": values.dtype.str,
            },
        }
        return tensorstore.open(spec, create=True, open=True, context=context).result()

    found: dict[str, Any] = {}
    for number, one in enumerate(arrays(kind, episodes)):
        for name, values in {
            "observations": one["observations"][:-1],
            "actions": one["actions"],
            "rewards": one["rewards"].astype(np.float32),
            "terminals": one["terminations"] | one["truncations"],
        }.items():
            values = np.stack([values] * agents, axis=1)
            values = values.astype(np.uint8) if values.dtype == np.bool_ else values
            if name not in found:
                found[name] = array(f"{name}.", values), values
            found[name][0][0, number * steps : (number + 1) * steps].write(values).result()
    index = {"driver": "ocdbt", "base": {"driver": "file", "path": f"{path.resolve()}{os.sep}"}}
    spec = {"driver": "zarr", "kvstore": index, "path": "vault_index", "metadata": {"shape": [1], "dtype": "<i4"}}
    tensorstore.open(spec, create=True, open=True).result().write(np.array([episodes * steps], np.int32)).result()
    described = {name: str((1, 10**9, *values.shape[1:])) for name, (_, values) in found.items()}
    content = {"version": "1.2", "structure_shape": described, "structure_dtype": dict.fromkeys(described, "x")}
    (path / "metadata.json").write_text(json.dumps(content))


def _crowdplay(path: Path, kind: str, episodes: int) -> None:
    path.mkdir()
    with sqlite3.connect(path / "dataset.sqlite") as connection:
        connection.execute("CREATE TABLE episodes (episode_id TEXT)")
        connection.executemany("INSERT INTO episodes VALUES (?)", [(f"e{number}",) for number in range(episodes)])
    connection.close()
    for number, one in enumerate(arrays(kind, episodes)):
        observations = one["observations"]
        steps = [
            {
                "prev_obs": {"a": observations[step]},
                "obs": {"a": observations[step + 1]},
                "action": {"a": {"game": one["actions"][step]}},
                "reward": {"a": float(one["rewards"][step])},
                "done": {"a": step == len(one["rewards"]) - 1, "__all__": step == len(one["rewards"]) - 1},
                "info": {"a": {}},
                "user_type": {"a": 1},
            }
            for step in range(len(one["rewards"]))
        ]
        (path / f"e{number}.pickle").write_bytes(pickle.dumps(steps))


def _foreign_table(path: Path, kind: str, episodes: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer = None
    groups: list[Any] = []
    for number, one in enumerate(arrays(kind, episodes)):
        columns = {f"obs_{i}": one["observations"][:-1, i] for i in range(_WIDTH)}
        columns |= {f"action_{i}": one["actions"][:, i] for i in range(_ACTIONS)}
        columns |= {"reward": one["rewards"], "terminated": one["terminations"], "truncated": one["truncations"]}
        columns |= {"episode": np.full(len(one["rewards"]), number)}
        groups.append(pa.table({name: pa.array(np.ascontiguousarray(values)) for name, values in columns.items()}))
        if len(groups) == 1000 or number == episodes - 1:  # a million rows, as pyarrow and pandas write
            table = pa.concat_tables(groups)
            writer = writer or pq.ParquetWriter(path, table.schema)
            writer.write_table(table)
            groups = []
    if writer is not None:
        writer.close()


_WRITERS: dict[str, Callable[[Path, str, int], None]] = {
    "tianshou": _tianshou,
    "tianshou-gzip": _tianshou_gzip,
    "torchrl": _torchrl,
    "imitation-npz": _npz,
    "rl_unplugged": _rl_unplugged,
    "og_marl": _og_marl,
    "crowdplay": _crowdplay,
    "parquet-groups": _foreign_table,
}
FOREIGN = tuple(_WRITERS)


def _work(operation: str, format: str, kind: str, episodes: int, path: Path, options: dict[str, Any]) -> int:
    if operation == "store":
        store(kind, episodes)
        return episodes
    if operation == "write":
        _WRITERS[format](path, kind, episodes)
        return episodes
    if operation == "export":
        return export_dataset(minari.load_dataset("large/source-v0"), path, format.partition("-")[0], **options).steps
    found = import_dataset(path, "large/copy-v0", format.partition("-")[0], **options)
    return int(found.total_steps)  # type: ignore[union-attr]


def main() -> None:
    """Do what the arguments say, after a line has come, and print the number of steps."""
    operation, format, kind, episodes, path, options = sys.argv[1:]
    print("ready", flush=True)
    sys.stdin.readline()
    print(_work(operation, format, kind, int(episodes), Path(path), json.loads(options)), flush=True)


def _own_memory(process: int) -> float:
    """Return the MB of a process and its children that are not of files."""
    total = 0
    try:
        status = Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace").splitlines()
        total = next((int(line.split()[1]) for line in status if line.startswith("RssAnon:")), 0)
        inner = Path(f"/proc/{process}/task/{process}/children").read_text(encoding="ascii").split()
    except (OSError, ProcessLookupError):
        return total / 1000
    return total / 1000 + sum(_own_memory(int(child)) for child in inner)


def measured(operation: str, format: str, kind: str, episodes: int, path: Path, **options: Any) -> Growth:
    """Return how a process grows that stores, writes, exports or imports."""
    command = [sys.executable, "-c", "from interchange.large_files import main; main()"]
    arguments = [operation, format, kind, str(episodes), str(path), json.dumps(options)]
    search = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, sys.path)])
    process = subprocess.Popen(
        [*command, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": search, "PYTHONWARNINGS": "ignore"},
    )
    with process:
        if process.stdin is None or process.stdout is None or process.stdout.readline() != b"ready\n":
            raise RuntimeError("the process did not begin")
        before = peak = _own_memory(process.pid)
        process.stdin.write(b"\n")
        process.stdin.flush()
        while True:
            try:
                process.wait(_PERIOD)
                break
            except subprocess.TimeoutExpired:
                peak = max(peak, _own_memory(process.pid))
        answer = process.stdout.read()
    if process.returncode:
        raise RuntimeError(f"{operation} of {format} failed")
    files = path.rglob("*") if path.is_dir() else [path]
    size = sum(file.stat().st_size for file in files if file.is_file()) / 1e6
    return Growth(peak - before, int(answer), size)
