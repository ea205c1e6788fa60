"""Recordings: hidden directories of the catalog that become datasets, or can be recovered.

A collector writes its episodes here while it runs. If the program is killed, the data written so far is
consistent, and can be made a dataset later. Beside the data is a small file with the owner of the recording
and the intended dataset; the directory is locked while its program is running.
"""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec

from minari._base.atomic import write_atomically
from minari._base.files import METADATA_FILE_NAME, METADATA_LIMIT, RECORDINGS_DIRECTORY, is_directory, read_regular
from minari._base.json_text import parse_json, shortened
from minari._base.locks import Lock, directory_lock, is_locked
from minari._base.settings import get_datasets_root
from minari._base.system_errors import storage_errors
from minari._base.warnings import warn
from minari._catalog.layout import (
    free_dataset_path,
    get_dataset_path,
    make_namespace,
    publish_directory,
    remove_directory,
    replace_directory,
    restore_replaced,
)
from minari._model.compression import CompressionChoice
from minari._model.dataset_id import DatasetId
from minari._model.env_spec import parse_env_spec
from minari._model.episode import same_values
from minari._model.episode_codec import EpisodeCodec, without_info
from minari._model.format_version import FORMAT_VERSION
from minari._model.frame_stack import KEEP, FrameStackChoice
from minari._storages.base import MinariStorage, PathLike, create_storage
from minari._storages.write_session import append_stored
from minari.errors import (
    ArgumentTypeError,
    DatasetBusyError,
    DatasetExistsError,
    DatasetIdError,
    DatasetNotFoundError,
    EpisodeError,
    MetadataError,
    MinariError,
    UnsafePathError,
)
from minari.spaces import EpisodeColumns


#: Set when a recording becomes a dataset, whatever was set before.
_OF_THE_DATASET = frozenset({"dataset_id", "minari_version"})

#: The same for an episode in every format, and with any info discarded.
_UNCHANGED = ("actions", "rewards", "terminations", "truncations")

_STATE_NAME = "recording.json"
_STATE_LIMIT = 4 * 2**20  # bytes
#: The metadata key with the discards that have not been applied; a dataset never has it.
_DISCARDED = "recording_discards"


@dataclass(frozen=True, slots=True)
class RecordingState:
    """The state of a recording in addition to its episodes.

    Attributes:
        pid: process that recorded last.
        ended: how it left the recording; None if it could not record that.
        failure: why the dataset could not be created, if that was tried.
        dataset_id: id of the intended dataset.
        metadata: metadata of the intended dataset.
        adding: the ``dataset_id`` that the episodes are being appended to, and the number of the ``first`` there.
    """

    pid: int | None = None
    ended: str | None = None
    failure: str | None = None
    dataset_id: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    adding: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> RecordingState:
        """Return the state in an untrusted file; an empty state if it is invalid."""
        with suppress(OSError, ValueError, MinariError):
            raw = parse_json(read_regular(path, _STATE_LIMIT, links=False))
            kinds = {"pid": int, "ended": str, "failure": str, "dataset_id": str, "metadata": dict, "adding": dict}
            if isinstance(raw, dict):
                return cls(**{name: raw[name] for name, kind in kinds.items() if isinstance(raw.get(name), kind)})
        return cls()


