"""``s3://bucket``: Amazon S3, and other servers with its protocol."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import s3fs  # noqa: F401 (fsspec opens the addresses with it)
from fsspec.asyn import sync

from minari.errors import RemoteAccessError, RemoteError
from minari.storage.remotes.fsspec import FsspecStorage, PastTheEndError
from minari.storage.transfer.checksums import Checksum, read_in_pieces
from minari.storage.transfer.limits import Pace
from minari.storage.transfer.meter import unreported
from minari.storage.transfer.remote_files import RemoteFile, RemoteFileNotFoundError


__all__ = ["S3Storage"]

_MIB = 1 << 20
PART_SIZE = 8 * _MIB  # bytes; files of at least twice that size are sent in parts
_PARTS_AT_ONCE = 4  # of each file, held in memory
_MOST_PARTS = 10_000
_MOST_PAGES = 100_000  # of a listing, with a thousand objects each
_READ_AT_ONCE = 1 << 16  # bytes


class S3Storage(FsspecStorage):
    """Bucket, or the part of it below a prefix.

    Args:
        name: ``bucket`` or ``bucket/prefix``.
        token: path of a JSON file with options of s3fs: ``key``, ``secret``, ``endpoint_url`` and so
            on. By default, the usual environment variables are used: ``AWS_ACCESS_KEY_ID``, ``AWS_PROFILE``,
            ``AWS_ENDPOINT_URL`` and so on, and the files in ``~/.aws``.
        **options: as for :class:`CloudStorage`.
    """

    SCHEME = "s3"
    CHECKSUMS = ("md5",)
    IN_CONTAINER = True
    HINT: ClassVar[str] = (
        "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give as the token the path of a JSON "
        "file with key and secret; for a bucket that is open to everybody, set FSSPEC_S3_ANON=true."
    )

    def _client_options(self) -> dict[str, Any]:
        config = {
            **fsspec.config.conf.get("s3", {}).get("config_kwargs", {}),
            "connect_timeout": self.LIMITS.connect_timeout,
            "read_timeout": self.LIMITS.read_timeout,
            "retries": {"total_max_attempts": 1},
            "max_pool_connections": self.max_workers * _PARTS_AT_ONCE,
        }
        # Files are read in a stream, which saves requests for their sizes.
        return {"config_kwargs": config, "max_concurrency": 1}

    def _prepare(self, filesystem: Any) -> None:
        filesystem.retries = 1

    def _checksum(self, info: Mapping[str, Any]) -> Checksum | None:
        tag = str(info.get("ETag", "")).strip('"')
        return Checksum("md5", tag) if re.fullmatch("[0-9a-f]{32}", tag) else None

    def _conditions(self, match: str) -> dict[str, Any]:
        return {"IfMatch": match}

    def _listed(self, prefix: str) -> Mapping[str, Mapping[str, Any]]:
        bucket, _, above = self._path("").partition("/")
        asked: dict[str, Any] = {"Bucket": bucket, "Prefix": f"{above}/{prefix}" if above else prefix}
        found: dict[str, Mapping[str, Any]] = {}
        tokens: set[str] = set()
        while True:
            page = self._request("Listing", prefix, "call_s3", "list_objects_v2", **asked)
            for entry in page.get("Contents") or ():
                name, size = f"{bucket}/{entry.get('Key', '')}", entry.get("Size")
                if size or not name.endswith("/"):  # otherwise a directory, as created by consoles
                    found[name] = {"name": name, "size": size, "ETag": entry.get("ETag"), "type": "file"}
            token = page.get("NextContinuationToken")
            if not page.get("IsTruncated") or token is None:
                return found
            if token in tokens or len(tokens) == _MOST_PAGES:
                raise RemoteError(f"The listing of {self.address} goes on without an end; try again later.")
            tokens.add(token)
            asked["ContinuationToken"] = token

    def _read(self, name: str, start: int, stop: int, patience: float) -> bytes:
        bucket, _, key = self._path(name).partition("/")
        filesystem = self._open().filesystem

        async def read() -> bytes:
            answer = await filesystem._call_s3("get_object", Bucket=bucket, Key=key, Range=f"bytes={start}-{stop - 1}")
            body, pace, content = answer["Body"], Pace(self.LIMITS), bytearray()
            try:
                async for piece in body.iter_chunks(_READ_AT_ONCE):
                    pace.moved(len(piece))
                    content += piece
                    if len(content) > stop - start:
                        raise RemoteError(
                            f"{self.address} sent more than the requested {stop - start} bytes of {name}."
                        )
            finally:
                body.close()
            return bytes(content)

        try:
            return bytes(sync(filesystem.loop, read, timeout=patience))
        except Exception as error:
            failure = self._as_error(error, f"Reading {name}")
        if isinstance(failure, PastTheEndError):
            return b""
        raise failure

    def find(self, prefix: str, ending: str = "") -> Iterable[RemoteFile]:
        """List the objects whose names begin with one text and end with another."""
        found = list(super().find(prefix, ending))
        tagged = (file for file in found if file.checksum is not None)
        if any(not self._has_md5_tag(file.name) for file in islice(tagged, 1)):
            return [file._replace(checksum=None) for file in found]
        return found

    def _has_md5_tag(self, name: str) -> bool:
        """Return whether the tag of an object is its MD5, which it is not for one encrypted with its own key."""
        bucket, _, key = self._path(name).partition("/")
        try:
            head = self._request("Looking at", name, "call_s3", "head_object", Bucket=bucket, Key=key)
        except (RemoteFileNotFoundError, RemoteAccessError):
            return False
        return head.get("ServerSideEncryption") in (None, "AES256") and "SSECustomerAlgorithm" not in head

    def put_file(self, name: str, path: Path, sent: Callable[[int], None] = unreported) -> RemoteFile:
        """Send a file, in parts if it is large, unless the store already has this content."""
        size = path.stat().st_size
        part = max(PART_SIZE, -(-size // _MOST_PARTS // _MIB) * _MIB)
        tag, md5 = _tag_and_md5(path, size, part)
        is_there = False
        if size >= 2 * part:
            with suppress(RemoteFileNotFoundError):
                is_there = str(self._call("Looking at", name, "info").get("ETag", "")).strip('"') == tag
        if not is_there:
            self._send(name, path, size, sent, chunksize=part, max_concurrency=_PARTS_AT_ONCE)
        info = self._call("Looking at", name, "info")
        # A different tag proves nothing, since it may not depend on the content.
        agrees = str(info.get("ETag", "")).strip('"') == tag
        return RemoteFile(name, int(info["size"]), Checksum("md5", md5) if agrees else None, info.get("ETag"))


def _tag_and_md5(path: Path, size: int, part: int) -> tuple[str, str]:
    """Return the tag of a file that was sent in parts of that size, and the MD5 of the file."""
    whole = hashlib.md5(usedforsecurity=False)
    parts = hashlib.md5(usedforsecurity=False)
    for piece in read_in_pieces(path, part):
        whole.update(piece)
        parts.update(hashlib.md5(piece, usedforsecurity=False).digest())
    md5 = whole.hexdigest()
    return (md5 if size < 2 * part else f"{parts.hexdigest()}-{-(-size // part)}"), md5
