"""Planning and carrying out of an edit: in place in one atomic change, or as a new dataset."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from minari._base.files import METADATA_FILE_NAME
from minari._base.json_text import shortened
from minari._base.suggestions import did_you_mean
from minari._base.system_errors import storage_errors
from minari._catalog.layout import edited_directory, free_dataset_path, new_dataset
from minari._model.arguments import check_whole_number
from minari._model.dataset_id import DatasetId
from minari._model.episode import EpisodeData, same_values
from minari._model.episode_metadata import OWN_KEYS, decoded_metadata
from minari._model.format_version import FORMAT_VERSION
from minari._model.metadata import REVISION, warn_about_mistyped
from minari._storages.agent_storage import AgentStorage
from minari._storages.base import MinariStorage, PathLike, create_storage
from minari._storages.paths import is_remote
from minari._storages.write_session import append_changed
from minari.dataset.convert import metadata_to_copy
from minari.dataset.editing.fields import FieldEdit, fields_to_edit
from minari.dataset.editing.report import Change, EditReport
from minari.dataset.validation.metadata import implausible
from minari.errors import (
    ArgumentError,
    ArgumentTypeError,
    DataPathError,
    EpisodeError,
    EpisodeIndexError,
    MetadataError,
)
from minari.progress import track
from minari.spaces import AGENTS, EpisodeColumns


__all__ = ["EditRequest", "run_edit"]


class Episodes(Protocol):
    """A dataset as far as an edit needs it."""

    @property
    def id(self) -> str:
        """Return the id of the dataset."""

    @property
    def storage(self) -> MinariStorage:
        """Return the storage of the episodes."""

    @property
    def episode_indices(self) -> npt.NDArray[np.int_]:
        """Return the numbers of the episodes."""

    @property
    def is_view(self) -> bool:
        """Return whether these are not all episodes in their order."""

    def filter_episodes(self, condition: Callable[[EpisodeData], bool] | str) -> Episodes:
        """Return a view of the episodes that meet a condition."""


D = TypeVar("D", bound=Episodes)


@dataclass(frozen=True)
class EditRequest:
    """The wanted changes; see :func:`minari.edit_dataset`.

    Raises:
        ArgumentTypeError: an argument has an invalid type.
        ArgumentError: nothing is wanted, or a key is to be set and to be removed.
        MetadataError: the value of a key that has a meaning is none that it can have.
    """

    set_metadata: Mapping[str, Any] = field(default_factory=dict)
    remove_metadata: Iterable[str] = ()
    drop_episodes: Iterable[int] = ()
    keep: Callable[[EpisodeData], bool] | str | None = None
    drop_fields: Iterable[str] = ()
    rename_fields: Mapping[str, str] = field(default_factory=dict)
    episode_metadata: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    remove_episode_metadata: Iterable[str] = ()
    new_dataset_id: str | None = None
    dry_run: bool = False
    root: PathLike | None = None
    lock_timeout: float | None = None

    def __post_init__(self) -> None:
        for name in ("set_metadata", "rename_fields", "episode_metadata"):
            if not isinstance(getattr(self, name), Mapping):
                raise ArgumentTypeError(f"{name} is {shortened(getattr(self, name))}, expected a dict.")
        for number, more in self.episode_metadata.items():
            if not isinstance(more, Mapping):
                raise ArgumentTypeError(
                    f"episode_metadata of {shortened(number)} is {shortened(more)}, expected a dict of keys and values."
                )
        for name in ("remove_metadata", "drop_fields", "remove_episode_metadata"):
            object.__setattr__(self, name, _checked_names(name, getattr(self, name)))
        if isinstance(self.drop_episodes, (str, bytes)) or not isinstance(self.drop_episodes, Iterable):
            raise ArgumentTypeError(
                f"drop_episodes is {shortened(self.drop_episodes)}, expected a list of numbers of episodes."
            )
        for key, value in self.set_metadata.items():
            is_one = key == "requirements" and isinstance(value, str)  # which is stored as a list
            problem = implausible(key, [value] if is_one else value)
            if problem is not None:
                raise MetadataError(f"{problem[:-1]}; nothing was changed.")
        both = [key for key in self.remove_metadata if key in self.set_metadata]
        if both:
            raise ArgumentError(f"The metadata key {both[0]!r} is to be set and to be removed, expected one of both.")
        wanted = (self.set_metadata, self.remove_metadata, self.episode_metadata, self.changes_data)
        if self.new_dataset_id is None and not any(wanted):
            raise ArgumentError("No change is wanted, expected at least one, such as set_metadata or drop_episodes.")

    @property
    def changes_data(self) -> bool:
        """Return whether more than metadata that is set may change, so that the dataset is written again."""
        return (
            not isinstance(self.drop_episodes, Sequence)
            or bool(self.drop_episodes)
            or self.keep is not None
            or bool(self.drop_fields or self.rename_fields or self.remove_episode_metadata)
        )


def _checked_names(name: str, value: Any) -> tuple[str, ...]:
    names = None if isinstance(value, (str, bytes)) or not isinstance(value, Iterable) else tuple(value)
    if names is None or not all(isinstance(each, str) for each in names):
        raise ArgumentTypeError(f"{name} is {shortened(value)}, expected a list of names.")
    return tuple(dict.fromkeys(names))


@dataclass(frozen=True)
class _Plan:
    """The effect of an edit.

    Attributes:
        numbers: the episodes that are left, in their order.
        fields: the changes to fields.
        without: the keys of metadata to remove, by the number of the episode.
        report: of the changes.
    """

    storage: MinariStorage
    request: EditRequest
    numbers: list[int]
    fields: FieldEdit
    without: Mapping[int, Sequence[str]]
    report: EditReport[Any]

    @property
    def changes_data(self) -> bool:
        """Return whether the dataset has to be written again."""
        return self.report.drops_data or bool(self.report.renamed_fields or self.without)

    def write(self, data_path: Path, dataset_id: str, revision: str | None) -> None:
        """Write the edited dataset into an empty directory."""
        source, request = self.storage, self.request
        observation_space, action_space = self.fields.spaces()
        storage = create_storage(
            data_path,
            observation_space,
            action_space,
            None,
            source.FORMAT,
            jpeg_encoding=source.jpeg_encoding,
            compression=self.fields.compression(source.compression),
            frame_stack=source.frame_stack,
            like=[source],
            durable=False,
        )
        kept = metadata_to_copy(source.current_metadata.edited(request.set_metadata, request.remove_metadata))
        if classes := self.fields.classes(kept.pop("space_classes", None)):
            kept["space_classes"] = classes
        kept.update(dataset_id=dataset_id, minari_version=FORMAT_VERSION)
        with storage.writing() as writer:
            writer.commit(storage.current_metadata.updated(kept, allow_protected=True))
        append_changed(storage, source, self.numbers, self._changed, self._numbers_to_change())
        if request.episode_metadata:
            places = [place for place, number in enumerate(self.numbers) if number in request.episode_metadata]
            wanted = [request.episode_metadata[self.numbers[place]] for place in places]
            storage.update_episode_metadata(wanted, places)
        if revision is not None:  # last, since the storage is another one from then on
            with storage.writing() as writer:
                writer.commit(storage.current_metadata.updated({REVISION: revision}, allow_protected=True))

    def _numbers_to_change(self) -> set[int]:
        if self.fields.changes_spaces:
            return set(self.numbers)
        return set(self.without).union(*self.fields.with_infos.values())

    def _changed(self, number: int, episode: EpisodeColumns) -> EpisodeColumns:
        metadata = episode.metadata
        for key in self.without.get(number, ()):
            metadata = _without_key(metadata, key.split("/"))
        return EpisodeColumns(episode.total_steps, self.fields.columns(episode.columns), metadata)


def run_edit(dataset: D, request: EditRequest, open_dataset: Callable[[MinariStorage], D]) -> EditReport[D]:
    """Edit a dataset; see :func:`minari.edit_dataset`.

    Args:
        dataset: the dataset, or a view of it.
        request: the changes.
        open_dataset: returns the dataset of a storage.
    """
    storage = dataset.storage
    if request.new_dataset_id is not None:
        new_id = str(DatasetId.parse(request.new_dataset_id))
        path = free_dataset_path(new_id, root=request.root)
        plan = _plan(dataset, request)
        if request.dry_run:
            return plan.report
        with new_dataset(new_id, request.root) as data_path:
            plan.write(data_path, new_id, None)
        return _done(plan, MinariStorage.read(path / "data"), open_dataset)
    _check_in_place(dataset, request)
    path = storage.data_path if is_remote(storage.data_path) else Path(storage.data_path).absolute()
    if request.dry_run:
        return _plan(open_dataset(storage), request).report
    if request.changes_data:
        with storage.excluding_writers(request.lock_timeout):
            plan = _plan(open_dataset(storage), request)
            if plan.changes_data:
                place = Path(os.path.realpath(storage.data_path))  # not a link to it
                with edited_directory(place) as data_path:
                    plan.write(data_path, storage.dataset_id, os.urandom(8).hex())
                    _carry_over(storage, place, data_path)
    else:
        plan = _plan(open_dataset(storage), request)
    if not plan.changes_data and (plan.report.metadata or plan.report.episode_metadata):
        storage.edit_metadata(
            request.set_metadata,
            request.remove_metadata,
            request.episode_metadata,
            lock_timeout=request.lock_timeout,
        )
    new = MinariStorage.read(path, verify_checksums=storage.verify_checksums)
    new.placed_id = storage.placed_id
    return _done(plan, new, open_dataset)


def _done(plan: _Plan, new: MinariStorage, open_dataset: Callable[[MinariStorage], D]) -> EditReport[D]:
    return replace(plan.report, dataset=open_dataset(new), size_after=new.get_size())


def _check_in_place(dataset: Episodes, request: EditRequest) -> None:
    """Raise unless a dataset can be edited in place."""
    storage, advice = dataset.storage, "give new_dataset_id to make a dataset of it"
    if isinstance(storage, AgentStorage):
        raise ArgumentError(
            f"The trajectories of the agent {shortened(storage.agent)} are a view of {dataset.id}, which is edited in "
            f"place only as a whole; {advice}."
        )
    if dataset.is_view:
        raise ArgumentError(
            f"This is a view of {len(dataset.episode_indices)} of the {storage.total_episodes} episodes of "
            f"{dataset.id}, which is edited in place only as a whole; {advice}, or edit "
            f"minari.load_dataset({dataset.id!r})."
        )
    if is_remote(storage.data_path) and request.changes_data:
        raise DataPathError(
            f"Episodes and fields of {storage.data_path} cannot be edited in place, expected a dataset on this "
            f"computer; {advice}."
        )


def _plan(dataset: Episodes, request: EditRequest) -> _Plan:
    storage, indices = dataset.storage, dataset.episode_indices.tolist()
    numbers = _numbers_left(dataset, request)
    present = sorted(set(indices))
    fields = fields_to_edit(storage, present, request.drop_fields, request.rename_fields)
    without = _keys_to_remove(storage, present, request.remove_episode_metadata)
    left = set(numbers)
    dropped = tuple(number for number in present if number not in left)
    lengths = dict(zip(present, storage.get_episode_lengths(present).tolist(), strict=True))
    report = EditReport[Any](
        dataset_id=dataset.id,
        new_dataset_id=request.new_dataset_id,
        episodes_before=len(indices),
        episodes_after=len(numbers),
        steps_before=sum(lengths[number] for number in indices),
        steps_after=sum(lengths[number] for number in numbers),
        dropped_episodes=dropped,
        dropped_fields=fields.dropped,
        renamed_fields=fields.renamed,
        metadata=_metadata_changes(storage, request),
        episode_metadata=_episode_metadata_changes(storage, request, set(present), left, without),
        size_before=storage.get_size(),
        dry_run=request.dry_run,
    )
    return _Plan(storage, request, numbers, fields, {n: keys for n, keys in without.items() if n in left}, report)


def _numbers_left(dataset: Episodes, request: EditRequest) -> list[int]:
    """Return the numbers of the episodes that are left, in their order.

    Raises:
        EpisodeIndexError: an episode to drop does not exist.
        EpisodeError: none would be left.
    """
    indices = dataset.episode_indices.tolist()
    known = set(indices)
    dropped = {_checked_number(dataset.id, number, known) for number in request.drop_episodes}
    kept = dataset if request.keep is None else dataset.filter_episodes(request.keep)
    numbers = [number for number in kept.episode_indices.tolist() if number not in dropped]
    if indices and not numbers:
        raise EpisodeError(
            f"None of the {len(indices)} episodes of {dataset.id} would be left, expected at least one; delete the "
            f"dataset if it is not needed."
        )
    return numbers


def _checked_number(dataset_id: str, number: Any, known: set[int]) -> int:
    check_whole_number("The number of an episode", number)
    _check_number(dataset_id, number, known)
    return int(number)


def _check_number(dataset_id: str, number: int, known: set[int]) -> None:
    if number not in known:
        expected = f"a number from 0 to {len(known) - 1}" if max(known, default=-1) < len(known) else "one of the view"
        raise EpisodeIndexError(f"There is no episode {number} in {dataset_id}, expected {expected}.")


def _metadata_changes(storage: MinariStorage, request: EditRequest) -> dict[str, Change]:
    before = storage.current_metadata
    warn_about_mistyped(request.set_metadata, before.raw)
    old, new = before.raw, before.edited(request.set_metadata, request.remove_metadata).raw
    changed = {
        key: Change(old.get(key), new[key]) for key in request.set_metadata if key not in old or old[key] != new[key]
    }
    return {**changed, **{key: Change(old[key], None, is_removed=True) for key in request.remove_metadata}}


def _episode_metadata_changes(
    storage: MinariStorage,
    request: EditRequest,
    present: set[int],
    left: set[int],
    without: Mapping[int, Sequence[str]],
) -> dict[int, dict[str, Change]]:
    for number in request.episode_metadata:
        check_whole_number("The number of an episode in episode_metadata", number)
        _check_number(storage.dataset_id, number, present)
        if number not in left:
            raise EpisodeIndexError(
                f"Metadata of episode {number} is to be set, and it is dropped; expected one of the {len(left)} that "
                f"are left."
            )
    found: dict[int, dict[str, Change]] = {}
    numbers = sorted({*request.episode_metadata, *(number for number in without if number in left)})
    for number, stored in zip(numbers, storage.get_episode_metadata(numbers), strict=True):
        changes = {}
        for key in without.get(number, ()):
            changes[key] = Change(_value_of(stored, key.split("/")), None, is_removed=True)
        wanted = storage.checked_episode_metadata(number, request.episode_metadata.get(number, {}))
        for key, value in decoded_metadata(wanted).items():
            if key not in stored or not same_values(stored[key], value):
                changes[key] = Change(stored.get(key), value)
        if changes:
            found[number] = changes
    return found


def _keys_to_remove(storage: MinariStorage, numbers: list[int], keys: Iterable[str]) -> dict[int, list[str]]:
    """Return the keys of metadata to remove, by the number of the episode that has them.

    Raises:
        MetadataError: a key cannot be removed, or no episode has it.
    """
    wanted = list(keys)
    if not wanted:
        return {}
    for key in wanted:
        parts = key.split("/")
        if parts[0] in OWN_KEYS or (parts[0] == AGENTS and (len(parts) < 3 or parts[2] in OWN_KEYS)):
            raise MetadataError(f"The episode metadata {key!r} follows from the data; leave it out.")
    found: dict[int, list[str]] = {}
    known: dict[str, None] = {}
    missing = set(wanted)
    metadatas = track(storage.get_episode_metadata(numbers), "reading metadata of episodes", total=len(numbers))
    for number, stored in zip(numbers, metadatas, strict=True):
        known.update(dict.fromkeys(_names_of(stored)))
        having = [key for key in wanted if key in known and _value_of(stored, key.split("/"), _MISSING) is not _MISSING]
        missing.difference_update(having)
        if having:
            found[number] = having
    for key in wanted:
        if key in missing:
            names = [name for name in known if name not in OWN_KEYS]
            raise MetadataError(
                f"No episode has metadata {key!r} to remove, expected one of {shortened(names)}."
                f"{did_you_mean(key, names)}"
            )
    return found


_MISSING = object()


def _names_of(metadata: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in metadata.items():
        yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _names_of(value, f"{prefix}{key}/")


def _value_of(metadata: Any, parts: Sequence[str], default: Any = None) -> Any:
    for part in parts:
        if not isinstance(metadata, Mapping) or part not in metadata:
            return default
        metadata = metadata[part]
    return metadata


def _without_key(metadata: Mapping[str, Any], parts: Sequence[str]) -> dict[str, Any]:
    """Return metadata without a key, and without the dicts that it leaves empty."""
    first, *rest = parts
    left = {key: value for key, value in metadata.items() if key != first}
    if rest and isinstance(metadata.get(first), Mapping):
        inner = _without_key(metadata[first], rest)
        return {**metadata, first: inner} if inner else left
    return left


def _carry_over(storage: MinariStorage, old: Path, new: Path) -> None:
    """Copy files of others that lie among those of the dataset."""
    if storage.FILES is None:
        return
    with storage_errors(old, "edited"):
        for entry in sorted(old.iterdir()):
            is_own = storage.FILES.fullmatch(entry.name) or entry.name.startswith(".")
            if is_own or entry.name == METADATA_FILE_NAME:
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.copytree(entry, new / entry.name, symlinks=True)
            else:
                shutil.copy2(entry, new / entry.name, follow_symlinks=False)
