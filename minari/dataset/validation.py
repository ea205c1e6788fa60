"""Validation of a dataset: consistency of its files, and comparison of its values with their checksums.

A check is a function that yields a :class:`Finding` for each problem. Those in :data:`DATASET_CHECKS` examine
the open dataset, those in :data:`EPISODE_CHECKS` one episode after the other; further checks are added to
these lists.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from minari._base.files import METADATA_FILE_NAME
from minari._base.json_text import shortened
from minari._catalog.layout import dataset_exists, get_dataset_path
from minari._model.dataset_id import DatasetId, is_dataset_id
from minari._model.env_spec import parse_env_spec
from minari._model.episode_codec import REWARDS
from minari._model.format_version import check_readable
from minari._model.metadata import DEDUPLICATED
from minari._storages.base import MinariStorage, PathLike
from minari._storages.paths import as_data_path, is_remote
from minari.errors import (
    ArgumentTypeError,
    ChecksumError,
    DataPathError,
    DatasetNotFoundError,
    EnvironmentSpecError,
    MinariError,
)
from minari.progress import track
from minari.spaces import Column, Columns, Leaf, field_of, has_no_space, path_name, without_ones


__all__ = ["DATASET_CHECKS", "EPISODE_CHECKS", "Examined", "Finding", "Report", "repair", "validate"]

Level: TypeAlias = Literal["error", "warning", "note"]

_LEVELS: tuple[Level, ...] = ("error", "warning", "note")
_MOST_FINDINGS = 1000  # of one kind; the report counts the others
_ONE_BY_ONE = 32  # episodes that are read individually if several together cannot be read
_ROUNDING = 0.11  # tolerance in MB of the size in the metadata, which has one decimal

_OF_EVERY_FORMAT = re.compile(r"metadata\.json|manifest\.json|\.lock|\.(?:field|episode)_statistics\.json")
_UNFINISHED = re.compile(r"\.journal|\.changes")  # committed by a writer that was killed before it finished


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem found by a check.

    Attributes:
        level: ``"error"`` if values are wrong or unreadable, ``"warning"`` for unusual data that may be a
            mistake, ``"note"`` for information.
        kind: the kind of problem in one or two words: ``"checksum"``, ``"rows"``, ``"unreadable"``.
        message: a sentence that describes it.
        episode: number of the episode; None if it concerns the whole dataset.
        leaf: the column, such as ``"observations/camera"``; None if it is not about one.
        path: the file or directory; None if it is not about one.
    """

    level: Level
    kind: str
    message: str
    episode: int | None = None
    leaf: str | None = None
    path: str | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """The result of :func:`validate`.

    Attributes:
        dataset: the id or path that was validated.
        episodes: number of episodes that were read.
        findings: the findings in order; the first thousand of each kind.
        counts: the number of findings of each level, including omitted ones.
    """

    dataset: str
    episodes: int
    findings: tuple[Finding, ...]
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_LEVELS, 0))

    @property
    def ok(self) -> bool:
        """Return whether there is no finding of the level ``"error"``."""
        return not self.counts["error"]

    def as_dict(self) -> dict[str, Any]:
        """Return the report as a JSON object."""
        return {
            "dataset": self.dataset,
            "ok": self.ok,
            "episodes": self.episodes,
            "counts": dict(self.counts),
            "findings": [asdict(finding) for finding in self.findings],
        }


@dataclass(frozen=True, slots=True)
class Examined:
    """The dataset that checks examine.

    Attributes:
        storage: the open dataset.
        checksums: True to verify the checksums of values.
    """

    storage: MinariStorage
    checksums: bool


DatasetCheck: TypeAlias = Callable[[Examined], Iterable[Finding]]
EpisodeCheck: TypeAlias = Callable[[Examined, int, Columns], Iterable[Finding]]


