"""CrowdPlay: an SQLite file that lists episodes, and a pickle of each, with the steps of human and AI players.

The pickles are read only with ``trust_pickles=True``, by a process without privileges that builds numbers, texts,
containers and NumPy arrays, and refuses whatever else they name; nothing that is in them is run. Values of the database
are pickles too: one that is refused, such as a date, is left out.

A step has, for each agent, the observation before it (``prev_obs``) and after it (``obs``), the action, the reward, and
``done``, which does not tell terminations from truncations: it is a termination, or with ``done="truncated"`` a
truncation, and an agent whose last step is not done is truncated. An action that consists of ``game`` alone is that
value. ``info`` belongs to the observation after the step. ``user_type`` and the keyword data of the database are
metadata of agents and episodes. The layout is that of https://github.com/Farama-Foundation/CrowdPlay
(``crowdplay_datasets``).
"""

from __future__ import annotations

import math
import os
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import gymnasium as gym
import numpy as np

from minari._base.files import FilesBeneath, open_regular
from minari._base.json_text import shortened
from minari._model.episode_buffer import EpisodeBuffer, MultiAgentEpisodeBuffer
from minari._model.infos.values import ABSENT
from minari.errors import InterchangeError
from minari.interchange.damage import damage_as_error
from minari.interchange.format import Format, Report, Source
from minari.interchange.pickles import RefusedPickle, read_pickles
from minari.spaces.inference import infer_observation_space


__all__ = ["CrowdPlay"]

_SQLITE = b"SQLite format 3\0"
_SUFFIXES = ".pickle", ".pickle.gz", ".pickle.bz2"
_LARGEST_PICKLE = 2**32
_MOST_EPISODES = 10_000_000
_MOST_OPERATIONS = 1_000  # of a million instructions of SQLite each
_KNOWN = "environment_id", "task_id", "created", "git_commit_hash"
_STEP = "prev_obs", "obs", "action", "reward", "done"
_ID = re.compile(r"[\w.-]{1,200}")

Done = Literal["terminated", "truncated"]


class CrowdPlay(Format):
    """Format of CrowdPlay's datasets."""

    NAME = "crowdplay"

    def sniff(self, path: Path) -> bool:
        """Return whether a directory has an SQLite file and pickles beside it."""
        if not path.is_dir() or len(found := _databases(path)) != 1:
            return False
        with found[0].open("rb") as file:
            is_database = file.read(len(_SQLITE)) == _SQLITE
        return is_database and any(one.name.endswith(_SUFFIXES) for one in path.iterdir())

    def read(self, path: Path, *, trust_pickles: bool = False, done: Done = "terminated") -> Source:
        """Return the episodes of a directory; each is read twice, as only their values tell the spaces.

        Args:
            path: the directory with the SQLite file.
            trust_pickles: True to read the episodes, which are pickles.
            done: the meaning of ``done``.

        Raises:
            InterchangeError: the pickles are not trusted, or something is damaged.
        """
        if trust_pickles is not True:
            raise InterchangeError(
                f"The episodes of {path} are pickles, which are not read unless asked for; give trust_pickles=True to "
                f"read them in a process without privileges, which builds numbers, texts and arrays only."
            )
        report = Report(self.NAME, "import")
        with damage_as_error(path):
            found = _databases(path)
            if len(found) != 1:
                raise InterchangeError(
                    f"{path} has {len(found)} files *.sqlite, expected one, which lists the episodes."
                )
            episodes = _episodes_of(found[0])
            observations, actions = _spaces(path, episodes)
        report.note("assumed", "the spaces, which the files do not have, follow from all values")
        report.note("assumed", f"done is a {'termination' if done == 'terminated' else 'truncation'} (done={done!r})")
        return Source(observations, actions, _episodes(path, episodes, done, report), report, len(episodes))


def _databases(path: Path) -> list[Path]:
    if not path.is_dir():
        return []
    return sorted(one for one in path.iterdir() if one.suffix in (".sqlite", ".sqlite3", ".db") and one.is_file())


@dataclass(frozen=True, slots=True)
class _Episode:
    """An episode as the database has it: its id, values, and the pickles of keywords by agent and key."""

    id: str
    values: Mapping[str, Any]
    keywords: Sequence[tuple[str, str, bytes]]


def _episodes_of(database: Path) -> list[_Episode]:
    """Return the rows about episodes.

    The file is opened for reading only, views and functions of it are not used, and the work is bounded.
    """
    os.close(open_regular(database))
    with closing(sqlite3.connect(f"file:{quote(str(database.resolve()))}?mode=ro&immutable=1", uri=True)) as connection:
        left = iter(range(_MOST_OPERATIONS))
        connection.set_progress_handler(lambda: int(next(left, None) is None), 1_000_000)
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        connection.execute("PRAGMA query_only = ON")
        try:
            return _rows(connection, database)
        except (sqlite3.Error, OverflowError) as error:
            raise InterchangeError(
                f"{database} cannot be read as SQLite ({shortened(str(error))[1:-1]}); it is damaged, so copy or "
                f"download it again."
            ) from error


