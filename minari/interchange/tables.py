"""Tables: one CSV or Parquet file, or a data frame, with a row for each step.

A row has the observation before a step, the action, and the reward and flags after it. The columns are named by options
(``observations="x,y"``, ``actions="force*"``), or found by convention: ``observation`` (``obs``, ``state``) and
``action``, alone or followed by ``.``, ``_`` or ``/`` and a name or number; ``reward``; ``terminated`` (``terminal``),
``truncated`` (``timeout``), ``done``; ``episode`` (``episode_id``, ``trajectory``). Numbered columns, as ``obs_0``,
``obs_1``, and columns that an option names are a vector; columns with further names are dicts.

Episodes are bounded by changes in the episode column or, without one, by the flags. ``done`` is a termination, or with
``done_is="truncated"`` a truncation; an episode without a flag is truncated. The observation after the last step comes
from ``next_observation`` columns in the same form, or from the option ``final_observation``. Other columns are infos of
the observation before the step. Rewards that are missing are zeros only with ``rewards_are="zeros"``.

The export writes all of these columns, ``next_observation`` included. Parquet keeps dtypes, shapes and spaces too; CSV
has whole numbers, floats, ``true`` and ``false``, and texts, and arrays of several axes as vectors.

CSV has no types: they follow from the values of a column. Where some cells of the first row are in quotes and others
are not, those in quotes are texts, whatever they look like; ``texts`` names further columns of texts. An export has its
texts in quotes, and floats with a point in the first row. There is no standard for such tables; the names are those of
Gymnasium, D4RL, Minari and their predecessors.
"""

from __future__ import annotations

import json
import math
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, TypeAlias

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from minari._base.files import open_regular
from minari._base.json_text import parse_json, shortened
from minari._model.episode import EpisodeData
from minari._storages.arrow.conversions import csv, pa, pq
from minari.dataset.minari_dataset import MinariDataset
from minari.errors import InterchangeError
from minari.interchange.damage import damage_as_error
from minari.interchange.flat_rows import FlatRows, Rows, action_values, flags_of
from minari.interchange.foreign_tables import ArrowStream, ForeignTable, MemoryTable, ParquetTable, values_of
from minari.interchange.format import FinalObservation, Format, Report, Source
from minari.interchange.own_columns import OwnColumns, arrow_array, common_columns, leaves_of
from minari.progress import track
from minari.spaces import native
from minari.spaces.inference import infer_action_space, infer_observation_space


__all__ = ["CSV", "Parquet"]

#: Names of columns, separated by commas, or in a list; a name may end in ``*``.
Columns: TypeAlias = str | Sequence[str] | None
DoneIs: TypeAlias = Literal["terminated", "truncated"]

_SECTIONS: Mapping[str, re.Pattern[str]] = {
    "next_observations": re.compile(
        r"(?:next_observations?|next_obs|next_states?|observations?_next|obs_next)(?:[._/](.+))?$"
    ),
    "observations": re.compile(r"(?:observations?|obs|states?)(?:[._/](.+))?$"),
    "actions": re.compile(r"(?:actions?|act)(?:[._/](.+))?$"),
    "infos": re.compile(r"infos?[./](.+)$"),
}
_SINGLE: Mapping[str, tuple[str, ...]] = {
    "rewards": ("reward", "rewards", "rew", "next.reward"),
    "terminated": ("terminated", "terminations", "terminal", "terminals", "next.terminated"),
    "truncated": ("truncated", "truncations", "timeout", "timeouts", "next.truncated"),
    "done": ("done", "dones", "next.done"),
    "episode": ("episode", "episode_id", "episode_index", "trajectory", "trajectory_id", "traj_id", "eps_id"),
}
_NUMBERED = re.compile(r"(.*?)[._\[]?(\d+)\]?$")
_OWN = b"minari"
_BLOCK = 2**21  # bytes of CSV
_LARGEST_HEADER = 2**20
_GROUP = 2**21  # bytes of a group of rows, of several episodes unless one is larger
_ROWS_AT_ONCE = 2**16
_MOST_TOLD = 5  # names of columns in a message
_CELL = re.compile(rb'(?:("(?:[^"]|"")*")|([^,\r\n"][^,\r\n]*)?)(,|\r?\n|\r|\Z)')
_TAB_CELL = re.compile(rb'(?:("(?:[^"]|"")*")|([^\t\r\n"][^\t\r\n]*)?)(\t|\r?\n|\r|\Z)')
_PREFIXES = {"observations": "observation", "actions": "action", "infos": "info"}
_NAMES = {"rewards": "reward", "terminations": "terminated", "truncations": "truncated"}


