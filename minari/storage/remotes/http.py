"""``https://host/directory``: datasets behind a web server, which is read-only.

A web server does not list its files. The manifest of each dataset and the index of all datasets do, which are
created by uploads to the directory or bucket behind the server.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from typing import IO, Any, NoReturn
from urllib.parse import quote, unquote

from minari._base.locks import ThreadLock
from minari._base.parallel import parallel_map
from minari._model.dataset_id import is_dataset_id
from minari._model.manifest import MANIFEST_NAME, Manifest
from minari.errors import DatasetCorruptError, RemoteAccessError, RemoteError
from minari.storage.remotes.base import CloudStorage
from minari.storage.remotes.http_client import HttpClient, PastTheEndError
from minari.storage.transfer.index import INDEX_FILE_NAME, parse_index
from minari.storage.transfer.limits import until_intact, with_retries
from minari.storage.transfer.meter import Advance
from minari.storage.transfer.remote_files import METADATA_NAME, SMALL_FILE_LIMIT, RemoteFile, RemoteFileNotFoundError
from minari.storage.transfer.upload_snapshot import UploadSnapshot


__all__ = ["HttpStorage", "HttpsStorage"]


class HttpsStorage(CloudStorage):
    """Directory of a web server, as a read-only remote.

    Args:
        name: ``host/directory``, as in the address.
        token: bearer token. By default, user and password are taken from ``~/.netrc``.
        **options: as for :class:`CloudStorage`.

    Raises:
        RemoteError: the address contains a password, or parts that the address of a directory does not have.
    """

    SCHEME = "https"
    TOKEN_IS_TEXT = True

    def __init__(self, name: str, token: str | None = None, **options: Any) -> None:
        _check_location(name)
        super().__init__(name, token, **options)
        self._client = HttpClient(token, self.LIMITS, self.max_workers)
        self._sizes: dict[str, int] = {}  # of files, from manifests
        self._whole_files = _WholeFiles(self._client, self.max_workers)

    @classmethod
    def split_location(cls, location: str) -> tuple[str, str]:
        """Return the directory of the remote and the dataset id in the address of a dataset without a namespace."""
        _check_location(location)
        directory, _, dataset_id = location.rpartition("/")
        return directory, unquote(dataset_id)

    @classmethod
    def find_location(cls, location: str) -> tuple[str, str]:
        """Return the directory of the remote and the dataset id in the address of a dataset, by its manifest.

        If no manifest can be read, the id is the last part of the address.
        """
        try:
            dataset_id = with_retries(lambda: cls(location)._read_manifest("")).dataset_id
        except (RemoteFileNotFoundError, RemoteAccessError, DatasetCorruptError):
            dataset_id = ""
        if is_dataset_id(dataset_id) and unquote(location).endswith(f"/{dataset_id}"):
            parts = location.split("/")
            return "/".join(parts[: -len(dataset_id.split("/"))]), dataset_id
        return cls.split_location(location)

    def list_with_metadata(self, prefix: str | None = None) -> dict[str, bytes | None]:
        """List the datasets in the index, with their metadata."""
        try:
            entries = until_intact(lambda: parse_index(self.read_file(INDEX_FILE_NAME)))
        except RemoteFileNotFoundError:
            raise RemoteError(
                f"{self.address} has no {INDEX_FILE_NAME}, and a web server does not list files; upload datasets to "
                "the directory or bucket behind it with `minari upload`, which creates the index."
            ) from None
        return {name: entries[name] for name in entries if is_dataset_id(name) and name.startswith(prefix or "")}

    def list_namespaces(self) -> list[str]:
        """Return the namespaces of the datasets in the index that have metadata, sorted."""
        ids = [dataset_id.split("/") for dataset_id in self.list_with_metadata()]
        above = {"/".join(parts[:end]) for parts in ids for end in range(1, len(parts))}
        answers = parallel_map(lambda name: (name, self.has_namespace(name)), sorted(above), self.max_workers)
        return sorted(name for name, is_there in answers if is_there)

    def list_files(self, directory: str) -> Iterable[RemoteFile]:
        """List the files in the manifest of a dataset."""
        try:
            manifest = self._read_manifest(f"{directory}/")
        except RemoteFileNotFoundError:
            if self.has_file(f"{directory}/{METADATA_NAME}"):
                raise RemoteError(
                    f"{directory} in {self.address} has no {MANIFEST_NAME}, without which a web server does not list "
                    "its files; whoever keeps it there should upload it again with `minari upload`."
                ) from None
            return []
        listed = [RemoteFile(f"{directory}/{name}", file.size) for name, file in manifest.files.items()]
        self._sizes.update((file.name, file.size) for file in listed)
        return [*listed, RemoteFile(f"{directory}/{MANIFEST_NAME}", len(manifest.dump()))]

    def read_file(self, name: str) -> bytes:
        """Read a small file."""
        return self._client.read_file(self._url(name), SMALL_FILE_LIMIT)

    def read_range(self, name: str, start: int, stop: int) -> bytes:
        """Read the bytes of a file from ``start`` up to ``stop``, also if the server only sends whole files."""
        url = self._url(name)
        if start >= stop:
            return b""
        if not self._whole_files.are_needed:
            try:
                content = self._client.read_range(url, start, stop)
            except PastTheEndError:
                return b""
            if content is not None:
                return content
        return self._whole_files.read_range(url, start, stop, self._sizes.get(name))

    def write_file(self, name: str, content: bytes) -> NoReturn:
        """Refuse to write.

        Raises:
            RemoteError: always.
        """
        raise self._read_only()

    def send_snapshot(self, snapshot: UploadSnapshot, advance: Advance, *, force: bool) -> NoReturn:
        """Refuse to write.

        Raises:
            RemoteError: always.
        """
        raise self._read_only()

    def check_writable(self) -> NoReturn:
        """Refuse to write.

        Raises:
            RemoteError: always.
        """
        raise self._read_only()

    def _read_only(self) -> RemoteError:
        return RemoteError(
            f"{self.address} can only be read; upload to the directory or bucket behind the web server, such as "
            "file:///directory or s3://bucket."
        )

    def _url(self, name: str) -> str:
        return f"{self.scheme}://{quote(self.name, safe='/:[]%~')}/{quote(name)}"

    def _read_manifest(self, prefix: str) -> Manifest:
        name = f"{prefix}{MANIFEST_NAME}"
        return until_intact(lambda: Manifest.parse(self.read_file(name), f"{name} of {self.address}"))


class HttpStorage(HttpsStorage):
    """Directory of a web server without encryption, such as in a local network."""

    SCHEME = "http"


class _WholeFiles:
    """Whole files in the directory for temporary files, each kept until all of it has been read.

    Args:
        client: client that fetches the files.
        most: number of files that are kept. Pieces of one file are requested in order, so the number of
            concurrent requests is enough.

    Attributes:
        are_needed: True if the server has responded with a whole file instead of a part.
    """

    def __init__(self, client: HttpClient, most: int) -> None:
        self.are_needed = False
        self._client = client
        self._most = most
        self._files: dict[str, IO[bytes]] = {}
        self._unread: dict[str, int] = {}
        self._lock = ThreadLock()

    def read_range(self, url: str, start: int, stop: int, size: int | None = None) -> bytes:
        """Read the bytes of a file from ``start`` up to ``stop``, fewer if it ends before.

        Args:
            url: address of the file.
            start: the first byte.
            stop: the byte after the last one.
            size: size of the file in bytes, if it is known; further bytes are not read.

        Raises:
            RemoteError: as raised by the client.
            DatasetCorruptError: the file is larger than expected, or than the free disk space.
        """
        self.are_needed = True
        with self._lock.current:
            if url not in self._files:
                self._fetch(url, size)
            file = self._files[url]
            file.seek(start)
            content = file.read(stop - start)
            self._unread[url] -= len(content)
            if self._unread[url] <= 0:
                self._drop(url)
            return content

    def _fetch(self, url: str, size: int | None) -> None:
        while len(self._files) >= self._most:
            self._drop(next(iter(self._files)))
        file = tempfile.TemporaryFile(prefix="minari-")  # noqa: SIM115 (closed when it has been read)
        try:
            limit = shutil.disk_usage(tempfile.gettempdir()).free if size is None else size
            fetched = self._client.copy(url, file, limit)
        except BaseException:
            file.close()
            raise
        self._files[url], self._unread[url] = file, fetched

    def _drop(self, url: str) -> None:
        self._files.pop(url).close()
        del self._unread[url]

    def __del__(self) -> None:
        for file in self._files.values():
            file.close()


def _check_location(location: str) -> None:
    if "@" in location.partition("/")[0]:
        raise RemoteError(
            "The address of a web server must not contain a user or a password; put them into ~/.netrc for the host."
        )
    if "?" in location or "#" in location:
        raise RemoteError(
            "The address of a web server must be that of a directory, such as https://host/directory, without '?' and "
            "'#'."
        )
