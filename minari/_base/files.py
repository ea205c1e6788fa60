"""Untrusted files: opened inside their directory, and read up to a limit.

Every file of a dataset is opened here. A name from data is checked by :func:`relative_parts` before it
becomes a path, symbolic links out of the directory are not followed, and only regular files are opened, so
that neither a FIFO nor a device can block a reader.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from minari._base.lazy import LazyModule
from minari.errors import UnsafePathError


if TYPE_CHECKING:
    import ctypes
else:
    ctypes = LazyModule("ctypes")  # used only to exchange directories


__all__ = [
    "Directory",
    "FilesBeneath",
    "METADATA_FILE_NAME",
    "METADATA_LIMIT",
    "NAMESPACE_METADATA_FILENAME",
    "NAMESPACE_METADATA_LIMIT",
    "RECORDINGS_DIRECTORY",
    "exchange",
    "is_directory",
    "leads_out",
    "open_regular",
    "open_with_status",
    "read_at",
    "read_regular",
    "relative_parts",
]

#: Maximum size of the metadata of a dataset.
METADATA_LIMIT: Final = 64 * 2**20
#: Maximum size of the metadata of a namespace.
NAMESPACE_METADATA_LIMIT: Final = 2**20

#: Only Windows distinguishes text files, and only POSIX has the other flags.
_FLAGS: Final = (
    getattr(os, "O_BINARY", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOCTTY", 0)
)
_READING: Final = os.O_RDONLY | _FLAGS
_DIRECTORY_FLAGS: Final = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_DIRECTORY", 0)
_HAS_DIRECTORY_DESCRIPTORS: Final = os.open in os.supports_dir_fd and hasattr(os, "O_NOFOLLOW")
#: Error numbers for a path with a component that is a link but must not be.
_IS_LINK: Final = frozenset({errno.ELOOP, errno.EMLINK, errno.ENOTDIR, getattr(errno, "EFTYPE", errno.ELOOP)})
#: Error numbers of systems or file systems that do not support the exchange.
_CANNOT_EXCHANGE: Final = frozenset({errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM})
_WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_TRUNC
#: The names of directories in the cache of Hugging Face.
_SNAPSHOTS, _BLOBS, _REPOSITORIES = "snapshots", "blobs", ("datasets--", "models--", "spaces--")
_READ_AT_ONCE: Final = 1 << 20  # bytes; a file may be much shorter than its reported size
_FORBIDDEN: Final = frozenset("\\:\0")


def relative_parts(name: str) -> tuple[str, ...]:
    """Return the parts of a relative name from data, checked.

    >>> relative_parts("data/metadata.json")
    ('data', 'metadata.json')

    Args:
        name: the name, with parts joined by ``/``.

    Raises:
        UnsafePathError: a part is empty, ``.`` or ``..``, or contains a character that separates parts or
            names a stream on some system.
    """
    parts = _plain_parts(name) if isinstance(name, str) else ()
    if not parts:
        raise UnsafePathError(
            f"{name!r:.200} is not a plain relative name, so it may lead out of the dataset; expected parts "
            f"without '.', '..', ':' and backslashes, joined by '/'."
        )
    return parts


@lru_cache(maxsize=4096)  # the same files are opened repeatedly
def _plain_parts(name: str) -> tuple[str, ...]:
    """Return the parts of a name; empty if a part is not plain, or the operating system cannot represent the name."""
    parts = tuple(name.split("/"))
    try:
        os.fsencode(name)
    except UnicodeEncodeError:  # JSON may contain lone surrogates
        return ()
    return parts if all(part.strip(".") and _FORBIDDEN.isdisjoint(part) for part in parts) else ()


class Directory:
    """An open directory; files are opened relative to it.

    A link is followed only if it leads to a regular file inside the directory; of a snapshot in the cache of Hugging
    Face, for reading, also to a file of its repository.

    Args:
        path: path of the directory. The caller decides whether it may contain links.

    Raises:
        FileNotFoundError, NotADirectoryError: there is no such directory.

    Attributes:
        path: path of the directory.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self._descriptor = os.open(self.path, _DIRECTORY_FLAGS) if _HAS_DIRECTORY_DESCRIPTORS else None

    def __enter__(self) -> Directory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the directory; files opened in it stay open."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def open(self, name: str, flags: int = os.O_RDONLY) -> int:
        """Open a regular file inside the directory and return its descriptor.

        Args:
            name: relative to the directory, with parts joined by ``/``.
            flags: as for :func:`os.open`, without ``os.O_CREAT``.

        Raises:
            UnsafePathError: the name leads out of the directory, by itself or through a link, or does not
                refer to a regular file.
            OSError: the file cannot be opened.
        """
        return self.open_sized(name, flags)[0]

    def open_sized(self, name: str, flags: int = os.O_RDONLY) -> tuple[int, int]:
        """Open a file as :meth:`open` does, and return its descriptor and size."""
        descriptor = self._opened(relative_parts(name), flags)
        return descriptor, _checked(descriptor, self.path, name).st_size

    def directory(self, name: str) -> Directory:
        """Open a subdirectory; files in it are opened faster than from here.

        Args:
            name: as for :meth:`open`.

        Raises:
            UnsafePathError: the name leads out of the directory, by itself or through a link.
            FileNotFoundError, NotADirectoryError: there is no such directory.
        """
        parts = relative_parts(name)
        inner = Directory.__new__(Directory)
        inner.path, inner._descriptor = os.path.join(self.path, *parts), None
        if _HAS_DIRECTORY_DESCRIPTORS:
            inner._descriptor = self._opened(parts, _DIRECTORY_FLAGS)
        else:
            os.scandir(inner.path).close()  # as ``inner.path`` exists
            inner.path = os.path.join(self.path, *self._resolved(name))
        return inner

    def create(self, name: str, flags: int = os.O_RDWR) -> int:
        """Open a regular file inside the directory for writing and return its descriptor.

        The file, and the directories that contain it, are created if missing. No link is followed.

        Args:
            name: as for :meth:`open`.
            flags: as for :func:`os.open`; ``os.O_CREAT`` is added.

        Raises:
            UnsafePathError: the name leads out of the directory, or refers to a link, a file with several
                names, or something other than a regular file.
            OSError: the file cannot be opened.
        """
        parts = relative_parts(name)
        try:
            try:
                descriptor = self._opened(parts, flags | os.O_CREAT, links=False)
            except FileNotFoundError:
                self._make_parents(parts[:-1])
                descriptor = self._opened(parts, flags | os.O_CREAT, links=False)
        except OSError as error:
            if error.errno not in {*_IS_LINK, errno.EISDIR, errno.ENXIO}:  # ENXIO is that of a pipe
                raise
            raise _occupied(self.path, name) from None
        if _checked(descriptor, self.path, name).st_nlink > 1:
            os.close(descriptor)
            raise _occupied(self.path, name)
        return descriptor

    def _make_parents(self, parents: tuple[str, ...]) -> None:
        directory = self._descriptor
        if directory is None:
            os.makedirs(os.path.join(self.path, *parents), exist_ok=True)
            return
        try:
            for parent in parents:
                with suppress(FileExistsError):
                    os.mkdir(parent, dir_fd=directory)
                inner = os.open(parent, _DIRECTORY_FLAGS | os.O_NOFOLLOW, dir_fd=directory)
                if directory != self._descriptor:
                    os.close(directory)
                directory = inner
        finally:
            if directory != self._descriptor:
                os.close(directory)

    def read(self, name: str, limit: int) -> bytes:
        """Return the content of a regular file inside the directory.

        Args:
            name: as for :meth:`open`.
            limit: maximum size of the file.

        Raises:
            UnsafePathError: as for :meth:`open`, or the file is larger than ``limit``.
            OSError: the file cannot be opened or read.
        """
        return _content(*self.open_sized(name), os.path.join(self.path, name), limit)

    def inner(self, name: str) -> Directory:
        """Open a subdirectory, which must not be a link.

        Args:
            name: a single part.

        Raises:
            UnsafePathError: it is a link, or not a directory.
            FileNotFoundError: it does not exist.
        """
        (part,) = relative_parts(name)
        found = object.__new__(Directory)
        found.path, found._descriptor = os.path.join(self.path, part), None
        try:
            if self._descriptor is not None:
                found._descriptor = os.open(part, _DIRECTORY_FLAGS | os.O_NOFOLLOW, dir_fd=self._descriptor)
            elif (kind := self.kind(part)) != stat.S_IFDIR:
                number = errno.ENOENT if kind is None else errno.ENOTDIR
                raise OSError(number, os.strerror(number), found.path)
        except OSError as error:
            if error.errno not in _IS_LINK:
                raise
            raise UnsafePathError(
                f"{found.path} is a link or a file, expected a directory; put the directory itself in its place."
            ) from None
        return found

    def kind(self, name: str) -> int | None:
        """Return the type of an entry, as :func:`stat.S_IFMT` does, without following links; None if it is missing."""
        path = name if self._descriptor is not None else os.path.join(self.path, name)
        try:
            return stat.S_IFMT(os.stat(path, dir_fd=self._descriptor, follow_symlinks=False).st_mode)
        except FileNotFoundError:
            return None

    def names(self) -> list[str]:
        """Return the names of the entries, sorted."""
        return sorted(os.listdir(self.path if self._descriptor is None else self._descriptor))

    def entries(self) -> list[tuple[str, int]]:
        """Return the sorted names of the entries, each with its type as returned by :meth:`kind`; 0 for links."""
        with os.scandir(self.path if self._descriptor is None else self._descriptor) as entries:
            return sorted(
                (
                    entry.name,
                    stat.S_IFDIR
                    if entry.is_dir(follow_symlinks=False)
                    else stat.S_IFREG
                    if entry.is_file(follow_symlinks=False)
                    else 0,
                )
                for entry in entries
            )

    def move(self, name: str, target: Directory, new_name: str | None = None) -> None:
        """Move an entry into another directory, replacing an entry of the same name there without following it.

        Raises:
            OSError: the entry cannot be moved.
        """
        new_name = name if new_name is None else new_name
        if self._descriptor is None or target._descriptor is None:
            os.replace(os.path.join(self.path, name), os.path.join(target.path, new_name))
        else:
            os.replace(name, new_name, src_dir_fd=self._descriptor, dst_dir_fd=target._descriptor)

    def _opened(self, parts: tuple[str, ...], flags: int, *, links: bool = True) -> int:
        """Open what is at a path, through links as well if they are allowed and lead to something in this directory."""
        directory = self._descriptor
        try:
            if directory is None:  # this system has no descriptors of directories
                return _open_checking_links(self.path, parts, flags)
            *parents, last = parts
            for parent in parents:
                inner = os.open(parent, _DIRECTORY_FLAGS | os.O_NOFOLLOW, dir_fd=directory)
                if directory != self._descriptor:
                    os.close(directory)
                directory = inner
            return os.open(last, flags | _FLAGS, 0o666, dir_fd=directory)
        except OSError as error:
            if not links or error.errno not in _IS_LINK:
                raise
            if not flags & _WRITING and (blob := _hub_blob(self.path, "/".join(parts))) is not None:
                return os.open(blob, flags | _FLAGS)
            resolved = self._resolved("/".join(parts))
            if resolved == parts and error.errno == errno.ENOTDIR:
                raise  # not a link, but a file where a directory was expected
        finally:
            if directory is not None and directory != self._descriptor:
                os.close(directory)
        try:
            return self._opened(resolved, flags, links=False)
        except OSError as error:
            if error.errno not in _IS_LINK:
                raise
            raise UnsafePathError(
                f"{'/'.join(parts)} in {self.path} is reached through links that lead in a circle, expected a regular "
                f"file; put the file itself in its place."
            ) from error

    def _resolved(self, name: str) -> tuple[str, ...]:
        """Return the target of a name that may contain links, as parts without links."""
        base = os.path.realpath(self.path)
        target = os.path.realpath(os.path.join(base, name))
        if os.path.commonpath([base, target]) != base:
            raise UnsafePathError(
                f"{name} in {self.path} is reached through a link that leads out of the directory, and only what lies "
                f"in it is opened; put the file itself in its place."
            )
        return Path(target).relative_to(base).parts


