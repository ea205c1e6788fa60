"""d3rlpy: the HDF5 files of ``ReplayBuffer.dump`` (version 2) and of ``MDPDataset.dump`` (version 1).

Version 2 has arrays ``observations_N``, ``actions_N``, ``rewards_N`` and the flag ``terminated_N`` for each episode, in
the order of their numbers, and ``observations_N_M`` where observations are tuples. An episode that is terminated is so
at its last step; another one is truncated there. Version 1 has flat rows: an episode ends at ``episode_terminals``
alone, and is terminated there if ``terminals`` is set too, and otherwise truncated; ``terminals`` in other rows, which
d3rlpy's own files have, are left out. No file has the observation after the last step, which comes from the option
``final_observation``. Integer actions of one column are choices. Sources: d3rlpy's ``dataset/io.py``, and its files.

Export writes version 2.1 with the last observations as further arrays, which d3rlpy does not read and import does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from minari._base.json_text import shortened
from minari._model.episode import EpisodeData
from minari.dataset.minari_dataset import MinariDataset
from minari.errors import InterchangeError
from minari.interchange.flat_rows import FlatRows, action_values, flags_of, map_rows
from minari.interchange.foreign_hdf5 import Hdf5Array, Hdf5File, is_hdf5
from minari.interchange.format import Format, Report, Source
from minari.interchange.hdf5_output import TreeOutput, open_hdf5_tree
from minari.interchange.trajectories import (
    FinalObservationOfEpisode,
    Trajectory,
    check_final_observation,
    episodes_of,
)
from minari.progress import track
from minari.spaces.inference import infer_action_space, infer_observation_space


__all__ = ["D3rlpy"]

_FLAT: Final = ("observations", "actions", "rewards", "terminals")
_ENDS: Final = "episode_terminals"
_FINAL: Final = "final_observations"  # in exported files
_COLUMNS: Final = ("observations", "actions", "rewards", "terminated")


class D3rlpy(Format):
    """Format of d3rlpy."""

    NAME = "d3rlpy"

    def sniff(self, path: Path) -> bool:
        """Return whether a file has the arrays of one of the versions at its root."""
        if not is_hdf5(path):
            return False
        names = set(Hdf5File(path).names())
        return {"num_episodes", "columns", "version"} <= names or {*_FLAT, _ENDS} <= names

    def read(self, path: Path, *, final_observation: FinalObservationOfEpisode = "error") -> Source:
        """Return the episodes of a file.

        Args:
            path: path of the file.
            final_observation: where the observation after the last step of an episode comes from.

        Raises:
            InterchangeError: the file is damaged, or lacks something.
        """
        file, report = Hdf5File(path), Report(self.NAME, "import")
        report.note("assumed", "the spaces, which the file does not have, follow from dtypes, shapes and values")
        if "num_episodes" in file:
            return _Episodes(file, report, final_observation).source()
        return _flat_source(file, report, final_observation)

    def write(self, dataset: MinariDataset, path: Path, *, compress: bool = False) -> Report:
        """Write a file that ``ReplayBuffer.load`` reads.

        Args:
            dataset: its observations are boxes, or tuples of them; its actions are vectors, or choices from 0 on.
            path: the new file.
            compress: True to compress observations and actions.

        Raises:
            InterchangeError: its spaces are of other kinds.
        """
        report = Report(self.NAME, "export")
        _check_spaces(dataset)
        with open_hdf5_tree(path) as output:
            output.write("columns", list(_COLUMNS))
            output.write("num_episodes", len(dataset))
            for number, episode in enumerate(
                track(dataset.iterate_episodes(copy=False), "exporting episodes", total=len(dataset))
            ):
                _write_episode(output, number, episode, compress, report)
            output.write("version", "2.1")
        report.note("taken", f"the last observations as {_FINAL}_N, which d3rlpy does not read")
        report.note("missing", "infos, spaces, seeds, options and other metadata of episodes and of the dataset")
        return report


class _Episodes:
    """The episodes of a file of version 2, read one by one."""

    def __init__(self, file: Hdf5File, report: Report, final_observation: FinalObservationOfEpisode) -> None:
        self.file, self.report, self.choice = file, report, final_observation
        count = self._scalar("num_episodes", "iu")
        if not 0 < count <= len(file.names()):
            raise InterchangeError(f"num_episodes of {file.path} is {count}, expected the number of its episodes.")
        self.count = int(count)
        self.has_last = all(any(self._exists(_FINAL, number)) for number in range(self.count))
        if not self.has_last:
            check_final_observation(final_observation, file.path, self.count, report)

    def _scalar(self, name: str, kinds: str) -> Any:
        array = self.file.array(name)
        if array.shape not in ((), (1,)) or array.dtype.kind not in kinds:
            raise InterchangeError(
                f"{name} of {self.file.path} has {array.dtype} values of shape {array.shape}, expected one number."
            )
        return array.read().reshape(-1)[0]

    def _exists(self, column: str, number: int) -> tuple[bool, bool]:
        return f"{column}_{number}" in self.file, f"{column}_{number}_0" in self.file

    def _arrays(self, column: str, number: int) -> Any:
        """Return the array of an episode, or those of a tuple."""
        name = f"{column}_{number}"
        if name in self.file or f"{name}_0" not in self.file:
            return self.file.array(name).numbers()
        found: list[Hdf5Array] = []
        while f"{name}_{len(found)}" in self.file:
            found.append(self.file.array(f"{name}_{len(found)}").numbers())
        return tuple(found)

    def _actions(self, number: int) -> npt.NDArray[Any]:
        return _choices(self._arrays("actions", number))

    def source(self) -> Source:
        """Return the episodes with their spaces."""
        first = map_rows(lambda array: array[:1], self._arrays("observations", 0))
        actions = self._actions(0)
        if actions.ndim == 1 and actions.dtype.kind in "iu":
            every = [self._actions(number) for number in range(self.count)]
            actions = np.concatenate([one for one in every if one.shape[1:] == actions.shape[1:]])
            if not len(actions):
                raise InterchangeError(f"{self.file.path} has no step, expected at least one.")
        spaces = infer_observation_space(first), infer_action_space(actions)
        episodes = episodes_of(map(self._episode, range(self.count)), self.file.path, self.choice, self.report)
        return Source(*spaces, episodes, self.report, None if self.choice == "drop_last_step" else self.count)

    def _episode(self, number: int) -> Trajectory:
        name = f"episode {number}"
        observations = map_rows(lambda array: array.read(), self._arrays("observations", number))
        if self.has_last:
            last = map_rows(lambda array: array.read(), self._arrays(_FINAL, number))
            try:
                observations = map_rows(_joined, observations, last)
            except (TypeError, ValueError):
                raise InterchangeError(
                    f"The {_FINAL} of {name} in {self.file.path} differ in dtype or shape from its observations, "
                    f"expected one row of the same kind."
                ) from None
        rewards = _column(self._arrays("rewards", number))
        terminated, truncated = np.zeros(len(rewards), np.bool_), np.zeros(len(rewards), np.bool_)
        is_terminated = self._scalar(f"terminated_{number}", "biuf")
        if is_terminated not in (0, 1):
            raise InterchangeError(f"terminated_{number} of {self.file.path} is {is_terminated}, expected 0 or 1.")
        terminated[-1:], truncated[-1:] = bool(is_terminated), not is_terminated
        if not is_terminated:
            self.report.note("assumed", "episodes that are not terminated are truncated at their last step")
        return Trajectory(name, observations, self._actions(number), rewards, terminated, truncated)


def _joined(rows: npt.NDArray[Any], last: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if len(last) != 1 or (last.dtype, last.shape[1:]) != (rows.dtype, rows.shape[1:]):
        raise ValueError
    return np.concatenate([rows, last])


class _Choices:
    """A column of integers, read as choices."""

    def __init__(self, array: Hdf5Array) -> None:
        self._array = array
        self.shape, self.dtype = (len(array),), np.dtype(np.int64)

    def __getitem__(self, rows: slice) -> npt.NDArray[Any]:
        return self._array[rows].reshape(-1).astype(np.int64)


def _are_choices(array: Hdf5Array) -> bool:
    return array.dtype.kind in "iu" and array.shape in ((len(array),), (len(array), 1))


def _choices(array: Any) -> npt.NDArray[Any]:
    if not isinstance(array, Hdf5Array):
        raise InterchangeError("The actions are tuples, expected an array for each episode.")
    values = array.read()
    return values.reshape(-1).astype(np.int64) if _are_choices(array) else values


def _column(array: Any) -> npt.NDArray[Any]:
    """Return rewards, without the second dimension that d3rlpy gives them."""
    if not isinstance(array, Hdf5Array):
        raise InterchangeError("The rewards are tuples, expected an array for each episode.")
    values = array.read()
    return values.reshape(len(values)) if values.shape == (len(values), 1) else values


def _flat_source(file: Hdf5File, report: Report, choice: FinalObservationOfEpisode) -> Source:
    """Return the episodes of a file of version 1."""
    missing = [name for name in _FLAT if not file.is_array(name)]
    if missing:
        raise InterchangeError(f"{file.path} has no {' and no '.join(missing)}, expected a file of d3rlpy.")
    columns = {name: file.array(name).numbers() for name in (*_FLAT, _ENDS) if name in file}
    lengths = {len(column) for column in columns.values()}
    if len(lengths) > 1 or lengths == {0}:
        found = ", ".join(f"{len(column)} {name}" for name, column in columns.items())
        raise InterchangeError(f"The arrays of {file.path} have {found}, expected the same number, at least one.")
    terminals = flags_of("terminals", columns["terminals"], file.path)
    ends_here = flags_of(_ENDS, columns[_ENDS], file.path).copy() if _ENDS in columns else terminals.copy()
    if not ends_here[-1]:
        report.note("assumed", "the last episode, which no flag ends, is truncated")
        ends_here[-1] = True
    if extra := int((terminals & ~ends_here).sum()):
        report.note("missing", f"terminals in {extra} rows that do not end an episode (episode_terminals)")
    report.note("assumed", "episodes that do not end with terminals are truncated at their last step")
    ends = np.flatnonzero(ends_here) + 1
    rows = FlatRows(
        columns["observations"],
        _Choices(columns["actions"]) if _are_choices(columns["actions"]) else columns["actions"],
        columns["rewards"],
        terminals & ends_here,
        ends_here & ~terminals,
        np.concatenate([[0], ends[:-1]]),
        ends,
    )
    if choice == "error":
        check_final_observation(choice, file.path, len(ends), report)
    spaces = infer_observation_space(columns["observations"][:1]), infer_action_space(action_values(rows.actions))
    return Source(*spaces, rows.episodes(choice, report), report, None if choice == "drop_last_step" else len(ends))


def _check_spaces(dataset: MinariDataset) -> None:
    space = dataset.observation_space
    parts = space.spaces if isinstance(space, gym.spaces.Tuple) else (space,)
    if not parts or not all(isinstance(part, gym.spaces.Box) and part.shape for part in parts):
        raise InterchangeError(
            f"The observations of {dataset.id} are of the space {shortened(space)}, expected a Box with a dimension, "
            f"or a Tuple of them; flatten them with a wrapper before recording."
        )
    actions = dataset.action_space
    is_vector = isinstance(actions, gym.spaces.Box) and len(actions.shape) == 1 and actions.dtype.kind == "f"
    is_choice = isinstance(actions, gym.spaces.Discrete) and actions.start == 0
    if not is_vector and not is_choice:
        raise InterchangeError(
            f"The actions of {dataset.id} are of the space {shortened(actions)}, expected vectors of floats or choices "
            f"from 0 on, as d3rlpy has no others."
        )


def _write_episode(output: TreeOutput, number: int, episode: EpisodeData, compress: bool, report: Report) -> None:
    if episode.rewards.ndim > 1:
        raise InterchangeError(f"Episode {episode.id} has {episode.rewards.shape[1]} rewards a step, expected one.")
    parts = episode.observations if isinstance(episode.observations, tuple) else (episode.observations,)
    for place, rows in enumerate(parts):
        suffix = f"{number}_{place}" if isinstance(episode.observations, tuple) else f"{number}"
        output.write(f"observations_{suffix}", rows[:-1], compress=compress)
        output.write(f"{_FINAL}_{suffix}", rows[-1:])
    output.write(f"actions_{number}", episode.actions.reshape(len(episode), -1), compress=compress)
    output.write(f"rewards_{number}", episode.rewards.reshape(-1, 1))
    output.write(f"terminated_{number}", bool(episode.terminations[-1]))
    if episode.terminations[:-1].any() or episode.truncations[:-1].any():
        report.note("missing", "terminations and truncations before the last step of an episode")
    if episode.terminations[-1] == episode.truncations[-1]:
        report.note("missing", "truncations of steps that are terminations too, and the lack of any at the last step")
