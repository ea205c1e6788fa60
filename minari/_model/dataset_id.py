"""The grammar of dataset ids, ``(namespace/)*name-vN``, parsed once into a value.

A part consists of letters, digits, ``_`` and ``-``, so a parsed id is always a safe relative path: no part is
empty, absolute, hidden or refers to a parent.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from functools import total_ordering
from pathlib import Path

from minari._base.json_text import shortened
from minari._base.settings import get_datasets_root
from minari.errors import DatasetIdError


__all__ = [
    "DatasetId",
    "DatasetIdTypeError",
    "dataset_id_at",
    "dataset_id_sort_key",
    "gen_dataset_id",
    "is_dataset_id",
    "is_part",
    "parse_dataset_id",
    "parse_namespace",
]

_PART = re.compile(r"[\w-]+")
_NAMESPACE = re.compile(r"[\w-]+(?:/[\w-]+)*")
# One spelling for each version: `a-v01` would be a different directory than `a-v1`.
_VERSION = re.compile(r"0|[1-9][0-9]{0,17}")
_ID = re.compile(rf"(?:({_NAMESPACE.pattern})/)?({_PART.pattern})-v({_VERSION.pattern})")
_ALMOST_A_VERSION = re.compile(r"(?:-V[0-9]*|-v)$")
_GRAMMAR = "(namespace/)*name-vN, with letters, digits, '_' and '-' in the parts and N counting from 0"


class DatasetIdTypeError(DatasetIdError, TypeError):
    """A dataset id or a namespace is not a string."""


@total_ordering
@dataclass(frozen=True, slots=True)
class DatasetId:
    """A dataset id that follows the grammar.

    >>> DatasetId.parse("D4RL/door/human-v2")
    DatasetId(namespace='D4RL/door', name='human', version=2)
    >>> str(DatasetId(None, "cartpole", 0))
    'cartpole-v0'
    >>> sorted(map(DatasetId.parse, ["x/a-v0", "a-v10", "a-v2"]))[-1].namespace
    'x'

    Ids are ordered by namespace, name and version, those without a namespace first.

    Attributes:
        namespace: the parts before the name, joined by ``/``; None if there are none.
        name: the name without the version.
        version: a nonnegative integer.

    Raises:
        DatasetIdError: a part does not follow the grammar.
    """

    namespace: str | None
    name: str
    version: int

    def __post_init__(self) -> None:
        if self.namespace is not None:
            parse_namespace(self.namespace)
        if not is_part(self.name):
            raise DatasetIdError(f"Malformed dataset ID: the name is {shortened(self.name)}; expected {_GRAMMAR}.")
        if not isinstance(self.version, int) or isinstance(self.version, bool) or self.version < 0:
            raise DatasetIdError(
                f"Malformed dataset ID: the version of {shortened(self.name)} must be an integer from 0, got "
                f"{shortened(self.version)}."
            )

    @classmethod
    def parse(cls, text: str) -> DatasetId:
        """Read an id.

        Raises:
            DatasetIdError: the text does not follow the grammar; also a ``TypeError`` if ``text`` is not a string.
        """
        return cls(*parse_dataset_id(text))

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of its path below the root of the datasets."""
        name = f"{self.name}-v{self.version}"
        return (name,) if self.namespace is None else (*self.namespace.split("/"), name)

    @property
    def sort_key(self) -> tuple[str, str, int]:
        """Return the sort key of ids; no namespace counts as the empty one."""
        return self.namespace or "", self.name, self.version

    def __lt__(self, other: DatasetId) -> bool:
        return self.sort_key < other.sort_key

    def __str__(self) -> str:
        prefix = "" if self.namespace is None else f"{self.namespace}/"
        return f"{prefix}{self.name}-v{self.version}"


