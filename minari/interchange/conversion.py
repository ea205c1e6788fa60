"""Import of files of other programs as datasets, and export of datasets to them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec

from minari._base.atomic import flush_tree, sync_directory
from minari._base.files import leads_out
from minari._base.json_text import shortened
from minari._base.system_errors import storage_errors
from minari._catalog.layout import free_dataset_path, get_dataset_path, hidden_directory, new_dataset
from minari._model.arguments import expected_dataset
from minari._model.compression import CompressionChoice
from minari._model.dataset_id import DatasetId
from minari._model.env_spec import spaces_of, spec_of
from minari._model.episode_buffer import AnyEpisodeBuffer, EpisodeBuffer
from minari._model.episode_codec import EpisodeCodec
from minari._model.format_version import FORMAT_VERSION
from minari._storages.base import PathLike, create_storage
from minari._storages.registry import get_minari_storage
from minari._storages.write_session import append_buffers, episode_errors
from minari.dataset.from_buffers import EnvLike
from minari.dataset.minari_dataset import MinariDataset
from minari.errors import (
    ArgumentError,
    ArgumentTypeError,
    DataPathError,
    EpisodeError,
    InterchangeError,
    MetadataError,
)
from minari.interchange.damage import damage_as_error
from minari.interchange.encoded_frames import as_columns, check_encoded, encoded_leaves, frame_leaves
from minari.interchange.format import Format, Report, Source, check_options
from minari.interchange.registry import get_format, sniffed_format
from minari.progress import progress
from minari.spaces import ColumnPath, EpisodeColumns, Leaf


__all__ = ["export_dataset", "import_dataset", "read"]


def read(path: Any, format: str | None = None, **options: Any) -> Source:
    """Return the episodes of a file or directory of another program, without making a dataset of them.

    Args:
        path: the file or directory, or a data frame of pandas, polars or Arrow, see the format ``"parquet"``.
        format: the name of its format; by default, the files are looked at.
        **options: options of the format, see its page.

    Returns:
        The spaces, metadata and episodes. Episodes are read while they are iterated over.

    Raises:
        DataPathError: there is no such file or directory.
        UnknownFormatError: no format has that name.
        InterchangeError: the files are damaged, or of no known format.
        ArgumentError: the format has no such option.
    """
    if hasattr(path, "__arrow_c_stream__") or type(path).__name__ == "DataFrame":
        place: Any = path
        one = get_format("parquet" if format is None else format)
    else:
        place = _existing(path)
        one = sniffed_format(place) if format is None else get_format(format)
    check_options(one.NAME, one.read, options)
    where = place if isinstance(place, Path) else "The data frame"
    with damage_as_error(where):
        source = one.read(place, **options)
    source.report.options = dict(options)
    return replace(source, episodes=_counted(source, where))


def _existing(path: object) -> Path:
    if not isinstance(path, (str, os.PathLike)):
        raise ArgumentTypeError(f"path is {shortened(path)}, expected that of a file or directory, or a data frame.")
    place = Path(path).expanduser()
    if not os.fspath(path) or not place.exists():
        raise DataPathError(f"There is no file or directory {place}; give the path of what is to be imported.")
    if not place.is_file() and not place.is_dir():
        raise InterchangeError(f"{place} is a pipe, socket or device, expected a regular file or directory; copy it.")
    # The names of files in the cache of Hugging Face are those of the links, not of their content.
    return place.resolve() if place.is_symlink() and (place.is_dir() or leads_out(place)) else place


def _counted(source: Source, where: object) -> Iterator[AnyEpisodeBuffer]:
    reading, report, leaves = iter(source.episodes), source.report, encoded_leaves(source)
    while True:
        with damage_as_error(where):
            episode = next(reading, None)
        if episode is None:
            return
        if isinstance(episode, EpisodeBuffer):
            try:
                check_encoded(episode, leaves)
            except ValueError as error:
                raise InterchangeError(
                    f"The frames of episode {report.episodes} of {where} cannot stay encoded ({error}); import them "
                    f"with images='decoded'."
                ) from error
        report.episodes += 1
        report.steps += len(episode.rewards) if isinstance(episode, EpisodeBuffer) else int(episode.total_steps or 0)
        yield episode


def import_dataset(
    path: Any,
    dataset_id: str,
    format: str | None = None,
    *,
    env: EnvLike | None = None,
    data_format: str | None = None,
    compression: CompressionChoice = None,
    metadata: Mapping[str, Any] | None = None,
    dry_run: bool = False,
    root: PathLike | None = None,
    **options: Any,
) -> MinariDataset | Report:
    """Create a dataset from files of another program.

    The values keep their dtypes and shapes. A few episodes are in memory at a time, and the dataset appears atomically.
    What was taken and assumed, and what is missing, is stored in the metadata under ``conversion``. What a source does
    not have is invented only if an option asks for it.

    Args:
        path: the file or directory, or a data frame.
        dataset_id: id of the new dataset.
        format: the name of its format; by default, the files are looked at.
        env: the environment of the episodes, its id or its spec, for its spaces and to recover it.
        data_format: format of the storage, by default ``"hdf5"``.
        compression: as for :func:`minari.create_dataset_from_buffers`.
        metadata: metadata of the dataset, such as ``{"author": "Ada"}``.
        dry_run: True to read everything and write nothing.
        root: root of the catalog; by default that of ``MINARI_DATASETS_PATH``.
        **options: options of the format, see its page.

    Returns:
        The dataset; with ``dry_run`` the :class:`Report`.

    Raises:
        DataPathError: there is no such file or directory.
        UnknownFormatError: no format has that name.
        InterchangeError: the files are damaged, of no known format, or lack something that no option allows to invent.
        ArgumentError: the format has no such option.
        DatasetIdError: the id is malformed.
        DatasetExistsError: a dataset with this id already exists.
    """
    DatasetId.parse(dataset_id)
    free_dataset_path(dataset_id, root=root)
    get_minari_storage(data_format or "hdf5")
    env_spec = spec_of(env)
    source = read(path, format, **options)
    if env_spec is not None:
        source.report.note("taken", f"the spaces of the environment {env_spec.id}, in place of those that are assumed")
    if dry_run:
        for _ in _tracked(source):
            pass
        return source.report
    spaces = _spaces(source, env, env_spec)
    leaves = encoded_leaves(source)
    if leaves and _shapes(frame_leaves(*spaces)) != _shapes(leaves):
        raise InterchangeError(
            f"The images in the spaces of the dataset are not the JPEG frames of {path} in number and shape, so that "
            f"these cannot stay encoded; import them with images='decoded'."
        )
    with new_dataset(dataset_id, root) as data_path:
        storage = create_storage(
            data_path,
            *spaces,
            env_spec or source.env_spec,
            data_format or "hdf5",
            jpeg_encoding=bool(leaves),
            compression=compression,
            durable=False,
        )
        first = {"dataset_id": dataset_id, "minari_version": FORMAT_VERSION, "author": [], "author_email": []}
        storage.update_metadata({**first, **source.metadata, **(metadata or {})})
        with _misfits_as_error(path, env_spec is not None):
            append_buffers(storage, _encoded(storage.episode_codec, _tracked(source), leaves), None)
        if not storage.total_episodes:
            raise InterchangeError(f"{path} has no episode, expected at least one.")
        storage.update_metadata({"conversion": source.report.as_dict()})
    return MinariDataset(get_dataset_path(dataset_id, root=root) / "data")


@contextmanager
def _misfits_as_error(path: object, has_env: bool) -> Iterator[None]:
    """Raise errors about episodes that do not fit the spaces as :class:`InterchangeError`, in one sentence."""
    try:
        yield
    except (EpisodeError, MetadataError) as error:
        text = " ".join(str(error).split())
        advice = "environment has; give another one" if has_env else "first episode has; write the files again"
        raise InterchangeError(
            f"{path} has episodes that differ ({shortened(text)[1:-1]}), expected values like those that the {advice}."
        ) from error


def _spaces(source: Source, env: EnvLike | None, env_spec: EnvSpec | None) -> tuple[Any, Any]:
    """Return the spaces of the environment, if it is given, otherwise those of the source."""
    if isinstance(env, gym.Env):
        return env.observation_space, env.action_space
    return (source.observation_space, source.action_space) if env_spec is None else spaces_of(env_spec)


def _shapes(leaves: Mapping[ColumnPath, Leaf]) -> dict[ColumnPath, tuple[int, ...]]:
    return {path: leaf.shape for path, leaf in leaves.items()}


def _encoded(
    codec: EpisodeCodec, episodes: Iterable[AnyEpisodeBuffer], leaves: Mapping[ColumnPath, Leaf]
) -> Iterator[AnyEpisodeBuffer | EpisodeColumns]:
    """Yield the episodes; their columns if they have frames that stay encoded."""
    for number, episode in enumerate(episodes):
        if leaves and isinstance(episode, EpisodeBuffer):
            with episode_errors(number):
                columns = as_columns(codec, episode, leaves)
            yield columns
        else:
            yield episode


def _tracked(source: Source) -> Iterator[AnyEpisodeBuffer]:
    with progress("importing episodes", source.total) as advance:
        for episode in source.episodes:
            yield episode
            advance(1)


def export_dataset(
    dataset: MinariDataset, path: PathLike, format: str, *, dry_run: bool = False, **options: Any
) -> Report:
    """Write a dataset or view in the format of another program.

    The file or directory appears atomically. What a killed process has left of an export to the same path is removed.

    Args:
        dataset: the dataset or view.
        path: the new file or directory.
        format: the name of the format.
        dry_run: True to write nothing that stays: the report is that of a copy that is removed.
        **options: options of the format, see its page.

    Returns:
        What was written and what the format cannot hold.

    Raises:
        DataPathError: the path exists already, or its directory does not.
        UnknownFormatError: no format has that name.
        InterchangeError: the format cannot hold the dataset.
        ArgumentError: the format has no such option, or the view is empty.
    """
    if not isinstance(dataset, MinariDataset):
        raise ArgumentTypeError(expected_dataset("dataset", dataset))
    one = get_format(format)
    _check_destination(one, dataset, path)
    check_options(one.NAME, one.write, options)
    place = Path(path).expanduser()
    with storage_errors(place, "written"), hidden_directory(place) as directory:
        partial = directory / place.name
        report = one.write(dataset, partial, **options)
        report.options, report.episodes, report.steps = dict(options), len(dataset), dataset.total_steps
        if not dry_run:
            flush_tree(partial) if partial.is_dir() else _flush_file(partial)
            partial.rename(place)
            sync_directory(place.parent)
    return report


def _flush_file(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _is_text(path: str) -> bool:
    """Return whether all libraries take a path."""
    return "\0" not in path and not any("\ud800" <= letter <= "\udfff" for letter in path)


def _check_destination(one: Format, dataset: MinariDataset, path: PathLike) -> None:
    if not one.is_writable:
        raise InterchangeError(f"The format {one.NAME!r} can be read and not written, expected another format.")
    if not isinstance(path, (str, os.PathLike)):
        raise ArgumentTypeError(f"path is {shortened(path)}, expected the path of the new file or directory.")
    place = Path(path).expanduser()
    if not place.name or not _is_text(str(place)):
        raise ArgumentError(f"path is {shortened(str(path))}, expected the path of the new file or directory in UTF-8.")
    if os.path.lexists(place):
        raise DataPathError(f"{place} already exists and is not overwritten; give another path, or remove it first.")
    if not place.parent.is_dir():
        raise DataPathError(f"There is no directory {place.parent}, in which {place.name} is to be written; make it.")
    if dataset.agents and not one.HOLDS_AGENTS:
        raise InterchangeError(
            f"{dataset.id} has many agents, which the format {one.NAME!r} cannot hold; export for_agent(AGENT) of one "
            f"of them."
        )
    if not len(dataset):
        raise ArgumentError(f"The view of {dataset.id} has no episode, expected at least one to export.")
