"""Sends large contents to the store behind the Hub, many at once, and has the Hub look whether they have arrived."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, BinaryIO, Protocol

from minari._base.addresses import plain_text
from minari._base.parallel import parallel_map
from minari.errors import RemoteAccessError, RemoteError
from minari.storage.remotes.hub.client import LONG, HubClient, RefusedError, understood
from minari.storage.remotes.hub.lfs import LFS_HEADERS, ask_batch
from minari.storage.remotes.hub.repository import HubRepository
from minari.storage.transfer.limits import with_retries
from minari.storage.transfer.meter import Advance, FileMeter, Meter
from minari.storage.transfer.remote_files import RemoteFileNotFoundError


__all__ = ["LargeContent", "LargeContents", "ask_uploads"]

_ATTEMPTS = 3  # at a content that the Hub does not find to be what was announced
_READ_AT_ONCE = 1 << 18  # bytes


class LargeContent(Protocol):
    """What is asked of a content."""

    @property
    def path(self) -> str:
        """Of the file that is to have it, in the repository."""

    @property
    def size(self) -> int:
        """In bytes, at least one."""

    @property
    def sha256(self) -> str:
        """In hexadecimal digits."""

    @property
    def counts(self) -> bool:
        """Whether it belongs to what progress is told of."""

    def open(self) -> BinaryIO:
        """The content to be read, from the beginning."""


def ask_uploads(repository: HubRepository, contents: Sequence[LargeContent]) -> dict[str, dict[str, Any]]:
    """What the Hub says about each content, by its sha256.

    Args:
        repository: that is going to hold them.
        contents: as many as one batch may have.
    """
    sizes = {content.sha256: content.size for content in contents}
    answers = ask_batch(repository, "upload", list(sizes.items()))
    with understood(f"asking where to send contents of the repository {repository.name}"):
        return {str(told["oid"]): told for told in answers}


@dataclass(slots=True)
class _Upload:
    """A content that the Hub wants, and how far it is.

    Attributes:
        content: the content.
        actions: where it is to be sent, and whom to tell then.
        left: how many of its parts have not been sent.
        etags: what the store has said of each part that it took, by its number.
        refused: whether there is one that it did not take.
        lock: for these three.
    """

    content: LargeContent
    actions: Mapping[str, Any] = field(repr=False)  # whose addresses are signed
    left: int = 0
    etags: dict[int, str] = field(default_factory=dict)
    refused: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def in_parts(self) -> bool:
        return "chunk_size" in (self.actions["upload"].get("header") or {})

    def parts(self) -> list[_Part]:
        """Each with its address."""
        size = self.content.size
        with understood(f"sending {self.content.path}"):
            upload = self.actions["upload"]
            if self.in_parts:
                part_size = int(upload["header"]["chunk_size"])
                starts = range(0, size, part_size)
                addresses = [str(upload["header"][str(number)]) for number in range(1, len(starts) + 1)]
            else:
                part_size, starts, addresses = size, range(1), [str(upload["href"])]
        self.left = len(starts)
        return [
            _Part(self, number, start, min(part_size, size - start), address)
            for number, (start, address) in enumerate(zip(starts, addresses, strict=True), 1)
        ]

    def took(self, part: _Part, etag: str | None) -> bool:
        """A part has been sent, and taken where there is an ``etag``; whether it was the last of all."""
        with self.lock:
            if etag is None:
                self.refused = True
            else:
                self.etags[part.number] = etag
            self.left -= 1
            return not self.left


@dataclass(frozen=True, slots=True)
class _Part:
    """The part of a content that goes to one address."""

    upload: _Upload
    number: int
    start: int
    size: int
    address: str = field(repr=False)


class LargeContents:
    """Contents that are sent together; each but once, however many files are to have it.

    Args:
        repository: that is going to hold them.
        contents: of different files.
        advance: is told what has been sent of the contents that count.
    """

    def __init__(self, repository: HubRepository, contents: Sequence[LargeContent], advance: Advance) -> None:
        self._repository, self._advance = repository, advance
        self._contents: dict[str, list[LargeContent]] = {}
        for content in contents:
            self._contents.setdefault(content.sha256, []).append(content)
        self._meter = Meter(advance)
        self._moved: dict[str, dict[tuple[int, int], FileMeter]] = {}  # by sha256, by the bounds of a part

    def send(self, answers: Mapping[str, Mapping[str, Any]], max_workers: int) -> None:
        """Send what the Hub does not have, those that arrive damaged again; ``advance`` is called from this thread.

        Args:
            answers: what the Hub has said about each of them, by its sha256.
            max_workers: how many requests may run at the same time.

        Raises:
            RemoteError: the Hub does not take a content.
        """
        waiting = set(self._contents)
        for attempt in range(_ATTEMPTS):
            if attempt:
                answers = ask_uploads(self._repository, [self._contents[sha256][0] for sha256 in sorted(waiting)])
            uploads = [
                upload for sha256 in self._contents if sha256 in waiting for upload in self._wanted(answers, sha256)
            ]
            for sha256 in waiting - {upload.content.sha256 for upload in uploads}:  # the Hub has it
                self._finish(sha256)
            parts = [part for upload in uploads for part in upload.parts()]
            waiting = set()
            for upload, has_arrived in filter(
                None, parallel_map(self._send_part, parts, max_workers, poll=self._meter.report)
            ):
                if has_arrived:
                    self._finish(upload.content.sha256)
                else:
                    waiting.add(upload.content.sha256)
            if not waiting:
                return
        names = ", ".join(sorted(content.path for sha256 in waiting for content in self._contents[sha256]))
        raise RemoteError(
            f"The Hub did not take {names}: {_ATTEMPTS} times what arrived was not what had been announced; see that "
            "nobody is writing the dataset, and try again."
        )

    def _wanted(self, answers: Mapping[str, Mapping[str, Any]], sha256: str) -> Iterator[_Upload]:
        """The upload of a content, none where the Hub has it."""
        content, told = self._contents[sha256][0], answers.get(sha256, {})
        if "error" in told:
            with understood(f"sending {content.path}"):
                reason = plain_text(told["error"].get("message", "no reason given"))
            raise RemoteError(f"The Hub does not take {content.path}: {reason}.")
        actions = told.get("actions") or {}
        if isinstance(actions, Mapping) and isinstance(actions.get("upload"), Mapping):
            yield _Upload(content, actions)

    def _finish(self, sha256: str) -> None:
        """A content has arrived, for all files that are to have it."""
        moved = self._moved.pop(sha256, {})
        for meter in moved.values():
            meter.finish()
        self._meter.report()
        for number, content in enumerate(content for content in self._contents[sha256] if content.counts):
            self._advance(0 if moved and not number else content.size, 1)

    def _meter_of(self, part: _Part) -> FileMeter | None:
        """What counts the bytes of a part, however often it has to be sent; None where they do not count."""
        sha256 = part.upload.content.sha256
        if not any(content.counts for content in self._contents[sha256]):
            return None
        with part.upload.lock:
            moved = self._moved.setdefault(sha256, {})
            return moved.setdefault((part.start, part.size), self._meter.file(part.size))

    def _send_part(self, part: _Part) -> tuple[_Upload, bool] | None:
        """Send a part; after the last of a content, that, and whether the Hub finds it to be what was announced."""
        upload, meter, client = part.upload, self._meter_of(part), self._repository.client
        action = f"sending {upload.content.path}"

        def send() -> str:
            if meter is not None:
                meter.restart()
            with upload.content.open() as file:
                section = _Section(file, part.start, part.size, meter)
                answer = client.request("PUT", part.address, action, content=section, signed=True, patience=LONG)
            return str(answer.headers.get("ETag") or "")

        try:
            etag: str | None = with_retries(send)
        except (RefusedError, RemoteAccessError, RemoteFileNotFoundError):  # damaged, or the address is too old
            etag = None
        return (upload, _complete(client, upload)) if upload.took(part, etag) else None


class _Section:
    """A part of a file as something to be read from that knows its length."""

    def __init__(self, file: BinaryIO, start: int, size: int, meter: FileMeter | None) -> None:
        file.seek(start)
        self._file, self._size, self._left, self._meter = file, size, size, meter

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        while piece := self.read(_READ_AT_ONCE):
            yield piece

    def read(self, size: int = -1) -> bytes:
        """The next bytes; fewer where the part ends."""
        piece = self._file.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(piece)
        if self._meter is not None:
            self._meter(len(piece))
        return piece


def _complete(client: HubClient, upload: _Upload) -> bool:
    """Tell the Hub that a content has been sent, and whether that is what it finds."""
    content, actions = upload.content, upload.actions
    if upload.refused:
        return False
    action = f"completing {content.path}"
    try:
        if upload.in_parts:
            parts = [{"partNumber": number, "etag": upload.etags[number]} for number in sorted(upload.etags)]
            told: dict[str, Any] = {"oid": content.sha256, "parts": parts}
            address = actions["upload"]["href"]
            with_retries(
                partial(client.request, "POST", address, action, content=told, headers=LFS_HEADERS, patience=LONG)
            )
        if "verify" in actions:
            told = {"oid": content.sha256, "size": content.size}
            with_retries(
                partial(client.request, "POST", actions["verify"]["href"], action, content=told, patience=LONG)
            )
    except (RefusedError, RemoteFileNotFoundError):
        return False
    return True
