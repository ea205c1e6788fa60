"""Transitions: the steps of a dataset with their successors, as a flat sequence."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from minari._model.arguments import checked_count
from minari._storages.base import MinariStorage
from minari._storages.rows import RowRequest
from minari.errors import ArgumentError
from minari.sampling.fields import NEXT_OBSERVATIONS, Part, Positions
from minari.sampling.hindsight import HindsightTransitions, RewardFunction, Strategy
from minari.sampling.nested import Fields
from minari.sampling.row_cache import CACHE_BYTES, CacheKind
from minari.sampling.samples import Draw, Samples


__all__ = ["Transitions"]


class Transitions(Samples):
    """The steps of the episodes of a dataset or view, in order; see :meth:`minari.MinariDataset.transitions`.

    A flat sequence of batches: ``t[3]`` is one transition, ``t[[5, 1, 1]]`` a batch of three. It can be pickled, and
    used from threads and from forked and spawned processes.

    Args:
        storage: of the dataset.
        numbers: the episodes of the view.
        fields, n_step, discount, returns_to_go, infos, cache, cache_bytes: see
            :meth:`minari.MinariDataset.transitions`.
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
        cache: CacheKind | None = None,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self._n_step = checked_count("n_step", n_step)
        super().__init__(storage, numbers, fields, infos, discount, returns_to_go, cache, cache_bytes)

    def __len__(self) -> int:
        return int(self.episode_starts[-1])

    def __repr__(self) -> str:
        return f"Transitions({self._reader.storage.dataset_id!r}, {len(self)} steps, fields={self._names})"

    def locate(self, indices: Positions) -> tuple[Positions, Positions]:
        """Return the position of the episode of each element, and its step, shapes (B,)."""
        positions = self._reader.table.positions_of(indices)
        return positions, indices - self._reader.table.starts[positions]

    def _read(self, indices: Positions, out: Fields | None = None, draw: Draw | None = None) -> Fields:
        table = self._reader.table
        positions, steps = self.locate(indices)
        episodes = table.numbers[positions]
        several = self._n_step > 1
        spans = np.minimum(self._n_step, table.lengths[positions] - steps) if several else 1
        following = steps + spans
        wanted: dict[str, list[tuple[Part, RowRequest]]] = {}
        for name, tree in self._trees.items():
            rows = following if name == NEXT_OBSERVATIONS else steps
            outs = tree.outs(None if out is None else out.get(name))
            wanted[name] = [part.at(episodes, rows, None, one) for part, one in zip(tree.parts, outs, strict=True)]
        rows = np.minimum(steps[:, None] + np.arange(self._n_step), (following - 1)[:, None]) if several else steps
        for name, part in self._outcomes.items():
            wanted[name] = [part.at(episodes, rows)]
        found = self._nested(wanted)
        for name in ("terminations", "truncations"):
            if name in found:
                flags = found[name].astype(bool, copy=False)
                found[name] = flags.any(axis=1) if several else flags
        if several and "rewards" in found:
            found["rewards"] = self._discounted_sum(found["rewards"], following - steps)
        found["episode_ids"], found["timesteps"] = episodes, steps
        batch = {name: found[name] for name in self._names}
        if self._returns is not None:
            batch["returns_to_go"] = self._returns.of(positions, steps)
        if several or self._discount != 1:
            batch["discounts"] = self._discount ** (following - steps).astype(np.float64)
        if self._infos:
            batch["infos"] = {name: self._reader.infos(name, episodes, steps) for name in self._infos}
            batch["next_infos"] = {name: self._reader.infos(name, episodes, following) for name in self._infos}
        return batch

    def with_hindsight_goals(
        self,
        strategy: Strategy = "future",
        *,
        ratio: float = 0.8,
        achieved: str = "achieved_goal",
        desired: str = "desired_goal",
        reward: RewardFunction,
        seed: int = 0,
    ) -> HindsightTransitions:
        """Return these transitions with some of their goals replaced by goals that were achieved.

        In a batch, each transition gets another goal with the probability ``ratio``: the goal achieved after a step
        of its episode. It replaces the desired goal of ``observations`` and ``next_observations``, and ``rewards`` is
        computed for it; flags stay as recorded. ``relabeled`` (B,) tells which ones were changed. Batches draw
        other goals in each epoch; an index always has the same.

        Args:
            strategy: ``"future"`` for the goal after this or a later step, ``"final"`` for that after the last one,
                ``"episode"`` for that after any step.
            ratio: the probability of another goal, from 0 to 1.
            achieved: the key of the achieved goal in the observations.
            desired: the key of the desired goal.
            reward: computes the rewards (B,) of achieved goals (B, …) and desired goals (B, …), both of the state
                after the step, and ``next_infos`` of the batch; ``env.unwrapped.compute_reward`` of goal environments.
            seed: of the choice.

        Raises:
            ArgumentError: the observations have no such goals, or these are n-step transitions or have returns,
                which other goals would change.

        Example:
            >>> import minari, numpy as np, gymnasium as gym
            >>> goals = {key: gym.spaces.Box(-9, 9, (1,)) for key in ("achieved_goal", "desired_goal")}
            >>> reached = np.arange(4, dtype=np.float32).reshape(4, 1)
            >>> dataset = minari.create_dataset_from_arrays(
            ...     "docs/goals-v0", observation_space=gym.spaces.Dict(goals), actions=np.zeros(3),
            ...     observations={"achieved_goal": reached, "desired_goal": reached + 5}, rewards=np.full(3, -1.0),
            ...     terminations=np.arange(3) == 2,
            ... )
            >>> def reward(achieved, desired, infos):
            ...     return np.where((achieved == desired).all(axis=-1), 0.0, -1.0)
            >>> hindsight = dataset.transitions().with_hindsight_goals("final", ratio=1.0, reward=reward)
            >>> batch = hindsight[:]
            >>> batch["observations"]["desired_goal"].ravel(), batch["rewards"]
            (array([3., 3., 3.], dtype=float32), array([-1., -1.,  0.]))
        """
        if self._n_step != 1 or self._returns is not None:
            raise ArgumentError(
                "Other goals change the rewards of all steps, so that n_step and returns_to_go cannot be combined with "
                "hindsight; use transitions() without them."
            )
        return HindsightTransitions(
            self, strategy=strategy, ratio=ratio, achieved=achieved, desired=desired, reward=reward, seed=seed
        )

    def episode_positions(self) -> Positions:
        """Return the position of the episode of each step, shape (N,)."""
        return np.repeat(np.arange(len(self._reader.table.lengths)), self._reader.table.lengths)

    def _discounted_sum(self, rewards: npt.NDArray[Any], spans: Positions) -> npt.NDArray[np.float64]:
        """Return the discounted sums of the first ``spans`` rewards, of shape (B, n) or (B, n, k)."""
        counted = np.arange(self._n_step) < spans[:, None]
        rewards = np.where(counted.reshape(*counted.shape, *[1] * (rewards.ndim - 2)), rewards, 0.0)
        total: npt.NDArray[np.float64] = np.einsum("n,bn...->b...", self._discount ** np.arange(self._n_step), rewards)
        return total
