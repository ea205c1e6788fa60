"""Parts of files from servers that give whole ones only: each is fetched once, and its parts read from that."""

from __future__ import annotations

import shutil
import tempfile
from typing import IO

from minari._base.locks import ThreadLock
from minari.storage.remotes.web_client import WebClient


__all__ = ["WholeFiles"]


class WholeFiles:
    """Files that were fetched whole, in the folder for temporary files; each is gone when all of it has been read.

    Args:
        most: how many are kept at the same time. Pieces of one file are asked for one after the other,
            so that as many are enough as pieces are asked for at the same time.

    Attributes:
        are_needed: whether the server has shown that it gives no parts of files.
    """

    def __init__(self, most: int) -> None:
        self.are_needed = False
        self._most = most
        self._files: dict[str, IO[bytes]] = {}
        self._unread: dict[str, int] = {}
        self._lock = ThreadLock()

    def read_range(self, client: WebClient, url: str, start: int, stop: int, size: int | None = None) -> bytes:
        """The bytes of a file from ``start`` up to ``stop``, fewer where it ends before.

        Args:
            client: what fetches it.
            url: of the file.
            start: the first byte.
            stop: the one after the last.
            size: of the file, in bytes, where it is known; what comes beyond is not taken.

        Raises:
            RemoteError: as those of the client.
            DatasetCorruptError: the file is larger than it should be, or than there is room.
        """
        self.are_needed = True
        with self._lock.current:
            if url not in self._files:
                self._fetch(client, url, size)
            file = self._files[url]
            file.seek(start)
            content = file.read(stop - start)
            self._unread[url] -= len(content)
            if self._unread[url] <= 0:
                self._drop(url)
            return content

    def _fetch(self, client: WebClient, url: str, size: int | None) -> None:
        while len(self._files) >= self._most:
            self._drop(next(iter(self._files)))
        file = tempfile.TemporaryFile(prefix="minari-")  # noqa: SIM115 (closed when it has been read)
        try:
            limit = shutil.disk_usage(tempfile.gettempdir()).free if size is None else size
            fetched = client.copy(url, file, limit)
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
