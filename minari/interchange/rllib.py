"""RLlib: the JSON lines of ``JsonWriter``, one fragment of steps in each line of one or several files.

Fragments are joined to episodes by ``eps_id`` and ``t``, file by file; an episode ends where ``terminateds`` or
``truncateds`` is set, and where another row than its next one follows. One that has not ended in its file has no flag.
Files of versions before 2.3, which have only ``dones``, need the option ``done``. The observation after the last step
comes from ``new_obs``, and in files without from the option ``final_observation``. Infos belong to the observation
after the step, and other columns to the one before it. JSON has no dtypes: numbers with a fraction become float32, as
everywhere in RLlib, or what the option ``floats`` says; others become int64. Batches of many agents are refused.

Columns that are packed, which are texts, contain pickles and are refused: write them with ``compress_columns=[]``.
A line may have 1 GiB, and is in memory as a whole. Export writes one file with a line for each episode, or several for
a long one. Source: RLlib's ``offline/json_writer.py`` and its files.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from minari._base.files import leads_out
from minari._base.json_text import shortened
from minari._model.episode import EpisodeData
from minari.dataset.minari_dataset import MinariDataset
from minari.errors import InterchangeError
from minari.interchange.format import Format, Report, Source, check_array_spaces
from minari.interchange.trajectories import (
    NUMBERS,
    FinalObservationOfEpisode,
    Trajectory,
    before_steps,
    check_final_observation,
    episodes_of,
)
from minari.progress import track
from minari.spaces.inference import infer_action_space, infer_observation_space


__all__ = ["RLlib"]

#: What ``dones`` means in files without ``terminateds`` and ``truncateds``.
Done: TypeAlias = Literal["error", "terminated", "truncated"]
#: Dtype of numbers with a fraction.
Floats: TypeAlias = Literal["float32", "float64"]

_BEGINNING: Final = re.compile(rb'\s*\{\s*"type"\s*:\s*"(SampleBatch|MultiAgentBatch)"')
_REQUIRED: Final = ("obs", "actions", "rewards")
_FLAGS: Final = ("terminateds", "truncateds", "dones")
_PLACES: Final = ("type", "count", "eps_id", "t", "agent_index", "unroll_id", "infos")
_KNOWN: Final = (*_REQUIRED, "new_obs", *_FLAGS, *_PLACES)
_LONGEST_LINE: Final = 2**30  # bytes
_PART: Final = 2**20  # bytes of a long line that are read at once
_VALUES_OF_LINE: Final = 2**20  # numbers in a line that is written


class RLlib(Format):
    """Format of the JSON files of RLlib."""

    NAME = "rllib"

    def sniff(self, path: Path) -> bool:
        """Return whether a file, or the first one of a directory, begins with a batch."""
        files = [path] if path.is_file() else _files(path)
        if not files:
            return False
        with files[0].open("rb") as file:
            return _BEGINNING.match(file.read(100)) is not None

    def read(
        self,
        path: Path,
        *,
        final_observation: FinalObservationOfEpisode = "error",
        done: Done = "error",
        floats: Floats = "float32",
    ) -> Source:
        """Return the episodes of a file, or of the files of a directory.

        Args:
            path: the file or directory.
            final_observation: where the observation after the last step comes from in files without ``new_obs``.
            done: what ``dones`` means in files without ``terminateds`` and ``truncateds``.
            floats: dtype of numbers with a fraction.

        Raises:
            InterchangeError: a file is damaged, packed, of many agents, or lacks something.
        """
        report = Report(self.NAME, "import")
        reader = _Reader(path, report, done, np.dtype(floats))
        first = next(reader.batches(), None)
        if first is None:
            raise InterchangeError(f"{path} has no batch, expected at least one.")
        if "new_obs" not in first:
            check_final_observation(final_observation, path, len(np.unique(first["eps_id"])), report)
        report.note("assumed", "the spaces, which the files do not have, follow from shapes and values")
        report.note("assumed", f"numbers with a fraction are {floats} values (floats), as JSON has no dtypes")
        spaces = infer_observation_space(first["obs"]), infer_action_space(reader.action_values(first))
        return Source(*spaces, episodes_of(reader.trajectories(), path, final_observation, report), report)

    def write(self, dataset: MinariDataset, path: Path) -> Report:
        """Write a file with a line for each episode, or several for a long one, which ``JsonReader`` reads.

        Args:
            dataset: its observations and actions are one array a step.
            path: the new file.

        Raises:
            InterchangeError: its spaces are of other kinds.
        """
        report = Report(self.NAME, "export")
        check_array_spaces(dataset)
        episodes = track(dataset.iterate_episodes(copy=False), "exporting episodes", total=len(dataset))
        with path.open("w", encoding="utf-8") as file:
            for number, episode in enumerate(episodes):
                for start, stop in _fragments(episode):
                    file.write(json.dumps(_line(number, episode, start, stop)) + "\n")
                _note_bounds(episode, report)
        report.note("missing", "dtypes, which JSON does not have")
        report.note("missing", "infos, spaces, seeds, options and other metadata of episodes and of the dataset")
        return report


@dataclass(slots=True)
class _Open:
    """An episode whose rows are still being read."""

    eps_id: Any
    parts: list[dict[str, Any]] = field(default_factory=list)
    next_step: int | None = None


class _Reader:
    """The batches of a file or directory, joined to trajectories."""

    def __init__(self, path: Path, report: Report, done: Done, floats: np.dtype[Any]) -> None:
        self._path, self._report, self._done, self._floats = path, report, done, floats
        self._files = [path] if path.is_file() else _files(path)
        if not self._files:
            raise InterchangeError(f"{path} has no files *.json, expected those of RLlib's JsonWriter.")
        self._kinds: dict[str, str] = {}

    def batches(self, number: int | None = None) -> Iterator[dict[str, Any]]:
        """Yield the columns of each batch of a file, or of all files."""
        for file in self._files if number is None else [self._files[number]]:
            for where, line in _lines_of(file):
                columns = self._columns(self._batch(line, where), where)
                if len(columns["rewards"]):
                    yield columns

    def _batch(self, line: bytes, where: str) -> Mapping[str, Any]:
        """Return the batch in a line."""
        try:
            found = json.loads(line)  # however deep it is: only lists of numbers are taken from it, by NumPy
        except (ValueError, RecursionError) as error:
            raise InterchangeError(
                f"{where} cannot be read as JSON ({shortened(str(error))}); copy or download the file again."
            ) from error
        if isinstance(found, dict) and isinstance(found.get("policy_batches"), dict):
            policies = found["policy_batches"]
            if len(policies) != 1:
                raise InterchangeError(
                    f"{where} has a batch of the policies {shortened(list(policies))}, expected one agent; select one "
                    f"policy before."
                )
            (found,) = policies.values()
        if not isinstance(found, dict) or not set(_REQUIRED) <= set(found):
            raise InterchangeError(f"{where} has no {', '.join(_REQUIRED)}, expected a batch of RLlib.")
        return found

    def _columns(self, batch: Mapping[str, Any], where: str) -> dict[str, Any]:
        """Return the columns of a batch as arrays, and its infos."""
        found: dict[str, Any] = {}
        for name, values in batch.items():
            if name in ("type", "count", "infos"):
                continue
            if isinstance(values, str):
                raise InterchangeError(
                    f"{name} in {where[0].lower()}{where[1:]} is packed, a pickle that is not read, as it could run "
                    f"any program; write the file again with compress_columns=[]."
                )
            column = self._array(name, values)
            if column is not None:
                found[name] = column
            elif name in _KNOWN:
                raise InterchangeError(f"{name} in {where[0].lower()}{where[1:]} has no numbers, expected some.")
            else:
                self._report.note("missing", f"{name}, which is not an array of numbers")
        steps = len(found["rewards"])
        for name, column in found.items():
            if len(column) != steps:
                raise InterchangeError(f"{where} has {steps} rewards and {len(column)} {name}, expected as many.")
        for name in ("eps_id", "t"):
            if name in found and (found[name].ndim > 1 or found[name].dtype.kind not in "iu"):
                raise InterchangeError(f"{where} has the {name} {shortened(batch[name])}, expected integers.")
        if "eps_id" not in found:
            raise InterchangeError(f"{where} has no eps_id, expected the number of the episode of each row.")
        if len(np.unique(found.get("agent_index", 0))) > 1:
            raise InterchangeError(f"{where} has rows of several agents, expected one; select one before.")
        infos = batch.get("infos")
        if isinstance(infos, list) and len(infos) == steps and all(isinstance(info, dict) for info in infos):
            found["infos"] = infos
        return found

    def _array(self, name: str, values: Any) -> npt.NDArray[Any] | None:
        """Return a column, None if it has other values than numbers."""
        try:
            column = np.asarray(values)
        except (ValueError, OverflowError):
            return None
        if column.ndim < 1 or column.dtype.kind not in NUMBERS:
            return None
        kind = self._kinds.setdefault(name, column.dtype.kind)
        if column.dtype.kind == "f" or (kind == "f" and column.dtype.kind in "iu") or name == "rewards":
            rounded = column.astype(self._floats)
            if not np.array_equal(rounded, column, equal_nan=True):
                self._report.note("missing", f"digits that {self._floats} does not have; choose floats='float64'")
            return rounded
        return column

    def action_values(self, first: Mapping[str, Any]) -> npt.NDArray[Any]:
        """Return what the space of actions follows from: the limits of choices, or one row of others."""
        actions: npt.NDArray[Any] = first["actions"]
        if actions.ndim > 1 or actions.dtype.kind not in "iu":
            return actions[:1]
        limits = [limit for one in self.batches() for limit in (one["actions"].min(), one["actions"].max())]
        return np.array([min(limits), max(limits)])

    def trajectories(self) -> Iterator[Trajectory]:
        """Yield the episodes in the order in which they end, file by file."""
        for number, file in enumerate(self._files):
            pending: dict[Any, _Open] = {}
            for batch in self.batches(number):
                flags = self._flags(batch)
                for start, stop in _runs(batch, flags["done"]):
                    yield from self._add(pending, batch, flags, start, stop)
            for left in pending.values():
                self._report.note("taken", "episodes that have not ended in their file, without a flag")
                yield self._joined(left, file)

    def _add(
        self,
        pending: dict[Any, _Open],
        batch: Mapping[str, Any],
        flags: Mapping[str, npt.NDArray[np.bool_]],
        start: int,
        stop: int,
    ) -> Iterator[Trajectory]:
        """Add consecutive rows to their episode, and yield episodes that end."""
        eps_id = batch["eps_id"][start].item()
        first = int(batch["t"][start]) if "t" in batch else None
        known = pending.get(eps_id)
        if known is not None and known.next_step != first:
            self._report.note("assumed", "episodes whose next row is missing end there, without a flag")
            yield self._joined(pending.pop(eps_id), self._path)
        one = pending.setdefault(eps_id, _Open(eps_id))
        one.parts.append({key: column[start:stop] for key, column in {**batch, **flags}.items()})
        one.next_step = None if first is None else first + stop - start
        if flags["done"][stop - 1]:
            yield self._joined(pending.pop(eps_id), self._path)

    def _flags(self, batch: Mapping[str, Any]) -> dict[str, npt.NDArray[np.bool_]]:
        nothing = np.zeros(len(batch["rewards"]), np.bool_)
        found = {}
        for name in _FLAGS:
            if name in batch:
                column = batch[name]
                if column.ndim > 1 or not np.isin(column, (0, 1)).all():
                    raise InterchangeError(f"{name} of {self._path} has other values than 0 and 1, expected flags.")
                found[name] = column.astype(np.bool_)
        if "terminateds" in found or "truncateds" in found:
            terminated, truncated = found.get("terminateds", nothing), found.get("truncateds", nothing)
        elif "dones" not in found or self._done == "error":
            raise InterchangeError(
                f"{self._path} does not say whether episodes were terminated or truncated; choose done='terminated' or "
                f"done='truncated' to take all ends that `dones` marks as such."
            )
        else:
            self._report.note("assumed", f"episodes that are done are {self._done} (done)")
            ends = found["dones"]
            terminated, truncated = (ends, nothing) if self._done == "terminated" else (nothing, ends)
        return {"terminated": terminated, "truncated": truncated, "done": terminated | truncated}

    def _joined(self, one: _Open, where: Path) -> Trajectory:
        """Return an episode."""
        name = f"episode {one.eps_id}"
        names = [key for key in one.parts[0] if key != "infos"]
        try:
            columns = {key: np.concatenate([part[key] for part in one.parts]) for key in names}
            observations = columns["obs"]
            if "new_obs" in columns:
                observations = np.concatenate([observations, columns["new_obs"][-1:]])
        except (KeyError, ValueError) as error:
            raise InterchangeError(
                f"The rows of {name} in {where} differ in columns or shape ({shortened(str(error))}), expected the "
                f"same in all lines."
            ) from error
        further = {key: column for key, column in columns.items() if key not in (*_KNOWN, *_OWN)}
        infos = before_steps(further)
        if all("infos" in part for part in one.parts):
            infos.update(self._infos([info for part in one.parts for info in part["infos"]]))
        flags = columns["terminated"], columns["truncated"]
        metadata = {"eps_id": one.eps_id} if isinstance(one.eps_id, int) and abs(one.eps_id) < 2**63 else None
        return Trajectory(name, observations, columns["actions"], columns["rewards"], *flags, infos, metadata)

    def _infos(self, steps: list[dict[str, Any]]) -> dict[str, npt.NDArray[Any]]:
        """Return the infos that are numbers where they are there, with masks of where that is."""
        found: dict[str, npt.NDArray[Any]] = {}
        for key in dict.fromkeys(key for step in steps for key in step):
            values = [step[key] for step in steps if key in step]
            if not all(isinstance(value, (bool, int, float)) for value in values):
                self._report.note("missing", f"the info {shortened(key)}, which is not a number")
                continue
            column = np.array(values)
            if column.dtype.kind not in "bif":
                self._report.note("missing", f"the info {shortened(key)}, whose numbers are too large")
                continue
            mask = np.array([False, *(key in step for step in steps)])
            rows = np.zeros(len(mask), column.dtype)
            rows[mask] = column
            found[key], found[f"_{key}"] = rows, mask
        return found


_OWN: Final = ("terminated", "truncated", "done")


def _runs(batch: Mapping[str, Any], done: npt.NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Yield the bounds of consecutive rows of an episode."""
    ids = batch["eps_id"]
    cuts = done[:-1] | (ids[1:] != ids[:-1])
    if "t" in batch:
        cuts |= batch["t"][1:] != batch["t"][:-1] + 1
    bounds = [0, *(np.flatnonzero(cuts) + 1).tolist(), len(ids)]
    yield from ((start, stop) for start, stop in itertools.pairwise(bounds) if stop > start)


