"""Lists of the datasets in an object store, from its listing and the index that saves requests."""

from __future__ import annotations

import logging
import random
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import NamedTuple

from minari._base.parallel import parallel_map
from minari._model.dataset_id import is_dataset_id
from minari.errors import DatasetCorruptError, MinariError, RemoteError
from minari.storage.remotes.object_store import ABSENT, ConflictError, ObjectStore
from minari.storage.transfer.index import INDEX_FILE_NAME, dump_index, parse_index
from minari.storage.transfer.limits import with_retries
from minari.storage.transfer.remote_files import (
    METADATA_NAME,
    SMALL_FILE_LIMIT,
    RemoteFile,
    RemoteFileNotFoundError,
    check_size,
)


__all__ = ["IndexedList", "put_into_index", "list_indexed"]

_MOST_DATASETS = 1_000_000
_CONFLICTS = 10  # number of concurrent changes of the index by other programs
PAUSE = 0.1  # seconds

_log = logging.getLogger(__name__)


class IndexedList(NamedTuple):
    """The datasets of a store.

    Attributes:
        metadata: ids of all datasets -> content of ``metadata.json`` if the index agrees with the listing;
            otherwise None.
        index_version: version of the index, for replacing it.
    """

    metadata: dict[str, bytes | None]
    index_version: str | None


def list_indexed(store: ObjectStore, prefix: str = "") -> IndexedList:
    """List the datasets whose ids begin with a text, fetching the listing and the index concurrently."""
    with ThreadPoolExecutor(1) as other:
        index = other.submit(_read_index, store)
        listed = _metadata_files(store, prefix)
        entries, version = index.result()
    known = {name: content for name, content in entries.items() if name in listed and listed[name].holds(content)}
    return IndexedList({name: known.get(name) for name in listed}, version)


def _metadata_files(store: ObjectStore, prefix: str) -> dict[str, RemoteFile]:
    ending = f"/{METADATA_NAME}"
    listed = list(islice(store.find(prefix, ending), _MOST_DATASETS + 1))
    if len(listed) > _MOST_DATASETS:
        raise RemoteError(
            f"{store.address} lists more than {_MOST_DATASETS:,} datasets, which is the maximum; check the address."
        )
    named = ((file.name.removesuffix(ending), file) for file in listed)
    return {dataset_id: file for dataset_id, file in named if is_dataset_id(dataset_id)}


def _read_index(store: ObjectStore) -> tuple[dict[str, bytes], str | None]:
    """Return the entries of the index, and its version for replacing it."""
    try:
        content, version = store.read_version(INDEX_FILE_NAME)
    except RemoteFileNotFoundError:
        return {}, ABSENT
    try:
        return parse_index(check_size(content, SMALL_FILE_LIMIT, INDEX_FILE_NAME)), version
    except DatasetCorruptError as error:
        _log.warning("%s It is rebuilt when a dataset is uploaded.", error)
        return {}, version


def put_into_index(store: ObjectStore, dataset_id: str, metadata: bytes) -> None:
    """Add a dataset, and others that are missing, to the index. If this fails, lists do not use the index for them."""
    try:
        for _ in range(_CONFLICTS):
            listed = with_retries(partial(list_indexed, store))
            entries = {name: content for name, content in listed.metadata.items() if content is not None}
            missing = sorted(set(listed.metadata) - set(entries) - {dataset_id})
            answers = parallel_map(partial(_content_of, store), missing, store.max_workers)
            entries.update((name, content) for name, content in answers if content is not None)
            entries[dataset_id] = metadata
            try:
                store.put(INDEX_FILE_NAME, dump_index(entries), match=listed.index_version)
            except ConflictError:
                time.sleep(random.uniform(0, PAUSE))
            else:
                return
        raise ConflictError(f"other programs keep writing {INDEX_FILE_NAME}")
    except (MinariError, OSError) as error:
        _log.warning("The index of %s was not brought up to date: %s", store.address, error)


def _content_of(store: ObjectStore, dataset_id: str) -> tuple[str, bytes | None]:
    try:
        return dataset_id, with_retries(partial(store.read_file, f"{dataset_id}/{METADATA_NAME}"))
    except RemoteFileNotFoundError:  # deleted in the meantime
        return dataset_id, None
