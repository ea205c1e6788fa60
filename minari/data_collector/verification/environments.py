"""Environments for a replay: those that a dataset names, and those that a user gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from operator import attrgetter
from typing import Any, TypeAlias

import gymnasium as gym

from minari._base.json_text import shortened
from minari._model.env_spec import environment_error
from minari._model.multi_agent import MultiAgentCodec
from minari._storages.base import MinariStorage
from minari.data_collector.verification.many_agents import ManyAgentsReplay
from minari.data_collector.verification.recorded import EpisodeReplay
from minari.data_collector.verification.single_agent import SingleAgentReplay
from minari.dataset.minari_dataset import MinariDataset
from minari.errors import ArgumentTypeError, EnvironmentSpecError


__all__ = ["EnvironmentSource", "GivenEnvironment", "replay_in"]

#: A function that makes an environment, ``"package.module:function"``, or the id of one.
GivenEnvironment: TypeAlias = "str | Callable[..., Any]"

_OF_AGENTS = ("reset", "step", "observation_space", "action_space", "close")


@dataclass(frozen=True, slots=True)
class EnvironmentSource:
    """Description of how to make the environment of a replay, again and again.

    Attributes:
        given: what the user has given; None for the environment that the dataset names.
        arguments: arguments of the environment, or of the function that makes it.
    """

    given: GivenEnvironment | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str | None:
        """Return what makes it as text; None for the environment that the dataset names, as it is."""
        if self.given is None and not self.arguments:
            return None
        given = getattr(self.given, "__name__", None) if callable(self.given) else self.given
        arguments = f" with {shortened(dict(self.arguments))}" if self.arguments else ""
        return f"{given if isinstance(given, str) else 'the recorded environment'}{arguments}"

    def make(self, storage: MinariStorage) -> Any:
        """Return a new environment.

        Raises:
            EnvironmentSpecError: it cannot be made, or the dataset names none.
        """
        if self.given is None:
            return self._recovered(MinariDataset(storage))
        if callable(self.given):
            return self._called(self.given, str(getattr(self.given, "__name__", shortened(self.given))))
        if not isinstance(self.given, str):
            raise ArgumentTypeError(
                f"env is {shortened(self.given)}, expected a function that makes an environment, its name "
                f"'package.module:function', or the id of an environment."
            )
        module, separator, attribute = self.given.partition(":")
        if separator:
            function = self._found(module, attribute)
            if function is not None:
                return self._called(function, self.given)
        return self._called(lambda **arguments: gym.make(self.given, **arguments), self.given)  # type: ignore[arg-type]

    def _recovered(self, dataset: MinariDataset) -> gym.Env[Any, Any]:
        spec = dataset.env_spec
        if spec is None:
            raise EnvironmentSpecError(
                f"{dataset.id} has no env_spec to make its environment of; give a function that makes it as "
                f"env (--env), such as 'package.module:function'."
            )
        # No window is opened.
        quiet = {"render_mode": None} if spec.kwargs.get("render_mode") == "human" else {}
        return dataset.recover_environment(**{**quiet, **self.arguments})

    def _found(self, module_name: str, attribute: str) -> Callable[..., Any] | None:
        """Return the function of a module; None if it is an id that begins with the module that registers it."""
        try:
            module = import_module(module_name)
        except (Exception, SystemExit) as error:  # importing may raise anything
            raise environment_error(
                f"The environment {self.given!r} cannot be found: {type(error).__name__}: {error}", error
            ) from error
        try:
            function: Any = attrgetter(attribute)(module)
        except AttributeError:
            if attribute in gym.registry:
                return None
            raise EnvironmentSpecError(
                f"The module {module_name} has no {attribute!r}, expected a function that makes an environment."
            ) from None
        if not callable(function):
            raise EnvironmentSpecError(
                f"{module_name}:{attribute} is {shortened(function)}, expected a function that makes an environment."
            )
        return function  # type: ignore[no-any-return] # it can be called

    def _called(self, function: Callable[..., Any], name: str) -> Any:
        try:
            return function(**self.arguments)
        except (Exception, SystemExit) as error:  # an environment may raise anything
            kind = "" if isinstance(error, gym.error.Error) else f"{type(error).__name__}: "
            raise environment_error(f"The environment {name!r} cannot be made: {kind}{error}", error) from error


def replay_in(storage: MinariStorage, env: Any, tolerance: float) -> EpisodeReplay:
    """Return what replays the episodes of a dataset in an environment.

    Raises:
        EnvironmentSpecError: the environment is not of the kind of the dataset, or takes other actions.
    """
    is_of_agents = isinstance(storage.episode_codec, MultiAgentCodec)
    if isinstance(env, gym.Env) and not is_of_agents:
        return SingleAgentReplay(storage, env, tolerance)
    has_agents = not isinstance(env, gym.Env) and all(callable(getattr(env, name, None)) for name in _OF_AGENTS)
    if has_agents and is_of_agents:
        return ManyAgentsReplay(storage, env, tolerance)
    expected = "a ParallelEnv or an AECEnv of PettingZoo" if is_of_agents else "an environment of Gymnasium"
    raise EnvironmentSpecError(
        f"The environment is {shortened(env)}, expected {expected}, in which the dataset {storage.dataset_id} "
        f"was recorded; give it with env."
    )
