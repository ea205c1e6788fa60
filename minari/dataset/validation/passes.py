"""The validation of a dataset: all checks, in one streamed pass over its episodes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from minari._base.addresses import without_credentials
from minari._model.format_version import check_readable
from minari._storages.base import MinariStorage, PathLike
from minari.dataset.validation.episodes import DuplicateCheck, EndCheck, SeedCheck
from minari.dataset.validation.examined import (
    DatasetCheck,
    EpisodeCheck,
    Examined,
    ReadEpisode,
    RunningCheck,
)
from minari.dataset.validation.files import (
    check_files,
    check_index,
    check_manifest,
    check_missing_checksums,
    check_totals,
)
from minari.dataset.validation.findings import Finding, Findings, Report, failure, guarded
from minari.dataset.validation.metadata import check_environment, check_id, check_metadata
from minari.dataset.validation.places import find_data_path, id_of_place, refuse_unreadable_in_place
from minari.dataset.validation.profiles import Profile, find_profile
from minari.dataset.validation.structure import DtypeCheck, check_columns, check_rows
from minari.dataset.validation.values import ValueCheck, VariationCheck
from minari.errors import DataPathError, DatasetChangedError, EpisodeError
from minari.progress import track
from minari.spaces import Columns


__all__ = ["DATASET_CHECKS", "EPISODE_CHECKS", "RUNNING_CHECKS", "validate"]

T = TypeVar("T")

_TRIES = 4  # to read a dataset that others edit
_ONE_BY_ONE = 32  # episodes that are read individually if several together cannot be read

DATASET_CHECKS: list[DatasetCheck] = [
    check_metadata,
    check_id,
    check_environment,
    check_index,
    check_totals,
    check_files,
    check_manifest,
    check_missing_checksums,
]
EPISODE_CHECKS: list[EpisodeCheck] = [check_columns, check_rows]
RUNNING_CHECKS: list[Callable[[Examined], RunningCheck]] = [
    DtypeCheck,
    EndCheck,
    ValueCheck,
    VariationCheck,
    DuplicateCheck,
    SeedCheck,
]


def validate(
    dataset: PathLike, *, checksums: bool = False, profile: str | None = None, root: PathLike | None = None
) -> Report:
    """Check whether the files of a dataset are valid and consistent, and its values plausible; all of it is read.

    Nothing is changed, and no code named by the dataset is run.

    Args:
        dataset: the id of a local dataset, the path of its directory, or the address of the dataset or its data
            (``"s3://bucket/data"``), if it is in a format that can be read there.
        checksums: True to verify all values with the checksums from when they were written.
        profile: ``"hub"`` to compare the dataset with what a shared one should be: its metadata complete, and
            episodes with finite values that end, which are errors otherwise.
        root: root of the catalog; by default that of ``MINARI_DATASETS_PATH``.

    Returns:
        The report. If the dataset cannot be opened, the report contains an error.

    Raises:
        ArgumentError: there is no such profile.
        DatasetIdError: it is neither a path nor an id.
        DatasetNotFoundError: there is no dataset with that id.
        DataPathError: the directory contains no dataset, or its format is not readable at that address.
        DatasetChangedError: other programs edit the dataset again and again.

    Example:
        >>> import minari, numpy as np
        >>> saved = minari.create_dataset_from_arrays(
        ...     "docs/sound-v0", observations=np.arange(3.0), actions=np.zeros(2),
        ...     rewards=np.ones(2), terminations=np.array([False, True]),
        ... )
        >>> minari.validate("docs/sound-v0").ok
        True
    """
    chosen = find_profile(profile)
    data_path = find_data_path(dataset, root)
    refuse_unreadable_in_place(data_path, dataset)
    opened = partial(_opened, data_path, id_of_place(dataset, data_path, root), checksums)
    findings, episodes = _examined(opened, chosen)
    name = os.fspath(dataset)
    return Report(
        without_credentials(name) if "://" in name else name,
        episodes,
        tuple(findings.found),
        findings.counts,
        profile,
    )


def _examined(opened: Callable[[Findings], MinariStorage | None], profile: Profile) -> tuple[Findings, int]:
    """Return the findings about a dataset and the number of episodes that could be read.

    Raises:
        DatasetChangedError: others edit it again and again.
    """
    tries = 0
    while True:
        tries += 1
        findings = Findings(profile.refused)
        try:
            storage = opened(findings)
            if storage is None:
                return findings, 0
            examined = Examined(storage, storage.verify_checksums)
            for check in (*DATASET_CHECKS, *profile.checks):
                findings.take(guarded(partial(check, examined), path=str(storage.data_path)))
            return findings, _examine_episodes(examined, findings)
        except DatasetChangedError:
            if tries == _TRIES:
                raise


def _opened(data_path: Path, placed_id: str | None, checksums: bool, findings: Findings) -> MinariStorage | None:
    """Return the storage in a directory; None, with a finding, if it cannot be opened."""
    try:
        storage = MinariStorage.read(data_path)
        check_readable(storage.current_metadata.minari_version, str(data_path))
    except (DataPathError, DatasetChangedError):
        raise  # there is no dataset
    except Exception as error:
        findings.take([failure(error, path=str(data_path))])
        return None
    storage.placed_id, storage.verify_checksums = placed_id, checksums
    return storage


def _examine_episodes(examined: Examined, findings: Findings) -> int:
    """Read every episode once, for all checks; return the number that could be read."""
    storage = examined.storage
    total = storage.total_episodes
    running = [check(examined) for check in RUNNING_CHECKS]
    counted = 0
    lengths = _lengths(storage, total)
    for index, columns, metadata in track(_episodes(storage, total), "validating", total=total):
        if isinstance(columns, Exception):
            findings.take([failure(columns, episode=index)])
            continue
        counted += 1
        if isinstance(metadata, Exception):
            findings.take([failure(metadata, episode=index)])
            metadata = {}
        length = None if lengths is None else int(lengths[index])
        examine = partial(_examine, examined, running, index, columns, length, metadata)
        findings.take(guarded(examine, episode=index))
    for check in running:
        findings.take(guarded(check.findings))
    if lengths is not None and not findings.counts["error"]:
        _keep_outcomes(examined, lengths)
    return counted


def _keep_outcomes(examined: Examined, lengths: npt.NDArray[np.int64]) -> None:
    """Keep the outcomes of the episodes, all of which have been read, beside the data for others."""
    episodes = np.arange(len(lengths))
    if len(examined.outcomes) == len(lengths) and examined.outcomes.is_wanted(episodes):
        with suppress(EpisodeError):  # of rewards of the shapes () and (1,), which are read alike
            examined.outcomes.keep(examined.outcomes.result(lengths), episodes)


def _examine(
    examined: Examined,
    running: Iterable[RunningCheck],
    index: int,
    columns: Columns,
    length: int | None,
    metadata: Mapping[str, Any],
) -> Iterator[Finding]:
    """Yield the findings about an episode, and let the running checks remember theirs."""
    if length is None:
        (length,) = examined.storage.get_episode_lengths([index]).tolist()
    episode = ReadEpisode.of(examined.storage, index, columns, length, metadata)
    for check in EPISODE_CHECKS:
        yield from guarded(partial(check, examined, episode), episode=index)
    if episode.problem is None:
        examined.outcomes.add(episode.outcomes)
    for running_check in running:
        try:
            running_check.add(episode)
        except Exception as error:
            yield failure(error, episode=index)


def _lengths(storage: MinariStorage, total: int) -> npt.NDArray[np.int64] | None:
    """Return the lengths of all episodes; None if they cannot be read together."""
    try:
        return storage.get_episode_lengths(range(total))
    except DatasetChangedError:
        raise
    except Exception:  # reported for each episode
        return None


def _episodes(
    storage: MinariStorage, total: int
) -> Iterator[tuple[int, Columns | Exception, dict[str, Any] | Exception]]:
    """Yield the stored columns and the metadata of each episode, or the exceptions raised instead."""

    def columns_of(indices: range) -> Iterator[Columns]:
        return (columns for _, columns in storage.stored_columns(indices))

    both = zip(_each(columns_of, total), _each(storage.get_episode_metadata, total), strict=True)
    for index, (columns, metadata) in enumerate(both):
        yield index, columns, metadata


def _each(read: Callable[[range], Iterator[T]], total: int) -> Iterator[T | Exception]:
    """Yield what is read of each episode, or the exception raised instead.

    A format may read several episodes together, so that one of them prevents reading the others: then the
    following ones are read individually.
    """
    start = 0
    while start < total:
        with suppress(Exception):
            for value in read(range(start, total)):
                yield value
                start += 1
        stop = min(start + _ONE_BY_ONE, total)
        for index in range(start, stop):
            yield _one(read, index)
        start = stop


def _one(read: Callable[[range], Iterator[T]], index: int) -> T | Exception:
    try:
        (value,) = read(range(index, index + 1))
    except DatasetChangedError:
        raise
    except Exception as error:
        return error
    return value
