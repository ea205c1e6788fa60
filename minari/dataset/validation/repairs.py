"""Repairs of a dataset that change no value."""

from __future__ import annotations

from typing import Any

from minari._base.json_text import shortened
from minari._model.metadata import DEDUPLICATED
from minari._storages.base import MinariStorage, PathLike
from minari.dataset.validation.files import differs
from minari.dataset.validation.places import find_data_path, id_of_place


__all__ = ["repair"]


def repair(dataset: PathLike, *, root: PathLike | None = None) -> list[str]:
    """Make a wrong index again, add missing checksums, and correct totals, size and id; no value is changed.

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
    data_path = find_data_path(dataset, root)
    storage = MinariStorage.read(data_path)
    storage.placed_id = id_of_place(dataset, data_path, root)
    done = []
    located = storage.repair_index()
    if located:
        done.append(f"Made the index of {located} episodes again.")
    added = storage.add_missing_checksums()
    if added:
        done.append(f"Made checksums of {added} episodes.")
    steps, size = int(storage.get_episode_lengths().sum()), storage.measured_size()
    right: dict[str, Any] = {"total_steps": steps, "dataset_size": size}
    if storage.frame_stacks:
        right[DEDUPLICATED] = storage.count_stacked_frames()
    raw = storage.current_metadata.raw
    if raw.get("dataset_id"):
        right["dataset_id"] = storage.dataset_id
    wrong = {key: value for key, value in right.items() if key in raw and differs(raw[key], value)}
    if wrong:
        with storage.writing() as writer:
            writer.commit(storage.current_metadata.updated(wrong, allow_protected=True))
        done += [f"Set {key} to {value}, which was {shortened(raw[key])}." for key, value in wrong.items()]
    return done
