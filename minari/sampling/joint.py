"""Joint transitions: the steps of all agents of an episode at once, as a flat sequence."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from minari._base.json_text import shortened
from minari._model.multi_agent import MultiAgentCodec
from minari._storages.base import MinariStorage
from minari._storages.rows import RowRequest, check_exact
from minari.errors import ArgumentError, DatasetCorruptError, SpaceError
from minari.sampling.fields import NEXT_OBSERVATIONS, FieldTree, Part, Positions, select
from minari.sampling.nested import Fields
from minari.sampling.reader import FLAGS
from minari.sampling.row_cache import CACHE_BYTES
from minari.sampling.samples import Draw, Samples
from minari.spaces import AGENTS, Column, ColumnPath, path_name
from minari.spaces.differences import differing_leaf


__all__ = ["JointTransitions"]

_TIMESTEPS: Final = "timesteps"
_MOST_BYTES: Final = 2**27  # of the rows of agents at the joint steps of episodes that are kept


class JointTransitions(Samples):
    """The joint steps of the episodes of many agents, in order; see :meth:`minari.MinariDataset.transitions`.

    A flat sequence of batches with arrays of shape (B, n, ...) for n agents, and zeros where an agent does not act. It
    can be pickled, and used from threads and from forked and spawned processes.

    Args:
        storage: of the dataset.
        numbers: the episodes of the view.
        fields: the fields to read; None for all.

    Attributes:
        agents: the ids of the agents, in the order of the second axis.

    Raises:
        SpaceError: the spaces of the agents differ, or hold more than arrays of numbers.
        ArgumentError: there is no such field, or the dataset has one agent.
    """

    KIND: ClassVar[str] = "joint transition"
    SCALARS: ClassVar[tuple[str, ...]] = (*Samples.SCALARS, "masks", "alive")

    def __init__(self, storage: MinariStorage, numbers: npt.ArrayLike, *, fields: Iterable[str] | None = None) -> None:
        if not storage.is_multi_agent:
            raise ArgumentError(
                f"joint is True, and {storage.dataset_id} has one agent; leave it out, as its transitions are joint "
                f"already."
            )
        super().__init__(storage, numbers, fields, (), 1.0, False, None, CACHE_BYTES)

    def _prepare(self) -> None:
        codec = self._reader.storage.episode_codec
        if not isinstance(codec, MultiAgentCodec):
            raise ArgumentError(f"{self._reader.storage.dataset_id} has no agents any more; open it again.")
        self._tables: dict[int, npt.NDArray[np.int32]] = {}
        self._table_bytes = 0
        self.agents = codec.agents
        self._agent_names = list(codec.names.values())
        _check_alike(codec)
        one = codec.of_agent(self.agents[0])
        spaces = {"observations": one.observations, "actions": one.actions, NEXT_OBSERVATIONS: one.observations}
        fields = self._default_fields() if self._fields is None else self._fields
        chosen = select(fields, spaces, self.SCALARS)
        self._names = list(chosen)
        self._trees = {name: FieldTree(spaces[name], chosen[name]) for name in self._names if name in spaces}
        self._dtypes = {leaf.path: leaf.dtype for space in spaces.values() for leaf in space.leaves()}
        outcomes = {"rewards": self._reader.rewards, "terminations": FLAGS[0], "truncations": FLAGS[1]}
        self._outcomes = {name: part for name, part in outcomes.items() if name in chosen}

    def __getstate__(self) -> dict[str, Any]:
        derived = ("agents", "_agent_names", "_names", "_trees", "_dtypes", "_outcomes", "_tables", "_table_bytes")
        return {name: value for name, value in vars(self).items() if name not in derived}

    def __len__(self) -> int:
        return int(self.episode_starts[-1])

    def __repr__(self) -> str:
        return (
            f"JointTransitions({self._reader.storage.dataset_id!r}, {len(self)} joint steps of "
            f"{len(self.agents)} agents, fields={self._names})"
        )

    def locate(self, indices: Positions) -> tuple[Positions, Positions]:
        """Return the position of the episode of each element, and its joint step, shapes (B,)."""
        positions = self._reader.table.positions_of(indices)
        return positions, indices - self._reader.table.starts[positions]

    def episode_positions(self) -> Positions:
        """Return the position of the episode of each joint step, shape (N,)."""
        return np.repeat(np.arange(len(self._reader.table.lengths)), self._reader.table.lengths)

    def episode_returns(self) -> npt.NDArray[np.float64]:
        """Return the sum of the rewards of all agents in each episode of the view."""
        numbers = self._reader.table.numbers
        outcomes = self._reader.storage.get_outcomes(numbers)
        sums = (sum(one["rewards"].sum(dtype=np.float64) for one in each["agents"].values()) for each in outcomes)
        return np.fromiter(sums, np.float64, len(numbers))

    def _read(self, indices: Positions, out: Fields | None = None, draw: Draw | None = None) -> Fields:
        positions, steps = self.locate(indices)
        episodes = self._reader.table.numbers[positions]
        rows, alive, acting = self._rows_at(positions, steps)
        wanted: list[RowRequest] = []
        places: list[tuple[str, int, int]] = []  # the field, the part of it, and the agent of each request
        masks = {"observations": alive}
        parts = {name: tree.parts for name, tree in self._trees.items()}
        parts.update({name: [part] for name, part in self._outcomes.items()})
        for name, several in parts.items():
            mask = masks.get(name, acting)
            for agent, agent_name in enumerate(self._agent_names):
                chosen = mask[:, agent]
                if not chosen.any():
                    continue
                at = rows[chosen, agent] + (name == NEXT_OBSERVATIONS)
                for number, part in enumerate(several):
                    path = (AGENTS, agent_name, *part.path)
                    wanted.append(RowRequest(path, part.shape or (), episodes[chosen], at))
                    places.append((name, number, agent))
        found = self._reader.storage.read_rows(wanted) if wanted else []
        values: dict[tuple[str, int], list[tuple[int, Column]]] = {}
        for (name, number, agent), column in zip(places, found, strict=True):
            values.setdefault((name, number), []).append((agent, column))
        fields: dict[str, Any] = {"episode_ids": episodes, "timesteps": steps, "masks": acting, "alive": alive}
        for name, several in parts.items():
            mask = masks.get(name, acting)
            dense = [self._dense(part, values.get((name, number), []), mask) for number, part in enumerate(several)]
            tree = self._trees.get(name)
            fields[name] = dense[0] if tree is None else tree.nest(dense)
        for name in ("terminations", "truncations"):
            if name in fields:
                fields[name] = fields[name].astype(bool, copy=False)
        return {name: fields[name] for name in self._names}

    def _dense(self, part: Part, values: list[tuple[int, Column]], mask: npt.NDArray[np.bool_]) -> Column:
        """Return the values of all agents, of shape (B, n, ...), with zeros where the mask is False."""
        dtypes = {column.dtype for _, column in values}
        dtype = np.result_type(*dtypes) if dtypes else self._dtypes.get(part.path, np.dtype(np.float64))
        check_exact(dtypes, dtype, part.path)
        dense = np.zeros((*mask.shape, *(part.shape or ())), dtype)
        for agent, column in values:
            dense[mask[:, agent], agent] = column
        return dense

    def _rows_at(
        self, positions: Positions, steps: Positions
    ) -> tuple[Positions, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Return, for each element and agent, the row of its trajectory, and whether it observes, and acts."""
        table = self._reader.table
        tables = self._tables_of(table.numbers[positions].tolist(), table.lengths[positions].tolist())
        if not tables:
            rows = ends = np.empty((0, len(self.agents)), np.int64)
        else:
            rows = np.stack([one[step] for one, step in zip(tables, steps.tolist(), strict=True)]).astype(np.int64)
            ends = np.stack([one[-1] for one in tables]).astype(np.int64)
        alive = rows >= 0
        return rows, alive, alive & (rows < ends)

    def _tables_of(self, episodes: list[int], lengths: list[int]) -> list[npt.NDArray[np.int32]]:
        """Return, for each episode, the row of each agent at each joint step, -1 for none, and in the end its last row.

        Raises:
            DatasetCorruptError: an agent has an observation at a joint step that there is not.
        """
        known = {episode: self._tables.get(episode) for episode in episodes}
        missing = [episode for episode, one in known.items() if one is None]
        places: dict[ColumnPath, int] = {
            (AGENTS, name, _TIMESTEPS): number for number, name in enumerate(self._agent_names)
        }
        total = dict(zip(episodes, lengths, strict=True))
        for episode, columns in self._reader.storage.read_parts(missing, frozenset(places)) if missing else ():
            table: npt.NDArray[np.int32] = np.full((total[episode] + 2, len(places)), -1, np.int32)
            for path, column in columns.items():
                is_sound = column.ndim == 1 and column.dtype.kind in "iu" and len(column)
                if not is_sound or column.min() < 0 or column.max() > total[episode]:
                    raise DatasetCorruptError(
                        f"The {path_name(path)} of episode {episode} in {self._reader.storage.data_path} are not joint "
                        f"steps from 0 to {total[episode]}; copy or download the dataset again."
                    )
                table[column, places[path]] = np.arange(len(column))
                table[-1, places[path]] = len(column) - 1
            self._table_bytes += table.nbytes
            if self._table_bytes > _MOST_BYTES:
                self._tables, self._table_bytes = {}, table.nbytes
            known[episode] = self._tables[episode] = table
        return [one for episode in episodes if (one := known[episode]) is not None]


def _check_alike(codec: MultiAgentCodec) -> None:
    """Raise unless the spaces of all agents have the same layout, of arrays only.

    Raises:
        SpaceError: they differ, or hold more than arrays of numbers.
    """
    first, *others = codec.agents
    for name, spaces in zip(("observations", "actions"), codec.spaces, strict=True):
        for agent in others:
            if differing := differing_leaf(spaces[first], spaces[agent], (name,)):
                raise SpaceError(
                    f"The spaces of the agents {shortened(first)} and {shortened(agent)} differ, so that their steps "
                    f"cannot be joined: {differing}; use for_agent with each."
                )
    for space in (codec.of_agent(first).observations, codec.of_agent(first).actions):
        leaves = {leaf.path for leaf in space.leaves()}
        if without_shape := [path for path in space.paths() if path not in leaves]:
            raise SpaceError(
                f"The {path_name(without_shape[0])} of the agents have no fixed shape, so that their steps cannot be "
                f"joined; use for_agent with each."
            )
