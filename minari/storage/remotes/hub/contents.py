"""Sends contents to the Hub before a commit names them: large ones by Git LFS, small ones within the commit itself.

Git LFS is what the Hub offers to every client of git, and asks by checksum, so that a content which it has is
not sent again.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from minari.errors import RemoteAccessError, RemoteError
from minari.storage.remotes.hub.client import LONG, HubClient, RefusedError
from minari.storage.remotes.hub.lfs import AT_ONCE, LFS_HEADERS, ask_batch
from minari.storage.remotes.hub.repository import Change, HubRepository
from minari.storage.transfer.outgoing import OutgoingFile
from minari.storage.transfer.remote_files import RemoteFileNotFoundError
from minari.storage.transfer.retries import retrying
from minari.storage.transfer.workers import Advance, each_at_once


__all__ = ["Content", "send_contents"]

_SAMPLE = 512  # bytes of a content by which the Hub tells texts from others
_ATTEMPTS = 3  # at a content that the Hub does not find to be what was announced


@dataclass(frozen=True, slots=True)
class Content:
    """What a file of the repository is to hold.

    Attributes:
        path: of the file, in the repository.
        size: in bytes.
        sha256: in hexadecimal digits.
        open: gives the content to be read, from the beginning.
        counts: whether it belongs to what progress is told of.
    """

    path: str
    size: int
    sha256: str
    open: Callable[[], BinaryIO]
    counts: bool = False

    @classmethod
    def of_bytes(cls, path: str, content: bytes, *, counts: bool = False) -> Content:
        """Of what is in memory."""
        return cls(path, len(content), hashlib.sha256(content).hexdigest(), partial(BytesIO, content), counts)

    @classmethod
    def of_file(cls, path: str, file: OutgoingFile) -> Content:
        """Of a local file."""
        return cls(path, file.size, file.sha256, partial(_open, file.path), counts=True)

    def read(self, size: int = -1) -> bytes:
        """The content, or its beginning."""
        with self.open() as file:
            return file.read(size)


def _open(path: Path) -> BinaryIO:
    return path.open("rb")


def send_contents(
    repository: HubRepository, contents: Sequence[Content], advance: Advance, max_workers: int
) -> list[Change]:
    """Send contents to the Hub, as far as it wants and does not have them.

    Args:
        repository: that is going to hold them.
        contents: of different files.
        advance: is told what has been sent of the contents that count, from this thread.
        max_workers: how many requests may be under way at the same time.

    Returns:
        The changes that put the contents into their files, for a commit.

    Raises:
        RemoteError: the Hub does not take a content.
    """
    groups = [contents[start : start + AT_ONCE] for start in range(0, len(contents), AT_ONCE)]
    large = {path for paths in each_at_once(partial(_large, repository), groups, max_workers) for path in paths}
    wanted = [content for content in contents if content.path in large]
    for start in range(0, len(wanted), AT_ONCE):
        _send_large(repository, wanted[start : start + AT_ONCE], advance, max_workers)
    changes = []
    for content in contents:
        if content.path in large:
            changes.append(Change(content.path, lfs=(content.sha256, content.size)))
        else:
            changes.append(Change(content.path, content.read()))
            if content.counts:
                advance(content.size, 1)
    return changes


def _large(repository: HubRepository, contents: Sequence[Content]) -> list[str]:
    """The paths of those that the Hub wants by Git LFS; where nothing is in them, there is nothing to send."""
    asked = [
        {"path": content.path, "size": content.size, "sample": base64.b64encode(content.read(_SAMPLE)).decode()}
        for content in contents
    ]
    action = f"announcing files to the repository {repository.name}"
    ask = partial(repository.client.ask, "POST", f"{repository.api}/preupload/main", action, content={"files": asked})
    empty = {content.path for content in contents if not content.size}
    answers = retrying(ask)["files"]
    return [answer["path"] for answer in answers if answer["uploadMode"] == "lfs" and answer["path"] not in empty]


@dataclass(frozen=True, slots=True)
class _Part:
    """The part of a content that goes to one address."""

    upload: _Upload
    number: int
    start: int
    size: int
    address: str


@dataclass(frozen=True, slots=True)
class _Upload:
    """What the Hub has said about a content that it wants.

    Attributes:
        content: the content.
        actions: where it is to be sent, and whom to tell then.
        etags: what the store has said of each part, by its number.
    """

    content: Content
    actions: dict[str, Any]
    etags: dict[int, str]

    @property
    def in_parts(self) -> bool:
        return "chunk_size" in (self.actions["upload"].get("header") or {})

    def parts(self) -> Iterator[_Part]:
        """Each with its address."""
        size, upload = self.content.size, self.actions["upload"]
        if not self.in_parts:
            yield _Part(self, 1, 0, size, upload["href"])
            return
        part_size = int(upload["header"]["chunk_size"])
        for number in range(1, math.ceil(size / part_size) + 1):
            start = (number - 1) * part_size
            yield _Part(self, number, start, min(part_size, size - start), upload["header"][str(number)])


def _send_large(repository: HubRepository, contents: Sequence[Content], advance: Advance, max_workers: int) -> None:
    """Send contents by Git LFS; those that arrive damaged again."""
    waiting = {content.sha256: content for content in contents}
    counted: set[str] = set()  # each content counts once, however often it is sent
    for _ in range(_ATTEMPTS):
        uploads = _uploads(repository, list(waiting.values()))
        for content in waiting.values():
            if content.sha256 not in uploads and content.sha256 not in counted and content.counts:
                advance(content.size)
        parts = [part for upload in uploads.values() for part in upload.parts()]
        for part, etag in each_at_once(partial(_send_part, repository.client), parts, max_workers):
            if etag is not None:
                part.upload.etags[part.number] = etag
            if part.upload.content.sha256 not in counted and part.upload.content.counts:
                advance(part.size)
        counted |= set(waiting)
        arrived = partial(_complete, repository.client)
        waiting = {
            upload.content.sha256: upload.content
            for upload, is_complete in each_at_once(arrived, uploads.values(), max_workers)
            if not is_complete
        }
        if not waiting:
            break
    else:
        names = ", ".join(sorted(content.path for content in waiting.values()))
        raise RemoteError(
            f"The Hub did not take {names}: {_ATTEMPTS} times what arrived was not what had been announced; see that "
            "nobody is writing the dataset, and try again."
        )
    seen: set[str] = set()
    for content in filter(lambda content: content.counts, contents):
        advance(content.size if content.sha256 in seen else 0, 1)  # what was sent once for several files
        seen.add(content.sha256)


def _uploads(repository: HubRepository, contents: list[Content]) -> dict[str, _Upload]:
    """Where to send those contents that the Hub does not have, by their sha256."""
    by_sha256 = {content.sha256: content for content in contents}
    uploads = {}
    for told in ask_batch(repository, "upload", [(content.sha256, content.size) for content in contents]):
        if "error" in told:
            reason = told["error"].get("message", "no reason given")
            raise RemoteError(f"The Hub does not take {by_sha256[told['oid']].path}: {reason}.")
        if "upload" in (told.get("actions") or {}):
            uploads[told["oid"]] = _Upload(by_sha256[told["oid"]], told["actions"], {})
    return uploads


class _Section:
    """A part of a file as something to be read from that knows its length."""

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        file.seek(start)
        self._file, self._size, self._left = file, size, size

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        while piece := self.read(1 << 20):
            yield piece

    def read(self, size: int = -1) -> bytes:
        """The next bytes; fewer where the part ends."""
        piece = self._file.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(piece)
        return piece


def _send_part(client: HubClient, part: _Part) -> tuple[_Part, str | None]:
    """Send a part; what the store says of it, None where the store refuses it."""
    action = f"sending {part.upload.content.path}"

    def send() -> str:
        with part.upload.content.open() as file:
            section = _Section(file, part.start, part.size)
            answer = client.request("PUT", part.address, action, content=section, signed=True, patience=LONG)
        return str(answer.headers.get("ETag") or "")

    try:
        return part, retrying(send)
    except (RefusedError, RemoteAccessError, RemoteFileNotFoundError):  # damaged, or the address is too old
        return part, None


def _complete(client: HubClient, upload: _Upload) -> tuple[_Upload, bool]:
    """Tell the Hub that a content has been sent, and whether that is what it finds."""
    content, actions = upload.content, upload.actions
    if len(upload.etags) < sum(1 for _ in upload.parts()):
        return upload, False
    action = f"completing {content.path}"
    try:
        if upload.in_parts:
            parts = [{"partNumber": number, "etag": upload.etags[number]} for number in sorted(upload.etags)]
            told: dict[str, Any] = {"oid": content.sha256, "parts": parts}
            address = actions["upload"]["href"]
            retrying(partial(client.request, "POST", address, action, content=told, headers=LFS_HEADERS, patience=LONG))
        if "verify" in actions:
            told = {"oid": content.sha256, "size": content.size}
            retrying(partial(client.request, "POST", actions["verify"]["href"], action, content=told, patience=LONG))
    except (RefusedError, RemoteFileNotFoundError):
        return upload, False
    return upload, True
