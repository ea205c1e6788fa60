"""The commands that create, change and delete local datasets: combine, convert, repack, rename, delete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import minari
from minari._base.settings import get_datasets_root
from minari._catalog.layout import dataset_exists, get_dataset_path
from minari._catalog.listing import did_you_mean_local
from minari._catalog.rows import dataset_rows
from minari._model.dataset_id import DatasetId
from minari._model.frame_stack import FrameStackChoice
from minari._storages.base import MinariStorage
from minari._storages.metadata_file import read_raw_metadata, with_measured_size
from minari.cli.listing import dataset_table
from minari.cli.options import parse_compression
from minari.cli.progress import progress_bars
from minari.cli.running import confirm
from minari.cli.terminal import counted, echo, show, warn
from minari.errors import DatasetNotFoundError, MinariError


__all__ = ["combine", "convert", "delete", "refuse_unknown", "rename", "repack"]


def combine(dataset_ids: Sequence[str], new_id: str) -> None:
    """Combine datasets into one."""
    refuse_unknown(dataset_ids, "combined")
    with progress_bars():
        new = minari.combine_datasets([minari.load_dataset(dataset_id) for dataset_id in dataset_ids], new_id)
    echo(
        f"Dataset {new_id} combined from {', '.join(dataset_ids)}: "
        f"{counted(new.total_episodes, 'episode')}, {counted(new.total_steps, 'step')}, at {get_dataset_path(new_id)}"
    )


def convert(
    dataset_id: str,
    new_id: str,
    data_format: str | None,
    compression: list[str] | None,
    compatible_with: str | None = None,
    frame_stack: FrameStackChoice | None = None,
) -> None:
    """Copy a dataset to another format or compression."""
    choice = parse_compression(compression)
    refuse_unknown([dataset_id], "converted")
    dataset = minari.load_dataset(dataset_id)
    with progress_bars():
        new = dataset.convert(
            new_id, data_format, compression=choice, frame_stack=frame_stack, compatible_with=compatible_with
        )
    echo(
        f"Dataset {new_id} converted from {dataset_id} ({dataset.storage.FORMAT} to {new.storage.FORMAT}): "
        f"{_size(new.storage)}, was {dataset.storage.get_size()} MB, at {get_dataset_path(new_id)}"
    )


def repack(dataset_id: str, compression: list[str] | None) -> None:
    """Rewrite a dataset in place."""
    choice = parse_compression(compression)
    refuse_unknown([dataset_id], "changed")
    storage = minari.load_dataset(dataset_id).storage
    before = storage.get_size()
    with progress_bars():
        storage.repack(compression=choice)
    echo(f"Dataset {dataset_id} repacked: {_size(storage)}, was {before} MB, at {get_dataset_path(dataset_id)}")


def _size(storage: MinariStorage) -> str:
    episodes, steps = counted(storage.total_episodes, "episode"), counted(storage.total_steps, "step")
    return f"{episodes}, {steps}, {storage.get_size()} MB"


def rename(old_id: str, new_id: str) -> None:
    """Rename a dataset."""
    minari.rename_dataset(old_id, new_id)
    echo(f"Dataset {old_id} renamed to {new_id}, at {get_dataset_path(new_id)}")


def delete(dataset_ids: Sequence[str], without_asking: bool) -> None:
    """Delete local datasets, once the user confirms."""
    dataset_ids = list(dict.fromkeys(dataset_ids))
    refuse_unknown(dataset_ids, "deleted")
    rows = dataset_rows({dataset_id: _metadata_if_readable(dataset_id) for dataset_id in dataset_ids})
    echo("Delete local Minari datasets")
    show(dataset_table(rows))
    if not without_asking:
        confirm("Are you sure you want to delete these local datasets?")
    for dataset_id in dataset_ids:
        minari.delete_dataset(dataset_id)
        echo(f"Dataset {dataset_id} deleted!")


def refuse_unknown(dataset_ids: Sequence[str], done: str) -> None:
    """Raise an error unless all datasets exist locally.

    Args:
        dataset_ids: ids of the datasets.
        done: participle of what is to be done to them, for the message.

    Raises:
        DatasetNotFoundError: one of them does not exist.
    """
    paths = {dataset_id: get_dataset_path(str(DatasetId.parse(dataset_id))) for dataset_id in dataset_ids}
    unknown = [dataset_id for dataset_id, path in paths.items() if not dataset_exists(path)]
    if unknown:
        raise DatasetNotFoundError(
            f"Not found in {get_datasets_root()}: {', '.join(unknown)}; nothing was {done}. "
            f"`minari list local --all` shows which datasets there are.{did_you_mean_local(unknown[0])}"
        )


def _metadata_if_readable(dataset_id: str) -> Mapping[str, Any]:
    """Return the metadata of a local dataset; empty if it is damaged, as it can be deleted nevertheless."""
    try:
        data_path = get_dataset_path(dataset_id) / "data"
        return with_measured_size(read_raw_metadata(data_path), data_path)
    except (MinariError, OSError) as error:
        warn(f"The dataset {dataset_id} is damaged: {error}")
        return {}
