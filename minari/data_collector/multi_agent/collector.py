"""MultiAgentDataCollector: records an environment of many agents while it is used."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import gymnasium as gym

from minari._base.json_text import shortened
from minari._model.compression import CompressionChoice
from minari._storages.base import PathLike
from minari.data_collector.callbacks import EpisodeMetadataCallback, StepDataCallback
from minari.data_collector.multi_agent.base import AgentsCollector
from minari.data_collector.multi_agent.parallel import ParallelCollector
from minari.data_collector.multi_agent.turns import TurnsCollector


__all__ = ["MultiAgentDataCollector"]


class MultiAgentDataCollector(AgentsCollector):
    """Recorder of the episodes of a PettingZoo environment, from which datasets are created.

    Use the environment as usual, a ``ParallelEnv`` or an ``AECEnv``: its values are returned unchanged. An episode
    is a trajectory for each agent, of its own length, with the number of the joint step (parallel) or turn (AEC)
    of each of its observations; agents may come, leave and act at different times. Episodes are written, recovered
    and discarded as those of :class:`~minari.DataCollector`.

    Of an agent that acts in turns, the observation is recorded that ``last()`` or ``observe()`` gave at its turn,
    and the environment is only asked where nobody did. Its reward is the one of its API: what it has earned since
    its last action. Rewards before its first action are metadata of the episode,
    ``rewards_before_first_action``. An episode ends when no agent is left; a reset or a save before that truncates
    the trajectory of each agent that is alive.

    Args:
        env: the environment.
        step_data_callback: a class like :class:`~minari.StepDataCallback` that selects what to record of a step of
            an agent. Each agent has its own callback, which receives the ``agent`` if it accepts that argument.
        episode_metadata_callback: a class like :class:`~minari.EpisodeMetadataCallback` that describes the
            trajectories of an agent; the fields of an episode have its ``agent`` and ``timesteps`` as well.
        record_infos: True to record the info dicts.
        observation_space: space of the recorded observations of each agent, if the callback changes it; a dict of
            the agents it changes, or one for all.
        action_space: space of the recorded actions, in the same form.
        data_format: format of the dataset, by default ``"hdf5"``.
        record_state: True to record the global state, if the environment has one.
        jpeg_encoding: True to store frames as JPEG, which is lossy.
        compression: a codec such as ``"gzip"``, as for :class:`~minari.DataCollector`.
        buffer_steps: maximum number of joint steps or turns in memory, see :class:`~minari.DataCollector`.
        root: root of the catalog; by default that of ``MINARI_DATASETS_PATH``.
        resume: name of a recording to continue, as listed by ``minari recover``.

    Warns:
        UserWarning: as for :class:`~minari.DataCollector`; or the environment breaks the rules of its API, such as
            an agent that comes back after its end.

    Raises:
        TypeError: ``env`` is not an environment of many agents, or a callback is an instance instead of a class.
        ArgumentError: ``buffer_steps`` is not a positive integer.
        SpaceError: a space argument is not a space; or, at a reset, an agent has another space than before.
        UnknownFormatError: there is no such format.
        UnknownSpaceError: a space, or one inside it, has a type without a codec.
        CompressionError: the format does not support the codec, or there is no such column.
        DatasetNotFoundError: there is no recording with the name ``resume``.
        DatasetBusyError: the recording to resume is in use by a running program.
        CombineError: the recording to resume has different spaces or another format.

    Example:
        >>> import minari
        >>> from gymnasium.spaces import Discrete
        >>> class MatchingPennies:  # a ParallelEnv
        ...     possible_agents = ["even", "odd"]
        ...     def observation_space(self, agent):
        ...         return Discrete(3)
        ...     def action_space(self, agent):
        ...         return Discrete(2)
        ...     def reset(self, seed=None, options=None):
        ...         self.agents = ["even", "odd"]
        ...         return {"even": 2, "odd": 2}, {}
        ...     def step(self, actions):
        ...         self.agents, both = [], {"even": True, "odd": True}
        ...         reward = 1.0 if actions["even"] == actions["odd"] else -1.0
        ...         shown = {"even": actions["odd"], "odd": actions["even"]}
        ...         return shown, {"even": reward, "odd": -reward}, both, {}, {}
        >>> env = minari.MultiAgentDataCollector(MatchingPennies())
        >>> observations, infos = env.reset(seed=1)
        >>> observations, rewards, terminations, truncations, infos = env.step({"even": 1, "odd": 0})
        >>> dataset = env.create_dataset(
        ...     "docs/pennies-v0", algorithm_name="random", author="Ada", author_email="ada@example.org",
        ...     description="one game", code_permalink="https://example.org", eval_env="CartPole-v1",
        ... )
        >>> dataset[0]["odd"].rewards.tolist()
        [1.0]
    """

    def __new__(cls, env: Any, *arguments: Any, **options: Any) -> MultiAgentDataCollector:
        """Create a collector of the kind of the environment: of joint steps, or of turns."""
        collector: MultiAgentDataCollector = object.__new__(_class_for(cls, _kind_of(env)))
        return collector

    def __init__(
        self,
        env: Any,
        step_data_callback: type[StepDataCallback] = StepDataCallback,
        episode_metadata_callback: type[EpisodeMetadataCallback] = EpisodeMetadataCallback,
        record_infos: bool = False,
        observation_space: gym.Space[Any] | Mapping[Any, gym.Space[Any]] | None = None,
        action_space: gym.Space[Any] | Mapping[Any, gym.Space[Any]] | None = None,
        data_format: str | None = None,
        *,
        record_state: bool = False,
        jpeg_encoding: bool = False,
        compression: CompressionChoice = None,
        buffer_steps: int = 10_000,
        root: PathLike | None = None,
        resume: str | None = None,
    ) -> None:
        super().__init__(
            env,
            step_data_callback,
            episode_metadata_callback,
            record_infos,
            observation_space,
            action_space,
            data_format,
            record_state=record_state,
            jpeg_encoding=jpeg_encoding,
            compression=compression,
            buffer_steps=buffer_steps,
            root=root,
            resume=resume,
        )


#: Methods of the environments of each kind.
_TURNS = ("reset", "step", "observe", "last", "observation_space", "action_space")
_PARALLEL = ("reset", "step", "observation_space", "action_space")


def _kind_of(env: Any) -> tuple[type, ...]:
    """Return the collector for an environment, and its class of PettingZoo, which other libraries look for.

    Raises:
        TypeError: it is none of many agents.
    """
    pettingzoo: Any = sys.modules.get("pettingzoo")  # has been imported if the environment is one of its own
    for collector, methods, name in (
        (TurnsCollector, _TURNS, "AECEnv"),
        (ParallelCollector, _PARALLEL, "ParallelEnv"),
    ):
        if all(callable(getattr(env, method, None)) for method in methods):
            api = getattr(pettingzoo, name, None)
            return (collector, api) if isinstance(api, type) and isinstance(env, api) else (collector,)
    advice = "make it with its parallel_env() or env() function"
    if isinstance(env, gym.Env):
        advice = "record an environment of one agent with DataCollector"
    elif isinstance(env, gym.vector.VectorEnv):
        advice = "record a vector environment with VectorDataCollector"
    raise TypeError(
        f"MultiAgentDataCollector records a ParallelEnv or an AECEnv of PettingZoo, got {shortened(env)}; {advice}."
    )


_classes: dict[tuple[type, ...], Any] = {}


def _class_for(cls: type, kind: tuple[type, ...]) -> Any:
    bases = (cls, *kind)
    if bases not in _classes:
        _classes[bases] = type(cls.__name__, bases, {"__doc__": cls.__doc__, "__module__": cls.__module__})
    return _classes[bases]
