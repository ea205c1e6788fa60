"""Datasets that commands are given as ``ID|PATH``, and the sentence for those that do not exist."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from minari._base.addresses import plain_text
from minari._base.settings import get_datasets_root
from minari._catalog.listing import did_you_mean_local
from minari.dataset.minari_dataset import MinariDataset
from minari.dataset.validation import find_data_path
from minari.errors import DataPathError, DatasetChangedError, DatasetNotFoundError, MinariError


__all__ = ["find_dataset", "open_dataset", "suggesting_ids"]


@contextmanager
def suggesting_ids(name: str, root: str | None = None) -> Iterator[None]:
    """Say how to list the local datasets, and the nearest id, if a block finds no dataset of a name.

    Args:
        name: the name.
        root: root of the catalog; by default that of ``MINARI_DATASETS_PATH``.

    Raises:
        DatasetNotFoundError: the block raised one.
    """
    try:
        yield
    except DatasetNotFoundError as error:
        if "://" in name or isinstance(error, DatasetChangedError):
            raise
        raise DatasetNotFoundError(
            f"There is no dataset {name} in {get_datasets_root(root)}; `minari list local --all` shows which there are."
            f"{did_you_mean_local(name, root)}"
        ) from error


def find_dataset(name: str) -> Path:
    """Return the data directory of a dataset given by its id, its directory or its address.

    Raises:
        DatasetNotFoundError: there is no dataset of that id.
        DataPathError: there is no such directory, or it cannot be opened there.
    """
    with suggesting_ids(name):
        return find_data_path(name)


def open_dataset(name: str) -> MinariDataset:
    """Open a dataset given by its id, its directory or its address.

    Raises:
        DatasetNotFoundError: there is no dataset of that id.
        DataPathError: there is no such directory, or the client of a remote fails.
    """
    try:
        return MinariDataset(find_dataset(name))
    except (MinariError, OSError):
        raise
    except Exception as error:  # of the client of a remote, which may raise anything
        if "://" not in name:
            raise
        raise DataPathError(
            f"{plain_text(name)} cannot be opened ({type(error).__name__}: {plain_text(error)}); download the dataset "
            f"and give its id."
        ) from error
