"""``https://host/folder``: a folder of datasets that a web server shows; they are read there, and written elsewhere.

A web server does not tell which files it has. What does is the manifest of each dataset and the index beside all of
them, which an upload to the folder or bucket behind the server has made.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from typing import NoReturn, TypeVar
from urllib.parse import quote, unquote

from minari._model.dataset_id import is_dataset_id
from minari.errors import DatasetCorruptError, RemoteAccessError, RemoteError
from minari.storage.remotes.cloud_storage import CloudStorage
from minari.storage.remotes.web_client import PastTheEndError, WebClient
from minari.storage.remotes.whole_files import WholeFiles
from minari.storage.transfer.index import INDEX_FILE_NAME, parse_index
from minari.storage.transfer.manifest import MANIFEST_NAME, Manifest
from minari.storage.transfer.outgoing import OutgoingDataset
from minari.storage.transfer.remote_files import METADATA_NAME, SMALL_FILE_LIMIT, RemoteFile, RemoteFileNotFoundError
from minari.storage.transfer.retries import retrying
from minari.storage.transfer.workers import Advance, each_at_once


__all__ = ["HttpStorage", "WebStorage"]

T = TypeVar("T")

_log = logging.getLogger(__name__)

_ATTEMPTS = 3  # at a manifest or an index that arrives damaged


class WebStorage(CloudStorage):
    """A folder of a web server, as a remote that can be read.

    Args:
        name: ``host/folder``, as in the address of the folder.
        token: sent as a bearer token. Without one, user and password come from ``~/.netrc``.
        **options: as for :class:`CloudStorage`.

    Raises:
        RemoteError: the address holds a password, or what is no part of the address of a folder.
    """

    SCHEME = "https"

    def _begin(self) -> None:
        _check_location(self.name)
        self._client = WebClient(self.token, self.LIMITS)
        self._sizes: dict[str, int] = {}  # of files that manifests have told
        self._whole_files = WholeFiles(self.max_workers)

    @classmethod
    def split_location(cls, location: str) -> tuple[str, str]:
        """The folder of the remote and the dataset id in the address of a dataset.

        The manifest of the dataset tells its id. Where there is none to be read, the id is taken to be
        the last part of the address.
        """
        folder, _, dataset_id = location.rpartition("/")
        try:
            told = retrying(lambda: cls(location)._read_manifest("")).dataset_id
        except (RemoteFileNotFoundError, RemoteAccessError, DatasetCorruptError):
            told = ""
        if is_dataset_id(told) and unquote(location).endswith(f"/{told}"):
            parts = location.split("/")
            return "/".join(parts[: -len(told.split("/"))]), told
        return folder, unquote(dataset_id)

    def survey(self, prefix: str | None = None) -> dict[str, bytes | None]:
        """The datasets that the index names, with their metadata."""
        try:
            entries = self._until_whole(lambda: parse_index(self.read_file(INDEX_FILE_NAME)))
        except RemoteFileNotFoundError:
            raise RemoteError(
                f"{self.address} has no {INDEX_FILE_NAME}, and a web server lists nothing by itself; datasets that "
                "are uploaded to the folder or bucket behind it with `minari upload` are put into one."
            ) from None
        return {name: entries[name] for name in entries if is_dataset_id(name) and name.startswith(prefix or "")}

    def list_namespaces(self) -> list[str]:
        """Those namespaces of the datasets in the index that have metadata, sorted."""
        ids = [dataset_id.split("/") for dataset_id in self.survey()]
        above = {"/".join(parts[:end]) for parts in ids for end in range(1, len(parts))}
        answers = each_at_once(lambda name: (name, self.has_namespace(name)), sorted(above), self.max_workers)
        return sorted(name for name, is_there in answers if is_there)

    def list_files(self, folder: str) -> Iterable[RemoteFile]:
        """The files that the manifest of a dataset names."""
        try:
            manifest = self._read_manifest(f"{folder}/")
        except RemoteFileNotFoundError:
            if self._has_file(f"{folder}/{METADATA_NAME}"):
                raise RemoteError(
                    f"{folder} in {self.address} has no {MANIFEST_NAME}, without which a web server does not tell its "
                    "files; whoever keeps it there should upload it again with `minari upload`."
                ) from None
            return []
        listed = [RemoteFile(f"{folder}/{name}", file.size) for name, file in manifest.files.items()]
        self._sizes.update((file.name, file.size) for file in listed)
        return [*listed, RemoteFile(f"{folder}/{MANIFEST_NAME}", len(manifest.dump()))]

    def read_file(self, name: str) -> bytes:
        """A small file."""
        return self._client.read_file(self._url(name), SMALL_FILE_LIMIT)

    def read_range(self, name: str, start: int, stop: int) -> bytes:
        """The bytes of a file from ``start`` up to ``stop``; from a server that gives only whole files, too."""
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
        return self._whole_files.read_range(self._client, url, start, stop, self._sizes.get(name))

    def write_file(self, name: str, content: bytes) -> NoReturn:
        """Refused.

        Raises:
            RemoteError: always.
        """
        raise self._read_only()

    def send_dataset(self, outgoing: OutgoingDataset, advance: Advance, *, force: bool) -> NoReturn:
        """Refused.

        Raises:
            RemoteError: always.
        """
        raise self._read_only()

    def upload_dataset(
        self, dataset_id: str, *, root: str | os.PathLike[str] | None = None, force: bool = False
    ) -> NoReturn:
        """Refused.

        Raises:
            RemoteError: always.
        """
        raise self._read_only()

    def upload_namespace(self, namespace: str, *, root: str | os.PathLike[str] | None = None) -> NoReturn:
        """Refused.

        Raises:
            RemoteError: always.
        """
        raise self._read_only()

    def _read_only(self) -> RemoteError:
        return RemoteError(
            f"{self.address} can only be read; upload to the folder or bucket behind the web server, such as "
            "file:///folder or s3://bucket."
        )

    def _url(self, name: str) -> str:
        return f"{self.scheme}://{quote(self.name, safe='/:[]%~')}/{quote(name)}"

    def _read_manifest(self, prefix: str) -> Manifest:
        name = f"{prefix}{MANIFEST_NAME}"
        return self._until_whole(lambda: Manifest.parse(self.read_file(name), f"{name} of {self.address}"))

    def _until_whole(self, read: Callable[[], T]) -> T:
        """What is read, which is asked for again where it arrives damaged; where it does not arrive, callers retry."""
        for _ in range(_ATTEMPTS - 1):
            try:
                return read()
            except DatasetCorruptError as error:
                _log.info("%s Reading it again.", error)
        return read()


class HttpStorage(WebStorage):
    """The same over a connection that is not encrypted, such as inside of a laboratory."""

    SCHEME = "http"


def _check_location(location: str) -> None:
    if "@" in location.partition("/")[0]:
        raise RemoteError(
            "The address of a web server must not hold a user or a password; put them into ~/.netrc for the host."
        )
    if "?" in location or "#" in location:
        raise RemoteError(
            "The address of a web server must be that of a folder, such as https://host/folder, without '?' and '#'."
        )