class _Tables(Format):
    """Base of the formats of tables."""

    def _open(self, path: Path, texts: Columns, report: Report) -> ForeignTable:
        """Return the table in a file, in which some columns are to be texts."""
        raise NotImplementedError

    def read(
        self,
        path: Path,
        *,
        observations: Columns = None,
        actions: Columns = None,
        next_observations: Columns = None,
        rewards: str | None = None,
        terminated: str | None = None,
        truncated: str | None = None,
        done: str | None = None,
        episode: str | None = None,
        done_is: DoneIs = "terminated",
        rewards_are: Literal["error", "zeros"] = "error",
        final_observation: FinalObservation = "error",
        texts: Columns = None,
    ) -> Source:
        """Return the episodes of a table.

        Args:
            path: the file, or a data frame (of pandas, polars or Arrow).
            observations: the columns of the observations, as ``"x,y"`` or ``"joint_*"``; by default by convention.
            actions: the columns of the actions.
            next_observations: the columns of the observations after the step.
            rewards: the column of the rewards.
            terminated: the column with terminations.
            truncated: the column with truncations.
            done: the column with ends of both kinds, if these two are missing.
            episode: the column whose value differs between episodes.
            done_is: the meaning of ``done``.
            rewards_are: ``"zeros"`` for rewards of 0 where there are none.
            final_observation: where the observation after the last step of an episode comes from without
                ``next_observations``.
            texts: the columns of texts in CSV, which would be numbers or flags by their values.

        Raises:
            InterchangeError: the file is damaged, or lacks something.
        """
        report = Report(self.NAME, "import")
        with damage_as_error(path if isinstance(path, Path) else "The data frame"):
            table = self._open(path, texts, report) if isinstance(path, Path) else _table_of_frame(path)
            _check_texts(table, texts)
            return self._source(
                table,
                {"observations": observations, "actions": actions, "next_observations": next_observations},
                {
                    "rewards": rewards,
                    "terminated": terminated,
                    "truncated": truncated,
                    "done": done,
                    "episode": episode,
                },
                done_is,
                rewards_are,
                final_observation,
                report,
            )

    def _source(
        self,
        table: ForeignTable,
        groups: Mapping[str, Columns],
        singles: Mapping[str, str | None],
        done_is: DoneIs,
        rewards_are: str,
        final: FinalObservation,
        report: Report,
    ) -> Source:
        if not table.rows:
            raise InterchangeError(f"{table.where} has no rows, expected a row for each step.")
        own = None if any(groups.values()) else _own_columns(table)
        chosen = _chosen(table, groups, singles, own)
        rows = _flat_rows(table, chosen, own, done_is, rewards_are, report)
        rows.check_final_observation(final, table.where)
        if own is None:
            report.note("assumed", "the spaces, which a table does not have, follow from dtypes, shapes and values")
            spaces = _inferred(rows.observations, infer_observation_space), _inferred(rows.actions, infer_action_space)
        else:
            spaces = own.observation_space, own.action_space
        return Source(*spaces, _guarded(rows.episodes(final, report), table.where), report, len(rows.starts))


class CSV(_Tables):
    """Format of tables with commas."""

    NAME = "csv"

    def sniff(self, path: Path) -> bool:
        """Return whether a file has a first line with columns of observations and actions."""
        if path.suffix.lower() not in (".csv", ".tsv") or not path.is_file():
            return False
        with path.open("rb") as file:
            header = file.readline(_LARGEST_HEADER).decode("utf-8", "replace")
        names = [name.strip().strip('"') for name in header.split("\t" if _is_tabs(path) else ",")]
        return _looks_right(names)

    def _open(self, path: Path, texts: Columns, report: Report) -> ForeignTable:
        table = _table_of_csv(path, texts)
        report.note("assumed", _told_types(table.schema))
        return table

    def write(self, dataset: MinariDataset, path: Path) -> Report:
        """Write the episodes with a row for each step.

        Args:
            dataset: its observations and actions are numbers and texts of fixed shapes.
            path: the new file.

        Raises:
            InterchangeError: they are others.
        """
        report = Report(self.NAME, "export")
        columns = _written_columns(dataset, report)
        report.note(
            "missing", "dtypes and spaces, which CSV does not have: floats are read as float64, integers as int64"
        )
        _note_names(dataset, columns, report)
        if any(len(shape) > 1 for _, (_, shape) in columns.items()):
            report.note("missing", "shapes of arrays of several axes, which are vectors")
        writer: Any = None
        with pa.OSFile(str(path), "wb") as file:
            for table in _tables_of(dataset, columns, report):
                flat = _flattened(table, columns)
                if writer is None:
                    if pa.string() in flat.schema.types:
                        report.note("missing", "the type of texts that look like numbers or flags")
                    file.write(_first_lines(flat))
                    writer = csv.CSVWriter(file, flat.schema, write_options=csv.WriteOptions(include_header=False))
                    flat = flat.slice(1)
                writer.write_table(flat)
        return report


