"""Hindsight: transitions of goal-conditioned data whose goals are replaced by what was achieved later.

After M. Andrychowicz et al., *Hindsight Experience Replay*, 2017 (arXiv:1707.01495).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import numpy.typing as npt

from minari._base.json_text import shortened
from minari._model.arguments import check_callable, check_seed
from minari.errors import ArgumentError
from minari.sampling.fields import NEXT_OBSERVATIONS, Part, Positions, parts_of
from minari.sampling.nested import Fields
from minari.sampling.samples import Draw, Samples
from minari.spaces import DictCodec


__all__ = ["HindsightTransitions", "RewardFunction", "Strategy"]

Strategy = Literal["future", "final", "episode"]

#: Rewards (B,) of achieved goals (B, …) and desired goals (B, …), and the infos of the batch after the step, as the
#: ``compute_reward`` of Gymnasium-Robotics' goal environments.
RewardFunction = Callable[[npt.NDArray[Any], npt.NDArray[Any], Mapping[str, Any]], npt.ArrayLike]


class HindsightTransitions(Samples):
    """Transitions with other goals; see :meth:`minari.sampling.Transitions.with_hindsight_goals`.

    Args:
        transitions: the recorded transitions.
        strategy, ratio, achieved, desired, reward, seed: see
            :meth:`minari.sampling.Transitions.with_hindsight_goals`.
    """

    KIND: ClassVar[str] = "transition"

    def __init__(
        self,
        transitions: Samples,
        *,
        strategy: Strategy,
        ratio: float,
        achieved: str,
        desired: str,
        reward: RewardFunction,
        seed: int,
    ) -> None:
        if strategy not in get_args(Strategy):
            raise ArgumentError(f"strategy is {shortened(strategy)}, expected 'future', 'final' or 'episode'.")
        if isinstance(ratio, bool) or not isinstance(ratio, (int, float, np.floating)) or not 0 <= ratio <= 1:
            raise ArgumentError(f"ratio is {shortened(ratio)}, expected a number from 0 to 1.")
        check_callable("reward", reward, "a function of achieved goals, desired goals and infos")
        check_seed("seed", seed)
        self._transitions, self._reader = transitions, transitions._reader
        self._strategy, self._ratio, self._reward, self._seed = strategy, ratio, reward, int(seed)
        self._achieved, self._desired = self._goal(achieved), self._goal(desired)
        if self._achieved.shape != self._desired.shape:
            raise ArgumentError(
                f"{achieved!r} has the shape {self._achieved.shape} and {desired!r} {self._desired.shape}, expected "
                f"the same shape for achieved and desired goals."
            )

    def _goal(self, name: str) -> Part:
        codec = self._reader.storage.episode_codec.observations
        parts = {part.path: part for part in parts_of(codec)} if isinstance(codec, DictCodec) else {}
        part = parts.get(("observations", name))
        if part is None or part.shape is None:
            keys = sorted(str(path[1]) for path in parts if len(path) == 2)
            raise ArgumentError(
                f"The observations have no array {name!r} as a goal, expected a Dict space with achieved and desired "
                f"goals; {f'its arrays are {keys}' if keys else 'the dataset is not goal-conditioned'}."
            )
        return part

    def _prepare(self) -> None:
        """Nothing follows from the arguments."""

    def __len__(self) -> int:
        return len(self._transitions)

    def __repr__(self) -> str:
        return f"{self._transitions!r} with hindsight goals"

    def fingerprint(self) -> str:
        """Return a text that differs for other episodes or goals."""
        return f"{self._transitions.fingerprint()}, hindsight {self._strategy} {self._ratio} {self._seed}"

    def locate(self, indices: Positions) -> tuple[Positions, Positions]:
        """Return the position of the episode of each element, and its step."""
        return self._transitions.locate(indices)

    def episode_positions(self) -> Positions:
        """Return the position of the episode of each element, shape (N,)."""
        return self._transitions.episode_positions()

    def _read(self, indices: Positions, out: Fields | None = None, draw: Draw | None = None) -> Fields:
        """Return a batch; goals are drawn by its place in a stream, or, if it has none, for each index on its own."""
        if out is not None:
            out = {name: values for name, values in out.items() if name != "relabeled"}
        batch = self._transitions._read(indices, out)
        chance, place = self._random(indices, draw)
        relabeled = chance < self._ratio
        batch["relabeled"] = relabeled
        chosen = np.flatnonzero(relabeled)
        if not len(chosen):
            return batch
        positions, steps = self.locate(indices[chosen])
        lengths = self._reader.table.lengths[positions]
        least = {"future": steps, "episode": np.zeros_like(steps), "final": lengths - 1}[self._strategy]
        later = least + (place[chosen] * (lengths - least)).astype(np.int64)
        episodes = self._reader.table.numbers[positions]
        goals, reached = self._reader.read(
            [self._achieved.at(episodes, later + 1), self._achieved.at(episodes, steps + 1)]
        )
        name = self._desired.path[1]
        for field in ("observations", NEXT_OBSERVATIONS):
            if isinstance(batch.get(field), dict) and name in batch[field]:
                batch[field][name][chosen] = goals
        if "rewards" in batch:
            infos = {name: _at(values, chosen) for name, values in batch.get("next_infos", {}).items()}
            batch["rewards"] = self._with_rewards(batch["rewards"], chosen, self._reward(reached, goals, infos))
        return batch

    def _random(self, indices: Positions, draw: Draw | None) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return two random numbers from 0 to 1 for each element of a batch."""
        if draw is not None:
            generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence((self._seed, *draw))))
            chance, place = generator.random((2, len(indices)))
            return chance, place
        pairs = [np.random.default_rng((self._seed, int(index))).random(2) for index in indices]
        values = np.array(pairs).reshape(-1, 2)
        return values[:, 0], values[:, 1]

    def _with_rewards(self, recorded: npt.NDArray[Any], chosen: Positions, given: npt.ArrayLike) -> npt.NDArray[Any]:
        values = np.asarray(given)
        if values.shape != (len(chosen), *recorded.shape[1:]) or values.dtype.kind not in "biuf":
            raise ArgumentError(
                f"reward returned {values.dtype} values of shape {values.shape}, expected numbers of shape "
                f"{(len(chosen), *recorded.shape[1:])}, one reward for each pair of goals."
            )
        rewards = recorded.astype(np.result_type(recorded, values), copy=False)
        rewards[chosen] = values
        return rewards


def _at(values: Any, positions: Positions) -> Any:
    return values[positions] if isinstance(values, np.ndarray) else [values[place] for place in positions.tolist()]
