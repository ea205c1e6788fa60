"""Creation of datasets from flat arrays, the form of other libraries and logs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from minari._base.json_text import shortened
from minari._base.warnings import warn
from minari._catalog.layout import free_dataset_path
from minari._model.arguments import check_space
from minari._model.compression import CompressionChoice
from minari._model.episode_buffer import EpisodeBuffer
from minari._model.frame_stack import KEEP, FrameStackChoice
from minari._storages.base import PathLike
from minari._storages.registry import get_minari_storage
from minari.dataset.from_buffers import EnvLike, Policy, create_dataset_from_buffers
from minari.dataset.minari_dataset import MinariDataset
from minari.errors import EpisodeError, EpisodeTypeError, MetadataError
from minari.spaces.inference import infer_action_space, infer_observation_space


FinalObservation = Literal["error", "repeat", "drop_last_step"]
_CHOICES = ("error", "repeat", "drop_last_step")


def create_dataset_from_arrays(  # noqa: D417 (what it shares with the other is described there)
    dataset_id: str,
    observations: Any,
    actions: Any,
    rewards: npt.ArrayLike,
    terminations: npt.ArrayLike,
    truncations: npt.ArrayLike | None = None,
    infos: Mapping[str, Any] | None = None,
    *,
    next_observations: Any = None,
    final_observation: FinalObservation = "error",
    observation_space: gym.Space[Any] | None = None,
    action_space: gym.Space[Any] | None = None,
    env: EnvLike | None = None,
    eval_env: EnvLike | None = None,
    algorithm_name: str | None = None,
    author: str | Iterable[str] | None = None,
    author_email: str | Iterable[str] | None = None,
    code_permalink: str | None = None,
    ref_min_score: float | None = None,
    ref_max_score: float | None = None,
    expert_policy: Policy | None = None,
    num_episodes_average_score: int = 100,
    description: str | None = None,
    data_format: str | None = None,
    requirements: Sequence[str] | None = None,
    jpeg_encoding: bool = False,
    compression: CompressionChoice = None,
    frame_stack: FrameStackChoice = KEEP,
    compatible_with: str | None = None,
    episode_metadata: Iterable[Mapping[str, Any]] | None = None,
    root: PathLike | None = None,
) -> MinariDataset:
    """Create a dataset of N steps that are concatenated in arrays.

    An episode ends at every step that is terminated or truncated. Assumptions about missing data are reported
    by a warning and stored in the metadata under ``assumptions``.

    Args:
        dataset_id: ``(namespace/)*name-vN``.
        observations: array with time first, or dicts and tuples of such arrays. Either N rows, the
            observation before each step, or one more row for each episode, its last observation.
        actions: N rows, in the same form.
        rewards: shape (N,) or (N, 1), one number per step, or (N, k) for rewards of k components.
        terminations: shape (N,), true if a step ended in a terminal state.
        truncations: shape (N,), true if an episode was cut off; by default nowhere.
        infos: nested dicts of arrays with N rows (one per step, without the reset) or with one more for each episode.
        next_observations: N rows, the observation after each step, used for the last observation of each episode.
        final_observation: what to do if the last observations of the episodes are missing: ``"error"``
            raises, ``"repeat"`` repeats the previous one, ``"drop_last_step"`` drops the last step of each
            episode, and marks the previous one as truncated. The choice is stored in the metadata.
        observation_space: by default that of ``env``, or inferred from the array.
        action_space: by default that of ``env``, or inferred from the array.
        episode_metadata: a dict for each episode in the arrays, such as ``{"task": "pick"}``, which
            :attr:`EpisodeData.metadata <minari.EpisodeData.metadata>` has: numbers, strings, arrays, and lists and
            dicts of these.

    The other arguments are those of :func:`minari.create_dataset_from_buffers`.

    Raises:
        EpisodeError: the lengths of the arrays differ, or the last observations are missing and
            ``final_observation`` is ``"error"``.
        MetadataError: the metadata is not one dict for each episode, or a value cannot be stored.

    Example:
        >>> import minari, numpy as np
        >>> dataset = minari.create_dataset_from_arrays(
        ...     "docs/arrays-v0",
        ...     observations=np.zeros((4, 3), np.float32), actions=np.array([0, 1, 1, 0]),
        ...     rewards=np.ones(4), terminations=np.array([False, True, False, True]),
        ...     final_observation="repeat",
        ... )
        >>> [episode.observations.shape for episode in dataset], dataset.action_space
        ([(3, 3), (3, 3)], Discrete(2))
    """
    if final_observation not in _CHOICES:
        raise EpisodeError(f"final_observation is {final_observation!r}, expected one of {_CHOICES}.")
    free_dataset_path(dataset_id, root=root)
    check_space("observation_space", observation_space)
    check_space("action_space", action_space)
    get_minari_storage(data_format or "hdf5")
    steps = _Steps.of(observations, actions, rewards, terminations, truncations, infos, next_observations)
    steps.settle_final_observations(final_observation)
    of_episodes = _checked_episode_metadata(episode_metadata, len(steps.ends))
    if env is None and observation_space is None:
        observation_space = infer_observation_space(steps.observations)
        steps.assumptions.append(f"the observation space is {_brief(observation_space)}")
    if env is None and action_space is None:
        action_space = infer_action_space(steps.actions)
        steps.assumptions.append(f"the action space is {_brief(action_space)}")
    if steps.assumptions:
        warn(f"{dataset_id}: assumed that {'; '.join(steps.assumptions)}.")
    if not (steps.ends - steps.starts > steps.dropped).any():
        raise EpisodeError("There is no episode left where the last step of each is dropped, expected at least one.")
    notes = {"final_observation": steps.final_observation, "assumptions": steps.assumptions}
    return create_dataset_from_buffers(
        dataset_id,
        steps.episodes(of_episodes),
        env=env,
        eval_env=eval_env,
        algorithm_name=algorithm_name,
        author=author,
        author_email=author_email,
        code_permalink=code_permalink,
        action_space=action_space,
        observation_space=observation_space,
        ref_min_score=ref_min_score,
        ref_max_score=ref_max_score,
        expert_policy=expert_policy,
        num_episodes_average_score=num_episodes_average_score,
        description=description,
        data_format=data_format,
        requirements=requirements,
        jpeg_encoding=jpeg_encoding,
        compression=compression,
        frame_stack=frame_stack,
        compatible_with=compatible_with,
        extra_metadata={key: value for key, value in notes.items() if value},
        root=root,
    )


def _checked_episode_metadata(
    given: Iterable[Mapping[str, Any]] | None, count: int
) -> Sequence[Mapping[str, Any] | None]:
    """Return the metadata of each episode."""
    if given is None:
        return [None] * count
    if isinstance(given, (Mapping, str)) or not isinstance(given, Iterable):
        raise MetadataError(f"episode_metadata is {shortened(given)}, expected a list of dicts, one for each episode.")
    found = list(given)
    if len(found) != count:
        raise MetadataError(f"episode_metadata has {len(found)} dicts, expected one for each of {count} episodes.")
    for number, metadata in enumerate(found):
        if not isinstance(metadata, Mapping):
            raise MetadataError(f"The metadata of episode {number} is {shortened(metadata)}, expected a dict.")
    return found


def _brief(space: gym.Space[Any] | None) -> str:
    text = repr(space)
    return text if len(text) <= 200 else f"{text[:197]}..."


@dataclass
class _Steps:
    """The arrays, and the start and end of the episodes in them."""

    observations: Any
    actions: Any
    rewards: npt.NDArray[Any]
    terminations: npt.NDArray[np.bool_]
    truncations: npt.NDArray[np.bool_]
    infos: dict[str, Any]
    next_observations: Any
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    has_final: bool
    final_observation: str | None = None
    assumptions: list[str] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        observations: Any,
        actions: Any,
        rewards: npt.ArrayLike,
        terminations: npt.ArrayLike,
        truncations: npt.ArrayLike | None,
        infos: Mapping[str, Any] | None,
        next_observations: Any,
    ) -> _Steps:
        reward = _as_array("rewards", rewards)
        if reward.ndim == 0 or 0 in reward.shape[1:]:
            raise EpisodeError(
                f"The rewards have the shape {reward.shape}, expected one value a step, (N,), or (N, k)."
            )
        if reward.size == len(reward):
            reward = reward.reshape(len(reward))
        count = len(reward)
        if count == 0:
            raise EpisodeError("The arrays have no step, expected at least one.")
        terminated = _flags("terminations", terminations, count)
        truncated = _flags("truncations", np.zeros(count, np.bool_) if truncations is None else truncations, count)
        assumptions = []
        if not (terminated[-1] or truncated[-1]):
            truncated = truncated.copy()
            truncated[-1] = True
            assumptions.append("the last episode, which no termination or truncation ends, is truncated")
        ends = np.nonzero(terminated | truncated)[0] + 1
        starts = np.concatenate([[0], ends[:-1]])
        tree, action_tree = _as_arrays("observations", observations), _as_arrays("actions", actions)
        rows = _rows(tree, "observations", (count, count + len(ends)))
        _rows(action_tree, "actions", (count,))
        info_tree = _checked_infos("infos", {} if infos is None else infos, (count, count + len(ends)))
        after = None if next_observations is None else _as_arrays("next_observations", next_observations)
        if after is not None:
            _rows(after, "next_observations", (count,))
            if _layout(after) != _layout(tree):
                raise EpisodeError(
                    f"The next_observations are {_layout(after)} a step, expected {_layout(tree)} as the observations."
                )
        return cls(
            tree, action_tree, reward, terminated, truncated, info_tree, after, starts, ends,
            has_final=rows > count, assumptions=assumptions,
        )  # fmt: skip

    def settle_final_observations(self, choice: FinalObservation) -> None:
        """Decide how to get the last observation of each episode."""
        if self.has_final or self.next_observations is not None:
            return
        if choice == "error":
            raise EpisodeError(
                f"There are {len(self.rewards)} observations for {len(self.rewards)} steps in {len(self.ends)} "
                f"episodes, so the last observation of each episode is missing; give next_observations, or choose "
                f'final_observation="repeat" or "drop_last_step".'
            )
        self.final_observation = choice
        if choice == "drop_last_step" and (lost := int((self.ends - self.starts == 1).sum())):
            self.assumptions.append(f"{lost} episodes of a single step are left out")

    @property
    def dropped(self) -> int:
        """Return the number of steps dropped from the end of each episode."""
        return 1 if self.final_observation == "drop_last_step" else 0

    def episodes(self, metadata: Sequence[Mapping[str, Any] | None]) -> Iterator[EpisodeBuffer]:
        """Yield the episodes with their metadata, as views of the arrays if possible."""
        dropped = self.dropped
        for number, (start, end) in enumerate(zip(self.starts.tolist(), self.ends.tolist(), strict=True)):
            steps = slice(start, end - dropped)
            if steps.stop == steps.start:
                continue
            truncations = self.truncations[steps]
            if dropped:
                truncations = truncations.copy()
                truncations[-1] = True
            yield EpisodeBuffer(
                observations=self._episode_observations(number, start, end),
                actions=_part(self.actions, steps),
                rewards=self.rewards[steps],
                terminations=self.terminations[steps],
                truncations=truncations,
                infos=self._episode_infos(self.infos, number, start, end, dropped),
                metadata=metadata[number],
            )

    def _episode_observations(self, number: int, start: int, end: int) -> Any:
        if self.has_final:  # each previous episode has one row more than steps
            return _part(self.observations, slice(start + number, end + number + 1))
        before = _part(self.observations, slice(start, end))
        if self.next_observations is not None:
            return _map(lambda a, b: np.concatenate([a, b[end - 1 : end]]), before, self.next_observations)
        if self.final_observation == "repeat":
            return _map(lambda column: np.concatenate([column, column[-1:]]), before)
        return before

    def _episode_infos(
        self, infos: Mapping[str, Any], number: int, start: int, end: int, dropped: int
    ) -> dict[str, Any]:
        episode: dict[str, Any] = {}
        for key, values in infos.items():
            if isinstance(values, Mapping):
                episode[key] = self._episode_infos(values, number, start, end, dropped)
            elif len(values) > len(self.rewards):
                episode[key] = values[start + number : end + number + 1 - dropped]
            else:  # the reset has no info: its row is filled and masked
                column = np.zeros((end - start + 1 - dropped, *values.shape[1:]), dtype=values.dtype)
                column[1:] = values[start : end - dropped]
                mask = np.ones(len(column), dtype=np.bool_)
                mask[0] = False
                episode[key], episode[f"_{key}"] = column, mask
        return episode


def _flags(name: str, values: npt.ArrayLike, count: int) -> npt.NDArray[np.bool_]:
    array = _as_array(name, values)
    if array.ndim == 0 or array.size != len(array):
        raise EpisodeError(f"The {name} have the shape {array.shape}, expected one value a step, (N,).")
    flags = array.reshape(len(array))
    if len(flags) != count:
        raise EpisodeError(f"The {name} have {len(flags)} rows, expected {count} as the rewards.")
    if flags.dtype.kind not in "biuf" or not np.isin(flags, (0, 1)).all():
        raise EpisodeTypeError(f"The {name} are {flags.dtype} values, expected booleans.")
    return flags.astype(np.bool_)


def _checked_infos(name: str, infos: Any, allowed: tuple[int, ...]) -> dict[str, Any]:
    """Return nested infos as arrays, each with one of the allowed numbers of rows."""
    if not isinstance(infos, Mapping):
        raise EpisodeError(f"The {name} are {type(infos).__name__} values, expected a dict of arrays.")
    checked: dict[str, Any] = {}
    for key, values in infos.items():
        here = f"{name}/{key}"
        if isinstance(values, Mapping):
            checked[key] = _checked_infos(here, values, allowed)
            continue
        checked[key] = _as_array(here, values)
        if _rows(checked[key], here, allowed) == allowed[0] and f"_{key}" in infos:
            raise EpisodeError(
                f"The info {here!r} has no row for the resets, and the mask that says so would overwrite the "
                f"info '_{key}'; rename one of the two."
            )
    return checked


def _as_array(name: str, values: Any) -> npt.NDArray[Any]:
    try:
        return np.asarray(values)
    except ValueError:
        raise EpisodeError(f"The {name} differ in shape from step to step, expected an array, time first.") from None


def _as_arrays(name: str, values: Any) -> Any:
    if isinstance(values, Mapping):
        return {key: _as_arrays(f"{name}/{key}", part) for key, part in values.items()}
    if isinstance(values, tuple):
        return tuple(_as_arrays(f"{name}/{i}", part) for i, part in enumerate(values))
    return _as_array(name, values)


def _layout(tree: Any) -> Any:
    """Return the nesting of arrays with the shape and dtype of each step; texts may differ in length."""
    if isinstance(tree, Mapping):
        return {key: _layout(part) for key, part in tree.items()}
    if isinstance(tree, tuple):
        return tuple(map(_layout, tree))
    return "text" if tree.dtype.kind in "UO" else f"{tree.dtype} of shape {tree.shape[1:]}"


def _map(function: Any, *trees: Any) -> Any:
    first = trees[0]
    if isinstance(first, Mapping):
        return {key: _map(function, *(tree[key] for tree in trees)) for key in first}
    if isinstance(first, tuple):
        return tuple(_map(function, *parts) for parts in zip(*trees, strict=True))
    return function(*trees)


def _part(tree: Any, rows: slice) -> Any:
    return _map(lambda column: column[rows], tree)


def _rows(tree: Any, name: str, allowed: tuple[int, ...]) -> int:
    """Return the number of rows of every array in a tree, which must be one of those allowed."""
    if isinstance(tree, (Mapping, tuple)):
        parts = tree.items() if isinstance(tree, Mapping) else enumerate(tree)
        found = {key: _rows(part, f"{name}/{key}", allowed) for key, part in parts}
        if len(set(found.values())) > 1:
            raise EpisodeError(f"The parts of the {name} differ in length: {found}.")
        return next(iter(found.values()), allowed[0])
    rows = len(tree) if tree.ndim else 0
    if rows not in allowed:
        raise EpisodeError(f"The {name} have {rows} rows, expected {' or '.join(map(str, allowed))}.")
    return rows