def validate(dataset: PathLike, *, checksums: bool = False, root: PathLike | None = None) -> Report:
    """Check whether the files of a dataset are valid and consistent; every episode is read.

    Nothing is changed, and no code named by the dataset is run.

    Args:
        dataset: the id of a local dataset, the path of its directory, or the address of its data
            (``"s3://bucket/data"``).
        checksums: True to verify all values with the checksums from when they were written.
        root: root of the catalog; by default that of ``MINARI_DATASETS_PATH``.

    Returns:
        The report. If the dataset cannot be opened, the report contains an error.

    Raises:
        DatasetIdError: it is neither a path nor an id.
        DatasetNotFoundError: there is no dataset with that id.
        DataPathError: the directory contains no dataset.

    Example:
        >>> import minari, numpy as np
        >>> saved = minari.create_dataset_from_arrays(
        ...     "docs/sound-v0", observations=np.arange(3.0), actions=np.zeros(2),
        ...     rewards=np.ones(2), terminations=np.array([False, True]),
        ... )
        >>> minari.validate("docs/sound-v0").ok
        True
    """
    data_path = find_data_path(dataset, root)
    collected = _Collected()
    storage = _opened(data_path, collected)
    episodes = 0
    if storage is not None:
        storage.verify_checksums = checksums
        examined = Examined(storage, checksums)
        for check in DATASET_CHECKS:
            collected.take(_guarded(partial(check, examined), path=str(data_path)))
        episodes = _check_episodes(examined, collected)
    return Report(os.fspath(dataset), episodes, tuple(collected.findings), collected.counts)


def find_data_path(dataset: PathLike, root: PathLike | None = None) -> Path:
    """Return the data directory of a dataset given by its id or its directory.

    Raises:
        ArgumentTypeError: it is neither text nor a path.
        DatasetIdError: it is neither a path nor an id.
        DatasetNotFoundError: there is no dataset of that id.
        DataPathError: there is no such directory, or it is a file.
    """
    if isinstance(dataset, str) and "://" in dataset:
        return as_data_path(dataset)
    if isinstance(dataset, str) and is_dataset_id(dataset) and dataset_exists(get_dataset_path(dataset, root=root)):
        return get_dataset_path(dataset, root=root) / "data"
    if not isinstance(dataset, (str, os.PathLike)):
        raise ArgumentTypeError(
            f"dataset is {shortened(dataset)}, expected the id of a local dataset or the path of its directory."
        )
    directory = Path(dataset).expanduser()
    if os.fspath(dataset) and directory.is_dir():
        return directory / "data" if (directory / "data").is_dir() else directory
    if os.fspath(dataset) and directory.is_file():
        raise DataPathError(f"{directory} is a file; give the directory of a dataset, or the id of a local one.")
    if not isinstance(dataset, str) or directory.is_absolute() or dataset.startswith((".", "~")):
        raise DataPathError(
            f"There is no directory {directory}; give the directory of a dataset, or the id of a local one."
        )
    path = get_dataset_path(str(DatasetId.parse(dataset)), root=root)
    raise DatasetNotFoundError(
        f"There is no dataset {dataset} at {path}; list_local_datasets() lists those that exist."
    )


