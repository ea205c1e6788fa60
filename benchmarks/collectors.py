"""Ways to collect the steps of the same vector environments: Gymnasium alone, this library, and what else people use.

The functions run in interpreters that have only NumPy, Gymnasium and the library in question.
"""

from __future__ import annotations

import os
import shutil
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv


_LEAST_PAIRS, _MOST_PAIRS = 3, 25
_SECONDS = 8.0  # of pairs, after one that is not counted
_FRAMES = 8192  # transitions that TorchRL stores at a time; numbers of steps are multiples, if they are larger
_DATASET = "collection/steps-v0"


@dataclass(frozen=True)
class Collection:
    """One way to collect steps, in the same environments each time.

    Attributes:
        bare: steps the environments.
        collected: does the same, and stores the steps; returns how many were stored.
        clean: deletes what was stored.
    """

    bare: Callable[[], None]
    collected: Callable[[], int]
    clean: Callable[[], None] = lambda: None


class Body(gym.Env[Any, Any]):
    """An environment with the observations, the actions and about the cost of a simulated body."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (376,), np.float64)
    action_space = gym.spaces.Box(-0.4, 0.4, (17,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._state = self.np_random.standard_normal(376)
        self._left = int(self.np_random.integers(100, 300))
        return self._state.copy(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._left -= 1
        state = self._state
        state[:17] += action
        for _ in range(15):
            state = np.sin(state * 1.1)
        self._state = state
        return state.copy(), float(state[0]), False, self._left <= 0, {}


class Carts(CartPoleVectorEnv):
<<<<<<< HEAD
    """CartPole that resets only the sub-environments that it is asked to, as other libraries expect."""
=======
    """CartPole that resets sub-environments only on request, as other libraries expect."""
>>>>>>> bench

    autoreset_mode = AutoresetMode.DISABLED

    def __init__(self, num_envs: int) -> None:
        super().__init__(num_envs)
        self.metadata = {**self.metadata, "autoreset_mode": self.autoreset_mode}

    def step(self, action: Any) -> Any:
        self.prev_done[:] = False
        return super().step(action)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        mask = (options or {}).get("reset_mask")
        if mask is None or self.state is None:
            return super().reset(seed=seed)
        self.state[:, mask] = self.np_random.uniform(self.low, self.high, (4, int(mask.sum())))
        self.steps[mask] = 0
        return self.state.T.astype(np.float32), {}


def make_cart() -> gym.Env[Any, Any]:
    """Return one CartPole without the checks of `gymnasium.make`."""
    return gym.make("CartPole-v1", disable_env_checker=True)


def make_envs(kind: str, num_envs: int, mode: AutoresetMode) -> Any:
    """Return Gymnasium's vector environment of a kind, "native", "sync" or "async"."""
    if kind == "native":
        if mode is AutoresetMode.DISABLED:
            return Carts(num_envs=num_envs)
        return gym.make_vec("CartPole-v1", num_envs=num_envs, vectorization_mode="vector_entry_point")
    if kind == "sync":
        return SyncVectorEnv([make_cart] * num_envs, autoreset_mode=mode)
    return AsyncVectorEnv([Body] * num_envs, context="fork", autoreset_mode=mode)


def make_actions(envs: Any, count: int = 64) -> list[Any]:
    """Return random actions for some steps, the same each time."""
    envs.action_space.seed(0)
    return [envs.action_space.sample() for _ in range(count)]


def play(envs: Any, steps: int, actions: list[Any]) -> None:
    """Step environments that reset themselves."""
    envs.reset(seed=0)
    for _, action in zip(range(steps), cycle(actions), strict=False):
        envs.step(action)


def play_with_resets(envs: Any, steps: int, actions: list[Any]) -> None:
    """Step environments that have to be reset."""
    envs.reset(seed=0)
    for _, action in zip(range(steps), cycle(actions), strict=False):
        _, _, terminations, truncations, _ = envs.step(action)
        is_over = terminations | truncations
        if is_over.any():
            envs.reset(options={"reset_mask": is_over})


def collect_with_minari(scratch: Path, kind: str, num_envs: int, steps: int) -> Collection:
    """Return the recording of a dataset."""
    import minari

    os.environ["MINARI_DATASETS_PATH"] = str(scratch)
    envs = make_envs(kind, num_envs, AutoresetMode.NEXT_STEP)
    actions = make_actions(envs)

    def collected() -> int:
        recorder = minari.VectorDataCollector(envs)
        play(recorder, steps, actions)
        dataset = recorder.create_dataset(
            _DATASET, algorithm_name="random", author="Ada", author_email="ada@example.org", code_permalink="none"
        )
        return int(dataset.total_steps)

    return Collection(lambda: play(envs, steps, actions), collected, lambda: minari.delete_dataset(_DATASET))


