"""The packages that a dataset says its environment needs."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from importlib import metadata

from packaging.requirements import InvalidRequirement, Requirement


def warn_about_unmet(requirements: Iterable[str], stacklevel: int) -> None:
    """Warn about each requirement that the installed packages do not meet.

    Args:
        requirements: as for ``pip install``.
        stacklevel: of the warnings, 1 being the caller of this function.
    """
    for text in requirements:
        problem = _problem(text)
        if problem is not None:
            warnings.warn(problem, UserWarning, stacklevel=stacklevel + 1)


def _problem(text: str) -> str | None:
    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        return f"The requirement {text!r} of the dataset is not understood."
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return f'The package {requirement.name} is not installed; run pip install "{text}".'
    if requirement.specifier.contains(version, prereleases=True):
        return None
    return f'The package {requirement.name} has version {version}; run pip install "{text}".'
