"""Common parts of the adapters to replay buffers: steps in flat arrays, their episodes, and what is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from minari._base.json_text import shortened
from minari._base.warnings import warn
from minari._model.arguments import check_space, no_dataset
from minari._model.env_spec import spaces_of, spec_of
from minari._model.episode import EpisodeData
from minari._model.episode_buffer import EpisodeBuffer
from minari.dataset.from_buffers import create_dataset_from_buffers
from minari.dataset.minari_dataset import MinariDataset
from minari.errors import ArgumentError, SpaceError
from minari.sampling.nested import Batch
from minari.sampling.transitions import Transitions
from minari.spaces.inference import infer_action_space, infer_observation_space


__all__ = [
    "FinalObservation",
    "Losses",
    "Steps",
    "check_arrays",
    "check_dataset",
    "checked_dataset",
    "continues",
    "create_dataset",
    "episode_slices",
    "episodes_of",
    "in_chunks",
    "is_one_array",
    "joined",
    "known_spaces",
    "last_flags",
    "leaves",
    "map_leaves",
    "names",
    "part_of",
    "rows_equal",
    "unsupported",
    "warn_about_lost_columns",
]

Flags = npt.NDArray[np.bool_]

#: What to do about last observations that are not known, as in :func:`minari.create_dataset_from_arrays`.
FinalObservation = Literal["error", "repeat", "drop_last_step"]

_FIELDS: Final = ("observations", "actions", "next_observations", "rewards", "terminations", "truncations")
CHUNK_BYTES: Final = 64 * 2**20


@dataclass
class Steps:
    """N steps, those of an episode one after the other.

    Attributes:
        observations: arrays (N, …), nested in dicts and tuples as the observation space is.
        actions: in the same form.
        rewards: shape (N,) or (N, k).
        terminations: shape (N,).
        truncations: shape (N,).
        ends: shape (N,), true at the last step of an episode.
        next_observations: the observations after each step; None if they are not known.
    """

    observations: Any
    actions: Any
    rewards: npt.NDArray[Any]
    terminations: npt.NDArray[np.bool_]
    truncations: npt.NDArray[np.bool_]
    ends: npt.NDArray[np.bool_]
    next_observations: Any = None

    def episodes(self, final_observation: FinalObservation = "error") -> list[EpisodeBuffer]:
        """Return the episodes.

        Args:
            final_observation: what to do where the last observation of an episode is not known.

        Warns:
            UserWarning: the last observations are repeated, or the last steps dropped.

        Raises:
            ArgumentError: they are not known and ``final_observation`` is ``"error"``.
        """
        if final_observation not in ("error", "repeat", "drop_last_step"):
            raise ArgumentError(
                f"final_observation is {shortened(final_observation)}, expected 'error', 'repeat' or 'drop_last_step'."
            )
        stops = np.flatnonzero(self.ends) + 1
        starts = np.concatenate([[0], stops[:-1]])
        if self.next_observations is None:
            self._tell_about_final(final_observation, len(stops))
        bounds = zip(starts.tolist(), stops.tolist(), strict=True)
        found = (self._episode(start, stop, final_observation) for start, stop in bounds)
        return [episode for episode in found if len(episode)]

    def _tell_about_final(self, choice: FinalObservation, count: int) -> None:
        if choice == "error":
            raise ArgumentError(
                f"The last observations of {count} episodes are not known, as there are no next observations; choose "
                f'final_observation="repeat" or "drop_last_step".'
            )
        warn(
            f"The last observations of {count} episodes are not known, so "
            + (
                "the one before is repeated."
                if choice == "repeat"
                else "the last step of each is left out, and the one before counts as truncated."
            )
        )

    def _episode(self, start: int, stop: int, choice: FinalObservation) -> EpisodeBuffer:
        truncations = self.truncations[start:stop]
        if self.next_observations is not None:
            observations = map_leaves(
                lambda before, after: np.concatenate([before[start:stop], after[stop - 1 : stop]]),
                self.observations,
                self.next_observations,
            )
        elif choice == "repeat":
            rows = np.minimum(np.arange(start, stop + 1), stop - 1)
            observations = map_leaves(lambda values: values[rows], self.observations)
        else:
            stop -= 1
            observations = map_leaves(lambda values: values[start : stop + 1], self.observations)
            truncations = self.truncations[start:stop].copy()
            truncations[-1:] = True
        return EpisodeBuffer(
            observations=observations,
            actions=map_leaves(lambda values: values[start:stop], self.actions),
            rewards=self.rewards[start:stop],
            terminations=self.terminations[start:stop],
            truncations=truncations,
        )


def map_leaves(function: Callable[..., Any], *trees: Any) -> Any:
    """Return values nested as the first tree is, the results of a function for the leaves in the same places."""
    first = trees[0]
    if isinstance(first, Mapping):
        return {key: map_leaves(function, *(tree[key] for tree in trees)) for key in first}
    if isinstance(first, tuple):
        return tuple(map_leaves(function, *parts) for parts in zip(*trees, strict=True))
    return function(*trees)


def leaves(tree: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield the path of each leaf, such as ``observations/camera``, and the leaf."""
    if isinstance(tree, (Mapping, tuple)):
        for key, part in tree.items() if isinstance(tree, Mapping) else enumerate(tree):
            yield from leaves(part, f"{name}/{key}")
    else:
        yield name, tree