def _rows(connection: sqlite3.Connection, database: Path) -> list[_Episode]:
    kinds = dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table' AND rootpage > 0"))
    if "episodes" not in kinds:
        raise InterchangeError(f"{database} has no table 'episodes', expected that of CrowdPlay.")
    columns = [row[1] for row in connection.execute("PRAGMA table_info(episodes)")]
    if "episode_id" not in columns:
        raise InterchangeError(f"The episodes of {database} have no episode_id, expected the names of their pickles.")
    wanted = ["episode_id", *(name for name in _KNOWN if name in columns)]
    keywords: dict[Any, list[tuple[str, str, bytes]]] = {}
    if "episodekeyworddata" in kinds:
        query = "SELECT episode_id, agent_id, key, value FROM episodekeyworddata ORDER BY rowid"
        for episode, agent, key, value in connection.execute(query):
            if isinstance(key, str) and isinstance(value, bytes):
                keywords.setdefault(episode, []).append((str(agent), key, value))
    tasks: dict[Any, Any] = {}
    if "environments" in kinds and "environment_id" in wanted:
        tasks = dict(connection.execute("SELECT environment_id, task_id FROM environments"))
    episodes: list[_Episode] = []
    for row in connection.execute(f"SELECT {', '.join(wanted)} FROM episodes ORDER BY rowid"):
        name = row[0]
        if not isinstance(name, str) or not _ID.fullmatch(name) or len(episodes) >= _MOST_EPISODES:
            raise InterchangeError(f"{database} has an episode {shortened(name)}, expected the plain name of a file.")
        values = {key: value for key, value in zip(wanted, row, strict=True) if isinstance(value, (str, int, float))}
        if isinstance(task := tasks.get(values.get("environment_id")), str):
            values.setdefault("task_id", task)
        episodes.append(_Episode(name, values, keywords.get(name, [])))
    if not episodes:
        raise InterchangeError(f"{database} has no episode, expected at least one.")
    return episodes


def _read(path: Path, episode: _Episode) -> tuple[list[Mapping[str, Any]], list[Any]]:
    """Return the steps of an episode and the values of its keywords."""
    files = FilesBeneath(str(path))
    name = next((one for one in (episode.id + suffix for suffix in _SUFFIXES) if (path / one).is_file()), None)
    if name is None:
        raise InterchangeError(
            f"{path} has no {episode.id}.pickle, which its database lists; copy or download it again."
        )
    parts = [files.read(name, _LARGEST_PICKLE), *(value for _, _, value in episode.keywords)]
    steps, *keywords = read_pickles(parts, path / name, required=1)
    if not isinstance(steps, list) or not steps or not all(isinstance(step, dict) for step in steps):
        raise InterchangeError(
            f"{path / name} holds {type(steps).__name__}, expected a list of the steps of an episode."
        )
    for step in steps:
        if not all(isinstance(step.get(key), dict) for key in _STEP):
            raise InterchangeError(
                f"{path / name} has a step with {shortened(list(step))}, expected {', '.join(_STEP)}."
            )
    return steps, keywords


