"""Registry of storage formats, each imported when it is first used."""

from __future__ import annotations

import re
import sys
from typing import Any

from minari._base.json_text import shortened
from minari._base.plugins import Target, find_target, known_targets, load_class
from minari._base.suggestions import did_you_mean
from minari.errors import MissingDependencyError, UnknownFormatError


ENTRY_POINT_GROUP = "minari.storages"

_NAME = re.compile(r"[\w.-]{1,64}")

#: Where the class of each format is, and what it needs; extended by :func:`register_storage`.
FORMATS: dict[str, Target] = {
    "hdf5": ("minari._storages.hdf5.storage:HDF5Storage", "minari"),
    "arrow": ("minari._storages.arrow.storage:ArrowStorage", "minari[arrow]"),
    "parquet": ("minari._storages.arrow.storage:ParquetStorage", "minari[arrow]"),
    "zarr": ("minari._storages.zarr.storage:ZarrStorage", "minari[zarr]"),
}

LEAST_PYTHON = {"zarr": (3, 11)}


def register_storage(name: str, target: str, requirement: str) -> None:
    """Register a format, as a package that brings one does.

    Args:
        name: the name, as in ``data_format``.
        target: ``"package.module:Class"`` of a subclass of :class:`minari.dataset.minari_storage.MinariStorage`.
        requirement: the argument of ``pip install`` in the message if the module cannot be imported.
    """
    FORMATS[name] = (target, requirement)


def get_storage_keys() -> list[str]:
    """Return the names of the formats, sorted."""
    return sorted(known_targets(FORMATS, ENTRY_POINT_GROUP))


def get_minari_storage(storage_type: str) -> type[Any]:
    """Return the class of a format, a subclass of :class:`minari.dataset.minari_storage.MinariStorage`.

    Raises:
        UnknownFormatError: no format has that name.
        MissingDependencyError: the package that the format needs is not installed.
    """
    is_name = isinstance(storage_type, str) and _NAME.fullmatch(storage_type) is not None
    target = find_target(storage_type, FORMATS, ENTRY_POINT_GROUP) if is_name else None
    if target is None:
        raise UnknownFormatError(
            f"No storage implemented for the format {shortened(storage_type)}, expected one of {get_storage_keys()}."
            f"{did_you_mean(storage_type, get_storage_keys())}"
        )
    python = LEAST_PYTHON.get(storage_type, (0, 0))
    if sys.version_info < python:
        raise MissingDependencyError(
            f"The format {storage_type!r} needs Python {'.'.join(map(str, python))} or newer, as the package of that "
            f"name does; this is Python {sys.version.split()[0]}."
        )
    storage: type[Any] = load_class(target, f"The format {storage_type!r} needs")
    return storage
