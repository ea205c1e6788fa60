"""The spec of an environment as JSON: written as completely as JSON allows, read tolerantly.

Data never depend on it. A spec is parsed when someone asks for it, without importing the
environment, and whatever this release of Gymnasium does not know is left out.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import gymnasium
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec, WrapperSpec

from minari._base.json_text import parse_json, shortened
from minari._base.notices import warn
from minari.dataset.differences import differing_key
from minari.dataset.metadata import json_value
from minari.errors import EnvironmentSpecError, MetadataError


__all__ = [
    "env_spec_to_json",
    "is_gymnasiums_own",
    "make_environment",
    "merge_max_episode_steps",
    "parse_env_spec",
    "registered_spaces",
    "spaces_of",
    "spec_of",
    "specs_equal_up_to_max_episode_steps",
]

Space: TypeAlias = spaces.Space[Any]
Environment: TypeAlias = "gymnasium.Env[Any, Any]"
Described: TypeAlias = "Environment | gymnasium.vector.VectorEnv[Any, Any, Any] | EnvSpec | str"

_SPEC_FIELDS = {field.name for field in dataclasses.fields(EnvSpec) if field.init}
_WRAPPER_FIELDS = {field.name for field in dataclasses.fields(WrapperSpec) if field.init}
_ENTRY_POINTS = ("entry_point", "vector_entry_point")
_NUMBER = (int, float)
_TYPES: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(_ENTRY_POINTS, str),
    "max_episode_steps": int,
    "reward_threshold": _NUMBER,
    "kwargs": dict,
    "additional_wrappers": (list, tuple),
}


def env_spec_to_json(env: Described | None) -> str | None:
    """Describe an environment in JSON, in the layout of ``EnvSpec.to_json``.

    >>> parse_env_spec(env_spec_to_json("CartPole-v1")).max_episode_steps
    500

    What JSON cannot hold is left out with a warning rather than refused, since recorded data must
    not be lost over it. An entry point that is a class or function of a module is written as
    ``module:name``, any other callable is left out: the id must then be registered again before the
    environment can be recovered. An argument that JSON cannot hold is left out: give it to
    ``recover_environment``. A wrapper with such an argument is kept without its arguments, and
    recovering then fails in place of giving another environment.

    Args:
        env: an environment, its spec, or the id under which it is registered.

    Returns:
        The text, None where ``env`` is None or has no spec.

    Warns:
        UserWarning: a part of the spec was left out.

    Raises:
        EnvironmentSpecError: no environment of that id is registered, or ``env`` is none of these.
    """
    spec = spec_of(env)
    if spec is None:
        return None
    description, omissions = _described(spec)
    for omission in omissions:
        warn(f"The spec of the environment {spec.id} is stored {omission}.")
    return json.dumps(description)


def spec_of(env: Described | None) -> EnvSpec | None:
    """The spec of an environment, of an id, or of what is a spec already; None where there is none.

    Raises:
        EnvironmentSpecError: no environment of that id is registered, or ``env`` is none of these.
    """
    if env is None or isinstance(env, EnvSpec):
        return env
    if isinstance(env, str):
        try:
            return gymnasium.spec(env)
        except (gymnasium.error.Error, ImportError, ValueError) as error:
            raise EnvironmentSpecError(
                f"No environment is registered as {env!r} ({error}); import the package that registers it."
            ) from error
    if isinstance(env, (gymnasium.Env, gymnasium.vector.VectorEnv)):
        if env.spec is None or isinstance(env.spec, EnvSpec):
            return env.spec
        warn(
            f"The spec of the {type(env).__name__} is not an EnvSpec and is left out, got {env.spec!r}.",
        )
        return None
    raise EnvironmentSpecError(f"Expected an environment, an EnvSpec or the id of an environment, got {env!r}.")


def _described(spec: EnvSpec) -> tuple[dict[str, Any], list[str]]:
    """The object that the JSON text holds, and what is not in it, each as "without …"."""
    description: dict[str, Any] = {}
    omissions: list[str] = []
    for field in dataclasses.fields(spec):
        if not field.init:
            continue
        value = getattr(spec, field.name)
        described: Any
        if field.name == "additional_wrappers":
            described = [_described_wrapper(wrapper, omissions) for wrapper in value]
        elif field.name == "kwargs":
            described, unstorable = _storable(value)
            if unstorable:
                omissions.append(
                    f"without its arguments {', '.join(unstorable)}, which JSON cannot hold; "
                    "give them to `recover_environment` again"
                )
        elif callable(value):
            described = _import_path(value) if field.name in _ENTRY_POINTS else None
            if described is None:
                omissions.append(f"without its {field.name}, {value!r}, which cannot be imported by name")
        else:
            described = _storable({field.name: value})[0].get(field.name)
            if described is None and value is not None:
                omissions.append(f"without its {field.name}, {value!r}, which JSON cannot hold")
        description[field.name] = described
    return description, omissions


def _described_wrapper(wrapper: WrapperSpec, omissions: list[str]) -> dict[str, Any]:
    description = {field.name: getattr(wrapper, field.name) for field in dataclasses.fields(wrapper)}
    if wrapper.kwargs is not None:
        storable, unstorable = _storable(wrapper.kwargs)
        # Gymnasium's own sign for a wrapper that cannot be made again is None.
        description["kwargs"] = None if unstorable else storable
        if unstorable:
            omissions.append(
                f"without the arguments of its wrapper {wrapper.name}, as JSON cannot hold "
                f"{', '.join(unstorable)}, so that the environment cannot be recovered from it"
            )
    return description


def _storable(arguments: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """What JSON can hold of some arguments, and the names of the others."""
    storable: dict[str, Any] = {}
    unstorable: list[str] = []
    for name, value in arguments.items():
        try:
            storable[name] = json_value(value, name)
        except MetadataError:
            unstorable.append(name)
    return storable, unstorable


def _import_path(function: Callable[..., Any]) -> str | None:
    """``module:name``, where that finds the same object in a later run."""
    module = getattr(function, "__module__", None)
    name = getattr(function, "__qualname__", None)
    if module in (None, "__main__") or getattr(sys.modules.get(module), str(name), None) is not function:
        return None
    return f"{module}:{name}"


def parse_env_spec(json_text: str) -> EnvSpec:
    """Read a spec, whichever release of Gymnasium wrote it, without importing the environment.

    Keys that this release of Gymnasium does not know are left out.

    Raises:
        EnvironmentSpecError: the text is not the description of an environment.
    """
    try:
        description = parse_json(json_text)
    except (TypeError, ValueError) as error:
        raise EnvironmentSpecError(f"The environment spec is not valid JSON: {error}.") from error
    if not isinstance(description, dict) or not isinstance(description.get("id"), str):
        raise EnvironmentSpecError(
            f"The environment spec must be a JSON object with an 'id', got {shortened(description)}."
        )
    known = {key: value for key, value in description.items() if key in _SPEC_FIELDS}
    try:
        _check_types(known)
        known["kwargs"] = known.get("kwargs") or {}
        wrappers = known.pop("additional_wrappers", None) or []
        known["additional_wrappers"] = tuple(map(_parsed_wrapper, wrappers))
        return EnvSpec(**known)
    except (TypeError, ValueError, AttributeError, gymnasium.error.Error) as error:
        name, reason = shortened(description["id"]), shortened(str(error))
        raise EnvironmentSpecError(f"The spec of the environment {name} is damaged: {reason}.") from error


def _check_types(fields: Mapping[str, Any]) -> None:
    for name, expected in _TYPES.items():
        value = fields.get(name)
        if value is not None and (not isinstance(value, expected) or isinstance(value, bool)):
            raise TypeError(f"its {name} is {shortened(value)}")


def _parsed_wrapper(description: Mapping[str, Any]) -> WrapperSpec:
    known = {key: value for key, value in description.items() if key in _WRAPPER_FIELDS}
    _check_types(known)
    return WrapperSpec(**{"kwargs": None, **known})


def make_environment(spec: EnvSpec, requirements: Iterable[str] = (), /, **kwargs: Any) -> Environment:
    """Make the environment of a spec.

    Args:
        spec: the spec. Without an entry point, the one registered under its id is used.
        requirements: the packages that the dataset names (``"mujoco>=3.1"``), for the message.
        **kwargs: for ``gymnasium.make``; they go before the arguments in the spec.

    Raises:
        EnvironmentSpecError: the environment cannot be made; the message says what is missing.
    """
    if spec.entry_point is None and spec.id in gymnasium.registry:
        spec = dataclasses.replace(spec, entry_point=gymnasium.registry[spec.id].entry_point)
    try:
        return gymnasium.make(spec, **kwargs)
    except Exception as error:  # an environment is foreign code and may raise anything
        reason, remedy = _diagnosis(spec, error)
        packages = " ".join(f'"{requirement}"' for requirement in requirements)
        if packages:
            remedy = f"the dataset asks for these packages: pip install {packages}"
        raise EnvironmentSpecError(f"The environment {spec.id} cannot be made: {reason}; {remedy}.") from error


def _diagnosis(spec: EnvSpec, error: Exception) -> tuple[str, str]:
    """What stands in the way of an environment, and what to do about it."""
    if isinstance(error, ModuleNotFoundError):
        return (
            f"the module {error.name!r} is not installed",
            f"install the package that provides {error.name!r}",
        )
    if spec.entry_point is None:
        return (
            "its spec names no entry point and its id is not registered",
            "register the id, or import the package that does, before recovering it",
        )
    text = str(error).rstrip(".") or "no reason given"
    return (
        f"{type(error).__name__}: {text}",
        "check that the installed packages match those it was recorded with",
    )


def spaces_of(spec: EnvSpec) -> tuple[Space, Space]:
    """The observation space and the action space of an environment, which is made and closed for it.

    Raises:
        EnvironmentSpecError: the environment cannot be made.
    """
    # No window for the sake of two spaces.
    quiet = {"render_mode": None} if spec.kwargs.get("render_mode") == "human" else {}
    env = make_environment(spec, **quiet)
    try:
        return env.observation_space, env.action_space
    finally:
        env.close()


def is_gymnasiums_own(spec: EnvSpec) -> bool:
    """Return whether a spec, whatever its arguments, is one of an environment that Gymnasium itself brings.

    Its id is registered with the same entry point, which is in Gymnasium, as are all wrappers; of these,
    the one that writes videos does not count.
    """
    registered = gymnasium.registry.get(spec.id)
    entry_point = None if registered is None else registered.entry_point
    is_own = isinstance(entry_point, str) and entry_point.startswith("gymnasium.envs.")
    wrappers = [str(wrapper.entry_point) for wrapper in spec.additional_wrappers]
    return (
        is_own
        and spec.entry_point == entry_point
        and all(name.startswith("gymnasium.wrappers.") and not name.endswith("RecordVideo") for name in wrappers)
    )


def registered_spaces(spec: EnvSpec) -> tuple[Space, Space] | None:
    """Return the spaces of an environment that Gymnasium itself brings and that a spec describes, unchanged.

    For data that somebody else wrote: they choose among Gymnasium's own environments, which is all that is
    imported and made.

    Returns:
        The observation space and the action space. None where the spec is not :func:`is_gymnasiums_own`, or
        has arguments or wrappers, or the environment cannot be made here.
    """
    if not is_gymnasiums_own(spec) or spec.kwargs or spec.additional_wrappers:
        return None
    registered = gymnasium.registry[spec.id]
    try:
        return None if registered.kwargs or registered.additional_wrappers else spaces_of(registered)
    except EnvironmentSpecError:
        return None


def specs_equal_up_to_max_episode_steps(first: EnvSpec, second: EnvSpec) -> bool:
    """Whether two specs make the same environment, save that one may run longer."""
    return not difference_up_to_max_episode_steps(first, second)


def difference_up_to_max_episode_steps(first: EnvSpec, second: EnvSpec) -> str:
    """The first key in which two specs differ, save ``max_episode_steps``, with both values; empty where none is."""
    descriptions = [_described(spec)[0] for spec in (first, second)]
    for description in descriptions:
        description.pop("max_episode_steps")
    return differing_key(*descriptions)


def merge_max_episode_steps(specs: Sequence[EnvSpec]) -> int | None:
    """The largest limit of the specs, in steps; None, for no limit, where one of them has none."""
    limits = [spec.max_episode_steps for spec in specs]
    finite = [limit for limit in limits if limit is not None]
    return max(finite) if finite and len(finite) == len(limits) else None