def continues(before: Any, after: Any) -> npt.NDArray[np.bool_]:
    """Return whether each step but the first begins with the observation that the one before ends with.

    Args:
        before: the observations before N steps.
        after: the observations after them, nested in the same way.

    Returns:
        Shape (N - 1,); NaN counts as equal to NaN.
    """
    return rows_equal(part_of(before, slice(1, None)), part_of(after, slice(None, -1)))


def names(entries: Iterable[str]) -> str:
    """Return names as a part of a sentence."""
    return ", ".join(sorted(set(entries)))


def check_arrays(tree: Any, name: str, library: str, without: frozenset[str] = frozenset()) -> None:
    """Raise unless values are arrays in dicts, which are all that a library's buffer holds.

    Args:
        tree: the values.
        name: of the field.
        library: its name.
        without: the names of the dtypes that it does not support.

    Raises:
        SpaceError: there are tuples or values without a fixed shape.
    """
    if isinstance(tree, Mapping):
        for key, part in tree.items():
            check_arrays(part, f"{name}/{key}", library, without)
        return
    if isinstance(tree, np.ndarray) and tree.dtype.kind in "biuf" and tree.dtype.name not in without:
        return
    kind = "tuples" if isinstance(tree, tuple) else f"{tree.dtype} values" if isinstance(tree, np.ndarray) else "lists"
    raise SpaceError(
        f"The {name} are {kind}, which {library} does not hold, expected a Box, a Discrete, or a Dict of them; convert "
        f"them to such a space first."
    )


def checked_dataset(dataset: object) -> MinariDataset:
    """Return a dataset that a user has given.

    Raises:
        ArgumentTypeError: it is none.
    """
    if not isinstance(dataset, MinariDataset):
        raise no_dataset("dataset", dataset)
    return dataset


