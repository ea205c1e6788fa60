"""A program that does everything that reads with sound datasets, and then with hostile ones while it is watched.

``python watched.py DIRECTORY`` prints, as JSON, what the process did meanwhile that only code would do which
a dataset names: modules that it imported, programs that it started, what it unpickled, compiled or executed, and
files outside DIRECTORY that it wrote. Everything is imported beforehand, by the same calls on sound datasets. In the
end an environment is recovered, so that it can be seen that watching works.
"""

from __future__ import annotations

import base64
import contextlib
import importlib.util
import io
import json
import os
import pickle
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

import minari
from minari.cli.changing import combine, convert, repack
from minari.cli.listing import list_datasets
from minari.cli.sharing import download, upload
from minari.cli.show import show_dataset


FORMATS = [name for name in ("hdf5", "arrow", "parquet", "zarr") if name == "hdf5" or importlib.util.find_spec(
    {"arrow": "pyarrow", "parquet": "pyarrow", "zarr": "zarr"}[name]
)]  # fmt: skip
MODULE = "payload_of_a_dataset"  # importable, and nobody imports it
WRITING = os.O_WRONLY | os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_TRUNC


class Pickled:
    """An object that runs a command when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.system, ("true",)


def specs() -> Iterator[dict[str, Any]]:
    """Specs of environments that name code."""
    for entry_point in (f"{MODULE}:Env", "os:system", "this:s", "subprocess:run"):
        yield {"id": "Evil-v0", "entry_point": entry_point, "kwargs": {"command": "true", "args": ["true"]}}
    yield {"id": f"{MODULE}:Evil-v0", "entry_point": None}
    yield {"id": "CartPole-v1", "entry_point": f"{MODULE}:Env", "vector_entry_point": f"{MODULE}:Env"}
    own = "gymnasium.envs.classic_control.cartpole:CartPoleEnv"
    wrapper = {"name": "W", "entry_point": f"{MODULE}:Wrapper", "kwargs": {}}
    yield {"id": "CartPole-v1", "entry_point": own, "additional_wrappers": [wrapper]}


def hostile_metadata() -> Iterator[dict[str, Any]]:
    """Changes to sound metadata."""
    for spec in specs():
        yield {"env_spec": json.dumps(spec), "eval_env_spec": json.dumps(spec), "requirements": [f"{MODULE}; os_name"]}
    for name in (f"{MODULE}:Storage", MODULE, "../../payload", f"minari.{MODULE}", "os"):
        yield {"data_format": name}
    space: dict[str, Any]
    for space in (
        {"type": f"{MODULE}:Space"},
        {"type": "Box", "dtype": "O", "shape": [], "low": "0", "high": "1"},
        {"type": "Custom", "__reduce__": "os.system", "py/object": f"{MODULE}.Space"},
    ):
        yield {"observation_space": json.dumps(space), "action_space": space}
    pickled = base64.b64encode(pickle.dumps(Pickled())).decode()
    yield {"compression": {"observations": MODULE}, "author": f"{{0.__class__}}{pickled}", "minari_version": "0.5.4"}
    yield {"code_permalink": "file:///etc/passwd", "dataset_id": f"../{MODULE}-v0", "combined_datasets": ["../../a-v0"]}


def make(dataset_id: str, data_format: str) -> Path:
    """Make a sound dataset."""
    saved = minari.create_dataset_from_arrays(
        dataset_id, observations=np.arange(10.0), actions=np.zeros(8), rewards=np.ones(8), infos={"x": ["a", None] * 5},
        terminations=np.arange(8) % 4 == 3, data_format=data_format, requirements=["numpy"],
    )  # fmt: skip
    return Path(saved.spec.data_path)


def make_old(dataset_id: str, spec: dict[str, Any]) -> None:
    """Make a file of 0.3, without spaces, and with an object that was pickled."""
    data_path = Path(os.environ["MINARI_DATASETS_PATH"]) / dataset_id / "data"
    data_path.mkdir(parents=True)
    array = io.BytesIO()
    np.save(array, np.array([Pickled()], object), allow_pickle=True)
    with h5py.File(data_path / "main_data.hdf5", "w") as file:
        file.attrs.update({"total_episodes": 1, "total_steps": 2, "env_spec": json.dumps(spec)})
        episode = file.create_group("episode_0")
        episode.attrs.update(
            {"id": 0, "total_steps": 2, "seed": 1, "x:npy": base64.b64encode(array.getvalue()).decode()}
        )
        episode["observations"] = np.arange(3.0)
        for name in ("actions", "rewards"):
            episode[name] = np.arange(2.0)
        for name in ("terminations", "truncations"):
            episode[name] = np.array([False, True])


def operations(dataset_id: str, directory: Path, new: str, formats: Sequence[str]) -> Iterator[Callable[[], Any]]:
    """Everything that reads a dataset, or makes another of it."""
    remote = f"file://{directory}/remote"
    yield lambda: minari.list_local_datasets()
    yield lambda: list_datasets("local", True, None, False, None, None, True)
    yield lambda: minari.validate(dataset_id, checksums=True)
    yield lambda: show_dataset(dataset_id, False, None, None, True)
    yield lambda: show_dataset(dataset_id, True, None, None, True)
    yield lambda: [episode.infos for episode in minari.load_dataset(dataset_id)]
    yield lambda: list(minari.load_dataset(dataset_id).storage.get_episode_metadata([0]))
    yield lambda: (minari.load_dataset(dataset_id).spec, minari.load_dataset(dataset_id).eval_env_spec)
    yield lambda: minari.split_dataset(minari.load_dataset(dataset_id), [1], seed=0)
    for data_format in formats:
        yield lambda data_format=data_format: convert(dataset_id, f"{new}-{data_format}-v0", data_format, None)
    yield lambda: combine([dataset_id, dataset_id], f"{new}-twice-v0")
    yield lambda: minari.load_dataset(dataset_id).filter_episodes(lambda episode: True).save(f"{new}-saved-v0")
    yield lambda: upload([dataset_id], remote, None, None, False, False, False, 2, True)
    yield lambda: minari.list_remote_datasets(remote)
    yield lambda: list_datasets(remote, True, None, False, None, None, True)
    yield lambda: show_dataset(f"{remote}/{dataset_id}", False, None, None, True)
    yield lambda: download([dataset_id], True, remote, None, None, 2, True)
    yield lambda: repack(dataset_id, None)


def run_all(dataset_id: str, directory: Path, new: str, formats: Sequence[str] = FORMATS) -> None:
    for operation in operations(dataset_id, directory, new, formats):
        quiet = contextlib.redirect_stdout(io.StringIO())
        with contextlib.suppress(Exception, SystemExit), quiet, contextlib.redirect_stderr(io.StringIO()):
            operation()


def main() -> None:
    warnings.simplefilter("ignore")
    directory = Path(sys.argv[1]).resolve()
    os.environ["MINARI_DATASETS_PATH"] = str(directory / "root")
    (directory / "remote").mkdir()
    (directory / "modules").mkdir()
    marker = directory.parent / f"{directory.name}.marker"
    code = f"open({str(marker)!r}, 'w').close()\n__getattr__ = print\n"
    (directory / "modules" / f"{MODULE}.py").write_text(code)
    sys.path.insert(0, str(directory / "modules"))

    for data_format in FORMATS:
        make(f"sound-{data_format}-v0", data_format)
        run_all(f"sound-{data_format}-v0", directory, f"of-{data_format}")
    make_old("sound-old-v0", {"id": "CartPole-v1", "entry_point": "no:Such"})
    run_all("sound-old-v0", directory, "of-old")
    shutil.rmtree(directory / "root")

    names = []
    for number, changes in enumerate(hostile_metadata()):
        data_format = FORMATS[number % len(FORMATS)]
        names.append(f"hostile-{number}-{data_format}-v0")
        file = make(names[-1], data_format) / "metadata.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    for number, spec in enumerate(specs()):
        names.append(f"hostile-old-{number}-v0")
        make_old(names[-1], spec)

    seen: list[str] = []
    is_watching = True

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if not is_watching:
            return
        if event == "open":
            path, mode, flags = arguments
            writes = bool((flags or 0) & WRITING) or (isinstance(mode, str) and any(c in mode for c in "wax+"))
            if writes and isinstance(path, (str, bytes, os.PathLike)):
                place = os.path.realpath(os.fsdecode(path))
                if (
                    not place.startswith(f"{directory}{os.sep}")
                    and place != os.devnull
                    and Path(os.fsdecode(path)).is_absolute()
                ):
                    seen.append(f"open {place}")
        elif event in (
            "import",
            "exec",
            "compile",
            "pickle.find_class",
            "ctypes.dlopen",
            "marshal.loads",
            "shutil.chown",
        ):
            seen.append(f"{event} {str(arguments[:1])[:200]}")
        elif event.startswith(("os.system", "os.exec", "os.posix_spawn", "os.fork", "os.spawn", "subprocess.", "pty.")):
            seen.append(f"{event} {str(arguments)[:200]}")

    sys.addaudithook(watch)
    for number, name in enumerate(names):
        run_all(name, directory, f"of-{name.removesuffix('-v0')}", FORMATS[number % len(FORMATS) :][:1])
    reading, ran = sorted(set(seen)), marker.exists()
    seen.clear()
    with contextlib.suppress(Exception):
        minari.load_dataset("hostile-0-hdf5-v0").recover_environment()
    is_watching = False
    found = {"datasets": len(names), "reading": reading, "ran": ran}
    print(json.dumps({**found, "recovering": seen, "ran_when_recovering": marker.exists()}))


if __name__ == "__main__":
    main()