@dataclass(frozen=True, slots=True)
class Recording:
    """Recorded episodes that are not a dataset yet.

    Attributes:
        name: name of the recording, as used by ``minari recover``.
        storage: storage of its episodes.
        root: root of its catalog.
    """

    name: str
    storage: MinariStorage
    root: Path

    @property
    def path(self) -> Path:
        """Return the directory of the data."""
        return self.storage.data_path

    @property
    def episodes(self) -> int:
        """Return the number of episodes."""
        return self.storage.total_episodes - len(self.discarded_rows)

    @property
    def steps(self) -> int:
        """Return the number of steps of all episodes."""
        discarded = self.discarded_rows
        gone = int(self.storage.get_episode_lengths(discarded).sum()) if discarded else 0
        return self.storage.total_steps - gone

    @property
    def discarded_rows(self) -> list[int]:
        """Return the numbers of the stored episodes that were discarded, in order."""
        rows = self._discards.get("episodes")
        total = self.storage.total_episodes
        return sorted({row for row in rows if type(row) is int and 0 <= row < total}) if isinstance(rows, list) else []

    @property
    def rows(self) -> list[int]:
        """Return the numbers of the stored episodes that were not discarded."""
        discarded = set(self.discarded_rows)
        return [row for row in range(self.storage.total_episodes) if row not in discarded]

    @property
    def _discards(self) -> dict[str, Any]:
        discards = self.storage.current_metadata.raw.get(_DISCARDED)
        return discards if isinstance(discards, dict) else {}

    @property
    def modified(self) -> float:
        """Return the time of the last write, in seconds since the epoch."""
        return (self.path / METADATA_FILE_NAME).stat().st_mtime

    @property
    def env_id(self) -> str | None:
        """Return the id of the recorded environment."""
        text = self.storage.current_metadata.env_spec_json
        return None if text is None else parse_env_spec(text).id

    @property
    def state(self) -> RecordingState:
        """Return the state in addition to the episodes."""
        return RecordingState.read(self.path.parent / _STATE_NAME)

    def write_state(self, state: RecordingState) -> None:
        """Write the state."""
        content = json.dumps({key: value for key, value in asdict(state).items() if value}, default=str)
        with storage_errors(self.path.parent):
            write_atomically(self.path.parent / _STATE_NAME, content, durable=False)

    @property
    def is_in_progress(self) -> bool:
        """Return whether a running program is recording to it."""
        return is_locked(self.path.parent)

    @property
    def status(self) -> str:
        """Return a phrase that describes how the recording ended."""
        state = self.state
        if self.is_in_progress:
            return "in progress" if state.pid is None else f"in progress (process {state.pid})"
        if self.added_to is not None:
            return f"added to {self.added_to}"
        if state.failure is not None:
            return f"create_dataset failed: {state.failure}"
        return state.ended or ("not known" if state == RecordingState() else "killed or crashed")

    @property
    def added_to(self) -> str | None:
        """Return the id of the dataset that already has the episodes, if a program was killed before deleting them."""
        dataset_id, first, rows = self.state.adding.get("dataset_id"), self.state.adding.get("first"), self.rows
        if not isinstance(dataset_id, str) or type(first) is not int or not rows:
            return None
        with suppress(MinariError, OSError):  # the file is not trusted
            storage = MinariStorage.read(get_dataset_path(str(DatasetId.parse(dataset_id)), root=self.root) / "data")
            if 0 <= first <= storage.total_episodes - len(rows):
                there = range(first, first + len(rows))
                pairs = zip(self.storage.get_episodes(rows), storage.get_episodes(there), strict=True)
                if all(same_values(ours[name], theirs[name]) for ours, theirs in pairs for name in _UNCHANGED):
                    return dataset_id
        return None

    def check_not_added(self) -> None:
        """Raise if a dataset already has the episodes.

        Raises:
            DatasetExistsError: a dataset has them.
        """
        dataset_id = self.added_to
        if dataset_id is not None:
            raise DatasetExistsError(
                f"The episodes of the recording {self.name} are in the dataset {dataset_id} already, its program was "
                f"killed before it could delete them; run `minari recover --discard {self.name}`."
            )

    @property
    def dataset_id(self) -> str | None:
        """Return the id of the intended dataset, if it was given."""
        wanted: str | None = self.state.dataset_id or self.storage.current_metadata.raw.get("dataset_id")
        return wanted

    @property
    def description(self) -> dict[str, Any]:
        """Return the given metadata of the intended dataset."""
        return {**self.storage.current_metadata.raw, **self.state.metadata}

    def hold(self) -> Lock | None:
        """Lock it for this process; None if another process holds the lock, or the system has no such locks."""
        return directory_lock(self.path.parent)

    def discard_rows(self, rows: list[int]) -> None:
        """Discard stored episodes by their numbers in the storage."""
        self._set_discards({**self._discards, "episodes": sorted({*self.discarded_rows, *rows})})

    def discard_info(self, name: str) -> None:
        """Discard an info of all episodes stored so far."""
        infos = self._discards.get("infos")
        known = infos if isinstance(infos, dict) else {}
        self._set_discards({**self._discards, "infos": {**known, name: self.storage.total_episodes}})

    def _set_discards(self, discards: dict[str, Any]) -> None:
        with self.storage.writing() as writer:
            writer.commit(self.storage.current_metadata.updated({_DISCARDED: discards}))

    def append_to(self, storage: MinariStorage, rows: Sequence[int] | None = None) -> None:
        """Append its episodes to another storage, without what was discarded.

        Args:
            storage: the destination.
            rows: numbers of the episodes to append; by default all that were not discarded.
        """
        infos = self._discards.get("infos")
        change = partial(_without_infos, infos) if isinstance(infos, dict) and infos else None
        append_stored(storage, [(self.storage, self.rows if rows is None else rows)], change=change)

    def refused_by(self, storage: MinariStorage) -> dict[int, MinariError]:
        """Return the numbers of the episodes that the format of another storage cannot store, with the reasons."""
        refused: dict[int, MinariError] = {}
        with tempfile.TemporaryDirectory() as directory:
            trial = create_storage(
                Path(directory) / "data",
                storage.observation_space,
                storage.action_space,
                None,
                storage.FORMAT,
                jpeg_encoding=storage.jpeg_encoding,
                compression=storage.compression,
                frame_stack=storage.frame_stack,
                like=[storage],
                durable=False,
            )
            for row in self.rows:
                try:
                    self.append_to(trial, [row])
                except (EpisodeError, MetadataError) as error:
                    refused[row] = error
        return refused

    def without_discards(self) -> Recording:
        """Return the recording after removing discarded data from its files, atomically."""
        if not self._discards:
            return self
        storage, aside = self.storage, self.path.with_name(".data.replaced.deleted")
        new = self.path.with_name(f".data.{secrets.token_hex(6)}.partial")
        with storage_errors(self.path):
            shutil.rmtree(aside, ignore_errors=True)
            try:
                raw = {key: value for key, value in storage.current_metadata.raw.items() if key != _DISCARDED}
                copy = create_storage(
                    new,
                    storage.observation_space,
                    storage.action_space,
                    None
                    if storage.current_metadata.env_spec_json is None
                    else parse_env_spec(storage.current_metadata.env_spec_json),
                    raw["data_format"],
                    jpeg_encoding=storage.jpeg_encoding,
                    compression=storage.compression,
                    frame_stack=storage.frame_stack,
                    like=[storage],
                    durable=False,
                )
                self.append_to(copy)
                replace_directory(new, self.path, aside)
            finally:
                shutil.rmtree(new, ignore_errors=True)
                shutil.rmtree(aside, ignore_errors=True)
        return replace(self, storage=_storage_at(self.path))

    def publish(self, dataset_id: str, metadata: Mapping[str, Any]) -> Path:
        """Make it a dataset by moving it to its destination.

        Returns:
            The ``data`` directory of the dataset.

        Raises:
            DatasetIdError: the id is malformed.
            DatasetExistsError: a dataset with this id already exists. The recording is unchanged.
        """
        destination = free_dataset_path(dataset_id, root=self.root)
        whole = self.without_discards()
        file, state = self.path / METADATA_FILE_NAME, self.state
        before = read_regular(file, METADATA_LIMIT)
        with storage_errors(destination, "made"):
            try:
                whole._describe(metadata)
                make_namespace(dataset_id, self.root)
                self._remove_all_but_data()  # if killed after this, the recording is complete by itself
                publish_directory(self.path.parent, destination)
            except BaseException:
                with suppress(OSError, MinariError):  # it has become the dataset anyway, or the disk is full
                    write_atomically(file, before, durable=False)
                    self.write_state(state)
                raise
        _remove_if_empty(self.path.parent.parent)
        return destination / "data"

    def _remove_all_but_data(self) -> None:
        with os.scandir(self.path.parent) as entries:
            others = [entry for entry in entries if entry.name != self.path.name]
        for entry in others:
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                Path(entry.path).unlink()

    def _describe(self, metadata: Mapping[str, Any]) -> None:
        """Set metadata, including that of a program that was killed before the dataset existed."""
        replaced = {key: value for key, value in metadata.items() if key in _OF_THE_DATASET}
        others = {key: value for key, value in metadata.items() if key not in _OF_THE_DATASET}
        with self.storage.writing() as writer:
            writer.commit(self.storage.current_metadata.updated(replaced, allow_protected=True).updated(others))

    def discard(self) -> None:
        """Delete the recording."""
        remove_directory(self.path.parent)
        _remove_if_empty(self.path.parent.parent)


