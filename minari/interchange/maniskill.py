"""ManiSkill 3: ``trajectory.h5`` with a group ``traj_N`` for each episode, and ``trajectory.json`` beside it.

``obs`` and ``env_states`` have T+1 rows, the last of which is final; ``actions`` have T, and so do ``rewards``,
``terminated``, ``truncated``, ``success`` and ``fail``, each after its step. Flags are taken as they are: an episode
that was cut by a reset has none at its end. ``env_states`` become infos, ``success`` and ``fail`` become infos of the
observation after the step. The entry of an episode in the JSON file has the number of the group as ``episode_id``; its
seed and options of the reset become those of the episode, and its other values become metadata. ``env_info`` becomes
the spec of the environment. Files without rewards need the option ``rewards``. Files without observations, such as the
official demonstrations, are to be replayed first; the option ``states_as_observations`` takes ``env_states`` as
observations.

Export writes the same two files into a new directory, so that import is exact. The layout is that of
https://maniskill.readthedocs.io/en/latest/user_guide/datasets/demos.html and of ``RecordEpisode``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.envs.registration import EnvSpec

from minari._base.files import leads_out
from minari._base.json_text import parse_json, shortened
from minari._model.env_spec import parse_env_spec
from minari._model.episode import EpisodeData
from minari._model.episode_metadata import checked_metadata
from minari.dataset.minari_dataset import MinariDataset
from minari.errors import EnvironmentSpecError, InterchangeError, MetadataError
from minari.interchange.flat_rows import flags_of, map_rows
from minari.interchange.foreign_hdf5 import Hdf5File, is_hdf5
from minari.interchange.format import Format, Report, Source
from minari.interchange.hdf5_output import TreeOutput, open_hdf5_tree
from minari.interchange.trajectories import (
    NUMBERS,
    MissingRewards,
    Trajectory,
    after_steps,
    episodes_of,
    leaves_of,
    missing_rewards,
    numeric_infos,
    only_arrays,
)
from minari.progress import track
from minari.spaces.inference import infer_action_space, infer_observation_space


__all__ = ["ManiSkill"]

_TRAJECTORY: Final = re.compile(r"traj_([0-9]{1,18})\Z")
_NAME: Final = "trajectory"
_FLAGS: Final = ("terminated", "truncated")
_OUTCOMES: Final = ("success", "fail")
_KNOWN: Final = ("obs", "actions", "rewards", *_FLAGS)
_DATASET_KEYS: Final = ("env_info", "commit_info", "source_type", "source_desc")
_MOST_JSON: Final = 2**30  # bytes


class ManiSkill(Format):
    """Format of ManiSkill 3."""

    NAME = "maniskill"

    def sniff(self, path: Path) -> bool:
        """Return whether a file, or the only one in a directory, has groups of trajectories."""
        files = [path] if path.is_file() else _files(path)
        return any(is_hdf5(file) and any(map(_TRAJECTORY.match, Hdf5File(file).names())) for file in files[:2])

    def read(self, path: Path, *, rewards: MissingRewards = "error", states_as_observations: bool = False) -> Source:
        """Return the episodes of a file.

        Args:
            path: the file with the trajectories, or a directory with one such file.
            rewards: ``"zeros"`` to fill in zeros in files without rewards.
            states_as_observations: True to take the states of the simulation as observations.

        Raises:
            InterchangeError: the file is damaged, or lacks something.
        """
        place = _only_file(path)
        report = Report(self.NAME, "import")
        reader = _Reader(Hdf5File(place), _description(place), report, rewards, states_as_observations)
        spaces = reader.spaces()
        report.note("assumed", "the spaces, which the file does not have, follow from dtypes and shapes")
        episodes = episodes_of(map(reader.trajectory, reader.names), place, "error", report)
        return Source(*spaces, episodes, report, len(reader.names), reader.metadata(), reader.env_spec())

    def write(self, dataset: MinariDataset, path: Path, *, compress: bool = True) -> Report:
        """Write a directory with ``trajectory.h5`` and ``trajectory.json``.

        Args:
            dataset: its observations and actions are arrays, or dicts of arrays.
            path: the new directory.
            compress: True to compress observations.

        Raises:
            InterchangeError: its spaces are of other kinds.
        """
        report = Report(self.NAME, "export")
        _check_spaces(dataset)
        path.mkdir()
        entries = []
        with open_hdf5_tree(path / f"{_NAME}.h5") as output:
            for number, episode in enumerate(
                track(dataset.iterate_episodes(copy=False), "exporting episodes", total=len(dataset))
            ):
                _write_episode(output, f"traj_{number}", episode, compress, report)
                entries.append(_entry(number, episode, report))
        kept = dataset.storage.metadata.get("maniskill")
        description = {key: kept[key] for key in _DATASET_KEYS if key in kept} if isinstance(kept, Mapping) else {}
        if "env_info" not in description:
            description = {"env_info": _env_info(dataset, report), **description}
        description["episodes"] = entries
        text = json.dumps(description, indent=2, default=_plain)
        (path / f"{_NAME}.json").write_text(text, encoding="utf-8")
        report.note("missing", "spaces and other metadata of the dataset")
        return report


class _Reader:
    """The trajectories of a file, read one by one."""

    def __init__(
        self, file: Hdf5File, description: dict[str, Any], report: Report, rewards: MissingRewards, takes_states: bool
    ) -> None:
        self.file, self.description, self.report, self.rewards = file, description, report, rewards
        self.takes_states = takes_states
        numbered = sorted((int(found[1]), name) for name in file.names() if (found := _TRAJECTORY.match(name)))
        if not numbered:
            raise InterchangeError(f"{file.path} has no traj_0 or the like, expected trajectories of ManiSkill.")
        self.entries = self._entries({number for number, _ in numbered})
        self.names = [name for _, name in numbered if len(file.array(f"{name}/{_FLAGS[0]}"))]
        if len(self.names) < len(numbered):
            report.note("missing", f"{len(numbered) - len(self.names)} trajectories without a step")
        if not self.names:
            raise InterchangeError(f"{file.path} has no trajectory with steps, expected at least one.")
        without = [name for name in self.names if not self._has_observations(name)]
        if takes_states:
            report.note("taken", "the states of the simulation as observations (states_as_observations)")
        elif without:
            raise InterchangeError(
                f"{without[0]} of {file.path} has no observations, as in the official demonstrations; replay it with "
                f"`python -m mani_skill.trajectory.replay_trajectory --traj-path {file.path} -o state --save-traj`, or "
                f"choose states_as_observations=True."
            )

    def _entries(self, numbers: set[int]) -> dict[int, dict[str, Any]]:
        """Return the entries of the trajectories in the JSON file, by their numbers."""
        episodes = self.description.get("episodes")
        if not isinstance(episodes, list) or not all(isinstance(one, dict) for one in episodes):
            raise InterchangeError(f"The JSON file beside {self.file.path} has no list of episodes, expected one.")
        found = {one["episode_id"]: one for one in episodes if isinstance(one.get("episode_id"), int)}
        if missing := numbers - set(found):
            raise InterchangeError(
                f"The JSON file beside {self.file.path} has no entry for traj_{min(missing)}, expected one for each; "
                f"is it that of another file?"
            )
        if left := len(episodes) - len(numbers):
            self.report.note("missing", f"{left} entries of the JSON file without a trajectory")
        return found

    def _has_observations(self, name: str) -> bool:
        return self.file.is_array(f"{name}/obs") or bool(self.file.names(f"{name}/obs"))

    def spaces(self) -> tuple[gym.Space[Any], gym.Space[Any]]:
        """Return the spaces of the trajectories."""
        file, first = self.file, self.names[0]

        def one_row(array: Any) -> npt.NDArray[Any]:
            row: npt.NDArray[Any] = array.numbers()[:1]
            return row

        actions = file.tree(f"{first}/actions")
        if getattr(actions, "ndim", 2) == 1 and actions.dtype.kind in "iu":  # choices, of which all are needed
            columns = [file.array(f"{name}/actions").numbers().read() for name in self.names]
            return infer_observation_space(map_rows(one_row, self._observations(first))), infer_action_space(
                np.concatenate([np.ravel(column) for column in columns])
            )
        return (
            infer_observation_space(map_rows(one_row, self._observations(first))),
            infer_action_space(map_rows(one_row, actions)),
        )

    def _observations(self, name: str) -> Any:
        path = f"{name}/{'env_states' if self.takes_states else 'obs'}"
        found = self.file.tree(path)
        if not list(leaves_of(found)):
            raise InterchangeError(f"{path} of {self.file.path} is empty, expected arrays; it cannot be imported.")
        return found

    def trajectory(self, name: str) -> Trajectory:
        """Return a trajectory."""
        file = self.file
        where = f"{name} of {file.path}"
        observations = map_rows(lambda array: array.numbers().read(), self._observations(name))
        actions = map_rows(lambda array: array.numbers().read(), file.tree(f"{name}/actions"))
        terminated, truncated = (flags_of(flag, file.array(f"{name}/{flag}"), where) for flag in _FLAGS)
        steps = len(terminated)
        if any(len(rows) != steps + 1 for rows in leaves_of(observations)):
            raise file.damaged(f"{name} has {steps} steps, and observations that are not one more")
        if f"{name}/rewards" in file:
            rewards = file.array(f"{name}/rewards").numbers().read()
        else:
            rewards = missing_rewards(self.rewards, file.path, steps, self.report)
        if not (terminated[-1] or truncated[-1]):
            self.report.note("taken", "episodes that were cut by a reset, without a flag at their end")
        infos = self._infos(name, steps)
        entry = self.entries[int(name.removeprefix("traj_"))]
        seed, options, metadata = self._reset(entry)
        return Trajectory(
            where, observations, actions, rewards, terminated, truncated, infos, metadata, seed=seed, options=options
        )

    def _infos(self, name: str, steps: int) -> dict[str, Any]:
        """Return what else a trajectory has for each step, or for each observation."""
        before: dict[str, Any] = {}
        after: dict[str, Any] = {}
        used = {*_KNOWN, *(("env_states",) if self.takes_states else ())}
        for key in self.file.names(name):
            if key in used:
                continue
            tree = self.file.tree(f"{name}/{key}")
            for place, rows in ((before, steps + 1), (after, steps)):
                if found := _rows({key: tree}, rows):
                    place.update(found)
            if key not in before and key not in after:
                self.report.note("missing", f"{key}, of which not each step has numbers")
        exported: dict[str, Any] = before.pop("infos", {})
        infos = before | after_steps(after)
        return {key: rows for key, rows in infos.items() if key.removeprefix("_") not in exported} | exported

    def _reset(self, entry: dict[str, Any]) -> tuple[int | None, dict[str, Any] | None, dict[str, Any]]:
        """Return the seed, the options and the other metadata of an episode."""
        kept = {key: value for key, value in entry.items() if key != "reset_kwargs"}
        reset = entry.get("reset_kwargs")
        reset = dict(reset) if isinstance(reset, dict) else {}
        seed = reset.get("seed", kept.get("episode_seed"))
        if isinstance(seed, list) and len(seed) == 1:
            seed = seed[0]
        if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**63:
            if seed is not None:
                self.report.note("missing", "seeds that are not a number")
            seed = None
        if kept.get("episode_seed") == seed:
            kept.pop("episode_seed", None)
        options = reset.get("options")
        kept_options = self._checked(options, "options of resets") if isinstance(options, dict) else None
        return seed, kept_options, self._checked(kept, "metadata of episodes") or {}

    def _checked(self, values: dict[str, Any], what: str) -> dict[str, Any] | None:
        """Return values if the metadata of an episode can hold them."""
        try:
            return checked_metadata(values)
        except MetadataError:
            self.report.note("missing", f"{what} with names or values that metadata cannot have")
            return None

    def metadata(self) -> dict[str, Any]:
        """Return metadata of the dataset."""
        found = {key: self.description[key] for key in _DATASET_KEYS if self.description.get(key) is not None}
        return {"maniskill": found} if found else {}

    def env_spec(self) -> EnvSpec | None:
        """Return the spec of the environment, without an entry point; ManiSkill registers it when it is imported."""
        info = self.description.get("env_info")
        if not isinstance(info, dict):
            return None
        described = {
            "id": info.get("env_id"),
            "kwargs": info.get("env_kwargs"),
            "max_episode_steps": info.get("max_episode_steps"),
        }
        try:
            return parse_env_spec(json.dumps(described))
        except EnvironmentSpecError:
            self.report.note("missing", "the spec of the environment, which env_info does not describe")
            return None


def _rows(tree: Mapping[str, Any], rows: int) -> dict[str, Any]:
    """Return the arrays of numbers with so many rows."""
    found: dict[str, Any] = {}
    for key, part in tree.items():
        if isinstance(part, Mapping):
            if inner := _rows(part, rows):
                found[key] = inner
        elif part.dtype.kind in NUMBERS and len(part) == rows and all(part.shape):
            found[key] = part.read()
    return found


def _files(directory: Path) -> list[Path]:
    """Return the HDF5 files of a directory, sorted, without links that lead out of it."""
    files = [one for one in directory.iterdir() if one.suffix == ".h5" and one.is_file()]
    return sorted(one for one in files if not leads_out(one))


def _only_file(path: Path) -> Path:
    if path.is_file():
        return path
    files = _files(path)
    if len(files) != 1:
        raise InterchangeError(
            f"{path} has {len(files)} files *.h5, expected one; give the path of the file with the trajectories."
        )
    return files[0]


def _description(path: Path) -> dict[str, Any]:
    """Return the JSON file beside the trajectories."""
    place = path.with_suffix(".json")
    is_beside = not leads_out(place) or place.resolve().parent == path.resolve().parent
    if not place.is_file() or not is_beside or place.stat().st_size > _MOST_JSON:
        raise InterchangeError(
            f"There is no JSON file {place} beside the trajectories, expected one with their seeds and options; copy "
            f"it to this directory too."
        )
    try:
        found = parse_json(place.read_bytes())
    except (ValueError, OSError) as error:
        raise InterchangeError(
            f"{place} cannot be read as JSON ({shortened(str(error))}); copy or download it again."
        ) from error
    if not isinstance(found, dict):
        raise InterchangeError(f"{place} is {shortened(found)}, expected a JSON object with episodes.")
    return found


def _check_spaces(dataset: MinariDataset) -> None:
    for name, space in (("observations", dataset.observation_space), ("actions", dataset.action_space)):
        if not only_arrays(space):
            raise InterchangeError(
                f"The {name} of {dataset.id} are of the space {shortened(space)}, expected arrays of numbers, or dicts "
                f"of them; flatten them with a wrapper before recording."
            )


def _write_episode(output: TreeOutput, group: str, episode: EpisodeData, compress: bool, report: Report) -> None:
    output.write(f"{group}/obs", episode.observations, compress=compress)
    columns = {
        "actions": episode.actions,
        "rewards": episode.rewards,
        "terminated": episode.terminations,
        "truncated": episode.truncations,
    }
    for name, values in columns.items():
        output.write(f"{group}/{name}", values)
    infos = numeric_infos(episode.infos, report)
    for key in _OUTCOMES:
        mask = infos.get(f"_{key}")
        if isinstance(mask, np.ndarray) and isinstance(infos.get(key), np.ndarray) and not mask[0] and mask[1:].all():
            output.write(f"{group}/{key}", infos.pop(key)[1:])
            del infos[f"_{key}"]
    states = infos.get("env_states")
    if isinstance(states, dict) and "_env_states" not in infos:
        output.write(f"{group}/env_states", infos.pop("env_states"), compress=compress)
    if infos:
        output.write(f"{group}/infos", infos, compress=compress)
        report.note("taken", "further infos as arrays below infos, which ManiSkill does not read")


def _entry(number: int, episode: EpisodeData, report: Report) -> dict[str, Any]:
    """Return the entry of an episode for the JSON file."""
    metadata = dict(episode.metadata)
    seed, options = metadata.pop("seed", None), metadata.pop("options", None)
    entry = {
        "episode_id": number,
        "episode_seed": seed,
        "control_mode": None,
        "elapsed_steps": len(episode),
        "reset_kwargs": {"options": options, "seed": seed},
    }
    given = {key for key in entry if key != "control_mode"}
    for key, value in metadata.items():
        try:
            text = json.dumps(value, default=_plain)
        except (TypeError, ValueError):
            report.note("missing", f"the metadata {shortened(key)} of episodes, which JSON cannot represent")
            continue
        if key not in given:
            entry[key] = value
        elif text != json.dumps(entry[key], default=_plain):
            report.note("missing", f"the metadata {shortened(key)} of episodes, as ManiSkill has its own of that name")
    return {key: value for key, value in entry.items() if key != "control_mode" or value is not None}


def _env_info(dataset: MinariDataset, report: Report) -> dict[str, Any]:
    spec = dataset.env_spec
    if spec is None:
        report.note("assumed", f"env_info names the environment {dataset.id!r}, as the dataset has none")
        return {"env_id": dataset.id, "env_kwargs": {}, "max_episode_steps": None}
    kwargs = json.loads(json.dumps(spec.kwargs, default=str))
    return {"env_id": spec.id, "env_kwargs": kwargs, "max_episode_steps": spec.max_episode_steps}


def _plain(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} values are not JSON")
