"""Classes from this library or other packages, imported when they are first used.

They are looked up by name in a table of this library and among the entry points of a group.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from minari._base.lazy import LazyModule, import_late
from minari.errors import MissingDependencyError


if TYPE_CHECKING:
    from importlib import metadata
else:
    metadata = LazyModule("importlib.metadata")  # names in the table are found without it


#: Location of a class (``"module:class"``), and the package to install if an import of its module fails.
Target: TypeAlias = tuple[str, str]


def known_targets(own: Mapping[str, Target], group: str) -> dict[str, Target]:
    """Return a table together with the entry points of a group; the table takes precedence."""
    found = {
        point.name: (point.value, point.dist.name if point.dist else point.module)
        for point in metadata.entry_points(group=group)
    }
    return {**found, **own}


def find_target(name: str, own: Mapping[str, Target], group: str) -> Target | None:
    """Return the location of the class with that name; None if it is unknown."""
    return own.get(name) or known_targets(own, group).get(name)


def load_class(target: Target, purpose: str) -> Any:
    """Import a class.

    Args:
        target: the location of the class.
        purpose: the beginning of the error message, such as "The format 'arrow' needs".

    Raises:
        MissingDependencyError: a package that its module imports is not installed.
    """
    location, requirement = target
    module_name, _, class_name = location.partition(":")
    try:
        module = import_late(module_name)
    except ImportError as error:
        raise MissingDependencyError(
            f'{purpose} {error.name or module_name}, which is not installed; run pip install "{requirement}".'
        ) from error
    return getattr(module, class_name)