def _refusal(text: object) -> DatasetIdError:
    """Return the error for a text that is not an id."""
    if not isinstance(text, str):
        return DatasetIdTypeError(f"A dataset id must be a string, got {shortened(text)}.")
    if text.startswith(("/", "~/", "./")):
        return DatasetIdError(f"Malformed dataset ID: {shortened(text)} is a path; expected {_GRAMMAR}.")
    if "://" in text:
        return DatasetIdError(
            f"Malformed dataset ID: {shortened(text)} is an address; expected an id such as 'name-v0', which "
            f"minari.download_dataset gives to what it brings from there."
        )
    parts = text.split("/")
    if not all(map(is_part, parts)):
        return DatasetIdError(f"Malformed dataset ID: {shortened(text)}; expected {_GRAMMAR}.")
    name, _, version = parts[-1].rpartition("-v")
    if name and version.isdecimal():
        return DatasetIdError(
            f"Malformed dataset ID: the version of {shortened(text)} must be a plain number, as in '-v1'."
        )
    without_version = _ALMOST_A_VERSION.sub("", text) or text
    return DatasetIdError(
        f"Malformed dataset ID: {shortened(text)} has no version; end it with '-v' and a number such as "
        f"'{without_version[:200]}-v0'."
    )


def is_part(name: object) -> bool:
    """Return whether a name is a valid part of an id: letters, digits, ``_`` and ``-``, at least one."""
    return isinstance(name, str) and _PART.fullmatch(name) is not None


def is_dataset_id(text: str) -> bool:
    """Return whether the text follows the grammar of dataset ids."""
    return isinstance(text, str) and _ID.fullmatch(text) is not None


def parse_dataset_id(dataset_id: str) -> tuple[str | None, str, int]:
    """Return the namespace (None if there is none), the name and the version of an id.

    >>> parse_dataset_id("D4RL/door/human-v2")
    ('D4RL/door', 'human', 2)

    Raises:
        DatasetIdError: the id does not follow the grammar.
    """
    found = _ID.fullmatch(dataset_id) if isinstance(dataset_id, str) else None
    if found is None:
        raise _refusal(dataset_id)
    return found[1], found[2], int(found[3])


def gen_dataset_id(namespace: str | None, dataset_name: str, version: int | None = None) -> str:
    """Return the id with the given parts; without a version, the part of the id before it.

    >>> gen_dataset_id("D4RL/door", "human", 2)
    'D4RL/door/human-v2'
    >>> gen_dataset_id(None, "cartpole")
    'cartpole'

    Raises:
        DatasetIdError: a part does not follow the grammar.
    """
    text = str(DatasetId(namespace, dataset_name, version or 0))
    return text.removesuffix("-v0") if version is None else text


def dataset_id_sort_key(dataset_id: str) -> tuple[str, str, int]:
    """Return the sort key of listings: namespace (empty if there is none), name, version as a number.

    Raises:
        DatasetIdError: the id does not follow the grammar.
    """
    namespace, name, version = parse_dataset_id(dataset_id)
    return namespace or "", name, version


def parse_namespace(namespace: str) -> tuple[str, ...]:
    """Return the parts of a namespace, the outermost first.

    >>> parse_namespace("D4RL/door")
    ('D4RL', 'door')

    Raises:
        DatasetIdError: a part is empty or contains anything but letters, digits, ``_`` and ``-``; also a
            ``TypeError`` if ``namespace`` is not a string.
    """
    if not isinstance(namespace, str):
        raise DatasetIdTypeError(f"A namespace must be a string, got {shortened(namespace)}.")
    if _NAMESPACE.fullmatch(namespace) is None:
        raise DatasetIdError(
            f"Malformed namespace: {shortened(namespace)}; expected parts of letters, digits, '_' and '-', joined by "
            f"'/'."
        )
    return tuple(namespace.split("/"))


def dataset_id_at(directory: Path, stored: str | None) -> str:
    """Return the id of the dataset in a directory: from its location below the root, or else from its metadata.

    Args:
        directory: directory of the dataset.
        stored: the id in its metadata, if any.
    """
    root, directory = get_datasets_root(), directory.absolute()
    for base, place in ((root, directory), (Path(os.path.realpath(root)), Path(os.path.realpath(directory)))):
        with suppress(ValueError):
            placed = place.relative_to(base).as_posix()
            if is_dataset_id(placed):
                return placed
    return stored or directory.name
