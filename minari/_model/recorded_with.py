"""The versions of Python and of the packages that record a dataset, or replay it, under ``recorded_with``."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from minari._base.lazy import LazyModule


if TYPE_CHECKING:
    from importlib import metadata
else:  # needed only for packages that do not know their own version
    metadata = LazyModule("importlib.metadata")


__all__ = [
    "RECORDED_WITH",
    "VERIFICATION",
    "differing_versions",
    "merged_versions",
    "version_of_package",
    "versions_of",
    "versions_text",
]

#: The metadata key of the versions.
RECORDED_WITH: Final = "recorded_with"
#: The metadata key of the report of :func:`minari.verify`.
VERIFICATION: Final = "verification"

#: Packages that decide what environments do, wherever they are loaded from.
_SIMULATORS = ("mujoco", "mujoco_py", "Box2D", "ale_py", "pybullet", "dm_control", "brax", "pymunk")
_ALWAYS = ("minari", "gymnasium", "numpy", *_SIMULATORS)
_NOT_PACKAGES = frozenset({"builtins", "__main__", "__mp_main__"})
_MOST_ENTRIES = 24
_MOST_LAYERS = 100  # of wrappers
_LONGEST = 64  # characters of a name or version that is shown


def versions_of(env: Any = None) -> dict[str, str]:
    """Return the versions of Python, the platform, and the packages that an environment consists of.

    These are this package, Gymnasium, NumPy, the packages of the class of the environment and of its wrappers, and
    the simulators that are loaded. Nothing is imported; a package whose version is unknown has no entry.

    >>> import gymnasium
    >>> list(versions_of(gymnasium.make("CartPole-v1")))[:5]
    ['python', 'platform', 'minari', 'gymnasium', 'numpy']

    Args:
        env: the environment, of one agent or of many, or a vector environment; None for none.
    """
    found = {"python": platform.python_version(), "platform": f"{platform.system()}-{platform.machine()}"}
    for package in dict.fromkeys([*_ALWAYS, *(name for layer in _layers(env) for name in _packages_of(layer))]):
        version = version_of_package(package) if package in sys.modules else None
        if version is not None:
            found[package] = version
    return found


def _layers(env: Any) -> Iterator[Any]:
    """Yield an environment and those inside its wrappers; of a vector environment, its first sub-environment."""
    for _ in range(_MOST_LAYERS):
        if env is None:
            return
        yield env
        known = vars(env) if hasattr(env, "__dict__") else {}
        parts = known.get("envs")
        first = parts[0] if isinstance(parts, (list, tuple)) and parts else None
        env = next((inner for inner in (known.get("env"), known.get("aec_env"), first) if inner is not None), None)


def _packages_of(layer: Any) -> Iterator[str]:
    """Yield the top-level packages of the class of an environment, and those that its spec names."""
    names = [type(layer).__module__]
    spec = vars(layer).get("_cached_spec") or vars(layer).get("spec") if hasattr(layer, "__dict__") else None
    for part in (spec, *(getattr(spec, "additional_wrappers", None) or ())):
        entry_point = getattr(part, "entry_point", None)
        names.append(entry_point if isinstance(entry_point, str) else "")
    for name in names:
        package = str(name).partition(":")[0].partition(".")[0]
        if package and package not in _NOT_PACKAGES:
            yield package


@lru_cache(maxsize=256)
def version_of_package(package: str) -> str | None:
    """Return the version of a package that is loaded."""
    version = getattr(sys.modules.get(package), "__version__", None)
    if isinstance(version, str) and version:
        return version
    try:
        return metadata.version(package)
    except Exception:  # not a distribution, or one whose metadata is damaged
        return None


def merged_versions(all_versions: Iterable[object]) -> dict[str, Any] | None:
    """Return the versions of datasets that become one: where they differ, the list of all of them.

    >>> merged_versions([{"python": "3.11.9", "numpy": "2.0.1"}, {"python": "3.11.9", "numpy": "2.1.0"}])
    {'python': '3.11.9', 'numpy': ['2.0.1', '2.1.0']}

    Args:
        all_versions: what each of them has under ``recorded_with``; anything else than an object is left out.

    Returns:
        The versions; None if there are none.
    """
    merged: dict[str, list[str]] = {}
    for versions in all_versions:
        if isinstance(versions, Mapping):
            for name, value in versions.items():
                known = merged.setdefault(str(name), [])
                known += [one for one in _listed(value) if one not in known]
    found = {name: known[0] if len(known) == 1 else known for name, known in merged.items() if known}
    return found or None


def _listed(value: object) -> list[str]:
    values = value if isinstance(value, (list, tuple)) else [value]
    return [one for one in values if isinstance(one, str)]


def differing_versions(recorded: object, replayed: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Return what was recorded with other versions than it is replayed with: name -> both.

    A package that is not loaded now is not needed by the environment.

    >>> differing_versions({"numpy": "2.0.1", "python": "3.11.9"}, {"numpy": "2.1.0", "python": "3.11.9"})
    {'numpy': ('2.0.1', '2.1.0')}
    """
    if not isinstance(recorded, Mapping):
        return {}
    known = {str(name): _listed(value) for name, value in recorded.items()}
    return {
        name: (", ".join(versions), replayed[name])
        for name, versions in known.items()
        if versions and name in replayed and versions != [replayed[name]]
    }


def versions_text(versions: object) -> str | None:
    """Return versions from a file as text, shortened; None if they are none.

    >>> versions_text({"python": "3.11.9", "numpy": ["2.0.1", "2.1.0"], "odd": 3})
    'python 3.11.9, numpy 2.0.1 and 2.1.0'
    """
    if not isinstance(versions, Mapping):
        return None
    known = [(str(name), _listed(value)[:_MOST_ENTRIES]) for name, value in versions.items()]
    shown = [f"{_short(name)} {' and '.join(map(_short, values))}" for name, values in known if values]
    return ", ".join(shown[:_MOST_ENTRIES]) or None


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