def _without_infos(infos: Mapping[str, Any], index: int, episode: EpisodeColumns) -> EpisodeColumns:
    """Return the stored episode without the infos that were discarded after it was recorded."""
    for name, total in infos.items():
        if isinstance(total, int) and index < total:
            episode = without_info(episode, name)
    return episode


def new_recording(
    observation_space: gym.Space[Any],
    action_space: gym.Space[Any],
    env_spec: EnvSpec | None,
    data_format: str,
    *,
    jpeg_encoding: bool,
    compression: CompressionChoice = None,
    frame_stack: FrameStackChoice = KEEP,
    compatible_with: str | None = None,
    root: PathLike | None = None,
    codec: EpisodeCodec | None = None,
) -> Recording:
    """Start a recording in the catalog; ``codec`` is that of its episodes, if there is one already."""
    directory = get_datasets_root(root)
    env_name = re.sub(r"[^\w-]", "-", env_spec.id) if env_spec else "recording"
    name = f"{env_name[:100]}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{secrets.token_hex(2)}"
    path = directory / RECORDINGS_DIRECTORY / name
    if path.parent.is_symlink():
        raise UnsafePathError(f"{path.parent} is a link, expected a directory for recordings; remove it.")
    try:
        with storage_errors(path, "made"):
            _make_recordings_directory(path.parent)
            storage = create_storage(
                path / "data",
                observation_space,
                action_space,
                env_spec,
                data_format,
                jpeg_encoding=jpeg_encoding,
                compression=compression,
                frame_stack=frame_stack,
                compatible_with=compatible_with,
                durable=False,
                codec=codec,
            )
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        _remove_if_empty(path.parent)
        raise
    return Recording(name, storage, directory)


