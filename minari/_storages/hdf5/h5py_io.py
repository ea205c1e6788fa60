"""Access to HDF5 files through h5py: opening, reading and changing.

One group per episode, ``episode_0``, ``episode_1``, ...; groups and datasets in it have the paths of the
columns (a position in a ``Tuple`` is ``_index_0``), and attributes hold its metadata.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from h5py import File, Group, h5d, h5o, h5r, h5s, h5t

from minari._storages.hdf5.attributes import flatten_metadata, is_of
from minari.errors import DatasetCorruptError


__all__ = ["File", "link_objects", "open_for_writing", "update_metadata"]


#: New objects are written so that every HDF5 library since 1.10 can read them.
LIBRARY_VERSIONS = ("v110", "v110")


def open_for_writing(file: Any, name: str) -> File:
    """Open a file, or a file-like object, to change it.

    Raises:
        DatasetCorruptError: it is not HDF5, or damaged.
    """
    try:
        return File(file, "r+", libver=LIBRARY_VERSIONS, locking=False)
    except OSError as error:
        raise DatasetCorruptError(
            f"{name} cannot be read as HDF5 ({error}); it is cut off, damaged or another kind of file, so copy or "
            f"download it again."
        ) from error


def link_objects(file: File, addresses: Iterable[int], names: Iterable[str]) -> None:
    """Make the objects at these addresses members of the root group.

    HDF5 resolves an address through a reference, which is read from a file of references in memory.
    """
    values = np.array(list(addresses), dtype=np.uint64)
    if not len(values):
        return
    with File("references", "w", driver="core", backing_store=False) as memory:
        references = h5d.create(memory.id, b"references", h5t.STD_REF_OBJ, h5s.create_simple(values.shape))
        references.write(h5s.ALL, h5s.ALL, values, h5t.STD_REF_OBJ)
        for reference, name in zip(memory["references"][:], names, strict=True):
            h5o.link(h5r.dereference(reference, file.id), file.id, name.encode())


def update_metadata(group: Group, metadata: Mapping[str, Any]) -> None:
    """Set metadata of an episode, keeping other keys unchanged."""
    for name in list(group.attrs):
        if is_of(name, metadata):
            del group.attrs[name]
    for name, value in flatten_metadata(metadata):
        group.attrs[name] = value
