"""A stored dataset for tests that damage, disturb or watch its files."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minari._base.data_file import DataFile
from minari._storages.hdf5.index import INDEX_NAME, identity_of, index_checksum
from minari.dataset.episode_buffer import EpisodeBuffer
from minari.dataset.minari_storage import METADATA_FILE_NAME, MinariStorage
from minari.testing.comparison import assert_episode
from minari.testing.examples import Truth, as_buffer, draw_truth
from minari.testing.storage_suites.suite import ACTIONS, OBSERVATIONS
from support.copies import require_format


TRUTHS = [draw_truth(OBSERVATIONS, ACTIONS, steps, steps) for steps in (2, 3, 40, 5)]


def store(
    directory: Path,
    data_format: str = "hdf5",
    truths: Sequence[Any] = TRUTHS,
    observation_space: Any = OBSERVATIONS,
    action_space: Any = ACTIONS,
    **options: Any,
) -> Path:
    """Store these episodes or buffers; the directory of the data."""
    require_format(data_format)
    storage = MinariStorage.new(directory / "data", observation_space, action_space, data_format=data_format, **options)
    if truths:
        storage.update_episodes(as_buffer(each) if isinstance(each, dict) else each for each in truths)
    return storage.data_path


def plain_buffer(observations: Any, **fields: Any) -> EpisodeBuffer:
    """An episode with these observations, whose other columns are zeros unless they are given."""
    leaf = next(iter(observations.values())) if isinstance(observations, dict) else observations
    steps = len(leaf) - 1
    flags = np.zeros(steps, np.bool_)
    columns = {"actions": np.zeros(steps, np.int64), "rewards": np.zeros(steps)}
    return EpisodeBuffer(
        **{"observations": observations, **columns, "terminations": flags, "truncations": flags, **fields}
    )


def assert_holds(
    opened: Path | MinariStorage, truths: Sequence[Truth], observation_space: Any = OBSERVATIONS, actions: Any = ACTIONS
) -> None:
    """The dataset, opened or in a directory, has exactly these episodes."""
    storage = MinariStorage.read(opened) if isinstance(opened, Path) else opened
    assert storage.total_episodes == len(truths)
    assert storage.total_steps == sum(len(truth["rewards"]) for truth in truths)
    for episode, truth in zip(storage.get_episodes(range(len(truths))), truths, strict=True):
        assert_episode(episode, observation_space, actions, truth)


def edit_json(file: Path, change: Callable[[Any], object]) -> None:
    """Change a JSON file."""
    value = json.loads(file.read_bytes())
    change(value)
    file.write_text(json.dumps(value))


def edit_metadata(data_path: Path, **changes: Any) -> None:
    """Change the metadata of a dataset as another program can; None deletes a key."""

    def change(metadata: dict[str, Any]) -> None:
        metadata.update(changes)
        for key in [key for key, value in changes.items() if value is None]:
            del metadata[key]

    edit_json(data_path / METADATA_FILE_NAME, change)


def index_files(data_path: Path) -> list[Path]:
    """Return the files of the index of the dataset."""
    return sorted(data_path.glob(".index.*"))


def without_index(data_path: Path) -> MinariStorage:
    """Open the dataset after its index was lost."""
    for file in index_files(data_path):
        file.unlink()
    return MinariStorage.read(data_path)


def flip(file: Path, position: int, bits: int = 1, *, keep_time: bool = False) -> None:
    """Change bits of a byte of a file."""
    status = file.stat()
    content = bytearray(file.read_bytes())
    content[position] ^= bits
    file.write_bytes(content)
    if keep_time:
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def rewrite_index(data_path: Path, change: Callable[[dict[str, Any], np.ndarray], object]) -> None:
    """Change what an index says, header and table, so that its checksum fits and its data file does as well."""
    header_file = data_path / INDEX_NAME
    header = json.loads(header_file.read_text())
    table = data_path / header["table"]
    shape = header["episodes"], header["width"]
    rows = np.frombuffer(table.read_bytes(), "<i8", shape[0] * shape[1]).reshape(shape).copy()
    with DataFile(data_path / "main_data.hdf5") as file:
        header["file"] = identity_of(file)
    change(header, rows)
    table.write_bytes(rows.tobytes())
    header["checksum"] = index_checksum(header, rows)
    header_file.write_text(json.dumps(header))


def read_all(data_path: Path) -> None:
    """Read everything there is."""
    storage = MinariStorage.read(data_path)
    list(storage.get_episodes(range(storage.total_episodes)))
    list(storage.get_episode_metadata(range(storage.total_episodes)))


def in_child(work: Callable[[], Any]) -> str:
    """Return the result of a function run in a forked process, as a text, or its error."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            message = str(work())
        except BaseException as error:
            message = f"{type(error).__name__}: {error}"
        os.write(writing, message.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        message = pipe.read()
    os.waitpid(child, 0)
    return message


def as_nobody(work: Callable[[], str]) -> str:
    """Return the result of a function run by a user without permissions, or the error."""

    def become_nobody() -> str:
        os.setgid(65534)
        os.setuid(65534)
        return work()

    return in_child(become_nobody)
