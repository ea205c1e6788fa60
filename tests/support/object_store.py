"""A store of objects in memory that can be set to fail, and what every store of objects must do."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import pytest

from minari.storage.remotes.object_storage import ABSENT, ConflictError, ObjectStorage
from minari.storage.transfer.checksums import checksum_of
from minari.storage.transfer.meter import unreported
from minari.storage.transfer.remote_files import RemoteFile, RemoteFileNotFoundError


class Store(ObjectStorage):
    """Objects in a dict, each with the number of its writes. It can be set to fail.

    Attributes:
        objects: name -> content and number, the same for all stores of one name.
        written: the names of what was written, in order.
        interfere: is called before anything is written, with its name and content; gives what arrives.
    """

    SCHEME = "store"
    shelves: ClassVar[dict[str, dict[str, tuple[bytes, int]]]] = {}
    _numbers, _lock = itertools.count(1), threading.Lock()
    CHECKSUMS = ("md5",)
    tells = "md5"  # the kind of checksum that it tells; none where empty

    def __init__(self, name: str = "shelf", *_: Any, **options: Any) -> None:
        super().__init__(name, max_workers=options.get("max_workers", 2))
        self.objects = self.shelves.setdefault(name, {})
        self.written: list[str] = []
        self.interfere: Callable[[str, bytes], bytes] = lambda name, content: content

    def find(self, prefix: str, ending: str = "") -> Iterable[RemoteFile]:
        return [
            self._described(name) for name in list(self.objects) if name.startswith(prefix) and name.endswith(ending)
        ]

    def read_version(self, name: str) -> tuple[bytes, str | None]:
        if name not in self.objects:
            raise RemoteFileNotFoundError(name)
        content, number = self.objects[name]
        return content, str(number)

    def read_file(self, name: str) -> bytes:
        return self.read_version(name)[0]

    def read_range(self, name: str, start: int, stop: int) -> bytes:
        return self.read_file(name)[start:stop]

    def put(self, name: str, content: bytes, *, match: str | None = None) -> None:
        content = self.interfere(name, content)
        with self._lock:
            there = str(self.objects[name][1]) if name in self.objects else ABSENT
            if match is not None and match != there:
                raise ConflictError(name)
            self.written.append(name)
            self.objects[name] = content, next(self._numbers)

    def put_file(self, name: str, path: Path, sent: Callable[[int], None] = unreported) -> RemoteFile:
        self.put(name, path.read_bytes())
        return self._described(name)

    def delete(self, name: str) -> None:
        self.objects.pop(name, None)

    def _described(self, name: str) -> RemoteFile:
        content, number = self.objects[name]
        return RemoteFile(name, len(content), checksum_of(content, self.tells) if self.tells else None, str(number))


def check_conditions(remote: Any, has_versions: bool = True) -> None:
    """Require that objects are written and deleted under conditions; fsspec's own store cannot tell versions."""
    remote.put("a/x", b"1", match=ABSENT)
    with pytest.raises(ConflictError):
        remote.put("a/x", b"2", match=ABSENT)
    content, version = remote.read_version("a/x")
    assert (content, version is not None) == (b"1", has_versions)
    remote.put("a/x", b"3", match=version)
    assert remote.read_file("a/x") == b"3"
    with pytest.raises(ConflictError) if has_versions else suppress(ConflictError):
        remote.put("a/x", b"4", match=version if has_versions else ABSENT)
    assert remote.read_file("a/x") == b"3"
    remote.put("a/x", b"5")
    assert remote.read_file("a/x") == b"5"
    for _ in range(2):
        remote.delete("a/x")
    with pytest.raises(RemoteFileNotFoundError):
        remote.read_version("a/x")
    if has_versions:
        with pytest.raises(ConflictError):
            remote.put("a/x", b"6", match=version)
    assert list(remote.find("")) == []