def _hub_blob(directory: str, name: str) -> str | None:
    """Return the file to which a link leads in a snapshot of a repository in the cache of Hugging Face.

    There, ``datasets--org--name/snapshots/REVISION`` has links to files in ``datasets--org--name/blobs``.
    """
    base = os.path.realpath(directory)
    parts = Path(base).parts
    for number in range(1, len(parts) - 1):
        if parts[number] == _SNAPSHOTS and parts[number - 1].startswith(_REPOSITORIES):
            target = os.path.realpath(os.path.join(base, name))
            return target if os.path.dirname(target) == str(Path(*parts[:number], _BLOBS)) else None
    return None


def leads_out(path: str | os.PathLike[str]) -> bool:
    """Return whether a file in a directory is a link that leads out of it, and is not opened.

    Links of a snapshot in the cache of Hugging Face to the files of its repository do not.
    """
    directory, name = os.path.split(os.path.abspath(path))
    is_inside = os.path.dirname(os.path.realpath(path)) == os.path.realpath(directory)
    return not is_inside and _hub_blob(directory, name) is None


class FilesBeneath:
    """The files inside a directory, opened as :class:`Directory` opens them, for few files in each subdirectory.

    The directory itself is not kept open, which saves system calls; the parent of the last file is.

    Args:
        path: path of the directory.

    Attributes:
        path: path of the directory.
    """

    __slots__ = ("_around", "_descriptor", "path")

    def __init__(self, path: str) -> None:
        self.path, self._around, self._descriptor = path, "", -1

    def __enter__(self) -> FilesBeneath:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def open_sized(self, name: str) -> tuple[int, int]:
        """Open a file for reading like :meth:`Directory.open_sized`, with the same exceptions."""
        parts = relative_parts(name)
        if len(parts) == 2 and _HAS_DIRECTORY_DESCRIPTORS:
            try:
                descriptor = self._opened(*parts)
            except OSError as error:
                if error.errno not in _IS_LINK:
                    raise
            else:
                return descriptor, _checked(descriptor, self.path, name).st_size
        with Directory(self.path) as directory:  # distinguishes links that lead out
            return directory.open_sized(name)

    def read(self, name: str, limit: int) -> bytes:
        """Return the content of a file like :meth:`Directory.read`, with the same exceptions."""
        return _content(*self.open_sized(name), f"{self.path}{os.sep}{name}", limit)

    def _opened(self, around: str, name: str) -> int:
        if around != self._around:
            self._leave()
            self._descriptor = os.open(f"{self.path}{os.sep}{around}", _DIRECTORY_FLAGS | os.O_NOFOLLOW)
            self._around = around
        return os.open(name, _READING, dir_fd=self._descriptor)

    def _leave(self) -> None:
        if self._around:
            self._around = ""
            os.close(self._descriptor)