def _lines_of(file: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the lines of a file that are not empty, each with its place for messages.

    Raises:
        InterchangeError: a line does not begin as an object, or is too long.
    """
    with file.open("rb") as lines:
        for place in itertools.count(1):
            where = f"Line {place} of {file}"
            beginning = lines.peek(1).lstrip(b" \t")  # a line of another kind of file may have any length
            line = _line_of(lines, where) if beginning[:1] in (b"", b"\n", b"\r", b"{") else beginning
            if not line:
                return
            text = line.lstrip()
            if text and not text.startswith(b"{"):
                raise InterchangeError(f"{where} is no JSON object, expected a batch; is it another file?")
            if len(line) > _LONGEST_LINE:
                raise InterchangeError(
                    f"{where} is longer than {_LONGEST_LINE:,} bytes, expected a shorter one as it is read as a whole; "
                    f"write it again with a smaller rollout_fragment_length."
                )
            if text:
                yield where, text


def _line_of(lines: BinaryIO, where: str) -> bytes:
    """Return a line, or one byte more than is allowed; in parts, so that other bytes than text are not all read."""
    parts, size = [], 0
    while size <= _LONGEST_LINE and (part := lines.readline(min(_PART, _LONGEST_LINE + 1 - size))):
        if b"\0" in part:
            raise InterchangeError(f"{where} is not text, expected JSON; copy or download the file again.")
        parts.append(part)
        size += len(part)
        if part.endswith(b"\n"):
            break
    return b"".join(parts)


def _files(directory: Path) -> list[Path]:
    """Return the JSON files of a directory, sorted, without links that lead out of it."""
    files = [one for one in directory.iterdir() if one.suffix == ".json" and one.is_file()]
    return sorted(one for one in files if not leads_out(one))


def _note_bounds(episode: EpisodeData, report: Report) -> None:
    """Say where an episode is read back with other bounds, or in another place."""
    ends = episode.terminations | episode.truncations
    if ends[:-1].any():
        report.note("missing", "the bounds of episodes with flags before their last step, which are read as ends")
    if not ends[-1:].any():
        report.note("missing", "the order of episodes without an end, which are read after all others")


def _fragments(episode: EpisodeData) -> Iterator[tuple[int, int]]:
    """Yield the bounds of the steps of an episode that are written in one line."""
    if episode.rewards.ndim > 1:
        raise InterchangeError(f"Episode {episode.id} has {episode.rewards.shape[1]} rewards a step, expected one.")
    steps = len(episode)
    values = 2 * np.asarray(episode.observations).size + np.asarray(episode.actions).size
    count = max(1, _VALUES_OF_LINE * steps // max(1, values))
    for start in range(0, max(1, steps), count):
        yield start, min(start + count, steps)


def _line(number: int, episode: EpisodeData, start: int, stop: int) -> dict[str, Any]:
    """Return the batch of some steps of an episode."""
    observations, steps = np.asarray(episode.observations), slice(start, stop)
    return {
        "type": "SampleBatch",
        "eps_id": [number] * (stop - start),
        "t": list(range(start, stop)),
        "agent_index": [0] * (stop - start),
        "obs": observations[steps].tolist(),
        "new_obs": observations[start + 1 : stop + 1].tolist(),
        "actions": np.asarray(episode.actions)[steps].tolist(),
        "rewards": episode.rewards[steps].tolist(),
        "terminateds": episode.terminations[steps].tolist(),
        "truncateds": episode.truncations[steps].tolist(),
    }
