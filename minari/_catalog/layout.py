"""Makes folders and files appear in one step, and takes datasets away.

Whatever is under way lies in a folder or file whose name begins with a dot, beside the place where
it will end up. Such names are never datasets, so nobody reads half of one, and one that a killed
program left behind harms nothing.
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
from minari._storages.base import PathLike
from minari.errors import DatasetExistsError, DatasetNotFoundError, StorageError


__all__ = [
    "dataset_exists",
    "ensure_namespace_directories",
    "get_dataset_path",
    "publish_directory",
    "refuse_nested",
    "refuse_taken",
    "remove_directory",
    "replace_directory",
    "restore_replaced",
    "staged_directory",
]


_BETWEEN_RENAMES = 0.1  # seconds
_UNLOCKED = 1.0  # seconds that a program may take from making a directory to locking it


def dataset_exists(path: Path) -> bool:
    """Whether a folder is that of a dataset: called ``name-vN``, with a folder ``data`` in it.

    Raises:
        StorageError: that may not be looked at.
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
    """Build a dataset's folder out of sight; it appears at its destination when the block ends.

    Args:
        destination: where the folder is to be. Parents that are missing are made.

    Yields:
        An empty hidden folder beside the destination, on the same file system.

    Raises:
        DatasetExistsError: the destination exists, before or after the block, or lies inside another
            dataset. Nothing is changed at the destination, and what was built is removed.
        StorageError: a folder cannot be made or moved; what was built is removed.
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
        held = directory_lock(staging)  # as a sign for those who remove what killed programs have left
        yield staging
        with storage_errors(destination, "made"):
            _move_into_place(staging, destination)
    except BaseException:
        if held is None or held.is_held:  # and this is no child of the program that was forked meanwhile
            shutil.rmtree(staging, ignore_errors=True)
            remove_empty(created)
        raise
    finally:
        if held is not None:
            held.release()


def _remove_abandoned(destination: Path) -> None:
    """Remove what killed programs have left that were to build the same dataset."""
    with suppress(OSError):
        for path in destination.parent.iterdir():
            if not path.name.startswith(f".{destination.name}.") or path.suffix not in (".partial", ".deleted"):
                continue
            if is_directory(path) and time.time() - path.lstat().st_mtime > _UNLOCKED:
                held = directory_lock(path)
                if held is not None:  # otherwise the program is alive, or that cannot be told
                    shutil.rmtree(path, ignore_errors=True)
                    held.release()


def publish_directory(folder: Path, destination: Path) -> None:
    """Move a finished folder to where it is to be, on the same file system.

    Raises:
        DatasetExistsError: the destination exists, or lies inside another dataset.
        OSError: the folder cannot be moved. In either case it stays where it is.
    """
    refuse_taken(destination)
    created = make_parents(destination.parent)
    try:
        _move_into_place(folder, destination)
    except BaseException:
        remove_empty(created)
        raise


def replace_directory(new: Path, destination: Path, aside: Path) -> None:
    """Put a finished directory in the place of another one, which is then at ``aside``.

    A kill at any moment leaves the old or the new directory. Where the system can exchange two
    directories, one of them is at the destination all the time. Elsewhere the old one is for a moment at
    ``.NAME.replaced`` beside the destination, from where :func:`restore_replaced` brings it back.

    Args:
        new: the finished directory.
        destination: of the directory that is there.
        aside: where the old one goes; nothing is there. All are on the same file system.

    Raises:
        OSError: a directory cannot be moved; the old one is at the destination.
    """
    flush_tree(new)
    if exchange(new, destination):
        old = new
    else:
        old = _replaced_place(destination)
        if is_directory(old):  # of a replacement that was complete
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
    """Bring back the directory that an interrupted :func:`replace_directory` has moved away.

    Returns:
        Whether there was one, and nothing at the destination.
    """
    old = _replaced_place(destination)
    for pause in (0.0, _BETWEEN_RENAMES):  # a program that is alive puts the new one there at once
        time.sleep(pause)
        if os.path.lexists(destination) or not is_directory(old):
            return False
    with suppress(OSError):  # another program has done it, or nobody may
        old.rename(destination)
        return True
    return False


def _replaced_place(destination: Path) -> Path:
    return destination.with_name(f".{destination.name}.replaced")


def _move_into_place(folder: Path, destination: Path) -> None:
    refuse_taken(destination)
    flush_tree(folder)
    try:
        folder.rename(destination)
    except OSError as error:
        if os.path.lexists(destination):
            raise _taken(destination) from error
        raise
    sync_directory(destination.parent)


def refuse_taken(destination: Path) -> None:
    """Make sure that a dataset can appear at its destination.

    Raises:
        DatasetExistsError: the destination exists, or lies inside another dataset.
    """
    if os.path.lexists(destination):
        raise _taken(destination)
    refuse_nested(destination)


def refuse_nested(destination: Path) -> None:
    """Make sure that a folder does not lie inside a dataset.

    Raises:
        DatasetExistsError: it does.
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
    """Make the directory and the metadata file of a namespace and of those around it, where missing.

    The metadata file makes a directory a namespace, so that a namespace appears with all its metadata.

    Args:
        root: of the datasets.
        namespace: such as ``"D4RL/door"``; None for none.
        content: of the metadata file, where the namespace has none; those around it get an empty object.

    Raises:
        DatasetIdError: the namespace is malformed.
        DatasetExistsError: one of the directories is that of a dataset.
        StorageError: a directory or file cannot be written; what was made before is removed, as far as
            that is possible.
    """
    if namespace is None:
        return
    folders: list[Path] = []
    for part in parse_namespace(namespace):
        folders.append((folders[-1] if folders else root) / part)
        if dataset_exists(folders[-1]):
            raise DatasetExistsError(f"{folders[-1]} is a dataset and cannot be a namespace; choose another namespace.")
    with storage_errors(folders[-1], "made"):
        created = make_parents(folders[-1])
        written: list[Path] = []
        try:
            for folder in folders:
                file = folder / NAMESPACE_METADATA_FILENAME
                if not file.exists():
                    written.append(file)
                    write_atomically(file, content if folder is folders[-1] else "{}")
        except BaseException:
            for file in written:
                with suppress(OSError):
                    file.unlink()
            remove_empty(created)
            raise


