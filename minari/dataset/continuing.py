"""Appends further steps to an episode that is stored already, column by column."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from minari.dataset.episode_data import same_values
from minari.dataset.infos import ABSENT, decode_infos, encode_infos, mask_name, rows_so_far, second_mask_name
from minari.errors import EpisodeError
from minari.spaces import Column, Columns, EpisodeColumns, Path, path_name


def continued(stored: EpisodeColumns, more: EpisodeColumns, more_infos: Mapping[str, Any] | None) -> EpisodeColumns:
    """The whole episode: what is stored, followed by further steps.

    Args:
        stored: the episode so far; its metadata stay.
        more: the columns of the further steps without infos; observations have as many rows as
            actions.
        more_infos: the infos of the further steps.

    Raises:
        EpisodeError: the two cannot be joined.
    """
    total_steps = stored.total_steps + more.total_steps
    columns = {path: _joined(stored.columns, column, path) for path, column in more.columns.items()}
    old_infos = decode_infos(stored.columns)
    if old_infos or more_infos:
        infos = _joined_infos(old_infos, more_infos or {}, stored.total_steps + 1, more.total_steps)
        columns.update(encode_infos(infos, total_steps + 1))
    return EpisodeColumns(total_steps, columns, dict(stored.metadata))


def _joined(stored: Columns, more: Column, path: Path) -> Column:
    first = stored.get(path)
    if first is None or first.shape[1:] != more.shape[1:]:
        raise EpisodeError(
            f"The stored {path_name(path)!r} and those of the steps that continue the episode have different "
            f"shapes, {None if first is None else first.shape} and {more.shape}; the stored data are damaged."
        )
    if not len(first) or not len(more):
        return first if len(first) else more.copy()  # an empty column says nothing about the dtype
    return np.concatenate([first, more])


def _joined_infos(first: Mapping[str, Any], second: Mapping[str, Any], rows: int, more: int) -> dict[str, Any]:
    first, second = _without_masks(first), _without_masks(second)
    joined: dict[str, Any] = {}
    for key in [*first, *(key for key in second if key not in first)]:
        a, b = first.get(key, ABSENT), second.get(key, ABSENT)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            joined[key] = _joined_infos(a, b, rows, more)
        elif isinstance(a, tuple) and isinstance(b, tuple) and len(a) == len(b):
            joined[key] = tuple([*x, *y] for x, y in zip(a, b, strict=True))
        else:
            joined[key] = [*_rows(a, rows), *_rows(b, more)]
    return joined


def _rows(values: Any, count: int) -> list[Any]:
    if values is ABSENT:
        return [ABSENT] * count
    if isinstance(values, tuple):
        return [tuple(step) for step in zip(*values, strict=True)]
    return rows_so_far(values, count)


def _without_masks(infos: Mapping[str, Any]) -> dict[str, Any]:
    """Infos whose absent rows are marked in place rather than by a mask beside them.

    A mask is told from an info of the same name by the rows that it hides: they hold the filling.
    """
    plain = dict(infos)
    for key, values in infos.items():
        names = [name for name in (second_mask_name(key), mask_name(key)) if _is_mask(infos.get(name))]
        if not names or names[0] not in plain:
            continue
        mask: Any = infos[names[0]]
        if isinstance(values, Mapping):
            del plain[names[0]]  # its parts have masks of their own
            continue
        rows = list(zip(*values, strict=True)) if isinstance(values, tuple) else values
        if len(rows) == len(mask) and all(map(_is_filling, _hidden(rows, mask))):
            del plain[names[0]]
            plain[key] = [value if there else ABSENT for value, there in zip(rows, mask, strict=True)]
    return {key: _without_masks(values) if isinstance(values, Mapping) else values for key, values in plain.items()}


def _is_mask(column: Any) -> bool:
    return isinstance(column, np.ndarray) and column.dtype == np.bool_ and column.ndim == 1 and not column.all()


def _hidden(values: Any, mask: Column) -> list[Any]:
    return [value for value, there in zip(values, mask, strict=True) if not there]


def _is_filling(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_filling, value))
    if isinstance(value, (np.ndarray, np.generic)):
        return same_values(np.asarray(value), np.zeros_like(value))
    return value is None or value in ("", b"")