class Parquet(_Tables):
    """Format of Parquet tables, and of data frames."""

    NAME = "parquet"

    def sniff(self, path: Path) -> bool:
        """Return whether a file is Parquet with columns of observations and actions."""
        if not path.is_file():
            return False
        with path.open("rb") as file:
            if file.read(4) != b"PAR1":
                return False
        return _looks_right(ParquetTable(path.parent, path.name).schema.names)

    def _open(self, path: Path, texts: Columns, report: Report) -> ForeignTable:
        return ParquetTable(path.parent, path.name)

    def write(self, dataset: MinariDataset, path: Path) -> Report:
        """Write the episodes with a row for each step, and the spaces into the metadata of the file.

        Args:
            dataset: its observations and actions are numbers and texts of fixed shapes.
            path: the new file.

        Raises:
            InterchangeError: they are others.
        """
        report = Report(self.NAME, "export")
        columns = _written_columns(dataset, report)
        own = OwnColumns(dataset.observation_space, dataset.action_space, columns)
        writer: Any = None
        try:
            for table in _groups(_tables_of(dataset, columns, report)):
                if writer is None:
                    schema = table.schema.with_metadata({_OWN: json.dumps(own.as_json())})
                    writer = pq.ParquetWriter(str(path), schema, compression="zstd")
                writer.write_table(table.cast(writer.schema), row_group_size=max(1, table.num_rows))
        finally:
            if writer is not None:
                writer.close()
        return report


def _check_texts(table: ForeignTable, texts: Columns) -> None:
    """Raise unless some columns of a table are texts."""
    for name in _names_of(table.schema.names, table.where, "texts", texts) if texts is not None else ():
        kind = table.schema.field(name).type
        if kind not in (pa.string(), pa.large_string()):
            raise InterchangeError(
                f"The column {name!r} of {table.where} has values of the type {shortened(str(kind))}, expected texts "
                f"(texts); convert it before, as only CSV has no types."
            )


def _told_types(schema: Any) -> str:
    """Return a sentence about the types of the columns of a CSV file."""
    kinds = {"texts": pa.string(), "true or false": pa.bool_(), "whole numbers": pa.int64(), "floats": pa.float64()}
    found = {kind: [field.name for field in schema if field.type == type_] for kind, type_ in kinds.items()}
    told = [
        f"{', '.join(names[:_MOST_TOLD])}{f' and {len(names) - _MOST_TOLD} others' * (len(names) > _MOST_TOLD)}: {kind}"
        for kind, names in found.items()
        if names
    ]
    return f"the types of columns, which CSV does not have, follow from their values ({'; '.join(told)}) (texts)"


def _table_of_frame(frame: Any) -> ForeignTable:
    is_pandas = type(frame).__module__.partition(".")[0] == "pandas"
    return MemoryTable(pa.Table.from_pandas(frame, preserve_index=False) if is_pandas else pa.table(frame))


def _guarded(episodes: Iterable[Any], where: object) -> Iterator[Any]:
    with damage_as_error(where):
        yield from episodes


def _looks_right(names: Iterable[str]) -> bool:
    found = {section for name in names for section in ("observations", "actions") if _SECTIONS[section].match(name)}
    return len(found) == 2


