"""Makes folders and files appear whole or not at all, and takes datasets away.

Whatever is under way lies in a folder or file whose name begins with a dot, beside the place where
it will end up. Such names are never datasets, so nobody reads half of one, and one that a killed
program left behind harms nothing.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from minari.dataset.dataset_id import is_dataset_id, is_part, parse_namespace
from minari.errors import DatasetExistsError, DatasetNotFoundError


__all__ = [
    "NAMESPACE_METADATA_FILENAME",
    "catalogue_folders",
    "dataset_exists",
    "ensure_namespace_directories",
    "publish_directory",
    "remove_directory",
    "staged_directory",
    "write_atomically",
]

NAMESPACE_METADATA_FILENAME = "namespace_metadata.json"


def dataset_exists(path: Path) -> bool:
    """Whether a folder is that of a dataset: called ``name-vN``, with a folder ``data`` in it."""
    return is_dataset_id(path.name) and (path / "data").is_dir()


def catalogue_folders(root: Path) -> Iterator[tuple[str, Path]]:
    """Every folder below a root that can be a dataset or a namespace, with its id, in no particular order.

    Hidden folders are passed over, and so are the insides of datasets.

    Raises:
        OSError: a folder cannot be read.
    """
    pending = [("", root, frozenset({_identity(root)}))] if root.is_dir() else []
    while pending:
        prefix, folder, ancestors = pending.pop()
        is_dataset = dataset_exists(folder)
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.is_dir()]
        for name in names:
            child = folder / name
            if not is_part(name) or (is_dataset and name == "data"):
                continue
            yield f"{prefix}{name}", child
            identity = _identity(child)
            if identity not in ancestors:  # a link to a folder that it lies in would never end
                pending.append((f"{prefix}{name}/", child, ancestors | {identity}))


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


@contextmanager
def staged_directory(destination: Path) -> Iterator[Path]:
    """Build a dataset's folder out of sight; it appears at its destination when the block ends.

    Args:
        destination: where the folder is to be. Parents that are missing are made.

    Yields:
        An empty hidden folder beside the destination, on the same file system.

    Raises:
        DatasetExistsError: the destination exists, before or after the block, or lies inside another
            dataset. Nothing is changed at the destination, and what was built is removed.
        OSError: a folder cannot be made or moved; what was built is removed.
    """
    _refuse_taken(destination)
    created = _make_parents(destination.parent)
    staging = destination.with_name(f".{destination.name}.{os.urandom(6).hex()}.partial")
    try:
        staging.mkdir()
        yield staging
        _move_into_place(staging, destination)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        _remove_empty(created)
        raise


def publish_directory(folder: Path, destination: Path) -> None:
    """Move a finished folder to where it is to be, on the same file system.

    Raises:
        DatasetExistsError: the destination exists, or lies inside another dataset.
        OSError: the folder cannot be moved. In either case it stays where it is.
    """
    _refuse_taken(destination)
    created = _make_parents(destination.parent)
    try:
        _move_into_place(folder, destination)
    except BaseException:
        _remove_empty(created)
        raise


def _move_into_place(folder: Path, destination: Path) -> None:
    _refuse_taken(destination)
    try:
        folder.rename(destination)
    except OSError as error:
        if os.path.lexists(destination):
            raise _taken(destination) from error
        raise


def _refuse_taken(destination: Path) -> None:
    if os.path.lexists(destination):
        raise _taken(destination)
    for ancestor in destination.parents:
        if dataset_exists(ancestor):
            raise DatasetExistsError(
                f"{destination} lies inside the dataset {ancestor}, which holds no others; choose another id."
            )


def _taken(destination: Path) -> DatasetExistsError:
    is_namespace = (destination / NAMESPACE_METADATA_FILENAME).is_file() and not dataset_exists(destination)
    kind = "a namespace" if is_namespace else "a dataset" if dataset_exists(destination) else "something else"
    return DatasetExistsError(
        f"{destination} already exists ({kind}) and is never overwritten; choose another name or version."
    )


def _make_parents(folder: Path) -> list[Path]:
    """Make a folder with its parents; those that were missing, the outermost first."""
    missing = [folder, *folder.parents]
    missing = missing[: next((n for n, parent in enumerate(missing) if parent.exists()), len(missing))]
    created: list[Path] = []
    try:
        for parent in reversed(missing):
            parent.mkdir(exist_ok=True)
            created.append(parent)
    except BaseException:
        _remove_empty(created)
        raise
    return created


def _remove_empty(folders: list[Path]) -> None:
    for folder in reversed(folders):
        with suppress(OSError):  # someone else put something in, so it stays
            folder.rmdir()


def ensure_namespace_directories(root: Path, namespace: str | None) -> None:
    """Make the folder and the metadata file of a namespace and of those around it, where missing.

    Raises:
        DatasetIdError: the namespace is malformed.
        DatasetExistsError: one of the folders is that of a dataset.
        OSError: a folder or file cannot be written; what was made before is removed.
    """
    if namespace is None:
        return
    folders: list[Path] = []
    for part in parse_namespace(namespace):
        folders.append((folders[-1] if folders else root) / part)
        if dataset_exists(folders[-1]):
            raise DatasetExistsError(f"{folders[-1]} is a dataset and cannot be a namespace; choose another namespace.")
    created = _make_parents(folders[-1])
    written: list[Path] = []
    try:
        for folder in folders:
            file = folder / NAMESPACE_METADATA_FILENAME
            if not file.exists():
                write_atomically(file, "{}")
                written.append(file)
    except BaseException:
        for file in written:
            with suppress(OSError):
                file.unlink()
        _remove_empty(created)
        raise


def remove_directory(path: Path) -> None:
    """Delete a folder with all that is in it. It is out of sight at once, whatever happens then.

    A link to a folder is deleted, and the folder is left alone.

    Raises:
        DatasetNotFoundError: there is no such folder.
        OSError: it cannot be moved, and is as before; or it cannot be deleted, and what is left of it
            is hidden.
    """
    if not path.is_dir():
        raise DatasetNotFoundError(f"There is no folder {path} to delete.")
    if path.is_symlink():
        path.unlink()
        return
    holder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".deleted", dir=path.parent))
    try:
        path.rename(holder / path.name)
    except BaseException:
        holder.rmdir()
        raise
    shutil.rmtree(holder)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader finds either the old content or the new one, even after a crash.

    Args:
        path: the file; where it is a link, the file that it points to.
        content: what it is to hold; text is written as UTF-8.

    Raises:
        OSError: the file cannot be written; it is as before, and nothing else is left behind.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name}.{os.urandom(6).hex()}.partial")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileNotFoundError):
            shutil.copymode(target, temporary)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _flush_folder(target.parent)


def _flush_folder(folder: Path) -> None:
    """Make a rename durable where the system lets a folder be flushed."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