def remove_directory(path: Path) -> None:
    """Delete a folder with all that is in it. It is out of sight at once, whatever happens then.

    A link to a folder is deleted, and the folder is left alone.

    Raises:
        DatasetNotFoundError: there is no such folder, or another program has just deleted it.
        StorageError: it cannot be moved, and is as before. Where it cannot be deleted afterwards, that
            is logged, and `minari clean` removes what is left.
    """
    if not path.is_dir():
        raise DatasetNotFoundError(f"There is no folder {path} to delete.")
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
    """The folder of a dataset or of a namespace, which need not exist; the root when none is given.

    The root itself is created where it does not exist, so that it can be listed and written to.

    >>> get_dataset_path("D4RL/door/human-v2").parts[-3:]
    ('D4RL', 'door', 'human-v2')

    Args:
        dataset_id: the id of a dataset, or a namespace.
        root: as for :func:`get_datasets_root`.

    Raises:
        DatasetIdError: the id follows neither grammar.
        StorageError: the root cannot be made.
    """
    if isinstance(dataset_id, DatasetId):
        parts = dataset_id.parts
    else:
        parts = () if dataset_id is None else parse_namespace(dataset_id)
    folder = checked_root(root)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"{name_of_root(folder, root)}, which cannot be made ({error.strerror or error}); expected a "
            f"directory that you may write to.",
            error.errno,
            error.strerror,
            str(folder),
        ) from error
    return folder.joinpath(*parts)


def free_dataset_path(dataset_id: str, *, root: PathLike | None = None) -> Path:
    """Where a dataset of this id would be.

    Raises:
        DatasetIdError: the id is malformed.
        DatasetExistsError: there is one already, or it would lie inside another one.
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
    """The data folder of a new dataset, which appears when the block ends and not before.

    Raises:
        DatasetIdError: the id is malformed.
        DatasetExistsError: there is a dataset of this id already.
    """
    with staged_directory(free_dataset_path(dataset_id, root=root)) as folder:
        yield folder / "data"
        make_namespace(dataset_id, root)


def make_namespace(dataset_id: str, root: PathLike | None = None) -> None:
    """The folders and metadata files of the namespace of a dataset, where they are missing."""
    ensure_namespace_directories(get_datasets_root(root), DatasetId.parse(dataset_id).namespace)
