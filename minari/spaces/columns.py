"""The types of episodes between a collector, a storage format and a reader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt


#: The path of a column: a string is the key of a ``Dict``, an int the position in a ``Tuple``.
ColumnPath: TypeAlias = tuple[str | int, ...]

#: An array with time first. Text and encoded frames are object arrays of ``str`` and ``bytes``.
Column: TypeAlias = npt.NDArray[Any]

#: The columns of an episode, by path; the first part of a path is ``"observations"``,
#: ``"actions"``, ``"rewards"``, ``"terminations"``, ``"truncations"`` or ``"infos"``. In an episode of many agents
#: it follows ``"agents"`` and the name of an agent; ``"timesteps"`` beside it has the joint step of each row, and the
#: columns below ``"state"`` belong to all agents. Observations that are stacks of frames may be stored as the frames,
#: whose paths are those of the stacks after ``"frames"``.
Columns: TypeAlias = Mapping[ColumnPath, Column]


@dataclass(frozen=True, slots=True)
class EpisodeColumns:
    """An episode as received by a storage format: checked, flat, and with time first.

    Attributes:
        total_steps: the number of steps, T.
        columns: observations and infos with T+1 rows, the rest with T.
        metadata: the seed and the options if given, statistics, and other metadata of the episode; nested
            mappings are allowed.
    """

    total_steps: int
    columns: Columns
    metadata: dict[str, Any] = field(default_factory=dict)


class EpisodeBatch(Sequence[EpisodeColumns]):
    """Episodes with the same columns, and metadata of the same types, in one array per column.

    Attributes:
        total_steps: the number of steps of each episode, shape (E,), int64.
        columns: the columns of all episodes, one after the other.
        metadata: one number per episode for each key.
    """

    def __init__(
        self,
        total_steps: npt.NDArray[np.int64],
        columns: Mapping[ColumnPath, Column],
        metadata: Mapping[str, npt.NDArray[Any]],
    ) -> None:
        self.total_steps, self.columns, self.metadata = total_steps, columns, metadata
        ends = np.concatenate([[0], np.cumsum(total_steps)])
        self._steps, self._states = ends, ends + np.arange(len(ends))  # bounds of the episodes in columns

    def bounds(self, path: ColumnPath) -> npt.NDArray[np.int64]:
        """Return the first row of each episode in a column, and the number of all rows, shape (E + 1,)."""
        return self._states if path[0] == "observations" else self._steps

    def __len__(self) -> int:
        return len(self.total_steps)

    def __getitem__(self, number: int) -> EpisodeColumns:  # type: ignore[override] # no slices
        columns = {
            path: column[slice(*self.bounds(path)[number : number + 2])] for path, column in self.columns.items()
        }
        metadata = {
            name: int(values[number]) if values.dtype.kind in "iu" and values.ndim == 1 else values[number]
            for name, values in self.metadata.items()
        }
        return EpisodeColumns(int(self.total_steps[number]), columns, metadata)

    @property
    def kinds(self) -> tuple[Any, ...]:
        """Return names and types of the columns and the metadata, which are equal in batches that can be joined."""
        return tuple(
            (name, column.dtype, column.shape[1:])
            for columns in (self.columns, self.metadata)
            for name, column in columns.items()
        )

    @property
    def nbytes(self) -> int:
        """Return the number of bytes of the columns and the metadata."""
        return sum(column.nbytes for columns in (self.columns, self.metadata) for column in columns.values())

    @staticmethod
    def joined(batches: Sequence[EpisodeBatch]) -> EpisodeBatch:
        """Return the episodes of batches with equal :attr:`kinds`, in one batch."""
        first = batches[0]
        if len(batches) == 1:
            return first
        columns = {path: np.concatenate([batch.columns[path] for batch in batches]) for path in first.columns}
        metadata = {name: np.concatenate([batch.metadata[name] for batch in batches]) for name in first.metadata}
        return EpisodeBatch(np.concatenate([batch.total_steps for batch in batches]), columns, metadata)


@dataclass(frozen=True, slots=True)
class Leaf:
    """A part of a space that has one row per step.

    Attributes:
        path: the path from the root of the space.
        dtype: dtype of a row.
        shape: shape of a row, without time.
        low, high: the bounds of a ``Box``, None for other leaves.
    """

    path: ColumnPath
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    low: npt.NDArray[Any] | None = None
    high: npt.NDArray[Any] | None = None


#: The first part of the paths of the columns of one of many agents; the second is its name.
AGENTS: Final = "agents"
#: The first part of the paths of the global state of many agents.
STATE: Final = "state"
#: The first part of the paths of the frames of stacks, before the path of the observations that consist of them.
FRAMES: Final = "frames"
#: The first parts of the paths of columns with any number of rows.
ANY_ROWS: Final = frozenset({AGENTS, STATE, FRAMES})


def is_of_agent(path: ColumnPath) -> bool:
    """Return whether a column belongs to one of many agents."""
    return path[0] == AGENTS and len(path) > 2


def field_of(path: ColumnPath) -> str | int:
    """Return the field of an episode that a column belongs to, whether there is one agent or many.

    >>> field_of(("observations", "camera")), field_of(("agents", "agent_0", "observations", "camera"))
    ('observations', 'observations')
    """
    return path[2] if is_of_agent(path) else path[0]


def has_no_space(path: ColumnPath) -> bool:
    """Return whether the values of a column have no space that describes them: infos, and the global state."""
    return field_of(path) == "infos" or path[0] == STATE


def path_name(path: ColumnPath) -> str:
    """Return the path as text: ``observations/camera/0``."""
    return "/".join(str(part) for part in path)


def is_utf8_text(text: str) -> bool:
    """Return whether UTF-8 on disk can represent a text: it has no NUL character and no lone surrogate."""
    return "\0" not in text and (text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text))


def uniform_bound(bounds: npt.NDArray[Any]) -> Any:
    """Return the number that all bounds of a Box are equal to, None if they differ or there are none.

    Views of a single number, which take no memory, are not compared element by element.
    """
    if not bounds.size:
        return None
    first = bounds.flat[0]
    return first if not any(bounds.strides) or (bounds == first).all() else None


def without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a shape without its dimensions of length one.

    >>> without_ones((1, 3, 1))
    (3,)
    """
    return tuple([length for length in shape if length != 1])


def has_flags(value: Any) -> bool:
    """Return whether nested lists contain a boolean, which NumPy converts to a number among numbers."""
    if isinstance(value, (list, tuple)):
        return any(map(has_flags, value))
    return isinstance(value, (bool, np.bool_))


def native(array: Column) -> Column:
    """Return the array in native byte order; a copy if its byte order differs."""
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def object_column(values: list[Any]) -> Column:
    """Return a one-dimensional object array of the unchanged values, even if they are sequences."""
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column
