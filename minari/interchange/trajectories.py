"""Episodes with arrays of their own: the layout of formats with a group, file or record for each episode."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from minari._base.json_text import shortened
from minari._model.episode_buffer import EpisodeBuffer
from minari.errors import InterchangeError
from minari.interchange.flat_rows import LOST_TERMINATIONS, map_rows
from minari.interchange.format import ARRAY_SPACES, Report
from minari.spaces import is_utf8_text


__all__ = [
    "NUMBERS",
    "FinalObservationOfEpisode",
    "MissingRewards",
    "Trajectory",
    "after_steps",
    "before_steps",
    "check_final_observation",
    "episodes_of",
    "is_plain_name",
    "leaves_of",
    "missing_rewards",
    "numeric_infos",
    "only_arrays",
]

#: What to do where an episode has no observation after its last step, and there is no next row.
FinalObservationOfEpisode: TypeAlias = Literal["error", "repeat", "drop_last_step"]
#: What to do where a source has no rewards.
MissingRewards: TypeAlias = Literal["error", "zeros"]

#: Kinds of dtypes of numbers and booleans.
NUMBERS: Final = "biuf"

_ASSUMED: Final[Mapping[str, str]] = {
    "repeat": "the observation after the last step of an episode is the one before it (final_observation='repeat')",
    "drop_last_step": "the last step of each episode, whose next observation is missing, is left out, and the one "
    "before it is truncated (final_observation='drop_last_step')",
}


@dataclass(frozen=True, slots=True)
class Trajectory:
    """An episode of T steps of a source, in nested arrays.

    Attributes:
        name: its name in the source, for messages.
        observations: T+1 rows, or T if the observation after the last step is missing.
        actions: T rows.
        rewards: T rows.
        terminated: T flags.
        truncated: T flags.
        infos: T+1 rows each, see :func:`before_steps` and :func:`after_steps`.
        metadata: metadata of the episode.
        seed: seed of the reset.
        options: options of the reset.
    """

    name: str
    observations: Any
    actions: Any
    rewards: npt.NDArray[Any]
    terminated: npt.NDArray[np.bool_]
    truncated: npt.NDArray[np.bool_]
    infos: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] | None = None
    seed: int | None = None
    options: dict[str, Any] | None = None


def before_steps(infos: Mapping[str, Any]) -> dict[str, Any]:
    """Return infos of T rows as infos of the observation before each step; the last row is masked."""
    return _masked(infos, slice(None, -1))


def after_steps(infos: Mapping[str, Any]) -> dict[str, Any]:
    """Return infos of T rows as infos of the observation after each step; the first row is masked."""
    return _masked(infos, slice(1, None))


def _masked(infos: Mapping[str, Any], rows: slice) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, values in infos.items():
        if isinstance(values, Mapping):
            found[key] = _masked(values, rows)
            continue
        column = np.zeros((len(values) + 1, *values.shape[1:]), values.dtype)
        mask = np.zeros(len(column), np.bool_)
        column[rows], mask[rows] = values, True
        found[key], found[f"_{key}"] = column, mask
    return found


def check_final_observation(choice: FinalObservationOfEpisode, where: object, episodes: int, report: Report) -> None:
    """Raise for files without final observations unless a choice says what to do; note the choice.

    Raises:
        InterchangeError: the choice is ``"error"``.
    """
    if choice == "error":
        raise InterchangeError(
            f"{where} has no observation after the last step of its {episodes} episodes; choose "
            f"final_observation='repeat' to repeat the one before, or 'drop_last_step' to leave out the last step."
        )
    report.note("assumed", _ASSUMED[choice])


def missing_rewards(choice: MissingRewards, where: object, steps: int, report: Report) -> npt.NDArray[np.float64]:
    """Return zeros as the rewards of an episode if a choice asks for them, and note it.

    Raises:
        InterchangeError: the choice is ``"error"``.
    """
    if choice == "error":
        raise InterchangeError(f"{where} has no rewards, expected them; choose rewards='zeros' to fill in zeros.")
    report.note("assumed", "the rewards, which the file does not have, are zeros (rewards='zeros')")
    return np.zeros(steps)


def episodes_of(
    trajectories: Iterable[Trajectory], where: object, choice: FinalObservationOfEpisode, report: Report
) -> Iterator[EpisodeBuffer]:
    """Yield trajectories as episodes: all alike, with the observation after the last step.

    Raises:
        InterchangeError: the arrays of one differ in length, or in dtype or shape from those of the first one.
    """
    expected: tuple[str, dict[str, Any]] | None = None
    lost = 0
    for one in trajectories:
        steps = len(one.rewards)
        _check_lengths(one, steps, where)
        parts = {"observations": one.observations, "actions": one.actions, "rewards": one.rewards}
        kinds = {name: map_rows(lambda rows: (rows.dtype, rows.shape[1:]), part) for name, part in parts.items()}
        if expected is None:
            expected = one.name, kinds
        for name, kind in kinds.items():
            if kind != expected[1][name]:
                raise InterchangeError(
                    f"The {name} of {one.name} and {expected[0]} in {where} differ in names, dtype or shape, expected "
                    f"the same in all episodes."
                )
        has_last = all(len(rows) == steps + 1 for rows in leaves_of(one.observations))
        if not has_last:
            check_final_observation(choice, where, 1, report)
        kept = steps - (not has_last and choice == "drop_last_step")
        if one.terminated[kept:].any():
            report.note("missing", LOST_TERMINATIONS)
        if kept < 1:
            lost += 1
        else:
            yield _buffer(one, kept, has_last)
    if lost:
        report.note("missing", f"{lost} episodes without a step that could be taken")


def _buffer(one: Trajectory, steps: int, has_last: bool) -> EpisodeBuffer:
    truncated = one.truncated[:steps].copy()
    observations = one.observations
    if steps < len(one.rewards):
        truncated[-1:] = True
    elif not has_last:
        observations = map_rows(lambda rows: np.concatenate([rows, rows[-1:]]), observations)
    return EpisodeBuffer(
        seed=one.seed,
        options=one.options,
        observations=observations,
        actions=map_rows(lambda rows: rows[:steps], one.actions),
        rewards=one.rewards[:steps],
        terminations=one.terminated[:steps],
        truncations=truncated,
        infos=map_rows(lambda rows: rows[: steps + 1], one.infos),
        metadata=one.metadata,
    )


def _check_lengths(one: Trajectory, steps: int, where: object) -> None:
    counts = {
        "actions": {len(rows) for rows in leaves_of(one.actions)} - {steps},
        "flags": {len(one.terminated), len(one.truncated)} - {steps},
        "observations": {len(rows) for rows in leaves_of(one.observations)},
    }
    if len(counts["observations"]) == 1 and counts["observations"] <= {steps, steps + 1}:
        counts["observations"] = set()
    for name, wrong in counts.items():
        if wrong:
            raise InterchangeError(
                f"{one.name} in {where} has {steps} rewards and {min(wrong)} {name}, expected one for each step; the "
                f"file is damaged or of another kind."
            )


def leaves_of(tree: Any) -> Iterator[Any]:
    """Yield the arrays of nested dicts and tuples."""
    if isinstance(tree, Mapping):
        for part in tree.values():
            yield from leaves_of(part)
    elif isinstance(tree, tuple):
        for part in tree:
            yield from leaves_of(part)
    else:
        yield tree


def is_plain_name(key: object) -> bool:
    """Return whether a key can be the name of a member of an HDF5 group, or of a feature of TensorFlow Datasets."""
    return isinstance(key, str) and key not in ("", ".", "..") and "/" not in key and is_utf8_text(key)


def only_arrays(space: gym.Space[Any]) -> bool:
    """Return whether a space has one array of numbers a step, or nested dicts of such arrays with plain names."""
    if isinstance(space, gym.spaces.Dict):
        return bool(space.spaces) and all(is_plain_name(key) and only_arrays(part) for key, part in space.items())
    return isinstance(space, ARRAY_SPACES)


def numeric_infos(infos: Mapping[str, Any], report: Report, prefix: str = "infos") -> dict[str, Any]:
    """Return the infos that are arrays of numbers with plain names, nested; note the others as missing."""
    found: dict[str, Any] = {}
    for key, values in infos.items():
        path = f"{prefix}/{key}"
        if not is_plain_name(key):
            report.note("missing", f"{shortened(path)}, whose name the format cannot hold")
        elif isinstance(values, Mapping):
            if inner := numeric_infos(values, report, path):
                found[key] = inner
        elif isinstance(values, np.ndarray) and values.dtype.kind in NUMBERS:
            found[key] = values
        else:
            report.note("missing", f"{path}, which is not an array of numbers")
    return found
