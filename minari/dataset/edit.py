"""Editing of datasets: metadata, episodes and fields, in place or as a new dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from minari._catalog.layout import get_dataset_path, restore_replaced
from minari._model.dataset_id import is_dataset_id
from minari._model.episode import EpisodeData
from minari._storages.base import MinariStorage, PathLike
from minari.dataset.editing.report import Change, EditReport
from minari.dataset.minari_dataset import MinariDataset
from minari.dataset.validation import find_data_path


__all__ = ["Change", "EditReport", "edit_dataset"]


def edit_dataset(
    dataset: MinariDataset | PathLike,
    *,
    set_metadata: Mapping[str, Any] | None = None,
    remove_metadata: Iterable[str] = (),
    drop_episodes: Iterable[int] = (),
    keep: Callable[[EpisodeData], bool] | str | None = None,
    drop_fields: Iterable[str] = (),
    rename_fields: Mapping[str, str] | None = None,
    episode_metadata: Mapping[int, Mapping[str, Any]] | None = None,
    remove_episode_metadata: Iterable[str] = (),
    new_dataset_id: str | None = None,
    dry_run: bool = False,
    root: PathLike | None = None,
    lock_timeout: float | None = None,
) -> EditReport[MinariDataset]:
    """Change metadata, episodes and fields of a dataset in place, or make an edited copy.

    All changes take place in one atomic change: if the process is killed, the dataset is either the old or the new
    one. Values are never converted, and JPEG frames are not encoded again; episodes without a change are copied byte
    for byte with their checksums, and others are verified with them. Numbers of episodes and names of fields are those
    before the edit.

    If episodes or fields change in place, the dataset is written again beside the old one, which it then replaces, so
    there must be room for both. A dataset that was opened before, here or in another program, then raises
    :class:`minari.errors.DatasetChangedError` and has to be opened again; arrays that were read from it stay valid.
    Episodes that others append meanwhile are not lost: they wait, as for any writer.

    Args:
        dataset: the dataset, its id, or the path of its directory; or a view, with ``new_dataset_id``.
        set_metadata: metadata of the dataset to set.
        remove_metadata: keys of the metadata to remove.
        drop_episodes: the numbers of the episodes to drop.
        keep: a condition such as ``"return > 100 and length < 500"``, see :doc:`/selecting`, or a function of an
            :class:`~minari.EpisodeData`; episodes for which it is false are dropped.
        drop_fields: the names of fields to drop: keys of ``Dict`` spaces and infos, with everything below them, as in
            ``"observations/camera"`` and ``"infos/debug"``. With many agents, a name is that of all agents, or follows
            that of one, as in ``"agent_0/observations/camera"``.
        rename_fields: the new names of such fields by the old ones, which differ in the last part, as in
            ``{"observations/cam": "observations/camera"}``.
        episode_metadata: metadata to set, by the number of the episode.
        remove_episode_metadata: keys to remove from the metadata of all episodes; those of nested dicts are joined by
            ``/``.
        new_dataset_id: the id of a new dataset; the dataset itself then stays as it is.
        dry_run: True to report what would change, and to write nothing.
        root: root of the catalog; by default that of ``MINARI_DATASETS_PATH``.
        lock_timeout: seconds to wait for another program that is writing to the dataset; by default
            ``MINARI_LOCK_TIMEOUT``, or 60.

    Returns:
        Everything that changes, and the dataset as it is then.

    Raises:
        ArgumentError: no change is wanted, a field does not exist or cannot be dropped or renamed, or a view is to be
            edited in place.
        MetadataError: a key is protected, or one to remove is missing, or a value cannot be stored.
        EpisodeIndexError: there is no episode with that number.
        EpisodeError: no episode would be left.
        DatasetNotFoundError: there is no such dataset.
        DatasetExistsError: a dataset with the new id already exists.
        DatasetBusyError: another program is still writing to the dataset.
        StorageError: writing failed; nothing is changed.

    Example:
        >>> import minari, numpy as np
        >>> dataset = minari.create_dataset_from_arrays(
        ...     "docs/long-v0", observations=np.arange(7.0), actions=np.zeros(5), rewards=np.arange(5.0),
        ...     terminations=np.array([0, 0, 1, 0, 1]),
        ... )
        >>> report = minari.edit_dataset(
        ...     "docs/long-v0", keep="length > 2", new_dataset_id="docs/longer-v0"
        ... )
        >>> report.sentences
        ['Drops 1 of 2 episodes (episode 1), 2 of 5 steps.']
        >>> report.dataset.id, report.dataset.total_steps
        ('docs/longer-v0', 3)
    """
    if not isinstance(dataset, MinariDataset):
        dataset = _opened(dataset, root)
    return dataset.edit(
        set_metadata=set_metadata,
        remove_metadata=remove_metadata,
        drop_episodes=drop_episodes,
        keep=keep,
        drop_fields=drop_fields,
        rename_fields=rename_fields,
        episode_metadata=episode_metadata,
        remove_episode_metadata=remove_episode_metadata,
        new_dataset_id=new_dataset_id,
        dry_run=dry_run,
        root=root,
        lock_timeout=lock_timeout,
    )


def _opened(dataset: PathLike, root: PathLike | None) -> MinariDataset:
    if isinstance(dataset, str) and is_dataset_id(dataset):
        restore_replaced(get_dataset_path(dataset, root=root))
    data_path = find_data_path(dataset, root)
    storage = MinariStorage.read(data_path)
    if isinstance(dataset, str) and is_dataset_id(dataset) and data_path.parent.name == dataset.rpartition("/")[2]:
        storage.placed_id = dataset
    return MinariDataset(storage)
