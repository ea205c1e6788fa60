"""A stored dataset for tests that damage, disturb or watch its files."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from minari._base.data_file import DataFile
from minari._storages.hdf5 import index as hdf5_index
from minari._storages.hdf5.index import INDEX_NAME
from minari.dataset.minari_storage import MinariStorage
from minari.testing._suite import ACTIONS, OBSERVATIONS
from minari.testing.comparison import assert_episode
from minari.testing.examples import Truth, as_buffer, draw_truth


TRUTHS = [draw_truth(OBSERVATIONS, ACTIONS, steps, steps) for steps in (2, 3, 40, 5)]


def store(directory: Path) -> Path:
    """Store these episodes; the directory of the data."""
    storage = MinariStorage.new(directory / "data", OBSERVATIONS, ACTIONS)
    storage.update_episodes(map(as_buffer, TRUTHS))
    return storage.data_path


def assert_holds(data_path: Path, truths: list[Truth]) -> None:
    """The dataset in a directory has exactly these episodes."""
    storage = MinariStorage.read(data_path)
    assert storage.total_episodes == len(truths)
    for episode, truth in zip(storage.get_episodes(range(len(truths))), truths, strict=True):
        assert_episode(episode, OBSERVATIONS, ACTIONS, truth)


def index_files(data_path: Path) -> list[Path]:
    """Return the files of the index of the dataset."""
    return sorted(data_path.glob(".index.*"))


def rewrite_index(data_path: Path, change: Callable[[dict[str, Any], np.ndarray], object]) -> None:
    """Change what an index says, header and table, so that its checksum fits and its data file does as well."""
    header_file = data_path / INDEX_NAME
    header = json.loads(header_file.read_text())
    table = data_path / header["table"]
    shape = header["episodes"], header["width"]
    rows = np.frombuffer(table.read_bytes(), "<i8", shape[0] * shape[1]).reshape(shape).copy()
    with DataFile(data_path / "main_data.hdf5") as file:
        header["file"] = hdf5_index._identity_of(file)
    change(header, rows)
    table.write_bytes(rows.tobytes())
    header["checksum"] = hdf5_index._checksum(header, rows)
    header_file.write_text(json.dumps(header))


def read_all(data_path: Path) -> None:
    """Read everything there is."""
    storage = MinariStorage.read(data_path)
    list(storage.get_episodes(range(storage.total_episodes)))
    list(storage.get_episode_metadata(range(storage.total_episodes)))


def as_nobody(work: Callable[[], str]) -> str:
    """Return the result of a function run by a user without permissions, or the error."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgid(65534)
            os.setuid(65534)
            message = work()
        except BaseException as error:
            message = f"{type(error).__name__}: {error}"
        os.write(writing, message.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        message = pipe.read()
    os.waitpid(child, 0)
    return message
