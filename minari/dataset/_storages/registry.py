"""The storage formats by name, each imported when it is first used."""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from minari.errors import MissingDependencyError, UnknownFormatError


if TYPE_CHECKING:
    from minari.dataset.minari_storage import MinariStorage

ENTRY_POINT_GROUP = "minari.storages"

#: Format -> where its class is ("module:class"), and what to install when an import in it fails.
_formats: dict[str, tuple[str, str]] = {
    "hdf5": ("minari.dataset._storages.hdf5_storage:HDF5Storage", "minari"),
    "arrow": ("minari.dataset._storages.arrow_storage:ArrowStorage", "minari[arrow]"),
    "parquet": ("minari.dataset._storages.arrow_storage:ParquetStorage", "minari[arrow]"),
}


def register_storage(name: str, target: str, requirement: str) -> None:
    """Make a format known, as a package does that brings one of its own.

    Args:
        name: as in ``data_format``.
        target: ``"package.module:Class"`` of a subclass of :class:`MinariStorage`.
        requirement: what ``pip install`` needs where the module cannot be imported.
    """
    _formats[name] = (target, requirement)


def _known_formats() -> dict[str, tuple[str, str]]:
    found = {
        point.name: (point.value, point.dist.name if point.dist else point.module)
        for point in entry_points(group=ENTRY_POINT_GROUP)
    }
    return {**found, **_formats}


def get_storage_keys() -> list[str]:
    """The names of the formats, sorted."""
    return sorted(_known_formats())


def get_minari_storage(storage_type: str) -> type[MinariStorage]:
    """The class of a format.

    Raises:
        UnknownFormatError: no format has that name.
        MissingDependencyError: the package that the format needs is not installed.
    """
    target, requirement = _formats.get(storage_type) or _known_formats().get(storage_type) or (None, "")
    if target is None:
        raise UnknownFormatError(
            f"No storage implemented for the format {storage_type!r}, expected one of {get_storage_keys()}."
        )
    module_name, _, class_name = target.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise MissingDependencyError(
            f"The format {storage_type!r} needs {error.name or module_name}, which is not installed; "
            f'run pip install "{requirement}".'
        ) from error
    storage: type[MinariStorage] = getattr(module, class_name)
    return storage
