"""Classes that this library or another package brings, each imported when it is first used.

They are found by name: in a table of this library's own, and among the entry points of a group.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from minari._base.lazy import LazyModule, import_late
from minari.errors import MissingDependencyError


if TYPE_CHECKING:
    from importlib import metadata
else:
    metadata = LazyModule("importlib.metadata")  # what is in our own table is found without it


#: Where a class is (``"module:class"``), and what to install when an import in its module fails.
Target: TypeAlias = tuple[str, str]


def known_targets(own: Mapping[str, Target], group: str) -> dict[str, Target]:
    """A table together with the entry points of a group; the table goes before them."""
    found = {
        point.name: (point.value, point.dist.name if point.dist else point.module)
        for point in metadata.entry_points(group=group)
    }
    return {**found, **own}


def find_target(name: str, own: Mapping[str, Target], group: str) -> Target | None:
    """Where the class of that name is; None where nobody brings one."""
    return own.get(name) or known_targets(own, group).get(name)


def load_class(target: Target, purpose: str) -> Any:
    """Import a class.

    Args:
        target: where it is.
        purpose: what it is needed for, as the beginning of a message: "The format 'arrow' needs".

    Raises:
        MissingDependencyError: something that its module imports is not installed.
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
