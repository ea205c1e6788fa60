"""The list of the local datasets, from their metadata alone: no dataset is opened for it."""

from __future__ import annotations

import os
import warnings
from contextlib import suppress
from typing import Any

from minari._base.json_text import shortened
from minari._base.settings import get_listed_root
from minari._base.suggestions import did_you_mean
from minari._base.warnings import warn
from minari._model.dataset_id import dataset_id_sort_key, parse_dataset_id
from minari._model.format_version import is_compatible
from minari._model.metadata_json import with_id_of_place
from minari._storages.metadata_file import read_raw_metadata, with_measured_size
from minari.errors import ArgumentTypeError, MinariError
from minari.storage.publishing import walk_catalog


__all__ = ["did_you_mean_local", "has_prefix", "list_local_datasets", "newest_versions"]


def list_local_datasets(
    latest_version: bool = False,
    compatible_minari_version: bool = False,
    prefix: str | None = None,
    *,
    root: str | os.PathLike[str] | None = None,
) -> dict[str, dict[str, Any]]:
    """The datasets of the catalogue.

    Args:
        latest_version: only the newest version of each.
        compatible_minari_version: only those of a format version that this release reads.
        prefix: only what lies in this namespace, or the dataset of this id.
        root: of the catalogue; by default that of ``MINARI_DATASETS_PATH``.

    Returns:
        Id -> metadata as they are stored, sorted by namespace, name and version.

    Warns:
        UserWarning: a dataset is damaged; it is left out.
    """
    if prefix is not None and not isinstance(prefix, str):
        raise ArgumentTypeError(f"prefix is {shortened(prefix)}, expected a namespace such as 'D4RL/door'.")
    folders = {
        folder.id: folder.path
        for folder in walk_catalog(get_listed_root(root))
        if folder.is_dataset and (not prefix or has_prefix(folder.id, prefix))
    }
    found: dict[str, dict[str, Any]] = {}
    for dataset_id in sorted(folders, key=dataset_id_sort_key):
        try:
            data_path = f"{folders[dataset_id]}{os.sep}data"
            metadata = with_measured_size(read_raw_metadata(data_path), data_path)
        except (MinariError, OSError) as error:
            if not os.path.lexists(folders[dataset_id]):
                continue  # it was deleted since
            warn(f"The dataset {dataset_id} is left out, it cannot be read: {error}")
            continue
        metadata = with_id_of_place(metadata, dataset_id)
        if not compatible_minari_version or is_compatible(metadata.get("minari_version")):
            found[dataset_id] = metadata
    return newest_versions(found) if latest_version else found


def did_you_mean_local(dataset_id: str, root: str | os.PathLike[str] | None = None) -> str:
    """Return a question about the local dataset whose id is most like one that there is not; empty where none is."""
    with warnings.catch_warnings(), suppress(OSError):
        warnings.simplefilter("ignore")
        known = (folder.id for folder in walk_catalog(get_listed_root(root)) if folder.is_dataset)
        return did_you_mean(dataset_id, known)
    return ""


def has_prefix(dataset_id: str, prefix: str) -> bool:
    """Whether an id begins with these whole parts: ``D4RL/door`` or ``D4RL/door/`` or all of it."""
    return f"{dataset_id}/".startswith(f"{prefix.rstrip('/')}/")


def newest_versions(datasets: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Of datasets that differ in their version only, the newest, which comes last as lists are sorted."""
    newest = {parse_dataset_id(dataset_id)[:2]: dataset_id for dataset_id in datasets}
    kept = set(newest.values())
    return {dataset_id: metadata for dataset_id, metadata in datasets.items() if dataset_id in kept}