def _agents(steps: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the agents in the order in which they appear."""
    return list(dict.fromkeys(str(agent) for step in steps for agent in step["action"]))


def _part(step: Mapping[str, Any], key: str, agent: str, where: object) -> Any:
    if agent not in step[key]:
        raise InterchangeError(
            f"{where} has a step without the {key} of {shortened(agent)}, expected one for each agent."
        )
    return step[key][agent]


def _action(value: Any) -> Any:
    return value["game"] if isinstance(value, dict) and set(value) == {"game"} else value


def _times(steps: Sequence[Mapping[str, Any]], agent: str, where: object) -> range:
    """Return the steps of an agent, which are consecutive."""
    times = [time for time, step in enumerate(steps) if agent in step["action"]]
    if times[-1] - times[0] + 1 != len(times):
        raise InterchangeError(
            f"{where} has an agent {shortened(agent)} that leaves and comes back, expected one trajectory."
        )
    return range(times[0], times[-1] + 1)


def _stacked(values: Sequence[Any], what: object) -> Any:
    """Return values of equal steps as an array, or dicts of arrays."""
    if isinstance(values[0], dict):
        keys = values[0].keys()
        if not all(isinstance(value, dict) and value.keys() == keys for value in values):
            raise InterchangeError(f"{what} differ in their keys between steps, expected the same.")
        return {str(key): _stacked([value[key] for value in values], what) for key in keys}
    arrays = [np.asarray(value) for value in values]
    if any(array.dtype.kind not in "biuf" or array.shape != arrays[0].shape for array in arrays):
        raise InterchangeError(
            f"{what} are no numbers, or differ in shape between steps, expected arrays of one shape."
        )
    return np.stack(arrays)


def _spaces(path: Path, episodes: Sequence[_Episode]) -> tuple[dict[str, gym.Space[Any]], dict[str, gym.Space[Any]]]:
    """Return the spaces of all agents."""
    observations: dict[str, gym.Space[Any]] = {}
    actions: dict[str, gym.Space[Any]] = {}
    for episode in episodes:
        steps, _ = _read(path, episode)
        for agent in _agents(steps):
            times = _times(steps, agent, path / episode.id)
            first = _stacked([_part(steps[times[0]], "prev_obs", agent, path / episode.id)], "Observations")
            acted = _stacked(
                [_action(steps[time]["action"][agent]) for time in times], f"Actions of {path / episode.id}"
            )
            observations.setdefault(agent, infer_observation_space(first))
            actions[agent] = _united(actions.get(agent), acted)
    return observations, actions


def _united(space: Any, actions: Any) -> gym.Space[Any]:
    if isinstance(actions, dict):
        parts = {} if space is None else space.spaces
        return gym.spaces.Dict({key: _united(parts.get(key), part) for key, part in actions.items()})
    if actions.dtype.kind not in "iu" or actions.ndim > 1:
        found: gym.Space[Any] = infer_observation_space(actions)
        return found
    low, high = int(actions.min()), int(actions.max())
    if isinstance(space, gym.spaces.Discrete):
        low, high = min(low, int(space.start)), max(high, int(space.start + space.n) - 1)
    return gym.spaces.Discrete(high - min(low, 0) + 1, start=min(low, 0))


def _episodes(
    path: Path, episodes: Sequence[_Episode], done: Done, report: Report
) -> Iterator[MultiAgentEpisodeBuffer]:
    with damage_as_error(path):
        for episode in episodes:
            steps, keywords = _read(path, episode)
            yield _buffer(steps, keywords, episode, path / episode.id, done, report)


def _buffer(
    steps: Sequence[Mapping[str, Any]],
    keywords: Sequence[Any],
    episode: _Episode,
    where: object,
    done: Done,
    report: Report,
) -> MultiAgentEpisodeBuffer:
    agents = _agents(steps)
    times = {agent: _times(steps, agent, where) for agent in agents}
    trajectories = {agent: _trajectory(steps, times[agent], agent, where, done, report) for agent in agents}
    about: dict[str, dict[str, Any]] = {agent: {} for agent in agents}
    for agent in agents:
        kind = steps[times[agent][0]].get("user_type")
        if isinstance(kind, dict) and isinstance(kind.get(agent), (int, str)):
            about[agent]["user_type"] = kind[agent]
    further: dict[str, Any] = {}
    for (agent, key, _), value in zip(episode.keywords, keywords, strict=True):
        if isinstance(value, RefusedPickle):
            report.note("missing", f"{key} of the database, as its pickle is refused ({value.reason})")
            continue
        about.get(agent, further)[key.replace("/", "_") or "_"] = value
    metadata = {**episode.values, **({"keywords": further} if further else {}), "agents": about}
    return MultiAgentEpisodeBuffer(
        trajectories,
        timesteps={agent: np.arange(times[agent].start, times[agent].stop + 1) for agent in agents},
        total_steps=len(steps),
        metadata=metadata,
    )


def _trajectory(
    steps: Sequence[Mapping[str, Any]], times: range, agent: str, where: object, done: Done, report: Report
) -> EpisodeBuffer:
    own = [steps[time] for time in times]
    before = [_part(step, "prev_obs", agent, where) for step in own]
    after = [_part(step, "obs", agent, where) for step in own]
    if any(not _same(a, b) for a, b in zip(after[:-1], before[1:], strict=True)):
        report.note(
            "missing", "observations after a step that differ from those before the next one (prev_obs is kept)"
        )
    ended = np.array([bool(_part(step, "done", agent, where)) for step in own])
    terminations = ended if done == "terminated" else np.zeros_like(ended)
    truncations = ended & ~terminations
    if not ended[-1]:
        truncations[-1] = True
        report.note("assumed", "agents whose last step is not done are truncated")
    rewards = np.array([float(_part(step, "reward", agent, where)) for step in own])
    if not all(math.isfinite(reward) for reward in rewards):
        report.note("taken", "rewards that are not finite, as they are")
    return EpisodeBuffer(
        observations=_stacked([*before, after[-1]], f"Observations of {where}"),
        actions=_stacked([_action(step["action"][agent]) for step in own], f"Actions of {where}"),
        rewards=rewards,
        terminations=terminations,
        truncations=truncations,
        infos=_infos([step.get("info") for step in own], agent),
    )


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    return bool(np.array_equal(np.asarray(a), np.asarray(b)))


def _infos(infos: Sequence[Any], agent: str) -> dict[str, Any]:
    """Return the infos of an agent, each of the observation after the step."""
    own = [info.get(agent) if isinstance(info, dict) else None for info in infos]
    rows: list[dict[Any, Any]] = [row if isinstance(row, dict) else {} for row in own]
    keys = dict.fromkeys(key for row in rows for key in row)
    return {str(key): [ABSENT, *(row.get(key, ABSENT) for row in rows)] for key in keys}
