"""Uploads to a repository through ``huggingface_hub``, by Xet or Git LFS, with progress and a timeout."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from io import BufferedReader
from typing import Any, BinaryIO

from huggingface_hub import CommitOperationAdd, constants
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

from minari._base.addresses import without_credentials
from minari._base.locks import ThreadLock
from minari.errors import DatasetBusyError
from minari.storage.remotes.hub.client import LONG, HubClient
from minari.storage.transfer.limits import DamagedInTransitError, is_transient, until_intact, with_retries
from minari.storage.transfer.meter import Advance
from minari.storage.transfer.upload_snapshot import SnapshotFile


__all__ = ["FileAddition", "UploadProgress", "send_contents"]

_XET_AT_ONCE = 1 << 28  # bytes
_TOLD_EVERY = 0.2  # seconds

_log = logging.getLogger(__name__)


class UploadProgress:
    """Counter of the bytes that the threads of ``huggingface_hub`` read from files, reported by one thread.

    Args:
        advance: called with the numbers of bytes and files.
        sizes: path in the repository -> size in bytes of the files that are counted.

    Attributes:
        current: path of the file that was read last.
        last_read: time of the last read, by the monotonic clock.
        is_stopped: True if the upload was abandoned.
    """

    def __init__(self, advance: Advance, sizes: Mapping[str, int]) -> None:
        self._advance, self._sizes = advance, sizes
        self._moved = dict.fromkeys(sizes, 0)
        self._reported = 0, 0
        self.current = ""
        self.last_read = time.monotonic()
        self.is_stopped = False

    def read(self, path: str, position: int) -> None:
        """Record how far a file has been read; can be called from any thread.

        Raises:
            InterruptedError: the upload was abandoned.
        """
        if self.is_stopped:
            raise InterruptedError("the upload was abandoned")
        self._moved[path] = max(position, self._moved[path])
        self.current, self.last_read = path, time.monotonic()

    def complete(self, additions: Sequence[CommitOperationAdd]) -> None:
        """Count files as complete, whether sent or already known to the Hub, and report."""
        for path in {addition.path_in_repo for addition in additions} & self._sizes.keys():
            self._moved[path] = self._sizes[path]
        self.report()

    def report(self) -> None:
        """Report the progress since the last report."""
        size = sum(self._moved.values())
        files = sum(self._moved[path] >= size for path, size in self._sizes.items())
        self._advance(size - self._reported[0], files - self._reported[1])
        self._reported = size, files


@dataclass
class FileAddition(CommitOperationAdd):
    """File of a local dataset that a commit adds.

    Attributes:
        file: the file, with its checksum; opened without following links.
        progress: progress of the upload.
    """

    file: SnapshotFile = field(kw_only=True, repr=False)
    progress: UploadProgress = field(kw_only=True, repr=False)

    def __post_init__(self) -> None:
        with self._read_error():
            super().__post_init__()
        self.upload_info.sha256 = bytes.fromhex(self.file.sha256)
        self.upload_info.size = self.file.size

    @contextmanager
    def as_file(self, with_tqdm: bool = False) -> Iterator[BinaryIO]:
        """Open the file for sending."""
        with self._read_error():
            opened: Any = self.file.open()
        with _WatchedReader(opened.detach(), partial(self.progress.read, self.path_in_repo)) as reader:
            yield reader

    @contextmanager
    def _read_error(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            raise DatasetBusyError(
                f"The file {self.file.path} can no longer be read; check that no program is writing the dataset, and "
                "upload it again."
            ) from error


class _WatchedReader(BufferedReader):
    def __init__(self, raw: Any, note: Callable[[int], None]) -> None:
        super().__init__(raw)
        self._note = note

    def read(self, size: int | None = -1, /) -> bytes:
        piece = super().read(size)
        self._note(self.tell())
        return piece


def send_contents(
    client: HubClient,
    repository: str,
    additions: Sequence[CommitOperationAdd],
    progress: UploadProgress,
    max_workers: int,
) -> None:
    """Send file contents that the Hub does not have, before the commit of these files.

    Args:
        client: client of the Hub.
        repository: owner and name, joined by ``/``.
        additions: the files; equal content is sent once.
        progress: progress of the upload, reported in this thread.
        max_workers: number of contents that are sent concurrently.

    Raises:
        RemoteError: the Hub does not accept a content.
    """
    different = list({op.upload_info.sha256: op for op in additions}.values())
    sent = {id(op) for op in different}
    copies = [op for op in additions if id(op) not in sent]  # the client has to determine how they are stored
    for group in filter(None, (*_groups(different), copies)):
        # Releases of the client before 2.0 do not retry when a connection breaks.
        send = partial(with_retries, partial(_send, client, repository, group, progress, max_workers))
        until_intact(send)
        progress.complete(group)


def _uses_xet() -> bool:
    return find_spec("hf_xet") is not None and not constants.HF_HUB_DISABLE_XET


def _groups(additions: Sequence[CommitOperationAdd]) -> Iterator[list[CommitOperationAdd]]:
    """Yield the files of each call: all of them, or fewer with Xet, which reports no progress within a call."""
    group: list[CommitOperationAdd] = []
    size = 0
    for addition in additions:
        group.append(addition)
        size += addition.upload_info.size
        if size > _XET_AT_ONCE and _uses_xet():
            yield group
            group, size = [], 0
    yield group


def _send(
    client: HubClient,
    repository: str,
    additions: Sequence[CommitOperationAdd],
    progress: UploadProgress,
    max_workers: int,
) -> None:
    progress.current = additions[0].path_in_repo
    patience = LONG + client.limits.interval
    if _uses_xet():  # reads files without reporting it
        patience += sum(op.upload_info.size for op in additions) / client.limits.bytes_per_second
    try:
        with client.translated(f"preparing to send {progress.current}"):
            api = client.api()
        call = partial(
            api.preupload_lfs_files,
            repository,
            additions,
            repo_type="dataset",
            num_threads=max_workers,
            free_memory=False,
            gitignore_content="",  # a .gitignore in the repository does not apply to datasets
        )
        with _quiet:
            _run(call, progress, patience)
    except Exception as error:
        of_content = isinstance(error, RuntimeError) and error.__cause__
        if isinstance(of_content, HfHubHTTPError) and not is_transient(of_content.response.status_code):
            # Its address may also have expired.
            raise DamagedInTransitError(
                f"The Hub rejected {progress.current}, since its content differs from the announced one; check that no "
                "program is writing the dataset, and try again."
            ) from None
        with client.translated(f"sending {progress.current}"):
            raise (of_content or error) from None


def _run(call: Callable[[], None], progress: UploadProgress, patience: float) -> None:
    """Run a call in a separate thread, which is abandoned if no file is read for that many seconds."""
    done: Future[None] = Future()

    def run() -> None:
        try:
            call()
        except BaseException as error:
            done.set_exception(error)
        else:
            done.set_result(None)

    progress.last_read = time.monotonic()
    threading.Thread(target=run, name="minari-remote", daemon=True).start()
    try:
        while not wait([done], _TOLD_EVERY).done:
            progress.report()
            if time.monotonic() - progress.last_read > patience:
                raise TimeoutError(f"nothing was sent for {patience:g} seconds")
    except BaseException:
        progress.is_stopped = True
        raise
    done.result()


class _Quiet:
    """Context that disables progress bars and retry warnings of the client during uploads of this library."""

    def __init__(self) -> None:
        self._lock = ThreadLock()
        self._uploads = 0
        self._draws = False
        logging.getLogger("huggingface_hub.utils._http").addFilter(self._filter)

    def __enter__(self) -> None:
        with self._lock.current:
            if not self._uploads:  # progress bars that the user has enabled stay
                self._draws = constants.HF_HUB_DISABLE_PROGRESS_BARS is None and not are_progress_bars_disabled()
                if self._draws:
                    disable_progress_bars()
            self._uploads += 1

    def __exit__(self, *_: object) -> None:
        with self._lock.current:
            self._uploads -= 1
            if self._draws and not self._uploads:
                enable_progress_bars()

    def _filter(self, record: logging.LogRecord) -> bool:
        """Remove signatures of addresses from messages, and log those about uploads for debugging only."""
        record.msg, record.args = without_credentials(record.getMessage()), ()
        if self._uploads:
            _log.debug("%s", record.msg)
        return not self._uploads


_quiet = _Quiet()