def collect_with_torchrl(scratch: Path, kind: str, num_envs: int, steps: int) -> Collection:
    """Return TorchRL's collector with a buffer of memory-mapped tensors."""
    import torch
    from torchrl.collectors import Collector
    from torchrl.data import LazyMemmapStorage, TensorDictReplayBuffer
    from torchrl.envs import GymWrapper

    torch.set_num_threads(1)
    envs = make_envs(kind, num_envs, AutoresetMode.DISABLED)
    wrapped = GymWrapper(envs, categorical_action_encoding=True)
    actions = make_actions(envs)
    tensors = cycle([torch.from_numpy(np.asarray(action)) for action in actions])
    made: list[str] = []
    rows = min(steps, max(1, _FRAMES // num_envs))  # at a time

    def collected() -> int:
        made.append(mkdtemp(prefix="torchrl-", dir=scratch))
        buffer = TensorDictReplayBuffer(storage=LazyMemmapStorage(steps * num_envs, scratch_dir=made[-1]))
        collector = Collector(
            wrapped,
            lambda data: data.set("action", next(tensors)),
            frames_per_batch=rows * num_envs,
            total_frames=-1,  # with a number, the collector would close the environments in the end
            trust_policy=True,
        )
        for batch in islice(collector, steps // rows):
            buffer.extend(batch.reshape(-1))
        collector.shutdown(close_env=False)
        return len(buffer)

    return Collection(
        lambda: play_with_resets(envs, steps, actions), collected, lambda: shutil.rmtree(made.pop(), ignore_errors=True)
    )


def collect_with_tianshou(scratch: Path, kind: str, num_envs: int, steps: int) -> Collection:
    """Return Tianshou's collector with a buffer in memory; the bare environments are those of Tianshou."""
    from tianshou.algorithm.algorithm_base import Policy
    from tianshou.data import Batch, Collector, VectorReplayBuffer
    from tianshou.env import BaseVectorEnv, DummyVectorEnv, ShmemVectorEnv

    class Native(BaseVectorEnv):
        """Gymnasium's native vector environment."""

        def __init__(self, envs: Any) -> None:
            self.envs, self.env_num = envs, num_envs
            self.is_async = self.is_closed = False
            self.infos = np.array([{"env_id": env} for env in range(num_envs)])

        def get_env_attr(self, key: str, id: Any = None) -> list[Any]:
            names = {"action_space": "single_action_space", "observation_space": "single_observation_space"}
            return [getattr(self.envs, names[key])] * num_envs

        def reset(self, env_id: Any = None, **kwargs: Any) -> tuple[Any, Any]:
            if env_id is None:
                return self.envs.reset()[0], self.infos
            mask = np.zeros(num_envs, bool)
            mask[env_id] = True
            return self.envs.reset(options={"reset_mask": mask})[0][env_id], self.infos[env_id]

        def step(self, action: Any, id: Any = None) -> Any:
            return (*self.envs.step(action)[:4], self.infos)

        def seed(self, seed: Any = None) -> Any:
            return self.envs.reset(seed=seed)

    class Given(Policy):
        """A policy whose actions are known in advance."""

        def forward(self, batch: Any, state: Any = None, **kwargs: Any) -> Any:
            return Batch(act=next(given))

    gymnasium_envs = make_envs("native" if kind == "native" else "sync", num_envs, AutoresetMode.DISABLED)
    envs: Any
    if kind == "native":
        envs, space = Native(gymnasium_envs), gymnasium_envs.single_action_space
    elif kind == "sync":
        envs, space = DummyVectorEnv([make_cart] * num_envs), gymnasium_envs.single_action_space
    else:
        envs, space = ShmemVectorEnv([Body] * num_envs), Body.action_space
    batched = gym.vector.utils.batch_space(space, num_envs)
    batched.seed(0)
    actions = [batched.sample() for _ in range(64)]
    given = cycle(actions)

    def bare() -> None:
        envs.reset()
        for _, action in zip(range(steps), cycle(actions), strict=False):
            _, _, terminations, truncations, _ = envs.step(action)
            over = np.flatnonzero(terminations | truncations)
            if len(over):
                envs.reset(over)

    def collected() -> int:
        buffer = VectorReplayBuffer(steps * num_envs, num_envs)
        collector = Collector(Given(space, action_bound_method=None), envs, buffer)
        collector.reset()
        collector.collect(n_step=steps * num_envs)
        return len(buffer)

    return Collection(bare, collected)


WAYS: dict[str, Callable[[Path, str, int, int], Collection]] = {
    "minari": collect_with_minari,
    "tianshou": collect_with_tianshou,
    "torchrl": collect_with_torchrl,
}


def collect(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the seconds of bare and collected steps, in pairs, and the number of steps stored each time."""
    num_envs, steps = arguments["num_envs"], arguments["steps"]
    way = WAYS[arguments["side"]](Path(arguments["scratch"]), arguments["kind"], num_envs, steps)
    runs: tuple[list[float], list[float]] = [], []
    stored: list[int] = []

    def bare() -> None:
        begin = time.perf_counter()
        way.bare()
        runs[0].append(time.perf_counter() - begin)

    def collected() -> None:
        begin = time.perf_counter()
        stored.append(way.collected())
        runs[1].append(time.perf_counter() - begin)
        way.clean()

    least, seconds = (1, 0.0) if arguments["quick"] else (_LEAST_PAIRS, _SECONDS)
    end = None  # of the time; the first pair is not counted
    while end is None or len(stored) <= least or (time.perf_counter() < end and len(stored) <= _MOST_PAIRS):
        for run in (bare, collected) if len(stored) % 2 else (collected, bare):  # both orders, as the machine varies
            run()
        end = end or time.perf_counter() + seconds
    count = num_envs * steps
    return {
        "bare": [seconds / count for seconds in runs[0][1:]],
        "collected": [seconds / count for seconds in runs[1][1:]],
        "stored": statistics.median(stored) / count,
    }