def _own_columns(table: ForeignTable) -> OwnColumns | None:
    """Return the description that our export has written, if its columns are there."""
    text = (table.schema.metadata or {}).get(_OWN)
    if text is None:
        return None
    own = OwnColumns.from_json(parse_json(text), f"The metadata {_OWN.decode()!r} of {table.where}")
    return own if set(own.columns) <= set(table.schema.names) else None


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The columns of each kind: names, those of vectors in tuples, in nested dicts."""

    groups: Mapping[str, Any]
    singles: Mapping[str, str | None]
    rest: Sequence[str]


def _chosen(
    table: ForeignTable, groups: Mapping[str, Columns], singles: Mapping[str, str | None], own: OwnColumns | None
) -> _Chosen:
    """Return the columns that options name, and those that have conventional names."""
    names = list(table.schema.names)
    if len(set(names)) != len(names):
        raise InterchangeError(f"{table.where} has several columns of one name, expected different names.")
    found = {section: _named(table, section, wanted) for section, wanted in groups.items() if wanted is not None}
    for kind, name in singles.items():
        if name is not None and name not in names:
            raise _no_column(names, table.where, kind, name)
    alone = {
        kind: wanted if wanted is not None else next((name for name in _SINGLE[kind] if name in names), None)
        for kind, wanted in singles.items()
    }
    used = {name for tree in found.values() for name in _flat(tree)} | set(alone.values())
    for section in ("next_observations", "observations", "actions"):
        if section not in found:
            found[section] = _by_convention(section, [name for name in names if name not in used])
            used |= set(_flat(found[section]))
    for section in ("observations", "actions"):
        if not found[section]:
            raise InterchangeError(
                f"{table.where} has no columns of {section}, expected names such as {_PREFIXES[section]}_0; name them "
                f"with {section}=, of {shortened(names)}."
            )
    own_names = set() if own is None else set(own.columns)
    return _Chosen(found, alone, [name for name in names if name not in used | own_names])


def _no_column(known: Sequence[str], where: object, what: str, name: str) -> InterchangeError:
    return InterchangeError(f"{where} has no column {name!r} for {what}, expected one of {shortened(list(known))}.")


def _named(table: ForeignTable, section: str, wanted: Columns) -> Any:
    chosen = _names_of(table.schema.names, table.where, section, wanted)
    return chosen[0] if len(chosen) == 1 else tuple(chosen)


def _names_of(known: Sequence[str], where: object, what: str, wanted: Columns) -> list[str]:
    """Return the columns that an option names."""
    parts = [part.strip() for part in wanted.split(",")] if isinstance(wanted, str) else list(wanted or ())
    chosen: list[str] = []
    for part in parts:
        names = [part] if part in known else [name for name in known if fnmatchcase(name, part)]
        if not names:
            raise _no_column(known, where, what, part)
        chosen += sorted(names, key=_natural) if len(names) > 1 else names
    return chosen


def _natural(name: str) -> list[Any]:
    """Return a key that sorts numbers in names by their value."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", name) if part]


def _by_convention(section: str, names: Sequence[str]) -> Any:
    keys = {name: match[1] or "" for name in names if (match := _SECTIONS[section].match(name))}
    vectors: dict[str, dict[int, str]] = {}
    for name, key in keys.items():
        if match := _NUMBERED.match(key):
            vectors.setdefault(match[1], {})[int(match[2])] = name
    whole = {
        key: tuple(vector[number] for number in range(len(vector)))
        for key, vector in vectors.items()
        if vector.keys() == set(range(len(vector)))
    }
    tree: dict[str, Any] = {}
    for name, key in keys.items():
        match = _NUMBERED.match(key)
        if match and match[1] in whole:
            tree[match[1]] = whole[match[1]]
        else:
            tree[key] = name
    if "" in tree:  # `action` is all of it, and `action_mask` something else
        return tree[""]
    nested: dict[str, Any] = {}
    for key, value in tree.items():
        *outer, last = re.split(r"[./]", key) if all(re.split(r"[./]", key)) else [key or section]
        inner = nested
        for part in outer:
            inner = inner.setdefault(part, {})
            if not isinstance(inner, dict):
                return tree
        if last in inner:
            return tree
        inner[last] = value
    return nested


def _flat(tree: Any) -> list[str]:
    if isinstance(tree, Mapping):
        return [name for part in tree.values() for name in _flat(part)]
    return list(tree) if isinstance(tree, tuple) else [tree]


class _ColumnRows:
    """The rows of one column, or of several as a vector."""

    def __init__(self, table: ForeignTable, names: str | tuple[str, ...], shape: tuple[int, ...] | None = None) -> None:
        self._table, self._names = table, (names,) if isinstance(names, str) else names
        self._is_vector = not isinstance(names, str)
        first = self._values(slice(0, 1))
        self.shape = (table.rows, *(first.shape[1:] if shape is None else shape))
        if shape is not None and np.prod(first.shape[1:], dtype=int) != np.prod(shape, dtype=int):
            raise InterchangeError(f"{names} of {table.where} has values of {first.shape[1:]}, expected {shape}.")
        self.dtype = first.dtype

    def _values(self, rows: slice) -> npt.NDArray[Any]:
        start, stop, _ = rows.indices(self._table.rows)
        parts = [self._column(name, start, stop) for name in self._names]
        if not self._is_vector:
            return parts[0]
        if any(part.ndim > 1 or part.dtype.kind not in "biuf" for part in parts):
            raise InterchangeError(f"The columns {shortened(self._names)} are no numbers, expected these for a vector.")
        return np.stack(parts, axis=1)

    def _column(self, name: str, start: int, stop: int) -> npt.NDArray[Any]:
        array = self._table.column(name, start, stop)
        if array.null_count and pa.types.is_floating(array.type):  # an empty cell is NaN, as pandas writes it
            values: npt.NDArray[Any] = array.to_numpy(zero_copy_only=False)
            return values
        return native(values_of(array, f"Column {name!r} of {self._table.where}"))

    def __getitem__(self, rows: slice) -> npt.NDArray[Any]:
        values = self._values(rows)
        return values.reshape(len(values), *self.shape[1:])


