"""TorchRL: the directories of ``ReplayBuffer.dumps``, whose memory-mapped tensors are read without torch.

``storage/meta.json`` names the tensors, each of which is a file of raw values; ``next/`` has those after the step.
Keys that are there before and after a step are observations; ``action`` has the actions, ``next/reward`` the rewards,
and ``next/terminated`` and ``next/truncated`` the flags (those without ``next`` are about the step before). Other keys
become infos. Rows are taken in the order of time, by the cursor in ``writer/metadata.json``; with two dimensions, time
and environments, those of one environment after those of another. An episode ends at its flags, where
``collector/traj_ids`` changes, where its next observation is not that of the next row, and at the end of the buffer,
there without a flag. Files without ``next/terminated`` need the option ``done``, and those without observations below
``next`` the option ``final_observation``.

``prefetch.pkl``, a pickle, is never read. To write such a directory, use :mod:`minari.integrations.torchrl` and
``dumps``. Sources: the files, and https://docs.pytorch.org/rl (replay buffers, TED format).
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, TypeGuard

import numpy as np
import numpy.typing as npt

from minari._base.data_file import DataFile
from minari._base.json_text import parse_json, shortened
from minari.errors import InterchangeError, UnsafePathError
from minari.interchange.flat_rows import FlatRows, action_values, blocks_of, flags_of, map_rows
from minari.interchange.format import Format, Report, Source
from minari.interchange.rings import Ring, RowsInOrder, cut_episodes, in_order
from minari.interchange.trajectories import FinalObservationOfEpisode, check_final_observation, is_plain_name
from minari.spaces.inference import infer_action_space, infer_observation_space


__all__ = ["TorchRL"]

#: What ``next/done`` means in files without ``next/terminated`` and ``next/truncated``.
Done: TypeAlias = Literal["error", "terminated", "truncated"]

_DTYPES: Final = {
    f"torch.{name}": np.dtype(name)
    for name in ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64")
}
_FLAGS: Final = ("terminated", "truncated", "done")
_BEFORE: Final = ("action", "done", "terminated", "truncated", "reward", "index", "is_init")
_MOST_LEVELS: Final = 16  # of nested directories
_MOST_JSON: Final = 2**24  # bytes of a file
_LARGE: Final = 512  # bytes of an item; larger ones are read one by one from rows of many


class TorchRL(Format):
    """Format of the replay buffers of TorchRL."""

    NAME = "torchrl"

    def sniff(self, path: Path) -> bool:
        """Return whether a directory has the storage of a replay buffer."""
        names = ("storage/meta.json", "storage/storage_metadata.json", "writer/metadata.json")
        return path.is_dir() and all((path / name).is_file() for name in names)

    def read(
        self, path: Path, *, final_observation: FinalObservationOfEpisode = "error", done: Done = "error"
    ) -> Source:
        """Return the episodes of a replay buffer.

        Args:
            path: the directory.
            final_observation: where the observation after the last step comes from in files without any.
            done: what ``next/done`` means in files without ``next/terminated``.

        Raises:
            InterchangeError: it is damaged, or lacks something.
        """
        report = Report(self.NAME, "import")
        report.note("assumed", "the spaces, which the files do not have, follow from dtypes, shapes and values")
        return _Buffer(path, report).source(final_observation, done)


class _Tensor:
    """A tensor in a file, by rows.

    Args:
        path: the file.
        dtype: dtype of its values.
        shape: its shape.
    """

    def __init__(self, path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        self.dtype, self.shape = dtype, shape
        size = math.prod(shape, start=dtype.itemsize)
        self._file = _opened(path)
        weakref.finalize(self, self._file.close)
        if self._file.size < size:
            raise InterchangeError(f"{path} has {self._file.size} bytes, expected {size}; copy the directory again.")

    def read(self, first: int, shape: tuple[int, ...]) -> npt.NDArray[Any]:
        """Return consecutive values."""
        try:
            values = self._file.new_array(first * self.dtype.itemsize, shape, self.dtype)
        except ValueError as error:
            raise InterchangeError("A file was cut while it was read; copy the directory again.") from error
        if self.dtype.kind == "b" and (values.view(np.uint8) > 1).any():
            raise InterchangeError("A tensor of booleans has other values than 0 and 1; copy the directory again.")
        return values


class _Column:
    """The rows of one environment in a tensor.

    Args:
        tensor: of shape (rows, ...), or (rows, environments, ...).
        number: the number of the environment; None if there is one.
    """

    def __init__(self, tensor: _Tensor, number: int | None) -> None:
        self._tensor, self._number = tensor, number
        item = tensor.shape[1:] if number is None else tensor.shape[2:]
        self.dtype, self.shape = tensor.dtype, (tensor.shape[0], *item)

    def __getitem__(self, rows: slice) -> npt.NDArray[Any]:
        start, stop, _ = rows.indices(self.shape[0])
        count, item = max(0, stop - start), self.shape[1:]
        size, tensor = math.prod(item), self._tensor
        if self._number is None:
            return tensor.read(start * size, (count, *item))
        environments = tensor.shape[1]
        if size * self.dtype.itemsize < _LARGE:
            every = tensor.read(start * environments * size, (count, environments, *item))
            return np.ascontiguousarray(every[:, self._number])
        found = np.empty((count, *item), self.dtype)
        for row in range(count):
            found[row] = tensor.read(((start + row) * environments + self._number) * size, item)
        return found


class _Joined:
    """The rows of one environment after those of another."""

    def __init__(self, parts: list[RowsInOrder]) -> None:
        self._parts = parts
        self._ends = np.cumsum([part.shape[0] for part in parts]).tolist()
        self.dtype, self.shape = parts[0].dtype, (self._ends[-1], *parts[0].shape[1:])

    def __getitem__(self, rows: slice) -> npt.NDArray[Any]:
        start, stop, _ = rows.indices(self.shape[0])
        begins = [0, *self._ends[:-1]]
        found = [
            part[max(start - begin, 0) : min(stop, end) - begin]
            for part, begin, end in zip(self._parts, begins, self._ends, strict=True)
            if start < end and begin < stop
        ]
        return np.concatenate(found) if found else self._parts[0][0:0]


class _Buffer:
    """The tensors of a replay buffer in a directory."""

    def __init__(self, path: Path, report: Report) -> None:
        self.path, self.report = path, report
        storage = path / "storage"
        description = _json(storage / "meta.json")
        shape = _shape(description.get("shape"), storage / "meta.json")
        if len(shape) not in (1, 2) or not all(shape):
            raise InterchangeError(
                f"The storage of {path} has the shape {list(shape)}, expected steps, or steps and environments."
            )
        self.shape = shape
        self.ring = self._ring()
        self.tensors = self._tensors(storage, description, 0)

    def _ring(self) -> Ring:
        """Return the rows that are filled, in each environment."""
        stored = _json(self.path / "storage" / "storage_metadata.json")
        cursor = _json(self.path / "writer" / "metadata.json").get("cursor")
        elements, size = stored.get("len"), self.shape[0]
        if stored.get("is_pytree") or not _is_count(elements) or not _is_count(cursor):
            raise InterchangeError(
                f"{self.path} has the length {shortened(elements)} and the cursor {shortened(cursor)}, expected "
                f"numbers of steps in a storage of tensors."
            )
        length, rest = divmod(elements, self.shape[1] if len(self.shape) > 1 else 1)
        if rest or length > size or cursor > size or (length < size and cursor != length):
            raise InterchangeError(
                f"{self.path} has the length {elements} and the cursor {cursor} in a storage of the shape "
                f"{list(self.shape)}, expected one of steps and environments."
            )
        if not length:
            raise InterchangeError(f"The replay buffer in {self.path} has no step, expected at least one.")
        return Ring(0, size, length, cursor % size if length == size else 0)

    def _tensors(self, directory: Path, description: Mapping[str, Any], level: int) -> dict[str, Any]:
        """Return the tensors of a directory and those in it, nested."""
        if level > _MOST_LEVELS:
            raise InterchangeError(f"The directories in {self.path} are nested deeper than {_MOST_LEVELS} levels.")
        found: dict[str, Any] = {}
        for key, value in description.items():
            if not isinstance(value, Mapping):
                continue
            if not is_plain_name(key) or "\\" in key:
                raise InterchangeError(f"{directory} has a key {shortened(key)}, expected a name; it is not read.")
            if "dtype" in value:
                if (tensor := self._tensor(directory, key, value)) is not None:
                    found[key] = tensor
            elif value.get("type") == "TensorDict":
                inner = self._tensors(directory / key, _json(directory / key / "meta.json"), level + 1)
                if inner:
                    found[key] = inner
            else:
                self.report.note("missing", f"{key}, which is not a tensor")
        return found

    def _tensor(self, directory: Path, key: str, value: Mapping[str, Any]) -> Any:
        dtype, shape = _DTYPES.get(str(value["dtype"])), _shape(value.get("shape"), directory / "meta.json")
        if dtype is None or value.get("is_nested") or shape[: len(self.shape)] != self.shape:
            raise InterchangeError(
                f"{key} in {directory} is a tensor of {shortened(value['dtype'])} values of the shape {list(shape)}, "
                f"expected numbers for each step."
            )
        if 0 in shape:
            self.report.note("missing", f"{key}, which has no values")
            return None
        tensor = _Tensor(directory / f"{key}.memmap", dtype, shape)
        if len(self.shape) == 1:
            return in_order(_Column(tensor, None), [self.ring])
        return _Joined([in_order(_Column(tensor, number), [self.ring]) for number in range(self.shape[1])])

    def _flags(self, after: Mapping[str, Any], done: Done) -> dict[str, npt.NDArray[np.bool_]]:
        found = {
            name: flags_of(f"next/{name}", after[name], self.path)
            for name in _FLAGS
            if name in after and not isinstance(after[name], Mapping)
        }
        total = self.ring.length * math.prod(self.shape[1:])
        nothing = np.zeros(total, np.bool_)
        if "terminated" not in found and "truncated" not in found:
            if "done" not in found or done == "error":
                raise InterchangeError(
                    f"{self.path} does not say whether episodes were terminated or truncated; choose "
                    f"done='terminated' or done='truncated' to take all ends that `done` marks as such."
                )
            self.report.note("assumed", f"episodes that are done are {done} (done)")
            found[done] = found["done"]
        flags = {name: found.get(name, nothing) for name in _FLAGS}
        flags["done"] = flags["done"] | flags["terminated"] | flags["truncated"]
        return flags

    def source(self, choice: FinalObservationOfEpisode, done: Done) -> Source:
        """Return the episodes with their spaces."""
        before = {key: value for key, value in self.tensors.items() if key != "next"}
        after = self.tensors.get("next")
        if "action" not in before or not isinstance(after, Mapping) or "reward" not in after:
            raise InterchangeError(
                f"{self.path} has the keys {sorted(self.tensors)}, expected action, next/reward and observations."
            )
        flags = self._flags(after, done)
        following = {key: part for key, part in after.items() if key not in ("reward", *_FLAGS)}
        possible = [key for key in before if key not in _BEFORE and key != "collector"]
        names = [key for key in possible if key in following] or [key for key in possible if "obs" in key]
        if not names:
            raise InterchangeError(f"{self.path} has no observations, expected a key that is also below next.")
        has_next = all(key in following for key in names)
        observations = {key: before[key] for key in names}
        next_observations = {key: following[key] for key in names} if has_next else None
        if has_next and _kinds(next_observations) != _kinds(observations):
            raise InterchangeError(f"The observations and those below next of {self.path} differ in dtype or shape.")
        rewards = after["reward"]
        if isinstance(rewards, Mapping):
            raise InterchangeError(f"next/reward of {self.path} is a directory, expected a tensor.")
        infos = {key: part for key, part in before.items() if key not in (*_BEFORE, *names)}
        rows = FlatRows(
            observations,
            before["action"],
            rewards,
            flags["terminated"],
            flags["truncated"],
            np.zeros(0, np.int64),
            np.zeros(0, np.int64),
            next_observations,
            infos,
            {key: part for key, part in following.items() if key not in names and key not in infos},
        )
        rings = [self.ring] * math.prod(self.shape[1:])
        rows = cut_episodes(rows, rings, flags["done"], rows.breaks() | self._changes(before), self.report)
        if not has_next:
            check_final_observation(choice, self.path, len(rows.starts), self.report)
        self.report.note("taken", f"{', '.join(names)} as observations")
        spaces = (
            infer_observation_space(map_rows(lambda part: part[0:1], observations)),
            infer_action_space(map_rows(action_values, rows.actions)),
        )
        total = None if not has_next and choice == "drop_last_step" else len(rows.starts)
        return Source(*spaces, rows.episodes(choice, self.report), self.report, total)

    def _changes(self, tensors: Mapping[str, Any]) -> npt.NDArray[np.bool_]:
        """Return after which rows the trajectory is another one."""
        collector = tensors.get("collector")
        ids = collector.get("traj_ids") if isinstance(collector, Mapping) else None
        found = np.zeros(self.ring.length * math.prod(self.shape[1:]), np.bool_)
        if ids is not None and not isinstance(ids, Mapping):
            row, before = 0, ids[0:1]
            for block in blocks_of(ids):
                values = np.concatenate([before, block]).reshape(len(block) + 1, -1)
                found[max(0, row - 1) : row + len(block) - 1] = (values[1:] != values[:-1]).any(axis=1)[row == 0 :]
                row, before = row + len(block), block[-1:]
        return found


def _kinds(tree: Any) -> Any:
    return map_rows(lambda rows: (rows.dtype, rows.shape[1:]), tree)


def _opened(path: Path) -> DataFile:
    try:
        if path.parent.is_symlink():
            raise UnsafePathError(f"{path.parent} is a link")
        return DataFile(path)
    except (OSError, UnsafePathError) as error:
        raise InterchangeError(
            f"{path} cannot be read ({shortened(str(error))}), expected a regular file in its directory."
        ) from error


def _json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file."""
    with _opened(path) as file:
        if file.size > _MOST_JSON:
            raise InterchangeError(f"{path} has {file.size} bytes, expected a small JSON object.")
        text = file.read_at(0, file.size)
    try:
        found = parse_json(text)
    except ValueError as error:
        raise InterchangeError(
            f"{path} cannot be read as JSON ({shortened(str(error))}); copy the directory again."
        ) from error
    if not isinstance(found, dict):
        raise InterchangeError(f"{path} is {shortened(found)}, expected a JSON object.")
    return found


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _shape(value: Any, path: Path) -> tuple[int, ...]:
    if not isinstance(value, list) or len(value) > 32 or not all(map(_is_count, value)):
        raise InterchangeError(f"A shape in {path} is {shortened(value)}, expected a list of lengths.")
    return tuple(value)
