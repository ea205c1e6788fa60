"""Names of the parts of an episode in an HDF5 file."""

from __future__ import annotations

import re

from minari.spaces import AGENTS, ColumnPath


DATA_FILE_NAME = "main_data.hdf5"
_POSITION = re.compile(r"_index_(\d+)")


def to_hdf5_name(path: ColumnPath) -> str:
    """Return the name of a column inside the group of its episode; a position i is ``_index_i``.

    One of many agents has a group of its own in that of the episode.
    """
    if path[0] == AGENTS:
        path = path[1:]
    return "/".join(part if isinstance(part, str) else f"_index_{part}" for part in path)


def from_hdf5_name(name: str) -> ColumnPath:
    """Return the path of a column that belongs to no space, and to one agent or to all."""
    return tuple(int(match[1]) if (match := _POSITION.fullmatch(part)) else part for part in name.split("/") if part)


def group_name(index: int) -> str:
    """Return the name of the group of an episode."""
    return f"episode_{index}"
