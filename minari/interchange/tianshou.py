"""Tianshou: the HDF5 files of ``ReplayBuffer.save_hdf5``, of one buffer or of several in a ``ReplayBufferManager``.

Below ``_meta`` are ``obs``, ``act``, ``rew``, ``terminated``, ``truncated``, ``done``, ``obs_next`` and ``info``, with
a row for each place of the buffer. Rows are taken in the order of time: a full buffer begins where the next row would
be written, and the buffers of a manager follow each other. An episode ends at its flags, at the end of its buffer, and
where its next observation is not that of the next row. One that had not ended when the file was written has no flag.
Infos belong to the observation after the step, and other columns to the one before it. The observation after the last
step comes from ``obs_next``, or, where the buffer was made without, from the option ``final_observation``. Files of
versions before 0.5, which have only ``done``, need the option ``done``.

Members that are pickled (``buffers``, ``_random_state``, arrays of objects) are not needed and never read. To write
such a file, use :func:`minari.integrations.tianshou.to_replay_buffer` and ``save_hdf5``. Sources: the files, and
``tianshou/data``, modules ``buffer`` and ``utils/converter``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from minari.errors import InterchangeError
from minari.interchange.flat_rows import FlatRows, action_values, flags_of, map_rows
from minari.interchange.foreign_hdf5 import Hdf5Array, Hdf5File, is_hdf5
from minari.interchange.format import Format, Report, Source
from minari.interchange.pickle_files import is_pickle_of
from minari.interchange.rings import Ring, cut_episodes, in_order
from minari.interchange.trajectories import (
    NUMBERS,
    FinalObservationOfEpisode,
    check_final_observation,
)
from minari.spaces.inference import infer_action_space, infer_observation_space


__all__ = ["Tianshou"]

#: What ``done`` means in files without ``terminated`` and ``truncated``.
Done: TypeAlias = Literal["error", "terminated", "truncated"]

_META: Final = "_meta"
_TYPE: Final = "__data_type__"
_READABLE: Final = ("ndarray", "Tensor")
_REQUIRED: Final = ("obs", "act", "rew")
_KNOWN: Final = (*_REQUIRED, "obs_next", "terminated", "truncated", "done", "info")


class Tianshou(Format):
    """Format of the replay buffers of Tianshou."""

    NAME = "tianshou"

    def sniff(self, path: Path) -> bool:
        """Return whether a file has the columns of a replay buffer below ``_meta``."""
        if is_hdf5(path):
            return set(_REQUIRED) <= set(Hdf5File(path).names(_META))
        return is_pickle_of(path, "tianshou")

    def read(
        self, path: Path, *, final_observation: FinalObservationOfEpisode = "error", done: Done = "error"
    ) -> Source:
        """Return the episodes of a replay buffer.

        Args:
            path: path of the file.
            final_observation: where the observation after the last step comes from in files without ``obs_next``.
            done: what ``done`` means in files without ``terminated`` and ``truncated``.

        Raises:
            InterchangeError: the file is damaged, or lacks something.
        """
        if is_pickle_of(path, "tianshou"):
            raise InterchangeError(
                f"{path} is a pickle, which is not read, as it could run any program; load it with Tianshou yourself "
                f"if you trust it, and convert the live buffer with minari.integrations.tianshou.from_replay_buffer."
            )
        file, report = Hdf5File(path), Report(self.NAME, "import")
        report.note("assumed", "the spaces, which the file does not have, follow from dtypes, shapes and values")
        return _Buffer(file, report).source(final_observation, done)


class _Buffer:
    """The columns of a replay buffer in a file."""

    def __init__(self, file: Hdf5File, report: Report) -> None:
        self.file, self.report = file, report
        missing = [name for name in _REQUIRED if f"{_META}/{name}" not in file]
        if missing:
            raise InterchangeError(
                f"{file.path} has no {_META}/{' and no '.join(missing)}, expected a replay buffer with steps."
            )
        size = file.attributes().get("maxsize")
        if not isinstance(size, (int, np.integer)) or size < 1:
            raise InterchangeError(f"maxsize of {file.path} is {size!r:.100}, expected the number of its rows.")
        self.size = int(size)
        self.rings = list(self._rings())
        if not any(ring.length for ring in self.rings):
            raise InterchangeError(f"The replay buffer in {file.path} has no step, expected at least one.")

    def _rings(self) -> Iterator[Ring]:
        attributes = self.file.attributes()
        if "_lengths" not in self.file:
            length, place = (self._number(attributes, name) for name in ("_size", "_insertion_idx"))
            yield self._ring(0, self.size, length, place)
            return
        columns = [self._integers(name) for name in ("_offset", "_lengths", "last_index")]
        if len({len(column) for column in columns}) > 1:
            raise self.file.damaged("its buffers have different numbers of offsets, lengths and last rows")
        offsets, lengths, lasts = columns
        for offset, end, length, last in zip(offsets, [*offsets[1:], self.size], lengths, lasts, strict=True):
            yield self._ring(offset, end - offset, length, last + 1 - offset)

    def _number(self, attributes: Mapping[str, Any], name: str) -> int:
        value = attributes.get(name)
        if not isinstance(value, (int, np.integer)):
            raise InterchangeError(f"{self.file.path} has no number {name}, expected that of a replay buffer.")
        return int(value)

    def _integers(self, name: str) -> list[int]:
        array = self.file.array(name)
        if array.ndim != 1 or array.dtype.kind not in "iu":
            raise self.file.damaged(f"{name} has {array.dtype} values of shape {array.shape}")
        found: list[int] = array.read().tolist()
        return found

    def _ring(self, start: int, size: int, length: int, place: int) -> Ring:
        """Return a ring, of which the row to be written next is at a place."""
        if not (0 <= start <= self.size and 0 < size <= self.size - start and 0 <= length <= size):
            raise self.file.damaged(f"a buffer of {size} rows at row {start} of {self.size} has {length} steps")
        if length and not 0 <= place <= size:
            raise self.file.damaged(f"a buffer of {size} rows is to be written at row {place}")
        return Ring(start, size, length, place % size if length == size else 0)

    def _columns(self, name: str) -> Any:
        """Return a column, or those in a group, without pickled ones.

        Raises:
            InterchangeError: one has another number of rows; or it is a required column and pickled.
        """
        tree = self.file.tree(f"{_META}/{name}")
        kept = self._kept(tree) if isinstance(tree, Mapping) else tree
        for array in [tree] if isinstance(tree, Hdf5Array) else []:
            if self._is_pickled(array):
                raise InterchangeError(
                    f"{array.path} of {self.file.path} is a pickle, which is not read, as it could run any program; "
                    f"store arrays of numbers, or convert the live buffer with minari.integrations.tianshou."
                )
            self._check_rows(array)
        return kept

    def _kept(self, tree: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, part in tree.items():
            if isinstance(part, Mapping):
                if inner := self._kept(part):
                    found[key] = inner
            elif self._is_pickled(part):
                self.report.note("missing", f"{part.path}, which is a pickle or not an array of numbers")
            else:
                self._check_rows(part)
                found[key] = part
        return found

    def _is_pickled(self, array: Hdf5Array) -> bool:
        kind = self.file.attributes(array.path).get(_TYPE)
        return not isinstance(kind, str) or kind not in _READABLE or array.dtype.kind not in NUMBERS

    def _check_rows(self, array: Hdf5Array) -> None:
        if array.numbers().shape[0] != self.size:
            raise self.file.damaged(f"{array.path} has {array.shape[0]} rows and the buffer has {self.size}")

    def _ordered(self, name: str) -> Any:
        columns = self._columns(name)
        if not columns and isinstance(columns, dict):
            raise InterchangeError(f"{_META}/{name} of {self.file.path} has no arrays of numbers, expected some.")
        return in_order(columns, self.rings)

    def _flags(self, done: Done) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Return which rows are terminated, truncated and done."""
        found: dict[str, npt.NDArray[np.bool_]] = {}
        for name in ("terminated", "truncated", "done"):
            if f"{_META}/{name}" in self.file:
                column = self._ordered(name)
                if isinstance(column, Mapping):
                    raise InterchangeError(f"{_META}/{name} of {self.file.path} is a group, expected flags.")
                found[name] = flags_of(name, column, self.file.path)
        total = sum(ring.length for ring in self.rings)
        nothing = np.zeros(total, np.bool_)
        if "terminated" in found or "truncated" in found:
            terminated, truncated = found.get("terminated", nothing), found.get("truncated", nothing)
            return terminated, truncated, found.get("done", nothing) | terminated | truncated
        if "done" not in found or done == "error":
            raise InterchangeError(
                f"{self.file.path} does not say whether episodes were terminated or truncated; choose "
                f"done='terminated' or done='truncated' to take all ends that `done` marks as such."
            )
        self.report.note("assumed", f"episodes that are done are {done} (done)")
        ends = found["done"]
        return (ends, nothing, ends) if done == "terminated" else (nothing, ends, ends)

    def source(self, choice: FinalObservationOfEpisode, done: Done) -> Source:
        """Return the episodes with their spaces."""
        terminated, truncated, ends = self._flags(done)
        observations, actions, rewards = (self._ordered(name) for name in _REQUIRED)
        if isinstance(rewards, Mapping):
            raise InterchangeError(f"{_META}/rew of {self.file.path} is a group, expected the rewards.")
        has_next = f"{_META}/obs_next" in self.file
        following = self._ordered("obs_next") if has_next else None
        if has_next and _kinds(following) != _kinds(observations):
            raise self.file.damaged("obs and obs_next differ in names, dtype or shape")
        further = [name for name in self.file.names(_META) if name not in _KNOWN]
        before = in_order(self._kept({name: self.file.tree(f"{_META}/{name}") for name in further}), self.rings)
        after = in_order(self._info(), self.rings)
        rows = FlatRows(
            observations,
            actions,
            rewards,
            terminated,
            truncated,
            np.zeros(0, np.int64),
            np.zeros(0, np.int64),
            following,
            {key: part for key, part in before.items() if key not in after},
            after,
        )
        cuts = rows.breaks() if has_next else np.zeros(len(ends), np.bool_)
        rows = cut_episodes(rows, self.rings, ends, cuts, self.report)
        if not has_next:
            check_final_observation(choice, self.file.path, len(rows.starts), self.report)
        spaces = (
            infer_observation_space(map_rows(lambda part: part[0:1], observations)),
            infer_action_space(map_rows(action_values, actions)),
        )
        total = None if not has_next and choice == "drop_last_step" else len(rows.starts)
        return Source(*spaces, rows.episodes(choice, self.report), self.report, total)

    def _info(self) -> dict[str, Any]:
        """Return the infos by their names, nested."""
        path = f"{_META}/info"
        if not self.file.is_group(path):
            return {}
        found: dict[str, Any] = self._kept(self.file.tree(path))
        return found


def _kinds(tree: Any) -> Any:
    return map_rows(lambda rows: (rows.dtype, rows.shape[1:]), tree)
