"""Local datasets on disk: paths of ids, and creating, replacing and deleting datasets atomically.

Everything that is being built is in a directory or file whose name begins with a dot, beside its destination.
Such names are never datasets, so nobody reads partial data, and one left behind by a killed program is
harmless.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from minari._base.atomic import flush_tree, make_parents, remove_empty, sync_directory, write_atomically
from minari._base.files import NAMESPACE_METADATA_FILENAME, exchange, is_directory
from minari._base.locks import directory_lock
from minari._base.settings import checked_root, get_datasets_root, name_of_root
from minari._base.system_errors import failures_logged, storage_errors
from minari._model.dataset_id import DatasetId, is_dataset_id, parse_namespace
from minari._storages.paths import PathLike
from minari.errors import DatasetExistsError, DatasetNotFoundError, StorageError


__all__ = [
    "dataset_exists",
    "edited_directory",
    "ensure_namespace_directories",
    "get_dataset_path",
    "publish_directory",
    "refuse_nested",
    "refuse_taken",
    "remove_directory",
    "replace_directory",
    "restore_replaced",
    "hidden_directory",
    "staged_directory",
]


_BETWEEN_RENAMES = 0.1  # seconds
_LONGEST_HIDDEN = 100  # bytes of a name
_UNLOCKED = 1.0  # seconds that a program may take between creating a directory and locking it


def dataset_exists(path: Path) -> bool:
    """Return whether a directory is that of a dataset: named ``name-vN``, with a subdirectory ``data``.

    Raises:
        StorageError: the directory cannot be accessed.
    """
    if not is_dataset_id(path.name):
        return False
    try:
        return (path / "data").is_dir()
    except PermissionError as error:
        raise StorageError(
            f"{path} may not be read ({error.strerror}); ask its owner for access.",
            error.errno,
            error.strerror,
            str(path),
        ) from error


@contextmanager
def staged_directory(destination: Path) -> Iterator[Path]:
    """Build a dataset in a hidden directory; it appears at its destination when the block ends.

    Args:
        destination: the final path. Missing parents are created.

    Yields:
        An empty hidden directory beside the destination, on the same file system.

    Raises:
        DatasetExistsError: the destination exists, before or after the block, or is inside another dataset.
            Nothing is changed at the destination, and the hidden directory is removed.
        StorageError: a directory cannot be created or moved; the hidden directory is removed.
    """
    refuse_taken(destination)
    with storage_errors(destination, "made"):
        created = make_parents(destination.parent)
    _remove_abandoned(destination)
    staging = destination.with_name(f".{destination.name}.{os.urandom(6).hex()}.partial")
    held = None
    try:
        with storage_errors(destination, "made"):
            staging.mkdir()
        held = directory_lock(staging)  # shows `minari clean` that the program is running
        yield staging
        with storage_errors(destination, "made"):
            _move_into_place(staging, destination)
    except BaseException:
        if held is None or held.is_held:  # and this is not a child process that was forked in the meantime
            shutil.rmtree(staging, ignore_errors=True)
            remove_empty(created)
        raise
    finally:
        if held is not None:
            held.release()


@contextmanager
def edited_directory(destination: Path) -> Iterator[Path]:
    """Build a directory in a hidden place, which replaces an existing one atomically when the block ends.

    Args:
        destination: the directory to replace, which is removed afterwards; no link.

    Yields:
        An empty hidden directory beside it, on the same file system.

    Raises:
        StorageError: a directory cannot be created or moved; the existing one is unchanged.
    """
    _remove_abandoned(destination)
    staging = destination.with_name(f".{destination.name}.{os.urandom(6).hex()}.partial")
    aside = staging.with_name(f".{destination.name}.{os.urandom(4).hex()}.deleted")
    held = None
    try:
        with storage_errors(destination, "edited"):
            staging.mkdir()
        held = directory_lock(staging)  # shows `minari clean` that the program is running
        yield staging
        with storage_errors(destination, "edited"):
            shutil.copymode(destination, staging)
            replace_directory(staging, destination, aside)
    except BaseException:
        if held is None or held.is_held:  # and this is not a child process that was forked in the meantime
            shutil.rmtree(staging, ignore_errors=True)
        raise
    finally:
        if held is not None:
            held.release()
    with failures_logged(f"Removing what {destination} was before"):
        shutil.rmtree(aside if is_directory(aside) else staging)


@contextmanager
def hidden_directory(destination: Path) -> Iterator[Path]:
    """Provide a directory in which a new file or directory is made that is moved to its destination.

    Args:
        destination: the final path, in a directory that exists. What killed programs that were making the same have
            left beside it is removed.

    Yields:
        An empty hidden directory beside the destination, which is removed when the block ends.

    Raises:
        OSError: the directory cannot be created.
    """
    short = destination.with_name(destination.name.encode()[:_LONGEST_HIDDEN].decode("utf-8", "ignore"))
    _remove_abandoned(short)
    staging = short.with_name(f".{short.name}.{os.urandom(6).hex()}.partial")
    staging.mkdir()
    held = directory_lock(staging)
    try:
        yield staging
    finally:
        if held is None or held.is_held:  # and this is not a child process that was forked in the meantime
            shutil.rmtree(staging, ignore_errors=True)
        if held is not None:
            held.release()


def _remove_abandoned(destination: Path) -> None:
    """Remove directories left behind by killed programs that were building the same dataset."""
    with suppress(OSError):
        for path in destination.parent.iterdir():
            if not path.name.startswith(f".{destination.name}.") or path.suffix not in (".partial", ".deleted"):
                continue
            if is_directory(path) and time.time() - path.lstat().st_mtime > _UNLOCKED:
                held = directory_lock(path)
                if held is not None:  # otherwise the program is running, or that is unknown
                    shutil.rmtree(path, ignore_errors=True)
                    held.release()


def publish_directory(directory: Path, destination: Path) -> None:
    """Move a finished directory to its destination, on the same file system.

    Raises:
        DatasetExistsError: the destination exists, or is inside another dataset.
        OSError: the directory cannot be moved. In both cases it stays in place.
    """
    refuse_taken(destination)
    created = make_parents(destination.parent)
    try:
        _move_into_place(directory, destination)
    except BaseException:
        remove_empty(created)
        raise


def replace_directory(new: Path, destination: Path, aside: Path) -> None:
    """Replace a directory by a finished one, and move the old one to ``aside``.

    If the process is killed, either the old or the new directory remains. If the system can exchange two
    directories, one of them is at the destination at every moment. Otherwise the old one is briefly at
    ``.NAME.replaced`` beside the destination, from where :func:`restore_replaced` moves it back.

    Args:
        new: the finished directory.
        destination: the directory to replace.
        aside: the new path of the old directory, which must not exist. All are on the same file system.

    Raises:
        OSError: a directory cannot be moved; the old one is at the destination.
    """
    flush_tree(new)
    if exchange(new, destination):
        old = new
    else:
        old = _replaced_place(destination)
        if is_directory(old):  # of a complete replacement
            shutil.rmtree(old)
        destination.rename(old)
        try:
            new.rename(destination)
        except BaseException:
            old.rename(destination)
            raise
    sync_directory(destination.parent)
    with failures_logged(f"Moving the directory that {destination} has replaced to {aside}"):
        old.rename(aside)


def restore_replaced(destination: Path) -> bool:
    """Move back a directory that an interrupted :func:`replace_directory` has moved away, or the data in it.

    Returns:
        True if there was one, and the destination did not exist.
    """
    return _restore(destination) or (is_directory(destination) and _restore(destination / "data"))


def _restore(destination: Path) -> bool:
    old = _replaced_place(destination)
    for pause in (0.0, _BETWEEN_RENAMES):  # a running program puts the new one there immediately
        time.sleep(pause)
        if os.path.lexists(destination) or not is_directory(old):
            return False
    with suppress(OSError):  # another program has done it, or permission is missing
        old.rename(destination)
        return True
    return False


def _replaced_place(destination: Path) -> Path:
    return destination.with_name(f".{destination.name}.replaced")


def _move_into_place(directory: Path, destination: Path) -> None:
    refuse_taken(destination)
    flush_tree(directory)
    try:
        directory.rename(destination)
    except OSError as error:
        if os.path.lexists(destination):
            raise _taken(destination) from error
        raise
    sync_directory(destination.parent)


def refuse_taken(destination: Path) -> None:
    """Raise unless a dataset can appear at its destination.

    Raises:
        DatasetExistsError: the destination exists, or is inside another dataset.
    """
    if os.path.lexists(destination):
        raise _taken(destination)
    refuse_nested(destination)


def refuse_nested(destination: Path) -> None:
    """Raise if a directory is inside a dataset.

    Raises:
        DatasetExistsError: it is.
    """
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


def ensure_namespace_directories(root: Path, namespace: str | None, content: str | bytes = "{}") -> None:
    """Create the missing directories and metadata files of a namespace and its parents.

    The metadata file makes a directory a namespace, so a namespace appears with all its metadata.

    Args:
        root: root of the datasets.
        namespace: a namespace such as ``"D4RL/door"``; None for none.
        content: content of the metadata file, if the namespace has none; its parents get an empty object.

    Raises:
        DatasetIdError: the namespace is malformed.
        DatasetExistsError: one of the directories is that of a dataset.
        StorageError: a directory or file cannot be written; everything created before is removed, if possible.
    """
    if namespace is None:
        return
    directories: list[Path] = []
    for part in parse_namespace(namespace):
        directories.append((directories[-1] if directories else root) / part)
        if dataset_exists(directories[-1]):
            raise DatasetExistsError(
                f"{directories[-1]} is a dataset and cannot be a namespace; choose another namespace."
            )
    with storage_errors(directories[-1], "made"):
        created = make_parents(directories[-1])
        written: list[Path] = []
        try:
            for directory in directories:
                file = directory / NAMESPACE_METADATA_FILENAME
                if not file.exists():
                    written.append(file)
                    write_atomically(file, content if directory is directories[-1] else "{}")
        except BaseException:
            for file in written:
                with suppress(OSError):
                    file.unlink()
            remove_empty(created)
            raise


def remove_directory(path: Path) -> None:
    """Delete a directory with everything in it. It becomes hidden immediately.

    A link to a directory is deleted without deleting its target.

    Raises:
        DatasetNotFoundError: there is no such directory, or another program has just deleted it.
        StorageError: it cannot be moved, and is unchanged. A failure to delete it afterwards is logged, and
            `minari clean` removes the rest.
    """
    if not path.is_dir():
        raise DatasetNotFoundError(f"There is no directory {path} to delete.")
    with storage_errors(path, "deleted"):
        try:
            if path.is_symlink():
                path.unlink()
                return
            holder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".deleted", dir=path.parent))
            try:
                path.rename(holder / path.name)
            except BaseException:
                holder.rmdir()
                raise
        except FileNotFoundError:
            if os.path.lexists(path):
                raise
            raise DatasetNotFoundError(f"{path} was deleted by another program at the same moment.") from None
    with failures_logged(f"Removing {holder}, which was {path},"):
        shutil.rmtree(holder)


def get_dataset_path(dataset_id: str | DatasetId | None = None, *, root: str | os.PathLike[str] | None = None) -> Path:
    """Return the directory of a dataset or namespace, which need not exist; the root if none is given.

    The root itself is created if missing, so that it can be listed and written to.

    >>> get_dataset_path("D4RL/door/human-v2").parts[-3:]
    ('D4RL', 'door', 'human-v2')

    Args:
        dataset_id: the id of a dataset, or a namespace.
        root: as for :func:`get_datasets_root`.

    Raises:
        DatasetIdError: the id is neither a valid id nor a valid namespace.
        StorageError: the root cannot be created.
    """
    if isinstance(dataset_id, DatasetId):
        parts = dataset_id.parts
    else:
        parts = () if dataset_id is None else parse_namespace(dataset_id)
    directory = checked_root(root)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"{name_of_root(directory, root)}, which cannot be made ({error.strerror or error}); expected a "
            f"directory that you may write to.",
            error.errno,
            error.strerror,
            str(directory),
        ) from error
    return directory.joinpath(*parts)


def free_dataset_path(dataset_id: str, *, root: PathLike | None = None) -> Path:
    """Return the path for a new dataset with this id.

    Raises:
        DatasetIdError: the id is malformed.
        DatasetExistsError: it already exists, or would be inside another dataset.
    """
    path = get_dataset_path(DatasetId.parse(dataset_id), root=root)
    with storage_errors(path, "made"):
        is_taken = path.exists() or restore_replaced(path)
    if is_taken:
        raise DatasetExistsError(
            f"A dataset with the id {dataset_id} already exists at {path}, and datasets are never "
            f"overwritten; choose another name or version."
        )
    refuse_nested(path)
    return path


@contextmanager
def new_dataset(dataset_id: str, root: PathLike | None = None) -> Iterator[Path]:
    """Yield the data directory of a new dataset, which appears when the block ends.

    Raises:
        DatasetIdError: the id is malformed.
        DatasetExistsError: a dataset with this id already exists.
    """
    with staged_directory(free_dataset_path(dataset_id, root=root)) as directory:
        yield directory / "data"
        make_namespace(dataset_id, root)


def make_namespace(dataset_id: str, root: PathLike | None = None) -> None:
    """Create the missing directories and metadata files of the namespace of a dataset."""
    ensure_namespace_directories(get_datasets_root(root), DatasetId.parse(dataset_id).namespace)