def open_regular(path: str | os.PathLike[str], flags: int = os.O_RDONLY, *, links: bool = True) -> int:
    """Open a regular file and return its descriptor, like :func:`open_with_status`."""
    return open_with_status(path, flags, links=links)[0]


def open_with_status(
    path: str | os.PathLike[str], flags: int = os.O_RDONLY, *, links: bool = True
) -> tuple[int, os.stat_result]:
    """Open a regular file and return its descriptor and its status.

    Args:
        path: path of the file.
        flags: as for :func:`os.open`, without ``os.O_CREAT``.
        links: True to follow a link to a file in the same directory, which is safe for reading.

    Raises:
        UnsafePathError: it is a link that leads out of its directory, any link if links are not followed, or
            not a regular file.
        OSError: the file cannot be opened.
    """
    text = os.fspath(path)
    try:  # most files are not links, and their directory need not be opened
        descriptor = os.open(text, flags | _FLAGS)
    except OSError as error:
        if error.errno not in _IS_LINK or not os.path.islink(text):
            raise
        if not links:
            raise UnsafePathError(
                f"{text} is a link, and no link is followed to what is written; put the file itself in its place."
            ) from None
        directory, name = os.path.split(text)
        with Directory(directory or os.curdir) as opened:
            descriptor = opened._opened(relative_parts(name), flags)
            return descriptor, _checked(descriptor, opened.path, name)
    if not _HAS_DIRECTORY_DESCRIPTORS and os.path.islink(text):
        os.close(descriptor)
        raise UnsafePathError(f"{text} is a link, and only regular files are opened; put the file itself in its place.")
    return descriptor, _checked(descriptor, None, text)