class _Collected:
    """Findings, limited to the number of each kind in a report."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.counts: dict[str, int] = dict.fromkeys(_LEVELS, 0)
        self._kinds: Counter[str] = Counter()

    def take(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            self.counts[finding.level] += 1
            self._kinds[finding.kind] += 1
            if self._kinds[finding.kind] <= _MOST_FINDINGS:
                self.findings.append(finding)


def _opened(data_path: Path, collected: _Collected) -> MinariStorage | None:
    """Return the storage in a directory; None, with a finding, if it cannot be opened."""
    try:
        storage = MinariStorage.read(data_path)
        check_readable(storage.current_metadata.minari_version, str(data_path))
    except DataPathError:
        raise  # there is no dataset
    except Exception as error:
        collected.take([_failure(error, path=str(data_path))])
        return None
    return storage


def _failure(error: Exception, *, episode: int | None = None, path: str | None = None) -> Finding:
    """Return the message of an exception; unexpected exceptions are reported too."""
    is_ours = isinstance(error, (MinariError, OSError))
    message = str(error) if is_ours else f"{type(error).__name__}: {shortened(str(error))}"
    kind = "checksum" if isinstance(error, ChecksumError) else "unreadable"
    return Finding("error", kind, message, episode, None, path)


def _guarded(
    check: Callable[[], Iterable[Finding]], *, episode: int | None = None, path: str | None = None
) -> Iterator[Finding]:
    """Yield the findings of a check, and the exception that ends it as a finding."""
    try:
        yield from check()
    except Exception as error:
        yield _failure(error, episode=episode, path=path)


# Episodes


def _check_episodes(examined: Examined, collected: _Collected) -> int:
    """Read every episode once, for all checks; return the number that could be read."""
    total = examined.storage.total_episodes
    counted = 0
    for index, columns in track(_episodes(examined.storage, total), "validating", total=total):
        if isinstance(columns, Exception):
            collected.take([_failure(columns, episode=index)])
            continue
        counted += 1
        for check in EPISODE_CHECKS:
            collected.take(_guarded(partial(check, examined, index, columns), episode=index))
    return counted


def _episodes(storage: MinariStorage, total: int) -> Iterator[tuple[int, Columns | Exception]]:
    """Yield the stored columns of each episode, or the exception raised instead.

    A format may read several episodes together, so that one of them prevents reading the others: then the
    following ones are read individually.
    """
    start = 0
    while start < total:
        with suppress(Exception):
            for index, columns in storage.stored_columns(range(start, total)):
                yield index, columns
                start = index + 1
        stop = min(start + _ONE_BY_ONE, total)
        for index in range(start, stop):
            yield index, _episode(storage, index)
        start = stop


def _episode(storage: MinariStorage, index: int) -> Columns | Exception:
    try:
        ((_, columns),) = storage.stored_columns([index])
    except Exception as error:
        return error
    return columns


def _check_columns(examined: Examined, index: int, columns: Columns) -> Iterator[Finding]:
    """Compare the columns with the spaces: their presence, shapes and types."""
    codec = examined.storage.episode_codec
    yield from _check_frames(examined, index, columns)
    columns = frames = examined.storage.with_frames(columns)
    expected = codec.required_paths(columns)
    for path in expected - columns.keys():
        yield Finding("error", "column", f"Episode {index} has no {path_name(path)}.", index, path_name(path))
    for path in columns.keys() - expected:
        if not has_no_space(path):
            message = f"Episode {index} has {path_name(path)}, which the spaces of the dataset do not have."
            yield Finding("warning", "column", message, index, path_name(path))
    wanted = examined.storage.reward_shape
    for path in sorted(codec.outcomes & columns.keys(), key=path_name):
        if field_of(path) != REWARDS[0] or wanted is None or not len(columns[path]):
            continue
        shape = columns[path].shape[1:]
        if without_ones(shape) != without_ones(wanted):
            message = (
                f"The {path_name(path)} of episode {index} have the shape {shape} a step, expected {wanted} as in the "
                f"rest of the dataset."
            )
            yield Finding("error", "shape", message, index, path_name(path))
    for leaf in (*codec.observations.leaves(), *codec.actions.leaves()):
        if leaf.path in frames:
            yield from _check_leaf(index, leaf, frames[leaf.path])


def _check_frames(examined: Examined, index: int, columns: Columns) -> Iterator[Finding]:
    """Compare the columns of stacks of frames with the numbers in the metadata, which readers rely on."""
    metadata = examined.storage.current_metadata
    for leaf in examined.storage.frame_stacks:
        count = metadata.deduplicated.get(leaf.name, 0)
        if count == (0 if leaf.frames.path in columns else metadata.total_episodes):
            stored = "single frames" if leaf.frames.path in columns else "whole stacks"
            message = f"Episode {index} has {stored} of {leaf.name}, and the metadata claims that {count} have frames."
            yield Finding("error", "frames", message, index, leaf.name)


def _check_leaf(index: int, leaf: Leaf, column: Column) -> Iterator[Finding]:
    name = path_name(leaf.path)
    if column.shape[1:] != leaf.shape:
        message = f"The {name} of episode {index} have the shape {column.shape[1:]} a step, expected {leaf.shape}."
        yield Finding("error", "shape", message, index, name)
    if column.dtype.kind not in "biufc":
        message = f"The {name} of episode {index} are {column.dtype} values, expected {leaf.dtype}."
        yield Finding("error", "dtype", message, index, name)
    elif column.dtype != leaf.dtype:
        message = f"The {name} of episode {index} are {column.dtype} values, and the space says {leaf.dtype}."
        yield Finding("note", "dtype", message, index, name)


def _check_rows(examined: Examined, index: int, columns: Columns) -> Iterator[Finding]:
    """Decode the episode, which requires T+1 observations and infos and T of everything else, and compare T."""
    storage = examined.storage
    ((metadata, length),) = zip(
        storage.get_episode_metadata([index]), storage.get_episode_lengths([index]).tolist(), strict=True
    )
    storage.episode_codec.decode(index, storage.with_frames(columns), length)
    for key, counted in storage.episode_codec.steps_of(columns, length).items():
        *outer, last = key.split("/")
        node: Any = metadata
        for part in outer:
            node = node.get(part, {}) if isinstance(node, Mapping) else {}
        claims = {node.get(last) if isinstance(node, Mapping) else None, *(() if outer else (length,))}
        for told in claims:
            if told != counted:
                of_agent = f" of the agent {shortened(outer[1])}" if outer else ""
                message = f"Episode {index} has {counted} rewards{of_agent}, and its metadata claims {told} steps."
                yield Finding("error", "rows", message, index, "/".join([*outer, path_name(REWARDS)]))


def _check_flags(examined: Examined, index: int, columns: Columns) -> Iterator[Finding]:
    """Look for a termination or truncation before the last step."""
    for path in sorted(examined.storage.episode_codec.outcomes & columns.keys(), key=path_name):
        if field_of(path) == REWARDS[0]:
            continue
        early: Any = np.flatnonzero(np.asarray(columns[path])[:-1])
        if len(early):
            message = f"Episode {index} continues after step {early[0]}, whose {path_name(path)[:-1]} flag is set."
            yield Finding("warning", "flags", message, index, path_name(path))


EPISODE_CHECKS: list[EpisodeCheck] = [_check_columns, _check_rows, _check_flags]


# The dataset


def _check_metadata(examined: Examined) -> Iterator[Finding]:
    """Check the metadata besides the totals: specs that cannot be parsed, spaces that were not stored."""
    metadata = examined.storage.current_metadata
    for key, text in (("env_spec", metadata.env_spec_json), ("eval_env_spec", metadata.eval_env_spec_json)):
        try:
            if text is not None:
                parse_env_spec(text)
        except EnvironmentSpecError as error:
            yield Finding("warning", "metadata", f"The {key} cannot be used: {error}", path=metadata.source)
    if metadata.raw.get("inferred_spaces"):
        message = "The spaces are inferred from the data, as the release that wrote them stored none."
        yield Finding("note", "spaces", message, path=metadata.source)


def _check_totals(examined: Examined) -> Iterator[Finding]:
    """Compare the totals of the metadata with the lengths of the episodes, and the size with that of the files."""
    storage = examined.storage
    steps = int(storage.get_episode_lengths().sum())
    if steps != storage.total_steps:
        message = f"The metadata claims {storage.total_steps} steps, and the episodes have {steps}."
        yield Finding("error", "totals", message, path=str(storage.data_path / METADATA_FILE_NAME))
    told = storage.current_metadata.raw.get("dataset_size")
    size = told if is_remote(storage.data_path) else storage.measured_size()
    if told is not None and _differs(told, size):
        message = f"The metadata claims {told} MB, and the files have {size} MB."
        yield Finding("note", "size", message, path=str(storage.data_path / METADATA_FILE_NAME))


def _check_files(examined: Examined) -> Iterator[Finding]:
    """Check for unfinished changes, leftovers of killed writers, and unexpected files."""
    storage = examined.storage
    if storage.FILES is None or is_remote(storage.data_path):
        return
    for entry in sorted(os.scandir(storage.data_path), key=lambda entry: entry.name):
        is_data = storage.FILES.fullmatch(entry.name) is not None
        if _UNFINISHED.fullmatch(entry.name):
            message = (
                f"{shortened(entry.name)} holds a change that was not completed; the next writer completes it, "
                f"or `minari clean`."
            )
            yield Finding("note", "unfinished", message, path=entry.path)
        elif _OF_EVERY_FORMAT.fullmatch(entry.name) or (is_data and storage.has_file(entry.name)):
            continue
        elif is_data or entry.name.startswith("."):
            message = f"{shortened(entry.name)} was left by a writer that was killed; `minari clean` removes it."
            yield Finding("note", "leftover", message, path=entry.path)
        else:
            message = f"{shortened(entry.name)} is not part of the dataset; move it elsewhere."
            yield Finding("warning", "foreign file", message, path=entry.path)


def _check_missing_checksums(examined: Examined) -> Iterator[Finding]:
    """Count the episodes without checksums."""
    if not examined.checksums:
        return
    storage = examined.storage
    missing = len(storage.episodes_without_checksums(range(storage.total_episodes)))
    if missing:
        message = (
            f"{missing} of {storage.total_episodes} episodes have no checksums, so that their values are not "
            f"verified; `minari validate --fix` makes checksums of the values as they are."
        )
        yield Finding("note", "no checksums", message)


DATASET_CHECKS: list[DatasetCheck] = [_check_metadata, _check_totals, _check_files, _check_missing_checksums]


# Repairs


def repair(dataset: PathLike, *, root: PathLike | None = None) -> list[str]:
    """Add missing checksums, and correct totals and size; no value is changed.

    The checksums are computed from the current values, so that later damage is detected.

    Args:
        dataset: the id of a local dataset, or the path of its directory.
        root: root of the catalog; by default that of ``MINARI_DATASETS_PATH``.

    Returns:
        The actions, as sentences.

    Raises:
        DatasetCorruptError: the dataset cannot be opened or read.
        DatasetBusyError: another program is writing to the dataset.
    """
    storage = MinariStorage.read(find_data_path(dataset, root))
    done = []
    added = storage.add_missing_checksums()
    if added:
        done.append(f"Made checksums of {added} episodes.")
    steps, size = int(storage.get_episode_lengths().sum()), storage.measured_size()
    right: dict[str, Any] = {"total_steps": steps, "dataset_size": size}
    if storage.frame_stacks:
        right[DEDUPLICATED] = storage.count_stacked_frames()
    raw = storage.current_metadata.raw
    wrong = {key: value for key, value in right.items() if key in raw and _differs(raw[key], value)}
    if wrong:
        with storage.writing() as writer:
            writer.commit(storage.current_metadata.updated(wrong, allow_protected=True))
        done += [f"Set {key} to {value}, which was {shortened(raw[key])}." for key, value in wrong.items()]
    return done


def _differs(told: Any, found: Any) -> bool:
    """Return whether a number of the metadata differs from the actual one, allowing for rounded sizes."""
    if not isinstance(told, (int, float)) or isinstance(found, int):
        return bool(told != found)
    return not abs(told - found) <= max(_ROUNDING, found / 10)  # a NaN is not a size
