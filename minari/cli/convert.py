"""The commands that rewrite episodes: convert and repack."""

from __future__ import annotations

import minari
from minari._catalog.layout import get_dataset_path
from minari._storages.base import MinariStorage
from minari.cli.compression import as_choice
from minari.cli.listing import refuse_unknown
from minari.cli.progress import progress_bars
from minari.cli.terminal import counted, tell


def convert(
    dataset_id: str,
    new_id: str,
    data_format: str | None,
    compression: list[str] | None,
    compatible_with: str | None = None,
) -> None:
    """Make a dataset of another in a format of its own."""
    choice = as_choice(compression)
    refuse_unknown([dataset_id], "converted")
    dataset = minari.load_dataset(dataset_id)
    with progress_bars():
        new = dataset.convert(new_id, data_format, compression=choice, compatible_with=compatible_with)
    tell(
        f"Dataset {new_id} converted from {dataset_id} ({dataset.storage.FORMAT} to {new.storage.FORMAT}): "
        f"{_size(new.storage)}, was {dataset.storage.get_size()} MB, at {get_dataset_path(new_id)}"
    )


def repack(dataset_id: str, compression: list[str] | None) -> None:
    """Rewrite a dataset in place."""
    choice = as_choice(compression)
    refuse_unknown([dataset_id], "changed")
    storage = minari.load_dataset(dataset_id).storage
    before = storage.get_size()
    with progress_bars():
        storage.repack(compression=choice)
    tell(f"Dataset {dataset_id} repacked: {_size(storage)}, was {before} MB, at {get_dataset_path(dataset_id)}")


def _size(storage: MinariStorage) -> str:
    episodes, steps = counted(storage.total_episodes, "episode"), counted(storage.total_steps, "step")
    return f"{episodes}, {steps}, {storage.get_size()} MB"
