"""Conversion between info dicts of any shape and columns.

Infos have no space, so the values determine how they are stored:

- numbers and arrays of one shape become an array with one row per step, strings become text, bytes byte
  strings, a dict becomes a group, and so does a key with slashes: ``a/b`` is the same as ``b`` in a dict
  ``a``, unless there is an ``a`` that is not a dict;
- dates, fixed-size bytes and structures become one column below the key, named ``_dtype=`` and the name of
  the dtype: dates as integers, the others as their bytes;
- if a key is missing in some steps, its rows there are filled (0, False or "") and a boolean mask ``_<key>``
  beside it marks the real rows, as in Gymnasium's vector environments, or ``_mask:<key>`` if there is an info
  of that name; the same applies if a key is None in some steps and has values without a JSON type in the
  others;
- arrays whose shape changes from step to step become two columns below the key, ``_ragged_values`` (all
  numbers concatenated) and ``_ragged_shapes``;
- anything else that JSON can represent, or :mod:`minari._base.plain_values` can convert to JSON (None, mixed
  types, lists of strings, texts that UTF-8 cannot represent), becomes one column below the key, ``_json``,
  with one JSON text per step.

Keys that are not text, or cannot be a name in a file, become ``_key:`` and their JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from minari._base.json_text import shortened
from minari._model.episode import same_values
from minari._model.infos.keys import (
    DTYPE,
    ESCAPED_KEY,
    JSON_TEXTS,
    RAGGED_SHAPES,
    RAGGED_VALUES,
    damaged_info,
    dtype_in_name,
    escaped_key,
    info_name,
    is_marker,
    key_of,
    mask_name,
    parts_of_key,
    second_mask_name,
)
from minari._model.infos.values import ABSENT, IMMUTABLE, decoded_json, decoded_typed, encode_values, ragged_rows
from minari.errors import EpisodeError
from minari.spaces.columns import Column, ColumnPath, Columns, object_column, path_name


_MOST_LEVELS = 128  # of nested dicts


def append_info(
    infos: dict[str, Any],
    info: Mapping[str, Any],
    recorded: int,
    keep: Callable[[Any], Any] = lambda value: value,
) -> dict[str, Any]:
    """Append the info dict of one step to the infos of the steps before it, in place.

    Keys may be new, missing, or of another type than before.

    Args:
        infos: for each key a list of values, or nested infos.
        info: the info returned by the step.
        recorded: the number of steps in ``infos``.
        keep: function applied to a value before it is stored, such as copying it, unless its type is one of
            :data:`IMMUTABLE`.

    Returns:
        ``infos``.
    """
    for key in infos if infos.keys() == info.keys() else [*infos, *(key for key in info if key not in infos)]:
        values, value = infos.get(key), info.get(key, ABSENT)
        if isinstance(values, list):  # the most frequent case
            values.append(value if type(value) in IMMUTABLE else keep(value))
        elif isinstance(value, Mapping) and value and (values is None or isinstance(values, dict)):
            infos[key] = append_info({} if values is None else values, value, recorded, keep)
        elif value is ABSENT and isinstance(values, dict):
            append_info(values, {}, recorded, keep)
        else:
            infos[key] = [*rows_so_far(values, recorded), keep(value)]
    return infos


def rows_so_far(values: Any, recorded: int) -> list[Any]:
    """Return the values of the steps so far as a list; they may be stored as a list, a dict, or None."""
    if values is None:
        return [ABSENT] * recorded
    if isinstance(values, dict):
        parts = {key: rows_so_far(part, recorded) for key, part in values.items()}
        rows = ({k: v[row] for k, v in parts.items() if v[row] is not ABSENT} for row in range(recorded))
        return [row or ABSENT for row in rows]
    return list(values)


def discard_info(infos: dict[str, Any] | None, name: str) -> None:
    """Drop one info, by its keys joined by ``/``; a key that is not a string is identified by its text."""
    if not isinstance(infos, dict):
        return
    for key in list(infos):
        if str(key) == name:
            del infos[key]
        elif name.startswith(f"{key}/"):
            discard_info(infos[key], name[len(str(key)) + 1 :])


def columns_of_info(columns: Columns, name: str) -> set[ColumnPath]:
    """Return the columns of an info that :func:`discard_info` would drop.

    Args:
        columns: the columns of an episode.
        name: the keys of the info, joined by ``/``.
    """
    places = places_of_info(columns, name)
    masks = {_mask_of(place, columns) for place in places}
    found = {path for path in columns if any(path[: len(place)] == place for place in places)}
    return {*found, *(mask for mask in masks if mask is not None)}


def info_places(paths: Iterable[ColumnPath]) -> set[ColumnPath]:
    """Return the paths of the infos with some columns, and of the dicts that they lie in."""
    found = set()
    for path in paths:
        for depth in range(2, len(path) + 1) if path[0] == "infos" else ():
            part = path[depth - 1]
            if type(part) is not str or is_marker(part):  # below it are the parts of a value
                break
            found.add(path[:depth])
    return found


def places_of_info(paths: Iterable[ColumnPath], name: str) -> set[ColumnPath]:
    """Return the paths of the infos with a name, of which there are several only if their keys have the same text."""
    return {place for place in info_places(paths) if info_name(place) == name}


def without_info(columns: Columns, name: str) -> dict[ColumnPath, Column]:
    """Return the columns of an episode without an info, its mask, and dicts that it leaves empty.

    Args:
        columns: the columns of an episode.
        name: the keys of the info, joined by ``/``.
    """
    doomed = columns_of_info(columns, name)
    left = {path: column for path, column in columns.items() if path not in doomed}
    for place in places_of_info(columns, name):
        parent = place[:-1]
        while len(parent) > 1 and not any(path[: len(parent)] == parent for path in left):
            mask = _mask_of(parent, left)
            if mask is not None:
                del left[mask]
            parent = parent[:-1]
    return left


def with_renamed_infos(columns: Columns, keys: Mapping[str, str]) -> dict[ColumnPath, Column]:
    """Return the columns of an episode in which some infos have another last key, as if they were recorded with it.

    Args:
        columns: the columns of an episode.
        keys: the new last key of each info, by its keys joined by ``/``.

    Raises:
        EpisodeError: an info with that key exists, or two infos have the same name.
    """
    moved: dict[ColumnPath, str] = {}
    masks: dict[ColumnPath, ColumnPath] = {}  # and the infos that they belong to
    for name, key in keys.items():
        places = places_of_info(columns, name)
        if len(places) > 1:
            raise EpisodeError(f"There are several infos {name!r}, with keys of different types; drop them instead.")
        for place in places:
            moved[place] = key if parts_of_key(key) == (key,) else escaped_key(key, place)
            mask = _mask_of(place, columns)
            if mask is not None:
                masks[mask] = place
    renamed: dict[ColumnPath, Column] = {}
    for path, column in columns.items():
        if path in masks:
            continue
        new = _moved(path, moved)
        for place in moved:
            target = _moved(place, moved)
            if new[: len(target)] == target and path[: len(place)] != place:
                raise EpisodeError(f"There is an info {info_name(target)!r} already, expected a key that is not taken.")
        renamed[new] = column
    taken: dict[ColumnPath, bool | None] = {path[:depth]: None for path in renamed for depth in range(2, len(path))}
    for mask, place in masks.items():
        _put_mask(renamed, taken, _moved(place, moved)[:-1], key_of(moved[place]), columns[mask])
    return renamed


def _moved(path: ColumnPath, moved: Mapping[ColumnPath, str]) -> ColumnPath:
    return tuple(moved.get(path[: depth + 1], part) for depth, part in enumerate(path))


def _mask_of(place: ColumnPath, columns: Columns) -> ColumnPath | None:
    """Return the path of the mask of an info; None if it has none."""
    mask: ColumnPath | None = None
    key, name = key_of(place[-1]), mask_name(key_of(place[-1]))
    while True:
        path = (*place[:-1], _mask_part(name, place[:-1]))
        column = columns.get(path)
        if column is None:
            break
        mask = path
        name = second_mask_name(key if name == mask_name(key) else name)
    return mask if mask is not None and _can_be_mask(columns[mask], columns.get(place)) else None


def _can_be_mask(mask: Column, column: Column | None) -> bool:
    """Return whether a column marks missing, filled rows; an info may have the name of a mask."""
    if mask.dtype != np.bool_ or mask.ndim != 1 or mask.all():
        return False
    if column is None or column.dtype == object:
        return True
    return len(column) == len(mask) and not np.any(column[~mask])


def encode_infos(infos: Mapping[str, Any] | None, rows: int, path: ColumnPath = ("infos",)) -> dict[ColumnPath, Column]:
    """Return the columns of infos.

    Args:
        infos: for each key, a list or array with one value per step (:data:`ABSENT` for a missing one), or a
            dict of such infos, or a tuple of them.
        rows: the number of steps, T+1.
        path: prefix of the paths of the columns.

    Raises:
        EpisodeError: a key does not have ``rows`` values, or two keys have the same name in a file.
        EpisodeTypeError: a value cannot be represented as an array, text, bytes or JSON; or a key has a type
            that cannot be written.
    """
    columns: dict[ColumnPath, Column] = {}
    _encode_infos(columns, infos or {}, rows, path)
    for column_path in columns:
        if len(column_path) > _MOST_LEVELS:
            raise EpisodeError(
                f"The infos are nested more than {_MOST_LEVELS} levels deep at {shortened(path_name(column_path))}; "
                f"change or drop it in a StepDataCallback."
            )
    return columns


def _encode_infos(columns: dict[ColumnPath, Column], infos: Mapping[Any, Any], rows: int, path: ColumnPath) -> None:
    taken: dict[ColumnPath, bool | None] = {}  # paths of infos: True for dicts; None for those created by slashes
    masks = []
    names = {key: (parts_of_key(key) if type(key) is str else None) or (escaped_key(key, path),) for key in infos}
    for key in sorted(infos, key=lambda key: len(names[key])):
        values, parts = infos[key], names[key]
        place = (*path, *parts)
        if len(parts) > 1:  # another key may have the path of a key with slashes, or its parents may not be dicts
            above = [taken.get(place[:depth]) for depth in range(1, len(place))]
            is_written = True in above and any(other[: len(place)] == place for other in columns)
            if place in taken or False in above or is_written:
                place = (*path, escaped_key(key, path))
        if place in taken:
            raise EpisodeError(
                f"The infos give {path_name(place)!r} twice, by keys with one name in a file; rename one of the two."
            )
        for depth in range(len(path) + 1, len(place)):
            taken.setdefault(place[:depth], None)
        taken[place] = isinstance(values, Mapping)
        mask = _encode_key(columns, place, values, rows)
        if mask is not None:
            is_whole = len(place) == len(path) + 1
            masks.append((place[:-1], str(key) if is_whole else parts[-1], mask))
    for parent, key, mask in masks:  # last, since an info may have the usual name of a mask
        _put_mask(columns, taken, parent, key, mask)


def _put_mask(
    columns: dict[ColumnPath, Column],
    taken: Mapping[ColumnPath, bool | None],
    parent: ColumnPath,
    key: str,
    mask: Column,
) -> None:
    """Add the mask of an info, unless the same one was already given."""
    name = mask_name(key)
    while True:
        place = (*parent, _mask_part(name, parent))
        there = columns.get(place)
        if there is not None and same_values(there, mask):
            return
        if there is None and place not in taken:
            columns[place] = mask
            return
        name = second_mask_name(key if name == mask_name(key) else name)


def _mask_part(name: str, parent: ColumnPath) -> str:
    return name if parts_of_key(name) == (name,) else escaped_key(name, parent)


def _encode_key(columns: dict[ColumnPath, Column], path: ColumnPath, values: Any, rows: int) -> Column | None:
    """Add the columns of a key.

    Returns:
        Mask of the steps that have the key; None if all do.
    """
    if isinstance(values, Mapping) and values:
        _encode_infos(columns, values, rows, path)
        return _presence(values, rows)
    if isinstance(values, Mapping):  # an empty dict in every step
        values = [{}] * rows
    if isinstance(values, tuple) and values and all(isinstance(part, (list, np.ndarray)) for part in values):
        for position, part in enumerate(values):
            columns.update(encode_values(part, rows, (*path, position))[0])
        return None
    encoded, mask = encode_values(values, rows, path)
    columns.update(encoded)
    return mask


def _presence(values: Any, rows: int) -> Column | None:
    """Return the mask of the steps that have the key, for a dict those with any part of it; None if all have it."""
    if isinstance(values, Mapping):
        parts = [_presence(part, rows) for part in values.values()]
        masks = [part for part in parts if part is not None]
        mask = np.logical_or.reduce(masks) if masks and len(masks) == len(parts) else None
        return None if mask is None or mask.all() else mask
    if isinstance(values, (np.ndarray, tuple)) or type(ABSENT) not in set(map(type, values)):
        return None
    return np.fromiter((value is not ABSENT for value in values), dtype=np.bool_, count=rows)


def decode_infos(columns: Columns) -> dict[str, Any]:
    """Return infos nested as they were given, each leaf with one row a step.

    Text, ragged and JSON infos are object arrays, so that a mask can select the real rows.

    Raises:
        DatasetCorruptError: the columns were not created by :func:`encode_infos`.
    """
    tree: dict[str | int, Any] = {}
    for path, column in columns.items():
        if path[0] != "infos":
            continue
        if not 1 < len(path) <= _MOST_LEVELS:
            raise damaged_info(path, "is nested too deeply" if len(path) > 1 else "is not a dict")
        node = tree
        for part in path[1:-1]:
            node = node.setdefault(part, {})
            if not isinstance(node, dict):
                raise damaged_info(path, "lies below a value")
        if path[-1] in node:
            raise damaged_info(path, "is both a value and a dict")
        node[path[-1]] = column
    return {
        name if name[:5] != ESCAPED_KEY else key_of(name): node
        if type(node) is not dict
        else _decode_node(node, ("infos", name))
        for name, node in tree.items()
        if type(name) is str
    }


def _decode_node(node: Any, path: ColumnPath) -> Any:
    if not isinstance(node, dict):
        return node
    if len(node) == 1:
        (name,) = node
        if name == JSON_TEXTS:
            return decoded_json(node[name], path)
        if isinstance(name, str) and name.startswith(DTYPE) and (dtype := dtype_in_name(name)) is not None:
            return decoded_typed(_decode_node(node[name], (*path, name)), dtype, path)
    if node.keys() == {RAGGED_VALUES, RAGGED_SHAPES}:
        return object_column(ragged_rows(node[RAGGED_VALUES], node[RAGGED_SHAPES], path))
    decoded = {key_of(name): _decode_node(child, (*path, name)) for name, child in node.items()}
    if node.keys() == set(range(len(node))):
        return tuple(decoded[position] for position in range(len(decoded)))
    return decoded
