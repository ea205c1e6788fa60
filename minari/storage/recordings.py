"""Recordings under way: hidden folders of the catalogue that become datasets, or can be recovered.

A collector writes its episodes here while it runs. When the program dies, what was written by then
is whole, and can be made a dataset later.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec

from minari._base.files import METADATA_LIMIT, is_directory, read_regular
from minari._base.outcomes import storage_errors
from minari.dataset.compression import CompressionChoice
from minari.dataset.metadata import METADATA_FILE_NAME
from minari.dataset.minari_dataset import MinariDataset
from minari.dataset.minari_storage import MinariStorage, PathLike
from minari.dataset.publication import free_dataset_path, make_namespace
from minari.dataset.storing import opened_writer
from minari.dataset.versions import FORMAT_VERSION
from minari.errors import DatasetNotFoundError, EpisodeError, MinariError, UnsafePathError
from minari.storage.datasets_root_dir import get_datasets_root
from minari.storage.publishing import RECORDINGS_FOLDER, publish_directory, remove_directory, write_atomically


#: What is set when a recording becomes a dataset, whatever was set before.
_OF_THE_DATASET = frozenset({"dataset_id", "minari_version"})


@dataclass(frozen=True, slots=True)
class Recording:
    """Episodes that are written and not yet a dataset.

    Attributes:
        name: of the recording, as ``minari recover`` takes it.
        storage: its episodes.
        root: of the catalogue that it lies in.
    """

    name: str
    storage: MinariStorage
    root: Path

    @property
    def path(self) -> Path:
        """The folder of the data."""
        return self.storage.data_path

    @property
    def episodes(self) -> int:
        """The number of episodes."""
        return self.storage.total_episodes

    @property
    def steps(self) -> int:
        """The number of steps of all episodes."""
        return self.storage.total_steps

    @property
    def modified(self) -> float:
        """When it was last written to, in seconds since the epoch."""
        return (self.path / METADATA_FILE_NAME).stat().st_mtime

    @property
    def env_id(self) -> str | None:
        """The id of the environment that was recorded."""
        spec = MinariDataset(self.storage).env_spec
        return None if spec is None else spec.id

    def publish(self, dataset_id: str, metadata: Mapping[str, Any]) -> MinariDataset:
        """Make a dataset of it, by moving it to its place.

        Raises:
            DatasetIdError: the id is malformed.
            DatasetExistsError: there is a dataset of this id already. The recording stays as it is.
        """
        destination = free_dataset_path(dataset_id, root=self.root)
        file = self.path / METADATA_FILE_NAME
        before = read_regular(file, METADATA_LIMIT)
        with storage_errors(destination, "made"):
            try:
                self._describe(metadata)
                make_namespace(dataset_id, self.root)
                publish_directory(self.path.parent, destination)
            except BaseException:
                with suppress(OSError):  # it has become the dataset all the same, or the disk is full
                    write_atomically(file, before)
                raise
        _remove_folder_if_empty(self.path.parent.parent)
        return MinariDataset(destination / "data")

    def _describe(self, metadata: Mapping[str, Any]) -> None:
        """Set metadata, also those that a program has set which was killed before the dataset was there."""
        anew = {key: value for key, value in metadata.items() if key in _OF_THE_DATASET}
        others = {key: value for key, value in metadata.items() if key not in _OF_THE_DATASET}
        with opened_writer(self.storage) as writer:
            writer.commit(self.storage._current.updated(anew, allow_protected=True).updated(others))

    def discard(self) -> None:
        """Delete it."""
        remove_directory(self.path.parent)
        _remove_folder_if_empty(self.path.parent.parent)


def new_recording(
    observation_space: gym.Space[Any],
    action_space: gym.Space[Any],
    env_spec: EnvSpec | None,
    data_format: str,
    *,
    jpeg_encoding: bool,
    compression: CompressionChoice = None,
    root: PathLike | None = None,
) -> Recording:
    """Begin a recording in the catalogue."""
    folder = get_datasets_root(root)
    env_name = re.sub(r"[^\w-]", "-", env_spec.id) if env_spec else "recording"
    name = f"{env_name[:100]}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{secrets.token_hex(2)}"
    path = folder / RECORDINGS_FOLDER / name
    if path.parent.is_symlink():
        raise UnsafePathError(f"{path.parent} is a link, expected a folder for recordings; remove it.")
    try:
        with storage_errors(path, "made"):
            storage = MinariStorage.new(
                path / "data",
                observation_space,
                action_space,
                env_spec,
                data_format,
                jpeg_encoding=jpeg_encoding,
                compression=compression,
            )
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        _remove_folder_if_empty(path.parent)
        raise
    return Recording(name, storage, folder)


def _remove_folder_if_empty(folder: Path) -> None:
    with suppress(OSError):  # other recordings may be there
        folder.rmdir()


def list_recordings(root: PathLike | None = None) -> list[Recording]:
    """The recordings of the catalogue, the oldest first, those under way included."""
    folder = get_datasets_root(root)
    found = []
    for path in _data_paths(folder / RECORDINGS_FOLDER):
        with suppress(MinariError, OSError):  # one that died before its first episode, or was saved just now
            recording = Recording(path.parent.name, MinariStorage.read(path), folder)
            found.append((recording.modified, recording.name, recording))
    return [recording for _, _, recording in sorted(found, key=lambda item: item[:2])]


def _data_paths(folder: Path) -> list[Path]:
    """The data of the recordings in a folder; links lead to none."""
    if folder.is_symlink():
        return []
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [folder / name / "data" for name in names if is_directory(folder / name / "data")]


def find_recording(name: str, root: PathLike | None = None) -> Recording:
    """A recording by its name.

    Raises:
        DatasetNotFoundError: there is none of that name.
    """
    recordings = {recording.name: recording for recording in list_recordings(root)}
    if name not in recordings:
        raise DatasetNotFoundError(
            f"There is no recording {name!r} in {get_datasets_root(root)}, expected one of {list(recordings)}."
        )
    return recordings[name]


def recover_recording(name: str, dataset_id: str, root: PathLike | None = None) -> MinariDataset:
    """Make a dataset of a recording that a program left behind.

    Raises:
        DatasetNotFoundError: there is no recording of that name.
        EpisodeError: no episode had been written.
    """
    recording = find_recording(name, root)
    if recording.episodes == 0:
        raise EpisodeError(f"The recording {name} holds no episode, so there is nothing to recover; delete it.")
    described = {"author": [], "author_email": [], **recording.storage._current.raw}  # by a program that was killed
    metadata = {key: described[key] for key in ("author", "author_email")}
    return recording.publish(dataset_id, {**metadata, "dataset_id": dataset_id, "minari_version": FORMAT_VERSION})
