"""Codecs of h5py and of HDF5 plug-ins, applied to chunks in a file in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import h5py
import numpy as np
import numpy.typing as npt

from minari._base.lazy import import_late
from minari._model.compression import Codec
from minari._storages.hdf5.format.chunks import Piece, StoredColumn, corners
from minari._storages.hdf5.format.filters import Chunking, chunk_shape
from minari._storages.hdf5.format.objects import FIRST_WITH_A_NAME, Filter
from minari.errors import MissingDependencyError


_PLUGINS: Final = "hdf5plugin"
_LZF: Final = "lzf"
_INSTALL: Final = 'install it with: pip install "minari[compression]"'


def require(codec: Codec) -> None:
    """Raise unless a codec can be used.

    Raises:
        MissingDependencyError: it needs a package that is not installed.
    """
    _arguments(codec, np.dtype(np.uint8))


def compressed(column: npt.NDArray[Any], codec: Codec) -> StoredColumn:
    """Return a column in chunks that have passed through the filters of a codec.

    Raises:
        MissingDependencyError: it needs a package that is not installed.
    """
    shape = chunk_shape(column.shape, column.dtype)
    arguments = _arguments(codec, column.dtype)
    with h5py.File("chunks", "w", driver="core", backing_store=False) as memory:
        dataset = memory.create_dataset("column", data=column, chunks=shape, **arguments)
        read = map(dataset.id.read_direct_chunk, corners(column.shape, shape))
        return StoredColumn(
            column.dtype,
            column.shape,
            Chunking(shape, filters_of(dataset)),
            [Piece(data, skipped) for skipped, data in read],
        )


def _arguments(codec: Codec, dtype: np.dtype[Any]) -> Mapping[str, Any]:
    """Return the arguments for creating a dataset with h5py."""
    shuffle = dtype.itemsize > 1
    if codec.name == _LZF:
        return {"compression": _LZF, "shuffle": shuffle}
    try:
        plugins = import_late(_PLUGINS)
    except ImportError:
        raise MissingDependencyError(f"The codec {codec.name!r} needs the package {_PLUGINS}; {_INSTALL}") from None
    level = {} if codec.level is None else {"clevel": codec.level}
    arguments: Mapping[str, Any] = plugins.Blosc(shuffle=int(shuffle), **level)  # shuffles by itself
    return arguments


def filters_of(dataset: h5py.Dataset) -> tuple[Filter, ...]:
    """Return the filters of the chunks of an array."""
    properties = dataset.id.get_create_plist()
    filters = (properties.get_filter(number) for number in range(properties.get_nfilters()))
    return tuple(
        (number, tuple(map(int, values)), name.decode(errors="replace") if number >= FIRST_WITH_A_NAME else "")
        for number, _, values, name in filters
    )
