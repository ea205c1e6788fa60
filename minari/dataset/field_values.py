"""Functions of all values of a field in an episode, such as its mean, read from the leaves of the field only."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from minari._base.json_text import shortened
from minari._model.episode_codec import EpisodeCodec
from minari._model.infos import decode_infos
from minari._model.infos.keys import ESCAPED_KEY, mask_name, second_mask_name
from minari._model.multi_agent import MultiAgentCodec, trajectory_of
from minari._storages.base import MinariStorage
from minari.dataset.condition import aggregate
from minari.errors import ArgumentError, DatasetCorruptError
from minari.sampling.fields import parts_of, select
from minari.spaces import AGENTS, Column, ColumnPath, Columns


__all__ = ["field_values"]

_INFOS: Final = "infos"
_MOST_NAMES: Final = 1000  # that are kept for suggestions
_NUMBERS: Final = "biuf"
_OTHERS: Final = ("rewards", "terminations", "truncations", _INFOS)


def field_values(
    storage: MinariStorage, numbers: Sequence[int], wanted: Iterable[tuple[str, str]]
) -> Iterator[dict[Any, Any]]:
    """Yield functions of fields of episodes, by function and field; None for a field that an episode does not have.

    Args:
        storage: of the episodes.
        numbers: the episodes.
        wanted: functions (see :func:`~minari.dataset.condition.aggregate`) with fields such as
            ``"observations/camera"`` or ``"infos/speed"``. With many agents, a field is that of all agents, or of the
            one whose name precedes it.

    Raises:
        ArgumentError: there is no such field, or it has no numbers.
        DatasetCorruptError: an episode lacks a leaf.
    """
    wanted = sorted(wanted)
    fields = list(dict.fromkeys(field for _, field in wanted))
    leaves = _leaves_by_agent(storage, fields)
    missing = {field for field in fields if any(field in one.infos for one in leaves.values())} if numbers else set()
    for number, columns in storage.read_parts(numbers, _Paths(leaves)):
        arrays: dict[str, list[Column]] = {field: [] for field in fields}
        for agent, one in leaves.items():
            own = columns if agent is None else trajectory_of(columns, agent)
            for field, found in one.arrays(number, own, has_all=agent is None).items():
                arrays[field] += found
        if missing:
            missing = {field for field in missing if not arrays[field]}
        yield {
            (function, field): aggregate(function, arrays[field]) if arrays[field] else None
            for function, field in wanted
        }
    if missing:
        known = dict.fromkeys(name for one in leaves.values() for name in one.known_infos)
        raise _no_field(min(missing), known or ["observations", "actions", *_OTHERS[:-1]])


def _leaves_by_agent(storage: MinariStorage, fields: Iterable[str]) -> dict[str | None, _Leaves]:
    """Return the leaves of fields by the name of each agent; by None if there is one."""
    codec = storage.episode_codec
    if not isinstance(codec, MultiAgentCodec):
        return {None: _Leaves(codec, {field: field for field in fields})}
    by_agent: dict[str | None, dict[str, str]] = {name: {} for name in codec.names.values()}
    for field in fields:
        first, _, rest = field.partition("/")
        own = {first: rest} if first in by_agent and rest else dict.fromkeys(codec.names.values(), field)
        problems = []
        for agent, name in codec.names.items():
            if name in own:
                try:
                    _Leaves(codec.of_agent(agent), {field: own[name]})
                except ArgumentError as error:  # another agent may have it
                    problems.append(error)
                else:
                    by_agent[name][field] = own[name]
        if len(problems) == len(own):
            raise problems[0]
    return {name: _Leaves(codec.of_agent(agent), by_agent[name]) for agent, name in codec.names.items()}


def _no_field(field: str, known: Iterable[str]) -> ArgumentError:
    names = list(known)
    near = difflib.get_close_matches(field, names, n=3, cutoff=0.5) or names[:8]
    verb = "the nearest name is" if len(near) == 1 else "the nearest names are"
    return ArgumentError(f"No episode has the field {shortened(field)}; {verb} {', '.join(map(shortened, near))}.")


class _Paths:
    """The paths of the columns that leaves need.

    Args:
        leaves: by the name of the agent; by None if there is one.
    """

    def __init__(self, leaves: Mapping[str | None, _Leaves]) -> None:
        self._leaves = leaves

    def __contains__(self, path: object) -> bool:
        if None in self._leaves:
            return path in self._leaves[None]
        is_of_agent = isinstance(path, tuple) and len(path) > 2 and path[0] == AGENTS
        return is_of_agent and path[1] in self._leaves and path[2:] in self._leaves[path[1]]  # type: ignore[index]


class _Leaves:
    """The leaves that fields of one agent consist of.

    Args:
        codec: of its episodes.
        fields: its fields, such as ``"observations/camera"``, by the names that they have outside.

    Attributes:
        infos: the fields that are infos, by the names that they have outside.
        known_infos: the names of infos in the data.

    Raises:
        ArgumentError: there is no such field, or it has no numbers.
    """

    def __init__(self, codec: EpisodeCodec, fields: Mapping[str, str]) -> None:
        self.infos = {name: field for name, field in fields.items() if field.partition("/")[0] == _INFOS}
        self.known_infos: dict[str, None] = {}
        self._paths = {name: _paths(codec, field) for name, field in fields.items() if name not in self.infos}
        self._columns = frozenset(path for paths in self._paths.values() for path in paths)
        first = {field.split("/")[1] for field in self.infos.values() if "/" in field}
        self._first = {*first, *map(mask_name, first), *map(second_mask_name, first)}
        self._has_all_infos = _INFOS in self.infos.values()

    def __contains__(self, path: object) -> bool:
        """Return whether a column is needed."""
        if path in self._columns:
            return True
        if not self.infos or not isinstance(path, tuple) or path[0] != _INFOS or len(path) < 2:
            return False
        if len(self.known_infos) < _MOST_NAMES:
            self.known_infos["/".join(map(str, path))] = None
        first = str(path[1])
        return self._has_all_infos or first in self._first or first.startswith(ESCAPED_KEY)

    def arrays(self, number: int, columns: Columns, *, has_all: bool) -> dict[str, list[Column]]:
        """Return the arrays of each field in an episode.

        Args:
            number: of the episode.
            columns: those that are needed.
            has_all: True if the agent acts in every episode.

        Raises:
            ArgumentError: an info has no numbers.
            DatasetCorruptError: a leaf is missing or has no numbers.
        """
        arrays = {}
        for name, paths in self._paths.items():
            arrays[name] = [columns[path] for path in paths if path in columns]
            is_there = len(arrays[name]) == len(paths) or not has_all
            if not is_there or any(column.dtype.kind not in _NUMBERS for column in arrays[name]):
                raise DatasetCorruptError(
                    f"Episode {number} has no numbers for {name}; the file is damaged, or belongs to another dataset."
                )
        leaves = list(_infos(decode_infos(columns), _INFOS)) if self.infos else []
        for name, field in self.infos.items():
            arrays[name] = [column for leaf, column in leaves if leaf == field or leaf.startswith(f"{field}/")]
            if any(column.dtype.kind not in _NUMBERS for column in arrays[name]):
                raise ArgumentError(
                    f"The field {shortened(name)} has something else than numbers in episode {number}, expected "
                    f"numbers; name a part of it that has them."
                )
        return arrays


def _paths(codec: EpisodeCodec, field: str) -> list[ColumnPath]:
    """Return the paths of the leaves of a field.

    Raises:
        ArgumentError: there is no such field, or it has no numbers.
    """
    spaces = {"observations": codec.observations, "actions": codec.actions}
    ((name, paths),) = select([field], spaces, _OTHERS).items()
    shapes = {part.path: part.shape for space in spaces.values() for part in parts_of(space)}
    if any(shapes[path] is None for path in paths):
        raise ArgumentError(
            f"The field {shortened(field)} has no numbers of a fixed shape, expected one that has them."
        )
    return paths or [(name,)]


def _infos(
    node: Mapping[Any, Any], prefix: str, rows: npt.NDArray[np.bool_] | None = None
) -> Iterator[tuple[str, Column]]:
    """Yield the infos with their names, without the rows that are filled because an info was missing.

    Args:
        node: nested infos.
        prefix: the name of all of them.
        rows: a mask of the rows that are not filled.
    """
    masks = {key: name for key in node for name in (mask_name(key), second_mask_name(key)) if _is_mask(node.get(name))}
    for key, value in node.items():
        if key in masks.values():
            continue
        own = node[masks[key]] if key in masks else None
        own = rows if own is None else own if rows is None or len(rows) != len(own) else own & rows
        if isinstance(value, (Mapping, tuple)):
            yield from _infos(value if isinstance(value, Mapping) else dict(enumerate(value)), f"{prefix}/{key}", own)
        else:
            yield f"{prefix}/{key}", value if own is None or len(own) != len(value) else value[own]


def _is_mask(column: Any) -> bool:
    """Return whether a column may mark rows that are not filled."""
    return isinstance(column, np.ndarray) and column.dtype == np.bool_ and column.ndim == 1 and not column.all()
