"""Environment specs as JSON, written as completely as possible and read tolerantly, and their requirements.

Data never depends on specs. A spec is parsed on request, without importing the environment, and anything that
this release of Gymnasium does not support is omitted.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec, WrapperSpec

from minari._base.json_text import parse_json, shortened
from minari._base.lazy import LazyModule
from minari._base.warnings import warn
from minari._model.metadata import json_value
from minari.errors import EnvironmentModuleError, EnvironmentSpecError, MetadataError
from minari.spaces.differences import differing_key


if TYPE_CHECKING:
    from importlib import metadata

    import packaging.requirements
else:  # needed only to recover an environment
    metadata = LazyModule("importlib.metadata")
    packaging = LazyModule("packaging")


__all__ = [
    "env_spec_to_json",
    "is_gymnasiums_own",
    "is_requirement",
    "make_environment",
    "merge_max_episode_steps",
    "parse_env_spec",
    "registered_spaces",
    "requirement_problem",
    "spaces_of",
    "spec_of",
    "specs_equal_up_to_max_episode_steps",
    "warn_about_unmet",
]

Space: TypeAlias = spaces.Space[Any]
Environment: TypeAlias = "gymnasium.Env[Any, Any]"
Described: TypeAlias = "Environment | gymnasium.vector.VectorEnv[Any, Any, Any] | EnvSpec | str"

_SPEC_FIELDS = {field.name for field in dataclasses.fields(EnvSpec) if field.init}
_WRAPPER_FIELDS = {field.name for field in dataclasses.fields(WrapperSpec) if field.init}
_ENTRY_POINTS = ("entry_point", "vector_entry_point")
_NUMBER = (int, float)
_LONGEST_REQUIREMENT = 1000  # characters
_NOT_STORED = " (not stored)"  # suffix of the name of an argument that JSON cannot represent
_MOST_NUMBERS = 1 << 16  # in an array among the arguments
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

    Anything that JSON cannot represent is omitted with a warning rather than rejected, so that recorded data
    is not lost. An entry point that is a class or function of a module is written as ``module:name``; any
    other callable is omitted, and the id must be registered again before the environment can be recovered.

    Arguments are written as JSON: dataclasses and mappings as objects with text keys, enums as their value,
    paths as text, arrays, tuples and sets as lists. For an argument that JSON cannot represent, and for an
    array of more than 65,536 numbers, only the name is kept (``"wind (not stored)"``): recovering then
    requires it, instead of creating an environment with another configuration. The same applies to wrappers.

    Args:
        env: an environment, its spec, or its registered id.

    Returns:
        The text, None if ``env`` is None or has no spec.

    Warns:
        UserWarning: a part of the spec was omitted.

    Raises:
        EnvironmentSpecError: no environment with that id is registered, or ``env`` is none of these.
    """
    spec = spec_of(env)
    if spec is None:
        return None
    description, omissions = _described(spec)
    for omission in omissions:
        warn(f"The spec of the environment {spec.id} is stored {omission}.")
    return json.dumps(description)


def spec_of(env: Described | None) -> EnvSpec | None:
    """Return the spec of an environment, an id or a spec; None if there is none.

    Raises:
        EnvironmentSpecError: no environment with that id is registered, or ``env`` is none of these.
    """
    if env is None or isinstance(env, EnvSpec):
        return env
    if isinstance(env, str):
        try:
            return gymnasium.spec(env)
        except (gymnasium.error.Error, ImportError, ValueError) as error:
            raise environment_error(
                f"No environment is registered as {env!r} ({error}); import the package that registers it.", error
            ) from error
    if isinstance(env, (gymnasium.Env, gymnasium.vector.VectorEnv)):
        if env.spec is None or isinstance(env.spec, EnvSpec):
            return env.spec
        warn(
            f"The spec of the {type(env).__name__} is not an EnvSpec and is omitted, got {env.spec!r}.",
        )
        return None
    raise EnvironmentSpecError(f"Expected an environment, an EnvSpec or the id of an environment, got {env!r}.")


def _described(spec: EnvSpec) -> tuple[dict[str, Any], list[str]]:
    """Return the object for the JSON text, and the omitted parts, each as "without …"."""
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
                    f"without its arguments {', '.join(unstorable)}, which JSON cannot hold; give them to "
                    f"`recover_environment({', '.join(f'{name}=...' for name in unstorable)})` again"
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
        description["kwargs"], unstorable = _storable(wrapper.kwargs)
        if unstorable:
            omissions.append(
                f"without the arguments {', '.join(unstorable)} of its wrapper {wrapper.name}, which JSON cannot "
                f"hold, so that the environment cannot be recovered from it"
            )
    return description


