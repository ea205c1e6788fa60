"""A new dataset of the catalogue: built out of sight, and there under its id when it is finished."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from minari._base.settings import get_datasets_root
from minari._base.system_errors import storage_errors
from minari._model.dataset_id import DatasetId
from minari._storages.base import PathLike
from minari.errors import DatasetExistsError
from minari.storage.datasets_root_dir import get_dataset_path
from minari.storage.publishing import ensure_namespace_directories, refuse_nested, restore_replaced, staged_directory


def free_dataset_path(dataset_id: str, *, root: PathLike | None = None) -> Path:
    """Where a dataset of this id would be.

    Raises:
        DatasetIdError: the id is malformed.
        DatasetExistsError: there is one already, or it would lie inside another one.
    """
    path = get_dataset_path(str(DatasetId.parse(dataset_id)), root=root)
    with storage_errors(path, "made"):
        is_taken = path.exists() or restore_replaced(path)
    if is_taken:
        raise DatasetExistsError(
            f"A dataset with the id {dataset_id} already exists at {path}, and datasets are never "
            f"overwritten; choose another name or version."
        )
    refuse_nested(path)
    return path


@contextmanager
def new_dataset(dataset_id: str, root: PathLike | None = None) -> Iterator[Path]:
    """The data folder of a new dataset, which appears when the block ends and not before.

    Raises:
        DatasetIdError: the id is malformed.
        DatasetExistsError: there is a dataset of this id already.
    """
    with staged_directory(free_dataset_path(dataset_id, root=root)) as folder:
        yield folder / "data"
        make_namespace(dataset_id, root)


def make_namespace(dataset_id: str, root: PathLike | None = None) -> None:
    """The folders and metadata files of the namespace of a dataset, where they are missing."""
    ensure_namespace_directories(get_datasets_root(root), DatasetId.parse(dataset_id).namespace)
