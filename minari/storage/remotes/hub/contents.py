"""Sends contents to the Hub before a commit names them: large ones by Git LFS, small ones within the commit itself.

Git LFS is what the Hub offers to every client of git, and asks by checksum, so that a content which it has is
not sent again.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import BinaryIO

from minari.storage.remotes.hub.client import understood
from minari.storage.remotes.hub.lfs import AT_ONCE
from minari.storage.remotes.hub.repository import Change, HubRepository
from minari.storage.remotes.hub.uploads import LargeContents, ask_uploads
from minari.storage.transfer.limits import with_retries
from minari.storage.transfer.meter import Advance
from minari.storage.transfer.upload_snapshot import SnapshotFile


__all__ = ["Content", "send_contents"]

_SAMPLE = 512  # bytes of a content by which the Hub tells texts from others


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
    def of_file(cls, path: str, file: SnapshotFile) -> Content:
        """Of a local file."""
        return cls(path, file.size, file.sha256, file.open, counts=True)

    def read(self, size: int = -1) -> bytes:
        """The content, or its beginning."""
        with self.open() as file:
            return file.read(size)


def send_contents(
    repository: HubRepository, contents: Sequence[Content], advance: Advance, max_workers: int
) -> list[Change]:
    """Send contents to the Hub, as far as it wants and does not have them.

    Args:
        repository: that is going to hold them.
        contents: of different files.
        advance: is told what has been sent of the contents that count, from this thread.
        max_workers: how many requests may run at the same time.

    Returns:
        The changes that put the contents into their files, for a commit.

    Raises:
        RemoteError: the Hub does not take a content.
    """
    changes: list[Change] = []
    for start in range(0, len(contents), AT_ONCE):
        changes += _send_some(repository, contents[start : start + AT_ONCE], advance, max_workers)
    return changes


def _send_some(
    repository: HubRepository, contents: Sequence[Content], advance: Advance, max_workers: int
) -> list[Change]:
    filled = [content for content in contents if content.size]  # where nothing is in them, there is nothing to send
    with ThreadPoolExecutor(min(2, max_workers)) as pool:
        announced = pool.submit(_large, repository, contents)
        # Where they are to be sent is asked before it is known of which this is wanted, as it takes no longer.
        asked = pool.submit(ask_uploads, repository, filled) if filled else None
        large = announced.result() & {content.path for content in filled}
        answers = {} if asked is None else asked.result()
    LargeContents(repository, [content for content in filled if content.path in large], advance).send(
        answers, max_workers
    )
    changes = []
    for content in contents:
        if content.path in large:
            changes.append(Change(content.path, lfs=(content.sha256, content.size)))
        else:
            changes.append(Change(content.path, content.read()))
            if content.counts:
                advance(content.size, 1)
    return changes


def _large(repository: HubRepository, contents: Sequence[Content]) -> set[str]:
    """The paths of those that the Hub wants by Git LFS."""
    asked = [
        {"path": content.path, "size": content.size, "sample": base64.b64encode(content.read(_SAMPLE)).decode()}
        for content in contents
    ]
    action = f"announcing files to the repository {repository.name}"
    ask = partial(repository.client.ask, "POST", f"{repository.api}/preupload/main", action, content={"files": asked})
    told = with_retries(ask)
    with understood(action):
        return {str(answer["path"]) for answer in told["files"] if answer["uploadMode"] == "lfs"}