def read_regular(path: str | os.PathLike[str], limit: int, *, links: bool = True) -> bytes:
    """Return the content of a regular file of at most ``limit`` bytes.

    Raises:
        UnsafePathError: as for :func:`open_regular`, or the file is larger.
        OSError: the file cannot be opened or read.
    """
    descriptor, status = open_with_status(path, links=links)
    return _content(descriptor, status.st_size, os.fspath(path), limit)


def read_at(descriptor: int, offset: int, size: int) -> bytes:
    """Return bytes of an open file at an offset, fewer at its end."""
    if hasattr(os, "pread"):
        return os.pread(descriptor, size, offset)
    os.lseek(descriptor, offset, os.SEEK_SET)
    return os.read(descriptor, size)


def is_directory(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is a directory and not a link."""
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except (OSError, ValueError):
        return False


def exchange(first: str | os.PathLike[str], second: str | os.PathLike[str]) -> bool:
    """Exchange two entries of a file system atomically, so that both names exist at every moment.

    Links are exchanged themselves.

    Returns:
        True on success; False if the system or the file system does not support it.

    Raises:
        OSError: the exchange failed: one of the entries does not exist, or permission is missing.
    """
    call = _exchange_call()
    if call is None:
        return False
    if call(os.fsencode(first), os.fsencode(second)) == 0:
        return True
    number = ctypes.get_errno()
    if number in _CANNOT_EXCHANGE:
        return False
    raise OSError(number, os.strerror(number), os.fspath(first), None, os.fspath(second))


def _exchange_call() -> Any:
    """Return the function of the C library, None if it has none."""
    if sys.platform not in ("linux", "darwin"):
        return None
    library = ctypes.CDLL(None, use_errno=True)
    if sys.platform == "darwin":
        renamex_np = getattr(library, "renamex_np", None)
        return renamex_np and (lambda first, second: renamex_np(first, second, ctypes.c_uint(2)))  # RENAME_SWAP
    here = ctypes.c_int(-100)  # AT_FDCWD
    renameat2 = getattr(library, "renameat2", None)
    return renameat2 and (lambda first, second: renameat2(here, first, here, second, ctypes.c_uint(2)))


def _open_checking_links(base: str, parts: tuple[str, ...], flags: int) -> int:
    path = base
    for part in parts:
        path = os.path.join(path, part)
        if os.path.islink(path):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
    return os.open(path, flags | _FLAGS, 0o666)


def _occupied(directory: str, name: str) -> UnsafePathError:
    return UnsafePathError(
        f"{name} in {directory} is a link, or no regular file, where a file is to be written; remove {directory}, and "
        f"try again."
    )


def _checked(descriptor: int, directory: str | None, name: str) -> os.stat_result:
    """Return the status of an open file if it is regular; otherwise close it and raise.

    Without a directory, the name is a path, which is split only for messages.
    """
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            kind = "directory" if stat.S_ISDIR(status.st_mode) else "device, a pipe or a socket"
            if directory is None:
                directory, name = os.path.split(name)
            raise UnsafePathError(
                f"{name} in {directory} is a {kind}, expected a regular file; take it out of the dataset."
            )
    except BaseException:
        os.close(descriptor)
        raise
    return status


def _content(descriptor: int, expected: int, path: str, limit: int) -> bytes:
    """Return the content of a file and close it; its length may differ from the expected one."""
    parts: list[bytes] = []
    size = 0
    try:
        if expected > limit:
            raise _too_large(path, limit)
        wanted = min(_READ_AT_ONCE, expected + 1)
        while part := os.read(descriptor, wanted):
            parts.append(part)
            size += len(part)
            if size > limit:
                raise _too_large(path, limit)
            if size == expected and len(part) < wanted:
                break
            wanted = min(_READ_AT_ONCE, limit + 1 - size)
    finally:
        os.close(descriptor)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _too_large(path: str, limit: int) -> UnsafePathError:
    return UnsafePathError(
        f"{path} is larger than {limit:,} bytes, which no such file needs; copy or download it again."
    )


METADATA_FILE_NAME: Final = "metadata.json"
NAMESPACE_METADATA_FILENAME: Final = "namespace_metadata.json"
#: Hidden directory, below the root, of recordings that are not datasets yet.
RECORDINGS_DIRECTORY: Final = ".recordings"
