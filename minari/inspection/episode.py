"""One episode, leaf by leaf: what it consists of, and the values of each leaf, read when they are asked for."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from minari._base.json_text import shortened
from minari._base.lazy import cached_property
from minari._model.arguments import check_whole_number
from minari._model.episode_codec import OUTCOMES, REWARDS, EpisodeCodec
from minari._model.infos import decode_infos
from minari._model.multi_agent import TIMESTEPS, MultiAgentCodec, trajectory_of
from minari._storages.base import MinariStorage
from minari._storages.rows import RowRequest
from minari.errors import ArgumentError, DatasetCorruptError, EpisodeIndexError
from minari.inspection.pictures import PictureLayout, as_rgb, picture_layout
from minari.sampling.episode_statistics import EpisodeOutcomes, outcomes_of
from minari.sampling.fields import parts_of
from minari.spaces import (
    AGENTS,
    STATE,
    Column,
    ColumnPath,
    Columns,
    Leaf,
    SpaceCodec,
    TextCodec,
    path_name,
    without_ones,
)


__all__ = [
    "EpisodeLeaf",
    "EpisodeReader",
    "LeafKind",
    "find_leaf",
    "flat_values",
    "info_leaves",
    "leaf_of_values",
    "space_leaves",
]

#: What the values of a leaf are: numbers to plot, booleans, pictures, text, or anything else.
LeafKind: TypeAlias = Literal["number", "flag", "frames", "text", "other"]

_INFOS: Final = "infos"
_NUMBERS: Final = "iuf"
#: Exceptions raised when inconsistent values are decoded.
_ODD_VALUES: Final = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError)


@dataclass(frozen=True, slots=True)
class EpisodeLeaf:
    """A leaf of an episode, as it is shown.

    Attributes:
        name: as for samplers, such as ``"observations/camera"``; with many agents, after ``"agents/"`` and the name of
            the agent.
        kind: what its values are.
        dtype: name of the dtype of an array, or ``"str"`` or ``"object"``.
        shape: the shape of a value.
        agent: the name of the agent; None if there is one, or if the leaf belongs to all.
        picture: how a value is a picture, None if it is not.
        path: the path of its column.
        codec: the codec of values without a fixed shape; None for arrays.
        further_rows: the number of rows beyond the steps: 1 for observations.
    """

    name: str
    kind: LeafKind
    dtype: str
    shape: tuple[int, ...]
    agent: str | None = None
    picture: PictureLayout | None = None
    path: ColumnPath = ()
    codec: SpaceCodec | None = None
    further_rows: int = 0

    @property
    def components(self) -> int:
        """Return the number of numbers in a value."""
        return math.prod(self.shape)


def space_leaves(storage: MinariStorage) -> list[EpisodeLeaf]:
    """Return the leaves that the episodes of a dataset have by its spaces, with rewards and flags; without infos."""
    codec = storage.episode_codec
    if not isinstance(codec, MultiAgentCodec):
        return list(_leaves_of_agent(codec, None, storage.reward_shape))
    return [
        leaf
        for agent, name in codec.names.items()
        for leaf in _leaves_of_agent(codec.of_agent(agent), name, storage.reward_shape)
    ]


def _leaves_of_agent(
    codec: EpisodeCodec, agent: str | None, reward_shape: tuple[int, ...] | None
) -> Iterator[EpisodeLeaf]:
    prefix: ColumnPath = () if agent is None else (AGENTS, agent)
    for space, further_rows in ((codec.observations, 1), (codec.actions, 0)):
        arrays = {leaf.path: leaf for leaf in space.leaves()}
        for part in parts_of(space):
            path, name = (*prefix, *part.path), path_name((*prefix, *part.path))
            leaf = arrays.get(part.path)
            if leaf is None:
                is_text = isinstance(part.codec, TextCodec)
                kind: LeafKind = "text" if is_text else "other"
                dtype = "str" if is_text else "object"
                yield EpisodeLeaf(name, kind, dtype, (), agent, None, path, part.codec, further_rows)
            else:
                yield _array_leaf(name, leaf, agent, path, further_rows)
    yield EpisodeLeaf(
        path_name((*prefix, *REWARDS)), "number", "float64", reward_shape or (), agent, None, (*prefix, *REWARDS)
    )
    for path in sorted(OUTCOMES - {REWARDS}):
        yield EpisodeLeaf(path_name((*prefix, *path)), "flag", "bool", (), agent, None, (*prefix, *path))


def _array_leaf(name: str, leaf: Leaf, agent: str | None, path: ColumnPath, further_rows: int) -> EpisodeLeaf:
    picture = picture_layout(leaf)
    kind: LeafKind = "other"
    if picture is not None:
        kind = "frames"
    elif leaf.dtype.kind == "b":
        kind = "flag"
    elif leaf.dtype.kind in _NUMBERS:
        kind = "number"
    return EpisodeLeaf(name, kind, str(leaf.dtype), leaf.shape, agent, picture, path, None, further_rows)


def info_leaves(columns: Columns) -> Iterator[tuple[EpisodeLeaf, Any]]:
    """Yield the leaves of the infos and the global state of an episode, with their values.

    Args:
        columns: those of the episode, among them all of its infos.
    """
    agents = sorted({str(path[1]) for path in columns if path[0] == AGENTS and len(path) > 2})
    for agent in (None, *agents):
        own = columns if agent is None else trajectory_of(columns, agent)
        infos = {path: column for path, column in own.items() if path[0] == _INFOS}
        if agent is None:  # the state is stored as an info is
            infos |= {(_INFOS, *path): column for path, column in columns.items() if path[0] == STATE}
        prefix = "" if agent is None else f"{AGENTS}/{agent}/"
        for name, values in flat_values(decode_infos(infos), _INFOS):
            shown = name.removeprefix(f"{_INFOS}/") if name.startswith(f"{_INFOS}/{STATE}") and agent is None else name
            yield leaf_of_values(f"{prefix}{shown}", values, agent), values


def flat_values(node: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested values with their names, which begin with a name."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from flat_values(value, f"{name}/{key}")
    elif isinstance(node, tuple):
        for place, value in enumerate(node):
            yield from flat_values(value, f"{name}/{place}")
    elif not (isinstance(node, np.ndarray) and node.ndim == 0):
        yield name, node


def leaf_of_values(name: str, values: Any, agent: str | None) -> EpisodeLeaf:
    """Return the leaf that values in memory are, which no space describes."""
    if isinstance(values, np.ndarray) and values.dtype.kind in f"b{_NUMBERS}":
        return _array_leaf(name, Leaf((), values.dtype, values.shape[1:]), agent, (), 1)
    is_text = len(values) > 0 and all(isinstance(value, str) for value in values)
    return EpisodeLeaf(name, "text" if is_text else "other", "str" if is_text else "object", (), agent, further_rows=1)


def find_leaf(leaves: list[EpisodeLeaf], name: str, episode: int) -> EpisodeLeaf:
    """Return the leaf of a name.

    Raises:
        ArgumentError: there is none; the message has the nearest names.
    """
    names = {leaf.name: leaf for leaf in leaves}
    if name not in names:
        near = difflib.get_close_matches(str(name), names, n=3, cutoff=0.5) or list(names)[:8]
        raise ArgumentError(
            f"Episode {episode} has no leaf {shortened(name)}; the nearest names are {', '.join(map(repr, near))}."
        )
    return names[name]


class _InfosAndState:
    """The paths of all infos and of the global state."""

    def __contains__(self, path: object) -> bool:
        if not isinstance(path, tuple):
            return False
        own = path[2:] if path[0] == AGENTS else path
        return bool(own) and own[0] in (_INFOS, STATE)


class EpisodeReader:
    """One episode, whose leaves are read when they are asked for.

    >>> import minari
    >>> dataset = minari.create_dataset_from_arrays(
    ...     "docs/look-v0",
    ...     observations=np.arange(4.0), actions=np.zeros(3), rewards=np.ones(3), terminations=np.array([0, 0, 1]),
    ... )
    >>> episode = EpisodeReader(dataset.storage, 0)
    >>> [leaf.name for leaf in episode.leaves]
    ['observations', 'actions', 'rewards', 'terminations', 'truncations']
    >>> episode.values("observations")
    array([0., 1., 2., 3.])

    Args:
        storage: of the dataset.
        number: of the episode.
        outcomes: of the episode, if they are known.

    Raises:
        EpisodeIndexError: there is no such episode.
    """

    def __init__(self, storage: MinariStorage, number: int, outcomes: EpisodeOutcomes | None = None) -> None:
        check_whole_number("The number of an episode", number)
        if not storage.total_episodes:
            raise EpisodeIndexError(f"There is no episode {number} in {storage.dataset_id}, which has no episodes.")
        if not 0 <= number < storage.total_episodes:
            raise EpisodeIndexError(
                f"There is no episode {number} in {storage.dataset_id}, expected a number from 0 to "
                f"{storage.total_episodes - 1}."
            )
        self.storage, self.number, self._known_outcomes = storage, int(number), outcomes

    @cached_property
    def length(self) -> int:
        """The number of steps, joint ones with many agents."""
        return int(self.storage.get_episode_lengths([self.number])[0])

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """The metadata of the episode, as in ``dataset[i].metadata``."""
        (metadata,) = self.storage.get_episode_metadata([self.number])
        return {key: value for key, value in metadata.items() if key not in ("id", "total_steps")}

    @cached_property
    def outcomes(self) -> EpisodeOutcomes:
        """The return and the last flags, arrays of one element."""
        known = self._known_outcomes
        return outcomes_of(self.storage, np.array([self.number])) if known is None else known

    @cached_property
    def agents(self) -> list[str]:
        """The names of the agents that act in the episode; an empty list if the dataset has one without a name."""
        codec = self.storage.episode_codec
        if not isinstance(codec, MultiAgentCodec):
            return []
        acting = self.outcomes.agents
        return [name for agent, name in codec.names.items() if agent in acting and acting[agent].lengths[0] > 0]

    @cached_property
    def leaves(self) -> list[EpisodeLeaf]:
        """The leaves of the episode: of its spaces, rewards, flags, infos and the global state."""
        present = [leaf for leaf in space_leaves(self.storage) if leaf.agent is None or leaf.agent in self.agents]
        return [*present, *(leaf for leaf, _ in self._infos.values())]

    @cached_property
    def _infos(self) -> dict[str, tuple[EpisodeLeaf, Any]]:
        ((_, columns),) = self.storage.read_parts([self.number], _InfosAndState())
        return {leaf.name: (leaf, values) for leaf, values in info_leaves(columns)}

    def leaf(self, name: str) -> EpisodeLeaf:
        """Return the leaf of a name.

        Raises:
            ArgumentError: there is none; the message has the nearest names.
        """
        return find_leaf(self.leaves, name, self.number)

    def values(self, name: str) -> Any:
        """Return the values of a leaf.

        Returns:
            An array of shape (T, …) or, for observations and infos, (T + 1, …); a list for values without a shape,
            such as text.

        Raises:
            ArgumentError: there is no such leaf.
            DatasetCorruptError: its values are missing or have another shape.
        """
        leaf = self.leaf(name)
        if name in self._infos:
            return self._infos[name][1]
        prefix = () if leaf.agent is None else (AGENTS, leaf.agent)
        paths = [leaf.path] if leaf.codec is None else [(*prefix, *path) for path in leaf.codec.paths()]
        ((_, columns),) = self.storage.read_parts([self.number], frozenset(paths))
        return checked_values(leaf, columns, self.number)

    def frames(self, name: str, start: int = 0, stop: int | None = None) -> npt.NDArray[np.uint8]:
        """Return the pictures of a leaf as RGB; those before and after them are not decoded if the format allows it.

        Args:
            name: of the leaf.
            start: the first row.
            stop: the row after the last one; None for all.

        Returns:
            Pixels of shape (n, H, W, 3); fewer than asked for if the episode ends before.

        Raises:
            ArgumentError: there is no such leaf, or its values are not pictures.
        """
        rows = self.rows(name)
        start, stop = max(start, 0), rows if stop is None else min(stop, rows)
        leaf, picture = self._camera(name)
        if name in self._infos:
            return as_rgb(self._infos[name][1][start:stop], picture)
        if start >= stop:
            return np.zeros((0, picture.height, picture.width, 3), np.uint8)
        request = RowRequest(leaf.path, leaf.shape, np.array([self.number]), np.array([start]), length=stop - start)
        (found,) = self.storage.read_rows([request])
        return as_rgb(found[0], picture)

    def frames_at(self, name: str, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """Return the pictures of a leaf at some rows as RGB, shape (n, H, W, 3), without decoding those in between.

        Args:
            name: of the leaf.
            rows: the positions, of which each must exist.

        Raises:
            ArgumentError: there is no such leaf, or its values are not pictures.
        """
        leaf, picture = self._camera(name)
        if name in self._infos:
            return as_rgb(self._infos[name][1][rows], picture)
        (found,) = self.storage.read_rows([RowRequest(leaf.path, leaf.shape, np.full(len(rows), self.number), rows)])
        return as_rgb(found, picture)

    def _camera(self, name: str) -> tuple[EpisodeLeaf, PictureLayout]:
        leaf = self.leaf(name)
        if leaf.picture is None:
            raise ArgumentError(
                f"The leaf {shortened(name)} has {leaf.dtype} of shape {leaf.shape}, expected pictures."
            )
        return leaf, leaf.picture

    def rows(self, name: str) -> int:
        """Return the number of values of a leaf, without reading those of the spaces."""
        leaf = self.leaf(name)
        if name in self._infos:
            return len(self._infos[name][1])
        return self._steps(leaf.agent) + leaf.further_rows

    def _steps(self, agent: str | None) -> int:
        return self.length if agent is None else int(self.outcomes_of_agent(agent).lengths[0])

    def outcomes_of_agent(self, agent: str) -> EpisodeOutcomes:
        """Return the return and the last flags of the agent with a name, arrays of one element."""
        codec = self.storage.episode_codec
        names = codec.names if isinstance(codec, MultiAgentCodec) else {}
        (of_agent,) = (one for one, name in names.items() if name == agent)
        return self.outcomes.agents[of_agent]

    def timesteps(self, name: str) -> npt.NDArray[np.int64]:
        """Return the step of each value of a leaf, shape (rows,); with many agents, the joint one."""
        rows, agent = self.rows(name), self.leaf(name).agent
        if agent is None:
            return np.arange(rows)
        path = (AGENTS, agent, *TIMESTEPS)
        ((_, columns),) = self.storage.read_parts([self.number], {path})
        found = columns.get(path)
        if found is None or found.ndim != 1 or found.dtype.kind not in "iu" or len(found) < rows:
            raise DatasetCorruptError(
                f"Episode {self.number} has no timesteps of the agent {shortened(agent)}; the file is damaged, or "
                f"belongs to another dataset."
            )
        return found[:rows].astype(np.int64)


def checked_values(leaf: EpisodeLeaf, columns: Columns, number: int) -> Any:
    """Return the values of a leaf out of the columns of an episode.

    Raises:
        DatasetCorruptError: they are missing, or have another shape.
    """
    problem = DatasetCorruptError(
        f"Episode {number} has no {leaf.name} as the space of the dataset says; the file is damaged, or belongs to "
        f"another dataset."
    )
    if leaf.codec is not None:
        own = columns if leaf.agent is None else trajectory_of(columns, leaf.agent)
        try:
            return leaf.codec.decode(own)
        except _ODD_VALUES as error:
            raise problem from error
    column: Column | None = columns.get(leaf.path)
    if column is None or not column.ndim or without_ones(column.shape[1:]) != without_ones(leaf.shape):
        raise problem
    if leaf.kind != "other" and column.dtype.kind not in f"b{_NUMBERS}":
        raise problem
    return column.reshape(len(column), *leaf.shape)
