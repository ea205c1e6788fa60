"""D4RL: one HDF5 file of flat rows, ``observations``, ``actions``, ``rewards``, ``terminals`` and ``timeouts``.

Row *i* has the observation before a step, the action, and the reward and the flags after it. ``terminals`` become
terminations; ``timeouts`` become truncations, except where both are set, which is a termination. Where a file has no
``timeouts``, an episode also ends where its next observation is not that of the next row, or, with the option
``max_episode_steps``, after so many steps. The observation after the last step comes from ``next_observations``, or
from the option ``final_observation``. ``infos/*`` belong to the observation before the step; ``metadata/*`` becomes
metadata of the dataset. The layout is that of https://github.com/Farama-Foundation/D4RL (``offline_env.py``).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from minari._model.arguments import check_count
from minari._model.episode import EpisodeData
from minari.dataset.minari_dataset import MinariDataset
from minari.errors import ArgumentError, InterchangeError
from minari.interchange.flat_rows import FlatRows, action_values, flags_of
from minari.interchange.foreign_hdf5 import Hdf5Array, Hdf5File, is_hdf5
from minari.interchange.format import FinalObservation, Format, Report, Source, check_array_spaces
from minari.interchange.hdf5_output import open_hdf5_output
from minari.interchange.trajectories import numeric_infos
from minari.progress import track
from minari.spaces.inference import infer_action_space, infer_observation_space


__all__ = ["D4RL"]

_REQUIRED = ("observations", "actions", "rewards", "terminals")
_KNOWN = (*_REQUIRED, "timeouts", "next_observations", "infos", "metadata")
_WRITTEN = (*_REQUIRED, "timeouts", "next_observations")
_LARGEST_METADATA = 2**16  # numbers of all arrays below `metadata`


class D4RL(Format):
    """Format of D4RL."""

    NAME = "d4rl"

    def sniff(self, path: Path) -> bool:
        """Return whether a file has the arrays of D4RL at its root."""
        names = set(Hdf5File(path).names()) if is_hdf5(path) else set()
        return set(_REQUIRED) <= names and "episode_terminals" not in names  # which files of d3rlpy have

    def read(
        self,
        path: Path,
        *,
        final_observation: FinalObservation = "error",
        max_episode_steps: int | None = None,
    ) -> Source:
        """Return the episodes of a file.

        Args:
            path: path of the file.
            final_observation: where the observation after the last step of an episode comes from in files without
                ``next_observations``.
            max_episode_steps: number of steps after which an episode was cut off, for files without ``timeouts``.

        Raises:
            InterchangeError: the file is damaged, or lacks something.
        """
        if max_episode_steps is not None:
            check_count("max_episode_steps", max_episode_steps, 1, ArgumentError)
        file, report = Hdf5File(path), Report(self.NAME, "import")
        columns = _columns(file)
        rows = _cut(file, columns, max_episode_steps, report)
        rows.check_final_observation(final_observation, path)
        spaces = (
            infer_observation_space(_one_row(columns["observations"])),
            infer_action_space(action_values(columns["actions"])),
        )
        report.note("assumed", "the spaces, which the file does not have, follow from dtypes, shapes and values")
        metadata = {"d4rl": found} if (found := _metadata(file, report)) else {}
        episodes = rows.episodes(final_observation, report)
        return Source(*spaces, episodes, report, len(rows.starts), metadata)

    def write(self, dataset: MinariDataset, path: Path) -> Report:
        """Write the episodes with ``next_observations``, ``timeouts`` and numeric infos.

        Args:
            dataset: its observations and actions are boxes, or discrete actions.
            path: the new file.

        Raises:
            InterchangeError: its spaces are of other kinds.
        """
        report = Report(self.NAME, "export")
        check_array_spaces(dataset)
        with open_hdf5_output(path, dataset.total_steps) as output:
            for episode in track(dataset.iterate_episodes(copy=False), "exporting episodes", total=len(dataset)):
                output.append(_rows_of(episode, report))
            output.finish(_WRITTEN)
            for name in sorted(output.incomplete):
                report.note("missing", f"{name}, which not all episodes have with one dtype and shape")
        report.note("missing", "spaces, seeds, options and other metadata of episodes and of the dataset")
        return report


def _columns(file: Hdf5File) -> dict[str, Hdf5Array]:
    """Return the arrays with one row for each step, by their paths.

    Raises:
        InterchangeError: one that every file has is missing, or they differ in length.
    """
    missing = [name for name in _REQUIRED if not file.is_array(name)]
    if missing:
        raise InterchangeError(
            f"{file.path} has no {' and no '.join(missing)}, expected the arrays {', '.join(_REQUIRED)}; is it another "
            f"kind of file?"
        )
    columns = {name: file.array(name) for name in (*_REQUIRED, "timeouts", "next_observations") if name in file}
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1 or not lengths["rewards"]:
        raise InterchangeError(
            f"The arrays of {file.path} have {', '.join(f'{count} {name}' for name, count in lengths.items())}, "
            f"expected the same number of rows, at least one."
        )
    return columns


def _cut(file: Hdf5File, columns: Mapping[str, Hdf5Array], limit: int | None, report: Report) -> FlatRows:
    """Return the rows with the bounds of the episodes."""
    total = len(columns["rewards"])
    terminated = flags_of("terminals", columns["terminals"], file.path)
    has_timeouts = "timeouts" in columns
    truncated = flags_of("timeouts", columns["timeouts"], file.path) if has_timeouts else np.zeros(total, np.bool_)
    if both := int((terminated & truncated).sum()):
        report.note("taken", f"{both} rows with terminals and timeouts as terminations")
    truncated &= ~terminated
    common = (columns["observations"], columns["actions"], columns["rewards"], terminated)
    further = columns.get("next_observations"), _infos(file, total, report)
    if not has_timeouts:
        nothing = np.zeros(0, np.int64)
        breaks = FlatRows(*common, truncated, nothing, nothing, *further).breaks()
        truncated = _truncated_without_timeouts(terminated, breaks, "next_observations" in columns, limit, report)
    if not (terminated[-1] or truncated[-1]):
        truncated[-1] = True
        report.note("assumed", "the last episode, which no flag ends, is truncated")
    ends = np.flatnonzero(terminated | truncated) + 1
    starts = np.concatenate([[0], ends[:-1]])
    return FlatRows(*common, truncated, starts, ends, *further)


def _truncated_without_timeouts(
    terminated: npt.NDArray[np.bool_], breaks: npt.NDArray[np.bool_], has_next: bool, limit: int | None, report: Report
) -> npt.NDArray[np.bool_]:
    """Return which rows end an episode by a time limit, in a file that does not say so."""
    truncated = breaks & ~terminated
    truncated[-1] = False
    if has_next:
        report.note("assumed", "an episode is truncated where its next observation is not that of the next row")
    elif limit is None:
        report.note("missing", "time limits, which leave no mark in the file; give max_episode_steps if there was one")
    if limit is not None:
        report.note("assumed", f"an episode is truncated after {limit} steps (max_episode_steps)")
        start = 0
        for end in [*(np.flatnonzero(terminated | truncated) + 1).tolist(), len(terminated)]:
            truncated[start + limit - 1 : end : limit] = True
            start = end
        truncated &= ~terminated
    return truncated


def _infos(file: Hdf5File, total: int, report: Report) -> dict[str, Any]:
    """Return the arrays below ``infos``, and further ones with a row for each step, as nested dicts."""
    found: dict[str, Any] = {}
    others = [name for name in file.names() if name not in _KNOWN]
    further = [name for name in others if file.is_array(name)]
    for name in others:
        if name not in further:
            report.note("missing", f"{name}, which is not an array; only infos and metadata are groups")
    arrays = [*file.arrays("infos"), *((name, file.array(name)) for name in further)]
    for path, array in arrays:
        if len(array) != total:
            report.note("missing", f"{path} with {len(array)} rows, expected one for each of {total} steps")
            continue
        *outer, last = path.split("/")
        inner = found
        for part in outer:
            inner = inner.setdefault(part, {})
        inner[last] = array
        if path in further:
            report.note("taken", f"{path}, which D4RL does not have, as an info")
    if found:
        report.note("taken", "infos with the observation before each step; there is none for the last one")
    return found


def _metadata(file: Hdf5File, report: Report) -> dict[str, Any]:
    """Return the values below ``metadata`` as JSON, nested; arrays as lists while they are small."""
    found: dict[str, Any] = {}
    room = _LARGEST_METADATA
    for path, array in file.arrays("metadata"):
        size = math.prod(array.shape)
        if size > room:
            report.note("missing", f"metadata/{path} of shape {array.shape}, which is too large for metadata")
            continue
        room -= size
        *outer, last = path.split("/")
        inner = found
        for part in outer:
            inner = inner.setdefault(part, {})
        inner[last] = _plain(array.read())
    return found


def _plain(values: npt.NDArray[Any]) -> Any:
    """Return values as lists and numbers, and byte strings as text."""
    nested = values.tolist()
    if isinstance(nested, bytes):
        return nested.decode("utf-8", "replace")
    return list(map(_plain, values)) if values.dtype.kind in "SO" and values.ndim else nested


def _one_row(array: Hdf5Array) -> npt.NDArray[Any]:
    return array[:1]


def _rows_of(episode: EpisodeData, report: Report) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Yield the arrays of an episode by their paths, each with T rows."""
    steps = len(episode)
    observations = np.asarray(episode.observations)
    timeouts = episode.truncations & ~episode.terminations
    if np.any(episode.truncations & episode.terminations):
        report.note("missing", "truncations of steps that are terminations too, which D4RL reads as terminations")
    if np.any((episode.terminations | episode.truncations)[:-1]):
        report.note("missing", "the bounds of episodes with flags before their last step, which D4RL reads as ends")
    if steps and not (episode.terminations[-1] or timeouts[-1]):
        timeouts = timeouts.copy()
        timeouts[-1] = True
        report.note("assumed", "episodes without an end are cut off by a timeout, as D4RL has no other bounds")
    yield "observations", observations[:-1]
    yield "next_observations", observations[1:]
    yield "actions", np.asarray(episode.actions)
    yield "rewards", episode.rewards
    yield "terminals", episode.terminations
    yield "timeouts", timeouts
    if episode.infos:
        report.note("missing", "the infos of the last observation of each episode")
    yield from _info_rows(numeric_infos(episode.infos, report), "infos")


def _info_rows(infos: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    for key, values in infos.items():
        if isinstance(values, Mapping):
            yield from _info_rows(values, f"{prefix}/{key}")
        else:
            yield f"{prefix}/{key}", values[:-1]
