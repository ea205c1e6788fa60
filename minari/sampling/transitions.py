"""Transitions: the steps of a dataset with their successors, as a flat sequence."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from minari._model.arguments import checked_count
from minari._storages.base import MinariStorage
from minari.sampling.fields import NEXT_OBSERVATIONS
from minari.sampling.nested import Batch
from minari.sampling.reader import FLAGS, Positions, Query
from minari.sampling.samples import Samples


__all__ = ["Transitions"]


class Transitions(Samples):
    """The steps of the episodes of a dataset or view, in order; see :meth:`minari.MinariDataset.transitions`.

    A flat sequence of batches: ``t[3]`` is one transition, ``t[[5, 1, 1]]`` a batch of three. It can be pickled, and
    used from threads and from forked and spawned processes.

    Args:
        storage: of the dataset.
        numbers: the episodes of the view.
        fields, n_step, discount, returns_to_go, infos: see :meth:`minari.MinariDataset.transitions`.
    """

    KIND: ClassVar[str] = "transition"

    def __init__(
        self,
        storage: MinariStorage,
        numbers: npt.ArrayLike,
        *,
        fields: Iterable[str] | None = None,
        n_step: int = 1,
        discount: float = 1.0,
        returns_to_go: bool = False,
        infos: Iterable[str] = (),
    ) -> None:
        self._n_step = checked_count("n_step", n_step)
        super().__init__(storage, numbers, fields, infos, discount, returns_to_go)

    def __len__(self) -> int:
        return int(self.episode_starts[-1])

    def __repr__(self) -> str:
        return f"Transitions({self._reader.storage.dataset_id!r}, {len(self)} steps, fields={self._names})"

    def _read(self, indices: Positions, out: Batch | None = None) -> Batch:
        table = self._reader.table
        positions = table.starts.searchsorted(indices, "right") - 1
        steps = indices - table.starts[positions]
        spans = np.minimum(self._n_step, table.lengths[positions] - steps)
        queries: list[Query] = []
        counts: dict[str, int] = {}
        for name, tree in self._trees.items():
            rows = steps + spans if name == NEXT_OBSERVATIONS else steps
            outs = tree.outs((out or {}).get(name))
            queries += [Query(part, positions, rows, None, one) for part, one in zip(tree.parts, outs, strict=True)]
            counts[name] = len(tree.parts)
        several = self._n_step > 1
        rows = np.minimum(steps[:, None] + np.arange(self._n_step), (steps + spans - 1)[:, None]) if several else steps
        for name, part in zip(("rewards", "terminations", "truncations"), (self._reader.rewards, *FLAGS), strict=True):
            if name in self._names:
                queries.append(Query(part, positions, rows))
                counts[name] = 1
        found = self._nested(queries, counts)
        for name in ("terminations", "truncations"):
            if name in found:
                flags = found[name].astype(bool, copy=False)
                found[name] = flags.any(axis=1) if several else flags
        if several and "rewards" in found:
            found["rewards"] = self._discounted_sum(found["rewards"], spans)
        found["episode_ids"], found["timesteps"] = table.numbers[positions], steps
        batch = {name: found[name] for name in self._names}
        if self._returns is not None:
            batch["returns_to_go"] = self._returns.of(positions, steps)
        if several or self._discount != 1:
            batch["discounts"] = self._discount ** spans.astype(np.float64)
        if self._infos:
            batch["infos"] = {name: self._reader.infos(name, positions, steps) for name in self._infos}
            batch["next_infos"] = {name: self._reader.infos(name, positions, steps + spans) for name in self._infos}
        return batch

    def episode_positions(self) -> Positions:
        """Return the position of the episode of each step, shape (N,)."""
        return np.repeat(np.arange(len(self._reader.table.lengths)), self._reader.table.lengths)

    def _discounted_sum(self, rewards: npt.NDArray[Any], spans: Positions) -> npt.NDArray[np.float64]:
        """Return the discounted sums of the first ``spans`` rewards, of shape (B, n) or (B, n, k)."""
        counted = np.arange(self._n_step) < spans[:, None]
        rewards = np.where(counted.reshape(*counted.shape, *[1] * (rewards.ndim - 2)), rewards, 0.0)
        total: npt.NDArray[np.float64] = np.einsum("n,bn...->b...", self._discount ** np.arange(self._n_step), rewards)
        return total
