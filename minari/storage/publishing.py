"""Makes folders and files appear in one step, and takes datasets away.

Whatever is under way lies in a folder or file whose name begins with a dot, beside the place where
it will end up. Such names are never datasets, so nobody reads half of one, and one that a killed
program left behind harms nothing.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from minari._base.files import exchange, is_directory
from minari._base.notices import warn
from minari._base.outcomes import failures_logged, storage_errors
from minari.dataset._storages.file_lock import directory_lock
from minari.dataset.dataset_id import is_dataset_id, is_part, parse_namespace
from minari.errors import DatasetExistsError, DatasetNotFoundError, StorageError


__all__ = [
    "NAMESPACE_METADATA_FILENAME",
    "RECORDINGS_FOLDER",
    "CatalogueFolder",
    "catalogue_folders",
    "dataset_exists",
    "ensure_namespace_directories",
    "flush",
    "flush_changes",
    "flush_directory",
    "make_folder",
    "make_parents",
    "publish_directory",
    "refuse_nested",
    "refuse_taken",
    "remove_directory",
    "remove_empty",
    "replace_directory",
    "restore_replaced",
    "staged_directory",
    "walk_catalogue",
    "write_atomically",
]

NAMESPACE_METADATA_FILENAME = "namespace_metadata.json"

#: The folder of recordings under way.
RECORDINGS_FOLDER = ".recordings"

_TO_FLUSH = os.O_RDWR if os.name == "nt" else os.O_RDONLY  # Windows flushes only what may be written to
_FLUSHING_THREADS = 16
_BETWEEN_RENAMES = 0.1  # seconds
_UNLOCKED = 1.0  # seconds that a program may take from making a directory to locking it
_MOST_LEVELS = 100  # of namespaces in each other
_MOST_TRIES = 1000  # to make a folder that others remove


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


class CatalogueFolder(NamedTuple):
    """A folder below a root that can be a dataset or a namespace.

    Attributes:
        id: of the dataset or namespace.
        path: of the folder; a text, as most folders of a long list are never used as a path.
        is_dataset: whether it is that of a dataset.
        is_namespace: whether it has the metadata of a namespace.
    """

    id: str
    path: str
    is_dataset: bool
    is_namespace: bool


def walk_catalogue(root: Path) -> Iterator[CatalogueFolder]:
    """Every folder below a root that can be a dataset or a namespace, in no particular order.

    Each is opened once. Hidden folders are passed over, and so are the insides of datasets. A link is
    followed where it leads to a folder inside the root, and none in what it leads to. What is removed
    meanwhile is left out.

    Warns:
        UserWarning: folders may not be read, or links lead out of the root; they are left out.

    Raises:
        OSError: the root cannot be read.
    """
    pending: list[tuple[str, str, bool]] = []
    if root.is_dir():
        pending.append(("", str(root), True))
    base = ""
    left_out: list[tuple[str, str]] = []
    while pending:
        folder_id, path, follows = pending.pop()
        folders: dict[str, tuple[str, bool]] = {}
        is_namespace = False
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    if entry.is_symlink():
                        base = base or os.path.realpath(root)
                        if not entry.is_dir() or not (entry.name == "data" or is_part(entry.name)):
                            continue
                        if not _is_within(base, os.path.realpath(entry.path)):
                            left_out.append((entry.path, "a link that leads out of the root"))
                        elif follows:
                            folders[entry.name] = entry.path, False
                    elif entry.is_dir():
                        folders[entry.name] = entry.path, follows
                    elif entry.name == NAMESPACE_METADATA_FILENAME:
                        is_namespace = entry.is_file()
        except (FileNotFoundError, NotADirectoryError):
            continue  # it was removed since
        except OSError as error:
            if not folder_id:
                raise
            left_out.append((path, str(error.strerror)))
            continue
        is_dataset = "data" in folders and is_dataset_id(folder_id or root.name)
        if is_dataset:
            del folders["data"]
        if folder_id:
            yield CatalogueFolder(folder_id, path, is_dataset, is_namespace)
        if folder_id.count("/") < _MOST_LEVELS:
            prefix = f"{folder_id}/" if folder_id else ""
            pending += [(f"{prefix}{name}", *inner) for name, inner in folders.items() if is_part(name)]
    if left_out:
        others = f", and {len(left_out) - 1} more" if len(left_out) > 1 else ""
        path, reason = left_out[0]
        warn(f"{path} is left out ({reason}){others}.")


def _is_within(base: str, path: str) -> bool:
    return path == base or path.startswith(base.rstrip(os.sep) + os.sep)


def catalogue_folders(root: Path) -> Iterator[tuple[str, Path]]:
    """The ids and paths of :func:`walk_catalogue`."""
    return ((folder.id, Path(folder.path)) for folder in walk_catalogue(root))


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
    _flush_tree(new)
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
    _flush_folder(destination.parent)
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
    _flush_tree(folder)
    try:
        folder.rename(destination)
    except OSError as error:
        if os.path.lexists(destination):
            raise _taken(destination) from error
        raise
    _flush_folder(destination.parent)


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


def make_parents(folder: Path) -> list[Path]:
    """Make a folder with its parents; those that were missing, the outermost first."""
    missing = [folder, *folder.parents]
    missing = missing[: next((n for n, parent in enumerate(missing) if parent.exists()), len(missing))]
    created: list[Path] = []
    try:
        for parent in reversed(missing):
            make_folder(parent)
            created.append(parent)
    except BaseException:
        remove_empty(created)
        raise
    return created


def make_folder(folder: Path) -> None:
    """Make a folder with its parents, whoever else makes or removes them at the same moment.

    Raises:
        FileExistsError: something else is in its place, such as a link to a disk that is not mounted.
    """
    for tries_left in reversed(range(_MOST_TRIES)):
        try:
            folder.mkdir(parents=True)
        except FileNotFoundError:
            if not tries_left:
                raise
            continue  # a parent was removed since it was made
        except FileExistsError as error:
            try:
                is_folder = stat.S_ISDIR(folder.stat().st_mode)
            except FileNotFoundError:
                if folder.is_symlink():
                    raise error from None
                continue  # removed since
            if not is_folder:
                raise
        return


def remove_empty(folders: list[Path]) -> None:
    """Remove those folders that are empty, the last one first."""
    for folder in reversed(folders):
        with suppress(OSError):  # someone else put something in, so it stays
            folder.rmdir()


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


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader finds either the old content or the new one, even after a crash.

    Args:
        path: the file; where it is a link, the link is replaced, and what it leads to is left alone.
        content: what it is to hold; text is written as UTF-8.

    Raises:
        OSError: the file cannot be written; it is as before, and nothing else is left behind.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.urandom(6).hex()}.partial")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            flush(file.fileno(), path)
        _copy_mode(path, temporary)
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    flush_directory(path.parent)


def _copy_mode(source: Path, target: Path) -> None:
    with suppress(FileNotFoundError):
        status = source.lstat()
        if stat.S_ISREG(status.st_mode):
            target.chmod(stat.S_IMODE(status.st_mode))


def flush(descriptor: int, path: Path) -> None:
    """Make what was written to a file outlast a power cut, unless it lies where datasets are being built.

    There it outlasts the program, as all that was written does; it is flushed when the dataset
    appears, once instead of after every change.
    """
    if not _is_under_way(path):
        os.fsync(descriptor)


def _is_under_way(path: Path) -> bool:
    return any(
        part == RECORDINGS_FOLDER or (part[:1] == "." and part.endswith(".partial")) for part in path.parent.parts
    )


def flush_changes(folder: Path) -> None:
    """Flush all that is below a folder, unless it lies where datasets are being built; see :func:`flush`.

    Raises:
        OSError: the system could not write what it had taken.
    """
    if not _is_under_way(folder / "any"):
        _flush_tree(folder)


def flush_directory(folder: Path) -> None:
    """Make a rename in a directory outlast a power cut, unless it lies where datasets are being built."""
    if not _is_under_way(folder / "any"):
        _flush_folder(folder)


def _flush_tree(folder: Path) -> None:
    """Flush all files and folders below a folder, and itself, but for hidden files, which can be made anew.

    Raises:
        OSError: the system could not write what it had taken.
    """
    folders: list[str] = []
    files: list[str] = []
    for path, _, names in os.walk(folder):
        folders.append(path)
        files += [f"{path}{os.sep}{name}" for name in names if not name.startswith(".")]
    _in_shares(_flush_files, files)
    _in_shares(_flush_folders, folders)


def _in_shares(flush_all: Callable[[list[str]], None], paths: list[str]) -> None:
    """Flush several at once: a disk takes many requests, and a file system makes one commit of those together."""
    share = -(-len(paths) // _FLUSHING_THREADS)
    if len(paths) <= 2:
        flush_all(paths)
        return
    shares = [paths[start : start + share] for start in range(0, len(paths), share)]
    with ThreadPoolExecutor(_FLUSHING_THREADS) as threads:
        try:
            running = [threads.submit(flush_all, part) for part in shares]
        except RuntimeError:  # the process may not have more threads
            running = []
        for future in running:
            future.result()
    if not running:
        flush_all(paths)


def _flush_files(paths: list[str]) -> None:
    for path in paths:
        descriptor = os.open(path, _TO_FLUSH)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _flush_folders(paths: list[str]) -> None:
    for path in paths:
        _flush_folder(Path(path))


def _flush_folder(folder: Path) -> None:
    """Make a rename durable where the system lets a folder be flushed."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
