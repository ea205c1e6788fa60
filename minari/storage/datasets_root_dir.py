"""Where the local datasets lie and which remote is asked: every environment variable, every default.

The variables are read at each call, so that a program may set them after the import.
"""

from __future__ import annotations

import os
from pathlib import Path

from minari._base.settings import checked_root, name_of_root
from minari._model.dataset_id import parse_namespace
from minari.errors import StorageError


__all__ = ["get_dataset_path"]


def get_dataset_path(dataset_id: str | None = None, *, root: str | os.PathLike[str] | None = None) -> Path:
    """The folder of a dataset or of a namespace, which need not exist; the root when none is given.

    The root itself is created where it does not exist, so that it can be listed and written to.

    >>> get_dataset_path("D4RL/door/human-v2").parts[-3:]
    ('D4RL', 'door', 'human-v2')

    Args:
        dataset_id: the id of a dataset, or a namespace.
        root: as for :func:`get_datasets_root`.

    Raises:
        DatasetIdError: the id follows neither grammar.
        StorageError: the root cannot be made.
    """
    parts = () if dataset_id is None else parse_namespace(dataset_id)
    folder = checked_root(root)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"{name_of_root(folder, root)}, which cannot be made ({error.strerror or error}); expected a "
            f"directory that you may write to.",
            error.errno,
            error.strerror,
            str(folder),
        ) from error
    return folder.joinpath(*parts)