def _rows_of(table: ForeignTable, tree: Any) -> Any:
    if isinstance(tree, Mapping):
        return {key: _rows_of(table, part) for key, part in tree.items()}
    return _ColumnRows(table, tree)


def _flat_rows(
    table: ForeignTable, chosen: _Chosen, own: OwnColumns | None, done_is: DoneIs, rewards_are: str, report: Report
) -> FlatRows:
    if own is None:
        trees = {section: _rows_of(table, tree) for section, tree in chosen.groups.items()}
        infos = _infos(table, chosen.rest, report)
    else:

        def tree(section: str, prefix: str = "") -> Any:
            return own.tree(section, lambda name, shape: _ColumnRows(table, f"{prefix}{name}", shape), table.where)

        has_next = all(
            f"next_{name}" in table.schema.names
            for name, (place, _) in own.columns.items()
            if place[:1] == ("observations",)
        )
        trees = {section: tree(section) for section in ("observations", "actions")}
        trees["next_observations"] = tree("observations", "next_") if has_next else {}
        infos = {**_infos(table, chosen.rest, report), **tree("infos")}
    rewards = _rewards(table, chosen, own, rewards_are, report)
    terminated, truncated, starts, ends = _bounds(table, chosen.singles, done_is, report)
    after = trees["next_observations"] if trees["next_observations"] != {} else None
    if after is not None and _structure(after) != _structure(trees["observations"]):
        report.note("missing", "the columns of next observations, which are not like those of the observations")
        after = None
    return FlatRows(trees["observations"], trees["actions"], rewards, terminated, truncated, starts, ends, after, infos)


def _structure(tree: Any) -> Any:
    if isinstance(tree, Mapping):
        return {key: _structure(part) for key, part in tree.items()}
    return tuple(map(_structure, tree)) if isinstance(tree, tuple) else tree.shape


def _infos(table: ForeignTable, names: Sequence[str], report: Report) -> dict[str, Any]:
    """Return the columns without another meaning."""
    infos: dict[str, Any] = {}
    for name in names:
        try:
            rows = _ColumnRows(table, name)
        except InterchangeError as error:
            report.note("missing", f"the column {name}: {error}")
            continue
        match = _SECTIONS["infos"].match(name)
        *outer, last = (match[1] if match else name).split(".")
        inner = infos
        for part in outer:
            inner = inner.setdefault(part, {}) if isinstance(inner, dict) else inner
        if not isinstance(inner, dict) or last in inner:
            infos[name] = rows
        else:
            inner[last] = rows
    if infos:
        report.note("taken", f"{', '.join(infos)} as infos of the observation before each step")
    return infos


def _rewards(table: ForeignTable, chosen: _Chosen, own: OwnColumns | None, rewards_are: str, report: Report) -> Rows:
    name = chosen.singles["rewards"]
    if name is not None:
        place = own.columns.get(name) if own is not None else None
        rows = _ColumnRows(table, name, None if place is None else place[1])
        if rows.dtype.kind not in "biuf":
            raise InterchangeError(f"The rewards {name!r} of {table.where} are {rows.dtype}, expected numbers.")
        return rows
    if rewards_are != "zeros":
        raise InterchangeError(
            f"{table.where} has no rewards, expected a column 'reward'; name it with rewards=, or give "
            f"rewards_are='zeros' for rewards of 0."
        )
    report.note("assumed", "rewards are 0, as there are none (rewards_are='zeros')")
    return np.zeros(table.rows)


