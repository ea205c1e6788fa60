"""The packages that a dataset says its environment needs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from minari._base.json_text import shortened
from minari._base.lazy import LazyModule
from minari._base.warnings import warn


if TYPE_CHECKING:
    from importlib import metadata

    import packaging.requirements
else:  # only who recovers an environment asks for them
    metadata = LazyModule("importlib.metadata")
    packaging = LazyModule("packaging")


_LONGEST = 1000  # characters


def warn_about_unmet(requirements: Iterable[str]) -> None:
    """Warn about each requirement that the installed packages do not meet.

    Args:
        requirements: as for ``pip install``.
    """
    for text in requirements:
        problem = _problem(text)
        if problem is not None:
            warn(problem)


def _problem(text: str) -> str | None:
    if len(text) > _LONGEST:
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
