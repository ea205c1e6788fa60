"""Data paths of datasets that are given by an id, a directory or an address."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from minari._base.addresses import without_credentials
from minari._base.json_text import shortened
from minari._catalog.layout import dataset_exists, get_dataset_path
from minari._model.dataset_id import DatasetId, is_dataset_id
from minari._storages.core import read_metadata
from minari._storages.metadata_file import exists
from minari._storages.paths import PathLike, as_data_path, is_remote
from minari._storages.registry import get_minari_storage
from minari.errors import ArgumentTypeError, DataPathError, DatasetNotFoundError, MinariError


__all__ = ["find_data_path", "id_of_place", "refuse_unreadable_in_place"]

_HUB, _HUB_DATASETS = "hf://", "hf://datasets/"  # of this library, and of fsspec


def find_data_path(dataset: PathLike, root: PathLike | None = None) -> Path:
    """Return the data directory of a dataset given by its id, its directory or its address.

    Raises:
        ArgumentTypeError: it is neither text nor a path.
        DatasetIdError: it is neither a path nor an id.
        DatasetNotFoundError: there is no dataset of that id.
        DataPathError: there is no such directory, or it is a file; or nothing here reads such addresses.
    """
    if isinstance(dataset, str) and "://" in dataset:
        return _path_of_address(dataset)
    if isinstance(dataset, str) and is_dataset_id(dataset) and dataset_exists(get_dataset_path(dataset, root=root)):
        return get_dataset_path(dataset, root=root) / "data"
    if not isinstance(dataset, (str, os.PathLike)):
        has_id = isinstance(getattr(dataset, "id", None), str)  # an opened dataset, which need not be intact
        raise ArgumentTypeError(
            f"dataset is {shortened(dataset)}, expected the id of a local dataset or the path of its directory"
            f"{', such as dataset.id' if has_id else ''}."
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


def _path_of_address(address: str) -> Path:
    """Return the data path at an address, which is that of a dataset or of its data."""
    spelled = address
    if address.startswith(_HUB) and not address.startswith(_HUB_DATASETS):
        spelled = _HUB_DATASETS + address.removeprefix(_HUB)
    try:
        path = as_data_path(spelled)
    except DataPathError as error:
        raise _not_in_place(address, "fsspec does not know its protocol") from error
    if not is_remote(path):
        return find_data_path(path)
    with _reached(address):
        return path / "data" if exists(path / "data") else path


@contextmanager
def _reached(address: str) -> Iterator[None]:
    """Let failures of the client of a store name the address, and nothing that it may have added."""
    try:
        yield
    except MinariError:
        raise
    except Exception as error:
        raise DataPathError(
            f"{without_credentials(address)} cannot be read ({type(error).__name__}); check the address, the network, "
            f"and your access to it."
        ) from error


def id_of_place(dataset: PathLike, data_path: Path, root: PathLike | None = None) -> str | None:
    """Return the id of a dataset whose data lies where an id says; None if it was given in another way."""
    if not isinstance(dataset, str) or not is_dataset_id(dataset):
        return None
    return dataset if data_path == get_dataset_path(dataset, root=root) / "data" else None


def refuse_unreadable_in_place(data_path: Path, address: PathLike) -> None:
    """Raise if a dataset at an address is in a format that needs a local directory.

    Raises:
        DataPathError: it is, or there is no dataset.
        DatasetCorruptError: its metadata is damaged.
    """
    if is_remote(data_path):
        with _reached(str(address)):
            data_format = read_metadata(data_path).data_format
        if not get_minari_storage(data_format).REMOTE:
            raise _not_in_place(str(address), f"the format {shortened(data_format)} is read from a local directory")


def _not_in_place(address: str, reason: str) -> DataPathError:
    place = without_credentials(address)
    return DataPathError(
        f"{place} cannot be read in place, as {reason}; download it with `minari download {place}` and give the id of "
        f"the copy."
    )