def _bounds(
    table: ForeignTable, singles: Mapping[str, str | None], done_is: DoneIs, report: Report
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return flags and bounds of the episodes."""

    def flags(kind: str) -> npt.NDArray[np.bool_] | None:
        name = singles[kind]
        return None if name is None else flags_of(name, _ColumnRows(table, name), table.where)

    ended: dict[str, Any] = {kind: flags(kind) for kind in ("terminated", "truncated")}
    if ended["terminated"] is None and ended["truncated"] is None and singles["done"] is not None:
        ended[done_is] = flags("done")
        report.note("assumed", f"{singles['done']} means {done_is} (done_is={done_is!r})")
    has_flags = any(values is not None for values in ended.values())
    terminated, truncated = (np.zeros(table.rows, np.bool_) if values is None else values for values in ended.values())
    if singles["episode"] is not None:
        ends = _changes(table, singles["episode"])
    elif has_flags:
        ends = np.flatnonzero(terminated | truncated) + 1
        if not len(ends) or ends[-1] != table.rows:
            ends = np.append(ends, table.rows)
    else:
        raise InterchangeError(
            f"{table.where} does not say where episodes end, expected a column 'episode', 'done', or 'terminated' and "
            f"'truncated'; name it with episode= or done=."
        )
    unfinished = ends[~(terminated[ends - 1] | truncated[ends - 1])] - 1
    if len(unfinished) and singles["truncated"] is None:
        truncated[unfinished] = True
        report.note("assumed", f"{len(unfinished)} episodes that no flag ends are truncated")
    return terminated, truncated, np.concatenate([[0], ends[:-1]]), ends


def _changes(table: ForeignTable, name: str) -> npt.NDArray[np.int64]:
    """Return the row after each run of equal values of a column.

    Raises:
        InterchangeError: a value comes back later.
    """
    ends: list[int] = []
    found: list[Any] = []  # the value before each end
    before: list[Any] = []
    for start in range(0, table.rows, _ROWS_AT_ONCE):
        column = table.column(name, start, min(start + _ROWS_AT_ONCE, table.rows))
        values = values_of(column, f"Column {name!r} of {table.where}")
        if values.ndim != 1:
            raise InterchangeError(
                f"The episodes {name!r} of {table.where} are lists, expected a number or text a row."
            )
        values = np.concatenate([np.array(before, values.dtype), values])
        changes = np.flatnonzero(values[1:] != values[:-1])
        ends += (changes + 1 + start - len(before)).tolist()
        found += values[changes].tolist()
        before = values[-1:].tolist()
    ends.append(table.rows)
    found += before
    if len(set(found)) != len(found):
        raise InterchangeError(
            f"The rows of an episode of {table.where} are not one after the other ({name!r} takes a value again); sort "
            f"the table by it."
        )
    return np.array(ends, np.int64)


def _inferred(tree: Any, infer: Any) -> gym.Space[Any]:
    if isinstance(tree, Mapping):
        return gym.spaces.Dict({key: _inferred(part, infer) for key, part in tree.items()})
    rows = action_values(tree) if infer is infer_action_space else tree[:1]
    space: gym.Space[Any] = infer(tree[:] if tree.dtype.kind == "O" else rows)
    return space


def _table_of_csv(path: Path, texts: Columns) -> ForeignTable:
    """Return a CSV file as a table: it is copied to a temporary Arrow file, as its rows can be read in order only."""
    told = dict.fromkeys(_columns_of_texts(path, texts), pa.string())
    with tempfile.TemporaryDirectory(prefix="minari-csv-") as directory:
        copy = Path(directory, "rows.arrow")
        try:
            _copy_csv(path, copy, told, is_first=True)
        except pa.ArrowInvalid:  # later rows have other types
            _copy_csv(path, copy, _types_of_all_rows(path, told))
        found = ArrowStream(copy.parent, copy.name)  # stays readable without its name
    found.where = str(path)
    return found


def _columns_of_texts(path: Path, texts: Columns) -> list[str]:
    """Return the columns that are texts by an option, or by quotes in the first row, where others have none."""
    with os.fdopen(open_regular(path), "rb") as file:
        quotes = _quotes_of_first_row(file.read(_LARGEST_HEADER), _TAB_CELL if _is_tabs(path) else _CELL)
    is_told = any(quotes) and not all(quotes)
    if not is_told and texts is None:
        return []
    with _open_csv(path, {}) as reader:
        names = reader.schema.names
    is_told = is_told and len(quotes) == len(names)
    told = [name for name, is_text in zip(names, quotes, strict=True) if is_text] if is_told else []
    return [*told, *_names_of(names, path, "texts", texts)]


def _quotes_of_first_row(data: bytes, cell: re.Pattern[bytes]) -> list[bool]:
    """Return which cells of the row after the names of the columns are in quotes; empty if that cannot be seen."""
    rows: list[list[bool]] = [[]]
    place = 0
    while place < len(data) and (match := cell.match(data, place)):
        rows[-1].append(match[1] is not None)
        place = match.end()
        if match[3] not in (b",", b"\t"):
            if match[0].strip(b"\r\n") or len(rows[-1]) > 1:  # not an empty line
                rows.append([])
            else:
                rows[-1].clear()
            if len(rows) > 2:
                return rows[1]
    return []


def _copy_csv(path: Path, copy: Path, types: Mapping[str, Any], *, is_first: bool = False) -> None:
    """Copy all rows, with columns of the types that are given, and others of those of the first block of rows.

    Raises:
        InterchangeError: two columns have the same name.
        pyarrow.ArrowInvalid: a value is not of the type of its column.
    """
    with _open_csv(path, types) as reader:
        if is_first:
            _check_types_of_first_rows(path, reader.schema)
        with pa.OSFile(str(copy), "wb") as file, pa.ipc.new_stream(file, reader.schema) as writer:
            for batch in reader:
                writer.write_batch(batch)


def _is_tabs(path: Path) -> bool:
    return path.suffix.lower() == ".tsv"


@contextmanager
def _open_csv(path: Path, types: Mapping[str, Any], *, has_empty: bool = False) -> Iterator[Any]:
    options = csv.ConvertOptions(column_types=dict(types), null_values=[""], strings_can_be_null=has_empty)
    parse = csv.ParseOptions(delimiter="\t" if _is_tabs(path) else ",", newlines_in_values=True)
    read = csv.ReadOptions(block_size=_BLOCK)
    with os.fdopen(open_regular(path), "rb") as file, csv.open_csv(file, read, parse, options) as reader:
        yield reader


def _check_types_of_first_rows(path: Path, schema: Any) -> None:
    """Check the types of the columns in the first block of rows.

    Raises:
        InterchangeError: two columns have the same name.
        pyarrow.ArrowInvalid: all rows are needed to tell.
    """
    if len(set(schema.names)) != len(schema.names):
        raise InterchangeError(f"{path} has several columns of one name, expected different names in its first line.")
    if any(kind not in _csv_types() for kind in schema.types):
        raise pa.ArrowInvalid("a column has no value yet, or one of another type")
    kinds = dict(zip(schema.names, schema.types, strict=True))
    if any(kinds.get(f"next_{name}", kind) != kind for name, kind in kinds.items()):
        raise pa.ArrowInvalid("a column and that of its next values differ in type")


def _types_of_all_rows(path: Path, told: Mapping[str, Any]) -> dict[str, Any]:
    """Return the type of each column, by all of its values: the first that fits."""
    with _open_csv(path, {}) as reader:
        names = reader.schema.names
    left = {name: [told[name]] if name in told else _csv_types() for name in names}
    with _open_csv(path, dict.fromkeys(names, pa.string()), has_empty=True) as reader:
        for batch in reader:
            for name, column in zip(names, batch.columns, strict=True):
                while not _fits(column, left[name][0]):
                    left[name].pop(0)
    found = {name: types[0] for name, types in left.items()}
    for name in [name for name in names if f"next_{name}" in found]:  # values of the same kind
        both = {found[name], found[f"next_{name}"]}
        kind = pa.float64() if both == {pa.int64(), pa.float64()} else pa.string()
        found[name] = found[f"next_{name}"] = both.pop() if len(both) == 1 else kind
    return found


def _csv_types() -> list[Any]:
    return [pa.bool_(), pa.int64(), pa.float64(), pa.string()]


def _fits(column: Any, kind: Any) -> bool:
    if kind == pa.string():
        return True
    if kind == pa.bool_():
        return set(column.unique().to_pylist()) <= {"true", "false", "True", "False", None}
    try:
        column.cast(kind)
    except pa.ArrowInvalid:
        return False
    return True


def _written_columns(dataset: MinariDataset, report: Report) -> dict[str, tuple[Any, tuple[int, ...]]]:
    """Return the columns of an export: the place and shape of the values of each."""
    columns: dict[str, tuple[Any, tuple[int, ...]]] = {}
    for place, (_, shape) in common_columns(dataset, dataset.iterate_episodes(copy=False), "tables", report).items():
        keys = [str(key) for key in place[1:]]
        name = base = _NAMES.get(place[0]) or ".".join([_PREFIXES[place[0]], *keys])
        number = 2
        while name in columns:
            name, number = f"{base}-{number}", number + 1
        columns[name] = place, shape
    for section in ("observations", "actions"):
        if not any(place[0] == section for place, _ in columns.values()):
            raise InterchangeError(
                f"The {section} of {dataset.id} are empty, expected at least one value a step, as tables have no "
                f"columns for them."
            )
    if any(place[0] == "infos" for place, _ in columns.values()):
        report.note("missing", "the infos of the last observation of each episode")
    report.note("missing", "seeds, options and other metadata of episodes and of the dataset")
    return columns


def _has_empty_dict(space: Any) -> bool:
    parts = space.spaces if isinstance(space, (gym.spaces.Dict, gym.spaces.Tuple)) else None
    inner = parts.values() if isinstance(parts, Mapping) else parts or ()
    return parts is not None and (not parts or any(map(_has_empty_dict, inner)))


def _is_read_alike(section: str, columns: Mapping[str, Any]) -> bool:
    """Return whether columns are read by convention as they are nested, apart from names with dots."""
    numbered = {
        place: name if not shape else tuple(f"{name}_{number}" for number in range(math.prod(shape)))
        for name, (place, shape) in columns.items()
        if place[0] == section
    }
    nested: dict[str, Any] = {}
    for place, names in numbered.items():
        if len(place) == 1:
            return True
        *outer, last = ".".join(map(str, place[1:])).split(".")
        inner = nested
        for part in outer:
            inner = inner.setdefault(part, {})
        inner[last] = names
    return bool(_by_convention(section, _flat(nested)) == nested)


def _note_names(dataset: MinariDataset, columns: Mapping[str, Any], report: Report) -> None:
    """Say which names and values are read back as others from a table that has no place for a description.

    Raises:
        InterchangeError: two columns would have the same name.
    """
    places = [place for place, _ in columns.values() if len(place) > 1]
    paths = {(place[0], *".".join(map(str, place[1:])).split(".")) for place in places}
    names = [
        name if not shape else f"{name}_{number}"
        for name, (_, shape) in columns.items()
        for number in range(math.prod(shape))
    ]
    nested = any(path[:size] in paths for path in paths for size in range(2, len(path)))
    if len(paths) < len(places) or len(set(names)) < len(names) or nested:
        raise InterchangeError(
            f"Two values of {dataset.id} would have the same column, as names are joined by dots and numbered; rename "
            f"the keys, or export it as 'parquet'."
        )
    if any("." in str(key) for place in places for key in place[1:]):
        report.note("missing", "dots in names, which are read as those of nested values")
    for section in ("observations", "actions"):
        if not _is_read_alike(section, columns):
            report.note("missing", f"the nesting of the {section}, whose numbered columns an import takes for vectors")
    if any(isinstance(key, int) for place in places for key in place[1:]):
        report.note("missing", "tuples, which are dicts with the keys 0, 1, ...")
    if any(_has_empty_dict(space) for space in (dataset.observation_space, dataset.action_space)):
        report.note("missing", "dicts without keys")
    if any(place == ("rewards",) and shape for place, shape in columns.values()):
        report.note("missing", "rewards of several numbers a step, of which an import takes one (rewards)")


def _tables_of(dataset: MinariDataset, columns: Mapping[str, Any], report: Report) -> Iterator[Any]:
    """Yield the rows of each episode as a table of Arrow."""
    number = 0
    for episode in track(dataset.iterate_episodes(copy=False), "exporting episodes", total=len(dataset)):
        if len(episode):
            yield _table_of(episode, number, columns)
            number += 1
        else:
            report.note("missing", "episodes without steps")
    if not number:
        raise InterchangeError(f"{dataset.id} has no episode with steps, expected at least one.")


def _groups(tables: Iterable[Any]) -> Iterator[Any]:
    """Yield consecutive tables together, as long as they are small and have the same columns."""
    waiting: list[Any] = []
    for table in tables:
        if waiting and (table.schema != waiting[0].schema or sum(one.nbytes for one in waiting) >= _GROUP):
            yield pa.concat_tables(waiting)
            waiting = []
        waiting.append(table)
    if waiting:
        yield pa.concat_tables(waiting)


def _table_of(episode: EpisodeData, number: int, columns: Mapping[str, Any]) -> Any:
    leaves, steps = leaves_of(episode), len(episode)
    arrays = {"episode": pa.array(np.full(steps, number))}
    after = {}
    for name, (place, _) in columns.items():
        values = leaves[place]
        if not isinstance(values, np.ndarray):
            texts = np.empty(len(values), object)
            texts[:] = values
            values = texts
        arrays[name] = arrow_array(values[:steps])
        if place[0] == "observations":
            after[f"next_{name}"] = arrow_array(values[1:])
    return pa.table({**arrays, **after})


def _first_lines(table: Any) -> bytes:
    """Return the names and the first row as CSV: texts in quotes, and floats with a point or an exponent."""

    def cell(value: Any) -> str:
        if isinstance(value, str):
            return '"' + value.replace('"', '""') + '"'
        return str(value).lower() if isinstance(value, bool) else repr(value)

    rows = table.schema.names, [column[0].as_py() for column in table.columns]
    return "".join(",".join(map(cell, row)) + "\n" for row in rows).encode()


def _flattened(table: Any, columns: Mapping[str, Any]) -> Any:
    """Return a table with a column for each number of a list."""
    arrays: dict[str, Any] = {}
    for name in table.schema.names:
        column = table.column(name).combine_chunks()
        column = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
        _, shape = columns.get(name) or columns.get(name.removeprefix("next_")) or ((), ())
        if not shape:
            arrays[name] = column
            continue
        values = values_of(column, name).reshape(table.num_rows, -1)
        for number in range(values.shape[1]):
            arrays[f"{name}_{number}"] = pa.array(np.ascontiguousarray(values[:, number]))
    # As float64 all digits of a value are written, so that it is read back exactly.
    is_float = {name: pa.types.is_floating(array.type) for name, array in arrays.items()}
    return pa.table({name: array.cast(pa.float64()) if is_float[name] else array for name, array in arrays.items()})
