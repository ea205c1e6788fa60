"""Index of a repository of the Hub: the lists of its datasets and namespaces, and its card.

``namespace_metadata.json`` at the root of a repository lists all its datasets and namespaces under the keys
``datasets`` and ``namespaces``, which other programs read; its other keys belong to the user.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from typing import Any

from minari._base.files import NAMESPACE_METADATA_FILENAME
from minari._base.json_text import parse_json
from minari._model.dataset_id import is_dataset_id, is_part
from minari._model.metadata_json import parse_metadata
from minari.errors import DatasetCorruptError, RemoteError
from minari.storage.remotes.hub.dataset_card import CARD_MARKER, repository_card
from minari.storage.transfer.remote_files import METADATA_NAME


__all__ = [
    "CARD_NAME",
    "datasets_in",
    "is_own_card",
    "namespaces_in",
    "repository_card_of",
    "with_repository_index",
    "without_repository_index",
]

CARD_NAME = "README.md"

_LISTS = ("datasets", "namespaces")

_log = logging.getLogger(__name__)


def datasets_in(repository: str, files: Iterable[str]) -> list[str]:
    """Return the ids of the complete datasets, given the names of the files.

    >>> datasets_in("door", ["human-v2/data/metadata.json", "human-v2/data/main_data.hdf5", "cloned-v0/data/x"])
    ['door/human-v2']

    Args:
        repository: name without the owner, which is the first part of the ids.
        files: names of all files in the repository.
    """
    return sorted(name for name in _directories_of(repository, files, METADATA_NAME) if is_dataset_id(name))


def namespaces_in(repository: str, files: Iterable[str]) -> list[str]:
    """Return the namespaces that have metadata, given the names of the files.

    The repository of a dataset without a namespace is not a namespace, although it has the file as well.

    Args:
        repository: name without the owner, which is the outermost namespace.
        files: names of all files in the repository.
    """
    known = set(files)
    found = _directories_of(repository, known, NAMESPACE_METADATA_FILENAME)
    alone = repository if METADATA_NAME in known else None
    return sorted(name for name in found if name != alone and all(map(is_part, name.split("/"))))


def _directories_of(repository: str, files: Iterable[str], name: str) -> Iterable[str]:
    ending = f"/{name}"
    return (path.removesuffix(ending) for file in files if (path := f"{repository}/{file}").endswith(ending))


def with_repository_index(content: bytes, repository: str, files: Iterable[str]) -> bytes:
    """Return the metadata of the outermost namespace with the current lists of datasets and namespaces.

    >>> with_repository_index(b'{"description": "mine"}', "door", ["human-v2/data/metadata.json"])
    b'{"description": "mine", "datasets": ["door/human-v2"]}'

    Args:
        content: content of the file, with outdated lists or without lists.
        repository: name without the owner.
        files: names of all files of the repository after the change.

    Raises:
        RemoteError: the content is not a JSON object.
    """
    known = set(files)
    value = _user_keys(content, repository)
    datasets = [name for name in datasets_in(repository, known) if name != repository]
    namespaces = [name for name in namespaces_in(repository, known) if name != repository]
    lists = {"datasets": datasets, "namespaces": namespaces}
    return _dumped(value | {key: names for key, names in lists.items() if names})


def without_repository_index(content: bytes, repository: str) -> bytes:
    """Return the metadata of the outermost namespace without the lists, unchanged if it has none.

    Raises:
        RemoteError: the content is not a JSON object.
    """
    value = _user_keys(content, repository)
    return content if len(value) == len(parse_json(content)) else _dumped(value)


def _user_keys(content: bytes, repository: str) -> dict[str, Any]:
    try:
        value = parse_json(content)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise RemoteError(
            f"The file {NAMESPACE_METADATA_FILENAME} of the repository {repository} is not a JSON object; correct it "
            "on the Hub, or remove it."
        )
    return {key: value[key] for key in value if key not in _LISTS}


def _dumped(value: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (RecursionError, UnicodeEncodeError):
        raise RemoteError(
            f"The metadata in {NAMESPACE_METADATA_FILENAME} is nested too deeply, or contains invalid text; "
            "correct the file on the Hub, or remove it."
        ) from None


def is_own_card(content: bytes) -> bool:
    """Return whether a card was created by this library, so that it may be rewritten."""
    return CARD_MARKER.encode() in content


def repository_card_of(repository: str, entries: Mapping[str, bytes]) -> bytes:
    """Return the card of a repository.

    Args:
        repository: owner and name, joined by ``/``.
        entries: path of each dataset in the repository -> content of its ``metadata.json``.
    """
    name = repository.partition("/")[2]
    datasets = {}
    for path, content in sorted(entries.items()):
        try:
            datasets[f"{name}/{path}"] = parse_metadata(content, f"of {name}/{path}")
        except DatasetCorruptError as error:
            _log.warning("%s The card of %s omits it.", error, repository)
    return repository_card(repository, datasets).encode("utf-8")