def in_chunks(dataset: MinariDataset) -> Iterator[tuple[Batch, npt.NDArray[np.bool_]]]:
    """Yield the transitions of a dataset in order, some tens of megabytes at once, with the ends of the episodes.

    Raises:
        EpisodeError: there is no episode.
    """
    transitions: Transitions = dataset.transitions(fields=_FIELDS)
    is_end = np.zeros(len(transitions), bool)
    is_end[transitions.episode_starts[1:] - 1] = True
    first = transitions[:1]
    size = sum(values.nbytes if isinstance(values, np.ndarray) else 64 for _, values in leaves(first, ""))
    count = max(1, CHUNK_BYTES // size)
    for start in range(0, len(transitions), count):
        rows = slice(start, start + count)
        yield transitions[rows], is_end[rows]


def warn_about_lost_columns(dataset: MinariDataset, library: str, *, infos: bool, early_ends: str | None) -> None:
    """Warn about what a buffer of a library does not keep of a dataset.

    Args:
        dataset: the dataset.
        library: its name.
        infos: True if it does not keep infos.
        early_ends: what happens to steps before the last of an episode that are terminated or truncated; None if they
            are kept.
    """
    lost = names(dataset[0].infos) if infos and len(dataset) else ""
    if lost:
        warn(f"The infos of {dataset.id} ({lost}) are left out, as {library} keeps none.")
    if early_ends is None:
        return
    outcomes = dataset.storage.get_outcomes(dataset.episode_indices)
    count = sum(bool((one["terminations"] | one["truncations"])[:-1].any()) for one in outcomes)
    if count:
        warn(f"{count} episodes of {dataset.id} go on after a step that is terminated or truncated; {early_ends}.")


def create_dataset(
    dataset_id: str,
    episodes: list[EpisodeBuffer],
    *,
    observation_space: gym.Space[Any] | None,
    action_space: gym.Space[Any] | None,
    options: Mapping[str, Any],
) -> MinariDataset:
    """Create a dataset of episodes, with spaces that are inferred where they are not given.

    Args:
        dataset_id: of the new dataset.
        episodes: at least one.
        observation_space: None for that of the environment, or an inferred one.
        action_space: likewise.
        options: further arguments of :func:`minari.create_dataset_from_buffers`.

    Warns:
        UserWarning: a space is inferred.

    Raises:
        ArgumentError: there is no episode.
    """
    check_space("observation_space", observation_space)
    check_space("action_space", action_space)
    if not episodes:
        raise ArgumentError("The buffer has no step, expected at least one to make a dataset of.")
    assumptions = []
    if options.get("env") is None and observation_space is None:
        observation_space = infer_observation_space(episodes[0].observations)
        assumptions.append(f"the observation space is {shortened(observation_space)}")
    if options.get("env") is None and action_space is None:
        action_space = infer_action_space(_joined([episode.actions for episode in episodes]))
        assumptions.append(f"the action space is {shortened(action_space)}")
    settings = dict(options)
    if assumptions:
        warn(f"{dataset_id}: assumed that {'; '.join(assumptions)}.")
        settings["extra_metadata"] = {"assumptions": assumptions, **(settings.get("extra_metadata") or {})}
    return create_dataset_from_buffers(
        dataset_id, episodes, observation_space=observation_space, action_space=action_space, **settings
    )


def _joined(trees: list[Any]) -> Any:
    return map_leaves(lambda *parts: np.concatenate([np.asarray(part) for part in parts]), *trees)


class Losses:
    """The data that a library does not keep, for one warning at the end.

    Args:
        library: its name.
    """

    def __init__(self, library: str) -> None:
        self._library = library
        self._episodes: Counter[str] = Counter()

    def add(self, what: str) -> None:
        """Note that something of an episode is lost."""
        self._episodes[what] += 1

    def warn(self) -> None:
        """Name everything that is lost, if anything is."""
        if self._episodes:
            parts = (
                f"{what} ({number} {'episode' if number == 1 else 'episodes'})"
                for what, number in self._episodes.items()
            )
            warn(f"{self._library} does not keep {'; '.join(parts)}.")


def check_dataset(dataset: object) -> None:
    """Raise an error if something is not a dataset with at least one step.

    Raises:
        ArgumentTypeError: it is not a dataset.
        ArgumentError: it is empty.
    """
    view = checked_dataset(dataset)
    if not len(view) or not view.total_steps:
        raise ArgumentError(f"{view.id} has no step in this view, expected at least one; choose other episodes.")


def episodes_of(dataset: MinariDataset, losses: Losses) -> Iterator[EpisodeData]:
    """Yield the episodes that have a step, with one reward each.

    Args:
        dataset: or a view.
        losses: of the library, to which the infos are added.

    Raises:
        ArgumentError: rewards are vectors.
    """
    for episode in dataset.iterate_episodes():
        if episode.rewards.ndim > 1:
            raise ArgumentError(
                f"The rewards of episode {episode.id} have the shape {episode.rewards.shape}, expected one number a "
                f"step; make a dataset with one of them, or with their sum."
            )
        if not len(episode):
            losses.add("episodes without a step")
            continue
        if episode.infos:
            losses.add("infos")
        yield episode


def last_flags(episode: EpisodeData, losses: Losses) -> tuple[bool, bool]:
    """Return whether an episode is terminated and truncated, for libraries with one flag an episode."""
    if episode.terminations[:-1].any() or episode.truncations[:-1].any():
        losses.add("terminations and truncations before the last step")
    return bool(episode.terminations[-1]), bool(episode.truncations[-1])


def is_one_array(space: gym.Space[Any]) -> bool:
    """Return whether the values of a space are arrays, or numbers, of one shape and dtype."""
    return isinstance(space, (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary))


def unsupported(what: str, library: str, space: gym.Space[Any], supported: str) -> ArgumentError:
    """Return the error for a space that a library does not support."""
    return ArgumentError(
        f"The {what} space is {shortened(space)}, expected {supported}, which is what {library} supports; convert the "
        f"dataset."
    )


def rows_equal(one: Any, other: Any) -> Flags:
    """Return for each row whether two nested values agree, with NaN equal to NaN.

    Raises:
        SpaceError: they have no values.
    """
    found: Flags | None = None
    for (_, left), (_, right) in zip(leaves(one, ""), leaves(other, ""), strict=True):
        with np.errstate(invalid="ignore"):
            same = (left == right) | ((left != left) & (right != right))
        whole = np.asarray(same.all(axis=tuple(range(1, same.ndim))))
        found = whole if found is None else found & whole
    if found is None:
        raise SpaceError("The observations have no values, expected at least one leaf.")
    return found


def part_of(values: Any, steps: slice) -> Any:
    """Return some steps of nested arrays."""
    return map_leaves(lambda leaf: leaf[steps], values)


def joined(values: Any, final: Any) -> Any:
    """Return nested arrays, each with the rows of another one after its own."""
    return map_leaves(lambda *parts: np.concatenate(parts), values, final)


def episode_slices(ends: Flags) -> list[slice]:
    """Return the steps of each episode.

    Args:
        ends: True at the last step of each; the steps after the last True are an episode, too.
    """
    places = (np.flatnonzero(ends) + 1).tolist()
    if not places or places[-1] < len(ends):
        places.append(len(ends))
    return [slice(start, end) for start, end in zip([0, *places], places, strict=False)]


def known_spaces(
    observation_space: gym.Space[Any] | None, action_space: gym.Space[Any] | None, env: Any
) -> Sequence[gym.Space[Any] | None]:
    """Return the spaces that were given, and those of the environment in place of the others.

    Raises:
        EnvironmentSpecError: the environment is unknown, or cannot be created.
    """
    found: Sequence[gym.Space[Any] | None] = (None, None)
    if env is not None and (observation_space is None or action_space is None):
        if isinstance(env, gym.Env):
            found = env.observation_space, env.action_space
        elif (spec := spec_of(env)) is not None:
            found = spaces_of(spec)
    return [
        other if space is None else space for space, other in zip((observation_space, action_space), found, strict=True)
    ]
