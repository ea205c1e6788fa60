"""Checks of the files of a dataset: totals, size, index, manifest, and what does not belong there."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

from minari._base.files import METADATA_FILE_NAME, METADATA_LIMIT, Directory, read_regular
from minari._base.json_text import shortened
from minari._model.manifest import MANIFEST_NAME, Manifest, ManifestFile
from minari._storages.base import MinariStorage
from minari._storages.paths import is_remote
from minari.dataset.validation.examined import Examined
from minari.dataset.validation.findings import Finding
from minari.errors import DatasetCorruptError, UnsafePathError
from minari.progress import track


__all__ = [
    "check_files",
    "check_index",
    "check_manifest",
    "check_missing_checksums",
    "check_totals",
    "differs",
]

_ROUNDING = 0.11  # tolerance in MB of the size in the metadata, which has one decimal
_TRIES = 10  # while another program extends episodes
_BLOCK = 2**20  # bytes that are read at a time

_OF_EVERY_FORMAT: Final = re.compile(r"metadata\.json|manifest\.json|\.lock|\.(?:field|episode)_statistics\.json")
_UNFINISHED: Final = re.compile(r"\.journal|\.changes")  # committed by a writer that was killed before it finished
_DATA, _MANIFEST_FILE = MANIFEST_NAME.split("/")


def check_totals(examined: Examined) -> Iterator[Finding]:
    """Compare the totals of the metadata with the lengths of the episodes, and the size with that of the files."""
    storage = examined.storage
    claimed = steps = None
    with suppress(DatasetCorruptError):  # of an episode, with which it is reported
        claimed, steps = _claimed_and_counted(storage)
    if claimed != steps:
        message = f"The metadata claims {claimed} steps, and the episodes have {steps}."
        yield Finding("error", "totals", message, path=str(storage.data_path / METADATA_FILE_NAME))
    told = storage.current_metadata.raw.get("dataset_size")
    size = told if is_remote(storage.data_path) else storage.measured_size()
    if told is not None and differs(told, size):
        message = f"The metadata claims {shortened(told)} MB, and the files have {size} MB."
        yield Finding("note", "size", message, path=str(storage.data_path / METADATA_FILE_NAME))


def _claimed_and_counted(storage: MinariStorage) -> tuple[int, int]:
    """Return the number of steps in the metadata, and that of the same episodes, to which others may be added."""
    tries = 0
    while True:
        tries += 1
        metadata = storage.current_metadata
        steps = int(storage.get_episode_lengths(range(metadata.total_episodes)).sum())
        is_still = storage.current_metadata.total_steps == metadata.total_steps
        if steps == metadata.total_steps or is_still or tries == _TRIES:
            return metadata.total_steps, steps


def differs(told: Any, found: Any) -> bool:
    """Return whether a number of the metadata differs from the actual one, allowing for rounded sizes."""
    if not isinstance(told, (int, float)) or isinstance(found, int):
        return bool(told != found)
    margin = max(_ROUNDING, found / 10)
    return not found - margin <= told <= found + margin  # a NaN is not a size


def check_files(examined: Examined) -> Iterator[Finding]:
    """Check for unfinished changes, leftovers of killed writers, and unexpected files."""
    storage = examined.storage
    if storage.FILES is None or is_remote(storage.data_path):
        return
    for entry in sorted(os.scandir(storage.data_path), key=lambda entry: entry.name):
        is_data = storage.FILES.fullmatch(entry.name) is not None
        if _UNFINISHED.fullmatch(entry.name):
            message = (
                f"{shortened(entry.name)} holds a change that was not completed; the next writer completes it, "
                f"or `minari clean`."
            )
            yield Finding("note", "unfinished", message, path=entry.path)
        elif _OF_EVERY_FORMAT.fullmatch(entry.name) or (is_data and storage.has_file(entry.name)):
            continue
        elif is_data or entry.name.startswith("."):
            message = f"{shortened(entry.name)} was left by a writer that was killed; `minari clean` removes it."
            yield Finding("note", "leftover", message, path=entry.path)
        else:
            message = f"{shortened(entry.name)} is not part of the dataset; move it elsewhere."
            yield Finding("warning", "foreign file", message, path=entry.path)


def check_missing_checksums(examined: Examined) -> Iterator[Finding]:
    """Count the episodes without checksums."""
    if not examined.checksums:
        return
    storage = examined.storage
    missing = len(storage.episodes_without_checksums(range(storage.total_episodes)))
    if missing:
        message = (
            f"{missing} of {storage.total_episodes} episodes have no checksums, so that their values are not "
            f"verified; `minari validate --fix` makes checksums of the values as they are."
        )
        yield Finding("note", "no checksums", message, count=missing)


def check_index(examined: Examined) -> Iterator[Finding]:
    """Compare the index of the format, if it has one, with where the episodes lie in the data."""
    for index, problem in examined.storage.index_problems():
        message = f"{problem}; `minari validate --fix` makes the index again."
        yield Finding("error", "index", message, index)


def check_manifest(examined: Examined) -> Iterator[Finding]:
    """Compare the files with a manifest that lies beside them, as in a copy of a remote."""
    data_path = examined.storage.data_path
    if is_remote(data_path) or not (data_path / _MANIFEST_FILE).is_file():
        return
    path = str(data_path / _MANIFEST_FILE)
    manifest = Manifest.parse(read_regular(path, METADATA_LIMIT), path)
    listed = {name.removeprefix(f"{_DATA}/"): file for name, file in manifest.files.items() if name.startswith(_DATA)}
    different: dict[str, str] = {}
    with Directory(data_path) as directory:
        for name, file in track(listed.items(), "checking the manifest", total=len(listed), unit="files"):
            problem = _difference(directory, name, file)
            if problem is not None:
                different[name] = problem
    if METADATA_FILE_NAME in different:  # every writer changes it
        message = (
            f"The manifest describes other files: {len(different)} of {len(listed)} differ, among them the metadata; "
            f"remove manifest.json if the dataset was changed since it was downloaded, or download it again."
        )
        yield Finding("warning", "manifest", message, path=path, count=len(different))
        return
    for name, problem in different.items():
        message = f"{shortened(name)} {problem}, according to the manifest; copy or download the dataset again."
        yield Finding("error", "manifest", message, path=str(data_path / name))


def _difference(directory: Directory, name: str, expected: ManifestFile) -> str | None:
    """Return how a file differs from its entry in a manifest; None if it does not."""
    try:
        descriptor, size = directory.open_sized(name)
    except FileNotFoundError:
        return "is missing"
    except (OSError, UnsafePathError) as error:
        return f"cannot be read ({error.strerror if isinstance(error, OSError) else 'it is not a regular file'})"
    digest = hashlib.sha256()
    with os.fdopen(descriptor, "rb") as file:
        if size != expected.size:
            return f"has {size:,} bytes and should have {expected.size:,}"
        while block := file.read(_BLOCK):
            digest.update(block)
    return None if digest.hexdigest() == expected.sha256 else "has another SHA-256 than it should have"
