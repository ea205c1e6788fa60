"""robomimic: one HDF5 file with a group ``data/demo_N`` for each demonstration; also raw files of robosuite.

Row *t* of ``obs``, ``states`` and ``actions`` is before a step, ``rewards`` and ``dones`` are after it, and the last
row of ``next_obs`` is the final observation; files without it need the option ``final_observation``. Demonstrations are
taken in the order of their numbers, which may begin at 1 and have gaps, and end where their group ends: depending on
the mode in which a file was made, ``dones`` is 1 in each step with success, at the end, or both. No file says whether
an end was a terminal state. An episode whose last step is done is terminated if that step has a positive reward, the
sign of success in robosuite, and otherwise truncated; in files of other environments it is terminated. The option
``done`` chooses one meaning. An episode whose last step is not done is truncated. ``states`` and ``dones`` become
infos; the names, model files and ``mask/*`` become metadata, the latter as ``splits`` with the numbers of the episodes.

Export writes ``next_obs``, and ``terminated`` and ``truncated`` beside ``dones``, so that import is exact. Raw files of
robosuite have states and no observations; the option ``states_as_observations`` takes them as they are. The layout is
that of https://robomimic.github.io/docs/datasets/overview.html and of robomimic's ``dataset_states_to_obs.py``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from minari._base.json_text import parse_json, shortened
from minari._model.episode import EpisodeData
from minari.dataset.minari_dataset import MinariDataset
from minari.errors import InterchangeError
from minari.interchange.flat_rows import flags_of, map_rows
from minari.interchange.foreign_hdf5 import Hdf5Array, Hdf5File, is_hdf5
from minari.interchange.format import Format, Report, Source
from minari.interchange.hdf5_output import TreeOutput, open_hdf5_tree
from minari.interchange.trajectories import (
    NUMBERS,
    FinalObservationOfEpisode,
    MissingRewards,
    Trajectory,
    after_steps,
    before_steps,
    check_final_observation,
    episodes_of,
    leaves_of,
    missing_rewards,
    numeric_infos,
    only_arrays,
)
from minari.progress import track
from minari.spaces.inference import infer_action_space, infer_observation_space


__all__ = ["Robomimic"]

#: How an episode ended whose last step is done.
Done: TypeAlias = Literal["by_environment", "success", "terminated", "truncated"]

_DEMO: Final = re.compile(r"demo_([0-9]{1,18})\Z")
_KNOWN: Final = ("obs", "next_obs", "actions", "rewards", "dones", "terminated", "truncated", "infos")
_RAW_ACTIONS: Final = ("joint_velocities", "gripper_actuations")  # of robosuite before 1.0
_ROBOSUITE, _GYM = 1, 2  # types of environments
_FLAT: Final = "flat"  # the key of observations that are one array
_MARK: Final = "minari_observations"  # attribute of exported files whose observations are one array


class Robomimic(Format):
    """Format of robomimic and robosuite."""

    NAME = "robomimic"

    def sniff(self, path: Path) -> bool:
        """Return whether a file has a group ``data`` of demonstrations."""
        return is_hdf5(path) and any(map(_DEMO.match, Hdf5File(path).names("data")))

    def read(
        self,
        path: Path,
        *,
        final_observation: FinalObservationOfEpisode = "error",
        rewards: MissingRewards = "error",
        done: Done = "by_environment",
        states_as_observations: bool = False,
    ) -> Source:
        """Return the demonstrations of a file.

        Args:
            path: path of the file.
            final_observation: where the observation after the last step comes from in files without ``next_obs``.
            rewards: ``"zeros"`` to fill in zeros in files without rewards.
            done: how an episode whose last step is done ended: ``"success"`` for terminated if that step has a
                positive reward, and otherwise truncated; ``"terminated"``; ``"truncated"``; or ``"by_environment"``
                for ``"success"`` in files of robosuite, and otherwise ``"terminated"``.
            states_as_observations: True to take the states of the simulation as observations, in raw files.

        Raises:
            InterchangeError: the file is damaged, or lacks something.
        """
        report = Report(self.NAME, "import")
        reader = _Reader(Hdf5File(path), report, final_observation, rewards, done, states_as_observations)
        episodes = episodes_of(map(reader.trajectory, reader.demos), path, final_observation, report)
        report.note("assumed", "the spaces, which the file does not have, follow from dtypes and shapes")
        return Source(*reader.spaces(), episodes, report, len(reader.demos), reader.metadata())

    def write(self, dataset: MinariDataset, path: Path, *, compress: bool = True) -> Report:
        """Write the episodes as demonstrations, with ``next_obs``.

        Args:
            dataset: its observations are arrays in dicts, or one array; its actions are boxes.
            path: the new file.
            compress: True to compress observations.

        Raises:
            InterchangeError: its spaces are of other kinds.
        """
        report = Report(self.NAME, "export")
        _check_spaces(dataset)
        metadata = dataset.storage.metadata
        numbers = {int(episode): number for number, episode in enumerate(dataset.episode_indices)}
        with open_hdf5_tree(path) as output:
            for number, episode in enumerate(
                track(dataset.iterate_episodes(copy=False), "exporting episodes", total=len(dataset))
            ):
                _write_episode(output, f"data/demo_{number}", episode, compress, report)
            attributes = {"total": dataset.total_steps, "env_args": json.dumps(_env_args(dataset, report), indent=4)}
            if not isinstance(dataset.observation_space, gym.spaces.Dict):
                attributes[_MARK] = "array"
                report.note("taken", f"the observations, which are one array, as obs/{_FLAT}")
            output.set_attributes("data", attributes)
            for name, episodes in _splits_of(metadata, report).items():
                members = [f"demo_{numbers[one]}" for one in episodes if one in numbers]
                output.write(f"mask/{name}", np.array(members, dtype=np.bytes_))
        report.note("taken", "terminated and truncated as arrays of their names, which robomimic does not read")
        report.note("missing", "spaces, seeds, options and other metadata of episodes and of the dataset")
        return report


class _Reader:
    """The demonstrations of a file, read one by one."""

    def __init__(
        self,
        file: Hdf5File,
        report: Report,
        final_observation: FinalObservationOfEpisode,
        rewards: MissingRewards,
        done: Done,
        states_as_observations: bool,
    ) -> None:
        self.file, self.report, self.rewards, self.done = file, report, rewards, done
        self.takes_states = states_as_observations
        self.attributes = file.attributes("data") if "data" in file else {}
        mark = self.attributes.get(_MARK)
        self.is_flat = isinstance(mark, str) and mark == "array"
        self.env_args = self._env_args()
        numbered = [(int(found[1]), name) for name in file.names("data") if (found := _DEMO.match(name))]
        demos = [f"data/{name}" for _, name in sorted(numbered)]
        if not demos:
            raise InterchangeError(f"{file.path} has no data/demo_0 or the like; is it another kind of file?")
        has_last = all(file.names(f"{demo}/next_obs") for demo in demos)
        self._check_observations(demos)
        if not has_last:
            check_final_observation(final_observation, file.path, len(demos), report)
        self.least = 1 + (not has_last and final_observation == "drop_last_step")
        self.has_last = has_last
        self.demos = [demo for demo in demos if self._steps(demo) >= self.least]
        if len(self.demos) < len(demos):
            report.note("missing", f"{len(demos) - len(self.demos)} demonstrations without a step that could be taken")

    def _check_observations(self, demos: list[str]) -> None:
        without = [demo for demo in demos if not self.file.names(f"{demo}/obs")]
        if self.takes_states:
            if len(without) < len(demos):
                raise InterchangeError(f"{self.file.path} has observations; leave out states_as_observations.")
            self.report.note("taken", "the states of the simulation as observations (states_as_observations)")
        elif without:
            raise InterchangeError(
                f"{without[0]} of {self.file.path} has no observations, as in raw files of robosuite; replay its "
                f"states with robomimic's dataset_states_to_obs.py first, or choose states_as_observations=True."
            )

    def _steps(self, demo: str) -> int:
        path = f"{demo}/{'states' if self.takes_states else 'actions'}"
        steps = len(self.file.array(path))
        stated = self.file.attributes(demo).get("num_samples", steps)
        if not isinstance(stated, (int, np.integer)) or int(stated) != steps:
            raise self.file.damaged(f"{path} has {steps} rows and num_samples is {shortened(stated)}")
        return steps

    def _env_args(self) -> dict[str, Any]:
        for name in ("env_args", "env_info"):
            text = self.attributes.get(name)
            if isinstance(text, (str, bytes)):
                try:
                    found = parse_json(text)
                except ValueError:
                    found = None
                if isinstance(found, dict):
                    return found
                self.report.note("missing", f"{name}, which is not a JSON object")
        return {}

    def metadata(self) -> dict[str, Any]:
        """Return metadata of the dataset."""
        kept: dict[str, Any] = {
            name: value
            for name, value in self.attributes.items()
            if isinstance(value, str) and name not in ("env_args", "env_info", _MARK)
        }
        if self.env_args:
            kept["env_args"] = self.env_args
        found: dict[str, Any] = {"robomimic": kept} if kept else {}
        if splits := self._splits():
            found["splits"] = splits
        return found

    def _splits(self) -> dict[str, list[int]]:
        numbers = {demo.removeprefix("data/"): number for number, demo in enumerate(self.demos)}
        found: dict[str, list[int]] = {}
        for name, array in self.file.arrays("mask"):
            members = [
                text.decode("utf-8", "replace") if isinstance(text, bytes) else text for text in array.read().flat
            ]
            found[name] = sorted({numbers[one] for one in members if isinstance(one, str) and one in numbers})
            if unknown := [one for one in members if one not in numbers]:
                self.report.note("missing", f"{len(unknown)} names in mask/{name} of demonstrations that are not there")
        if found:
            self.report.note("taken", "the masks as splits in the metadata, with the numbers of the episodes")
        return found

    def spaces(self) -> tuple[gym.Space[Any], gym.Space[Any]]:
        """Return the spaces of the first demonstration."""
        if not self.demos:
            raise InterchangeError(f"{self.file.path} has no demonstration with steps, expected at least one.")
        first = self.demos[0]
        one_row = partial(map_rows, lambda array: array.numbers()[:1])
        return (
            infer_observation_space(one_row(self._observations(first))),
            infer_action_space(one_row(self._actions(first))),
        )

    def _observations(self, demo: str) -> Any:
        if self.takes_states:
            return self.file.array(f"{demo}/states")
        found = self.file.tree(f"{demo}/obs")
        return found[_FLAT] if self.is_flat and set(found) == {_FLAT} else found

    def _actions(self, demo: str) -> Any:
        if self.file.is_array(f"{demo}/actions") or not self.takes_states:
            return self.file.array(f"{demo}/actions")
        found = {name: self.file.array(f"{demo}/{name}") for name in _RAW_ACTIONS if f"{demo}/{name}" in self.file}
        if not found:
            raise InterchangeError(f"{demo} of {self.file.path} has no actions, expected them; it cannot be imported.")
        self.report.note("taken", f"{' and '.join(found)} as actions, as of robosuite before 1.0")
        return found

    def trajectory(self, demo: str) -> Trajectory:
        """Return a demonstration."""
        observations = map_rows(_values, self._observations(demo))
        actions = map_rows(_values, self._actions(demo))
        steps = self._steps(demo)
        where = f"{demo} of {self.file.path}"
        if self.has_last:
            after = self.file.tree(f"{demo}/next_obs")
            if isinstance(observations, np.ndarray):
                after = after.get(_FLAT)
            observations = self._with_last(observations, after, demo)
            if self.env_args.get("type") == _GYM and all(_repeats(rows) for rows in leaves_of(observations)):
                self.report.note(
                    "assumed",
                    "the last next_obs is the final observation, also where it repeats the obs before, with which "
                    "robomimic's conversion of D4RL replaces it",
                )
        if f"{demo}/rewards" in self.file:
            rewards = _values(self.file.array(f"{demo}/rewards"))
            rewards = rewards.reshape(len(rewards)) if rewards.size == len(rewards) else rewards
        else:
            rewards = missing_rewards(self.rewards, where, steps, self.report)
        terminated, truncated, infos = self._flags(demo, rewards, steps)
        infos.update(self._infos(demo, steps))
        metadata: dict[str, Any] = {"demo": demo.removeprefix("data/")}
        model = self.file.attributes(demo).get("model_file")
        if isinstance(model, str):
            metadata["model_file"] = model
        return Trajectory(where, observations, actions, rewards, terminated, truncated, infos, metadata)

    def _with_last(self, before: Any, after: Any, demo: str) -> Any:
        def joined(rows: npt.NDArray[Any], following: Hdf5Array) -> npt.NDArray[Any]:
            last = following[len(rows) - 1 : len(rows)]
            if len(last) != 1 or last.dtype != rows.dtype or last.shape[1:] != rows.shape[1:]:
                raise ValueError(following.path)
            return np.concatenate([rows, last])

        try:
            found = map_rows(joined, before, after)
        except (KeyError, TypeError, ValueError, AttributeError):
            raise InterchangeError(
                f"The next_obs of {demo} in {self.file.path} differ in names, dtype or shape from its obs, expected "
                f"the same."
            ) from None
        return found

    def _flags(
        self, demo: str, rewards: npt.NDArray[Any], steps: int
    ) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_], dict[str, Any]]:
        """Return which steps terminated and were truncated, and the infos that follow from them."""
        file = self.file
        if f"{demo}/terminated" in file and f"{demo}/truncated" in file:
            flags = (flags_of(name, file.array(f"{demo}/{name}"), demo) for name in ("terminated", "truncated"))
            return next(flags), next(flags), {}
        terminated, truncated = np.zeros(steps, np.bool_), np.zeros(steps, np.bool_)
        if f"{demo}/dones" not in file:
            truncated[-1:] = True
            self.report.note("assumed", "the episodes, of which the file does not say how they end, are truncated")
            return terminated, truncated, {}
        stored = _values(file.array(f"{demo}/dones"))
        dones = flags_of("dones", stored, f"{demo} of {file.path}")
        if len(dones) != steps:
            raise file.damaged(f"{demo} has {steps} steps and {len(dones)} dones")
        meaning = self.done
        if meaning == "by_environment":
            meaning = "terminated" if self.env_args.get("type", _ROBOSUITE) != _ROBOSUITE else "success"
        is_terminal = meaning == "terminated" or (meaning == "success" and bool(np.all(rewards[-1:] > 0)))
        terminated[-1:] = dones[-1:] & is_terminal
        truncated[-1:] = ~terminated[-1:]
        self.report.note("assumed", _MEANINGS[meaning])
        return terminated, truncated, after_steps({"dones": stored.reshape(steps)})

    def _infos(self, demo: str, steps: int) -> dict[str, Any]:
        """Return what else a demonstration has for each step."""
        before: dict[str, Any] = {}
        used = {*_KNOWN, *(("states",) if self.takes_states else ())}
        if not self.file.is_array(f"{demo}/actions"):
            used.update(_RAW_ACTIONS)
        for name in self.file.names(demo):
            if name not in used:
                path = f"{demo}/{name}"
                tree = self.file.tree(path)
                before.update(self._rows({name: tree}, steps, ""))
        found = before_steps(before)
        if f"{demo}/infos" in self.file and self.file.is_group(f"{demo}/infos"):
            exported = self._rows(self.file.tree(f"{demo}/infos"), steps + 1, "infos/")
            found = {key: rows for key, rows in found.items() if key.removeprefix("_") not in exported} | exported
        return found

    def _rows(self, tree: Mapping[str, Any], rows: int, prefix: str) -> dict[str, Any]:
        """Return the arrays of numbers with so many rows."""
        found: dict[str, Any] = {}
        for key, part in tree.items():
            if isinstance(part, Mapping):
                if inner := self._rows(part, rows, f"{prefix}{key}/"):
                    found[key] = inner
            elif part.dtype.kind not in NUMBERS or len(part) != rows or not all(part.shape):
                self.report.note("missing", f"{prefix}{key}, of which not each step has numbers")
            else:
                found[key] = part.read()
        return found


_MEANINGS: Final = {
    "success": "an episode is terminated if its last step is done and has a positive reward, otherwise truncated; the "
    "file does not tell them apart (done)",
    "terminated": "an episode is terminated if its last step is done, otherwise truncated; the file does not tell them "
    "apart (done)",
    "truncated": "all episodes are truncated; the file does not say how they ended (done)",
}


def _values(array: Hdf5Array) -> npt.NDArray[Any]:
    return array.numbers().read()


def _repeats(rows: npt.NDArray[Any]) -> bool:
    """Return whether the last two rows are the same."""
    return bool(np.array_equal(rows[-1], rows[-2]))


def _check_spaces(dataset: MinariDataset) -> None:
    if not only_arrays(dataset.observation_space):
        raise InterchangeError(
            f"The observations of {dataset.id} are of the space {shortened(dataset.observation_space)}, expected "
            f"arrays of numbers, or dicts of them; flatten them with a wrapper before recording."
        )
    if not isinstance(dataset.action_space, gym.spaces.Box):
        raise InterchangeError(
            f"The actions of {dataset.id} are of the space {shortened(dataset.action_space)}, expected a Box, as the "
            f"policies of robomimic have no others."
        )


def _write_episode(output: TreeOutput, group: str, episode: EpisodeData, compress: bool, report: Report) -> None:
    observations = episode.observations if isinstance(episode.observations, Mapping) else {_FLAT: episode.observations}
    output.write(f"{group}/obs", map_rows(lambda rows: rows[:-1], observations), compress=compress)
    output.write(f"{group}/next_obs", map_rows(lambda rows: rows[1:], observations), compress=compress)
    dones = episode.terminations | episode.truncations
    if not dones[-1]:
        dones[-1] = True
        report.note("taken", "episodes without an end with 1 in dones at their last step, where their group ends")
    columns = {
        "actions": episode.actions,
        "rewards": episode.rewards,
        "dones": dones.astype(np.int64),
        "terminated": episode.terminations,
        "truncated": episode.truncations,
    }
    for name, values in columns.items():
        output.write(f"{group}/{name}", values)
    infos = numeric_infos(episode.infos, report)
    if isinstance(infos.get("states"), np.ndarray):
        output.write(f"{group}/states", infos["states"][:-1])
        mask = infos.get("_states")
        if isinstance(mask, np.ndarray) and mask[:-1].all() and not mask[-1]:
            infos = {key: values for key, values in infos.items() if key not in ("states", "_states")}
    if infos:
        output.write(f"{group}/infos", infos, compress=compress)
        report.note("taken", "infos as arrays below infos, which robomimic does not read")
    attributes: dict[str, Any] = {"num_samples": len(episode)}
    model = episode.metadata.get("model_file")
    if isinstance(model, str):
        attributes["model_file"] = model
    output.set_attributes(group, attributes)


def _env_args(dataset: MinariDataset, report: Report) -> dict[str, Any]:
    """Return the description of the environment for robomimic."""
    kept = dataset.storage.metadata.get("robomimic")
    if isinstance(kept, Mapping) and isinstance(kept.get("env_args"), Mapping):
        return dict(kept["env_args"])
    spec = dataset.env_spec
    if spec is None:
        report.note("assumed", f"env_args names the environment {dataset.id!r}, as the dataset has none")
        return {"env_name": dataset.id, "type": _GYM, "env_kwargs": {}}
    report.note("assumed", "env_args describes an environment of Gym (type 2)")
    return {"env_name": spec.id, "type": _GYM, "env_kwargs": json.loads(json.dumps(spec.kwargs, default=str))}


def _splits_of(metadata: Mapping[str, Any], report: Report) -> dict[str, list[int]]:
    """Return the named splits of a dataset."""
    found: dict[str, list[int]] = {}
    splits = metadata.get("splits")
    for name, episodes in splits.items() if isinstance(splits, Mapping) else ():
        numbers = np.asarray(episodes)
        if "/" in name or name in ("", ".", "..") or numbers.ndim != 1 or (numbers.size and numbers.dtype.kind != "i"):
            report.note("missing", f"the split {shortened(name)}, which is not a list of episodes")
        else:
            found[name] = numbers.astype(np.int64).tolist()
    return found