def _make_recordings_directory(directory: Path) -> None:
    """Allow everyone who can write to the root to record: use the permissions of the root."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        directory.mkdir()
        with suppress(OSError):  # file systems without permissions
            directory.chmod(stat.S_IMODE(directory.parent.stat().st_mode))


def _remove_if_empty(directory: Path) -> None:
    with suppress(OSError):  # it may contain other recordings
        directory.rmdir()


def list_recordings(root: PathLike | None = None) -> list[Recording]:
    """Return the recordings of the catalog, the oldest first, including those in progress.

    Warns:
        UserWarning: a directory cannot be read; it is omitted.
    """
    directory = get_datasets_root(root)
    found = []
    for path in _data_paths(directory / RECORDINGS_DIRECTORY):
        try:
            recording = Recording(path.parent.name, _storage_at(path), directory)
            found.append((recording.modified, recording.name, recording))
        except (MinariError, OSError) as error:  # killed before its first episode, or just saved
            if isinstance(error.__cause__ or error, PermissionError):
                _warn_of_closed(path)
    return [recording for _, _, recording in sorted(found, key=lambda item: item[:2])]


def _storage_at(path: Path) -> MinariStorage:
    """Open the data of a recording, which is flushed only when it becomes a dataset."""
    storage = MinariStorage.read(path)
    storage.durable = False
    return storage


def _data_paths(directory: Path) -> list[Path]:
    """Yield the data paths of the recordings in a directory; links are ignored."""
    if directory.is_symlink():
        return []
    try:
        with os.scandir(directory) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except PermissionError:
        _warn_of_closed(directory)
        return []
    open_ones = []
    for name in names:
        if os.access(directory / name, os.X_OK):
            open_ones.append(directory / name / "data")
        else:
            _warn_of_closed(directory / name)
    return [path for path in open_ones if is_directory(path)]


def _warn_of_closed(path: Path) -> None:
    warn(f"{path} is left out ({os.strerror(errno.EACCES)}).")


def find_recording(name: str, root: PathLike | None = None) -> Recording:
    """Return a recording by its name.

    Raises:
        ArgumentTypeError: the name is not a string.
        DatasetNotFoundError: there is no recording with that name.
    """
    if not isinstance(name, str):
        raise ArgumentTypeError(f"The name of a recording is {shortened(name)}, expected a string.")
    directory = get_datasets_root(root) / RECORDINGS_DIRECTORY
    if name == Path(name).name and is_directory(directory / name):
        restore_replaced(directory / name / "data")
    recordings = {recording.name: recording for recording in list_recordings(root)}
    if name not in recordings:
        known = f"expected one of {list(recordings)}" if recordings else "which has none"
        raise DatasetNotFoundError(f"There is no recording {name!r} in {get_datasets_root(root)}, {known}.")
    return recordings[name]


def resume_recording(name: str, root: PathLike | None = None) -> tuple[Recording, Lock | None]:
    """Return a recording to be continued by this process, and its lock if the system supports locks.

    Raises:
        DatasetNotFoundError: there is no recording with that name.
        DatasetBusyError: a running program is recording to it.
        DatasetExistsError: a dataset already has its episodes.
    """
    recording = find_recording(name, root)
    held = recording.hold()
    if held is None and recording.is_in_progress:
        pid = recording.state.pid
        raise DatasetBusyError(
            f"The recording {name} is in use by {'another process' if pid is None else f'process {pid}'}, which "
            f"records to it; wait until that has ended, or record without resume."
        )
    try:
        recording.check_not_added()
    except BaseException:
        if held is not None:
            held.release()
        raise
    return recording, held


def publish_recording(name: str, dataset_id: str | None = None, root: PathLike | None = None) -> Path:
    """Make a dataset of a recording that a program left behind.

    Information about the intended dataset, such as its author and description, is kept.

    Args:
        name: name of the recording.
        dataset_id: id of the dataset; by default the id given by the program.
        root: root of the catalog.

    Returns:
        The ``data`` directory of the dataset.

    Raises:
        DatasetNotFoundError: there is no recording with that name.
        EpisodeError: no episode was recorded.
        DatasetIdError: neither the program nor the caller gave an id.
        DatasetExistsError: a dataset with this id already exists, or a dataset already has the episodes.
    """
    recording = find_recording(name, root)
    if recording.episodes == 0:
        raise EpisodeError(f"The recording {name} holds no episode, so there is nothing to recover; delete it.")
    recording.check_not_added()
    wanted = dataset_id or recording.dataset_id
    if wanted is None:
        raise DatasetIdError(f"The recording {name} was given no id of a dataset; say which one it is to have.")
    described = {"author": [], "author_email": [], **recording.description}
    given = {"author", "author_email", *recording.state.metadata}
    metadata = {key: described[key] for key in given if key not in _OF_THE_DATASET}
    return recording.publish(wanted, {**metadata, "dataset_id": wanted, "minari_version": FORMAT_VERSION})