def _storable(arguments: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return what JSON can represent of some arguments, and the names of the others.

    Each omitted argument is replaced by a note under a name that no function accepts, so that no release can
    create an environment without it unnoticed.
    """
    storable: dict[str, Any] = {}
    unstorable: list[str] = []
    for name, value in arguments.items():
        try:
            storable[name] = json_value(_plain(value, name), name)
        except (MetadataError, RecursionError):
            storable[f"{name}{_NOT_STORED}"] = type(value).__name__
            unstorable.append(name)
    return storable, unstorable


def _plain(value: Any, name: str) -> Any:
    """Return the value of an argument in a form supported by :func:`json_value`.

    Raises:
        MetadataError: JSON cannot represent it, or only in megabytes.
    """
    if isinstance(value, enum.Enum):
        return _plain(value.value, name)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name), name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        named = {_plain_key(key, name): _plain(item, name) for key, item in value.items()}
        if len(named) < len(value):
            raise MetadataError(f"The keys inside {name!r} are the same as text, got {shortened(list(value))}.")
        return named
    if isinstance(value, (set, frozenset)):
        value = sorted(
            value, key=lambda item: (type(item).__name__, item if isinstance(item, (str, int)) else repr(item))
        )
    if isinstance(value, (list, tuple, range, deque)):
        return [_plain(item, name) for item in value]
    if isinstance(value, np.ndarray) and value.size > _MOST_NUMBERS:
        raise MetadataError(f"The value of {name!r} has {value.size:,} numbers, expected {_MOST_NUMBERS:,} at most.")
    return value


def _plain_key(key: Any, name: str) -> str:
    """Return a key as text, in the way that JSON writes keys that are not text."""
    if isinstance(key, enum.Enum):
        key = key.value
    if isinstance(key, np.generic):
        key = key.item()
    if isinstance(key, str):
        return str(key)
    if key is None or isinstance(key, (bool, int, float)):
        return json.dumps(key)
    raise MetadataError(f"The keys inside {name!r} must be text or numbers to be stored, got {shortened(key)}.")


def _import_path(function: Callable[..., Any]) -> str | None:
    """Return ``module:name`` if that refers to the same object in a later run."""
    module = getattr(function, "__module__", None)
    name = getattr(function, "__qualname__", None)
    if module in (None, "__main__") or getattr(sys.modules.get(module), str(name), None) is not function:
        return None
    return f"{module}:{name}"


def parse_env_spec(json_text: str) -> EnvSpec:
    """Parse a spec from any release of Gymnasium, without importing the environment.

    Keys that this release of Gymnasium does not support are omitted.

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
    """Create the environment of a spec.

    Args:
        spec: the spec. Without an entry point, the one registered for its id is used.
        requirements: the packages required by the dataset (``"mujoco>=3.1"``), for the message.
        **kwargs: arguments of ``gymnasium.make``; they override the arguments in the spec.

    Raises:
        EnvironmentModuleError: one of its modules is not installed.
        EnvironmentSpecError: the environment cannot be created; the message names what is missing.
    """
    spec = _without_notes(spec, kwargs)
    if spec.entry_point is None and spec.id in gymnasium.registry:
        spec = dataclasses.replace(spec, entry_point=gymnasium.registry[spec.id].entry_point)
    try:
        return gymnasium.make(spec, **kwargs)
    except Exception as error:  # an environment is foreign code and may raise anything
        reason, remedy = _diagnosis(spec, error)
        packages = " ".join(f'"{requirement}"' for requirement in requirements)
        if packages:
            remedy = f"the dataset asks for these packages: pip install {packages}"
        raise environment_error(f"The environment {spec.id} cannot be made: {reason}; {remedy}.", error) from error


def environment_error(message: str, error: BaseException) -> EnvironmentSpecError:
    """Return the error for an environment that cannot be created or found, with the type of its cause."""
    if not isinstance(error, ModuleNotFoundError):
        return EnvironmentSpecError(message)
    return EnvironmentModuleError(message, error.name or getattr(error.__cause__, "name", None))


def _without_notes(spec: EnvSpec, given: Mapping[str, Any]) -> EnvSpec:
    """Return the spec without the notes about arguments that were not stored, all of which are given now.

    Raises:
        EnvironmentSpecError: one of them is missing.
    """
    missing = _not_stored(spec.kwargs)
    still_missing = [name for name in missing if name not in given]
    if still_missing:
        kinds = ", ".join(f"{name} ({missing[name]})" for name in still_missing)
        arguments = ", ".join(f"{name}=..." for name in still_missing)
        raise EnvironmentSpecError(
            f"The environment {spec.id} cannot be made: its arguments {kinds} could not be stored; give them, "
            f"`recover_environment({arguments})`."
        )
    for wrapper in spec.additional_wrappers:
        names = ", ".join(_not_stored(wrapper.kwargs or {}))
        if names:
            raise EnvironmentSpecError(
                f"The environment {spec.id} cannot be made: the arguments {names} of its wrapper {wrapper.name} could "
                f"not be stored; make the environment with `gymnasium.make({spec.id!r})` and wrap it yourself."
            )
    if not missing:
        return spec
    kept = {name: value for name, value in spec.kwargs.items() if not name.endswith(_NOT_STORED)}
    return dataclasses.replace(spec, kwargs=kept)


def _not_stored(arguments: Mapping[str, Any]) -> dict[str, str]:
    """Return the arguments that a spec only has a note about, and the type of each."""
    return {
        name.removesuffix(_NOT_STORED): shortened(kind).strip("'")
        for name, kind in arguments.items()
        if name.endswith(_NOT_STORED)
    }


def _diagnosis(spec: EnvSpec, error: BaseException) -> tuple[str, str]:
    """Return the cause that prevents the environment from being created, and the remedy."""
    if isinstance(error, ModuleNotFoundError):
        return str(error).rstrip("."), "install the package that provides it"
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
    """Return the observation space and the action space of an environment, which is created and closed for this.

    Raises:
        EnvironmentSpecError: the environment cannot be created.
    """
    # No window is opened just for two spaces.
    quiet = {"render_mode": None} if spec.kwargs.get("render_mode") == "human" else {}
    env = make_environment(spec, **quiet)
    try:
        return env.observation_space, env.action_space
    finally:
        env.close()


def is_gymnasiums_own(spec: EnvSpec) -> bool:
    """Return whether a spec, whatever its arguments, is one of Gymnasium's own environments.

    Its id is registered with the same entry point inside Gymnasium, and all its wrappers are in Gymnasium,
    except the one that writes videos.
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
    """Return the spaces of one of Gymnasium's own environments if a spec describes it unchanged.

    For untrusted data: it can only select among Gymnasium's own environments, and only these are imported and created.

    Returns:
        The observation space and the action space. None if the spec is not :func:`is_gymnasiums_own`, has
        arguments or wrappers, or the environment cannot be created.
    """
    if not is_gymnasiums_own(spec) or spec.kwargs or spec.additional_wrappers:
        return None
    registered = gymnasium.registry[spec.id]
    try:
        return None if registered.kwargs or registered.additional_wrappers else spaces_of(registered)
    except EnvironmentSpecError:
        return None


def specs_equal_up_to_max_episode_steps(first: EnvSpec, second: EnvSpec) -> bool:
    """Return whether two specs create the same environment, except that one may run longer."""
    return not difference_up_to_max_episode_steps(first, second)


def difference_up_to_max_episode_steps(first: EnvSpec, second: EnvSpec) -> str:
    """Return the first key besides ``max_episode_steps`` in which specs differ, with both values; empty if none."""
    descriptions = [_described(spec)[0] for spec in (first, second)]
    for description in descriptions:
        description.pop("max_episode_steps")
    return differing_key(*descriptions)


def merge_max_episode_steps(specs: Sequence[EnvSpec]) -> int | None:
    """Return the largest step limit of the specs; None, for no limit, if one of them has none."""
    limits = [spec.max_episode_steps for spec in specs]
    finite = [limit for limit in limits if limit is not None]
    return max(finite) if finite and len(finite) == len(limits) else None


def warn_about_unmet(requirements: Iterable[str]) -> None:
    """Warn about each requirement that the installed packages do not satisfy.

    Args:
        requirements: requirements in the format of ``pip install``.
    """
    for text in requirements:
        problem = requirement_problem(text)
        if problem is not None:
            warn(problem)


def is_requirement(text: str) -> bool:
    """Return whether a text is a requirement that pip understands."""
    try:
        packaging.requirements.Requirement(text[:_LONGEST_REQUIREMENT])
    except packaging.requirements.InvalidRequirement:
        return False
    return len(text) <= _LONGEST_REQUIREMENT


def requirement_problem(text: str) -> str | None:
    """Return what is wrong with a requirement, or with the package that is installed; None if it is satisfied."""
    if len(text) > _LONGEST_REQUIREMENT:
        return f"Ignoring malformed requirement {shortened(text)} of the dataset, which is too long."
    try:
        requirement = packaging.requirements.Requirement(text)
    except packaging.requirements.InvalidRequirement:
        return f"Ignoring malformed requirement {shortened(text)} of the dataset; it is none that pip understands."
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return f'The package {requirement.name} is not installed; run pip install "{text}".'
    if requirement.specifier.contains(version, prereleases=True):
        return None
    return f'The package {requirement.name} has version {version}; run pip install "{text}".'
