"""The primitives of the port that downloads and uploads stand on, of every kind of remote."""

from __future__ import annotations

from functools import partial
from typing import Any
from uuid import uuid4

import pytest

from minari.storage.remotes import get_cloud_storage
from minari.storage.transfer.limits import with_retries
from minari.storage.transfer.remote_files import RemoteFileNotFoundError
from support.object_store import check_conditions
from support.servers.backends import Backend, only


def test_ranges_of_a_file(backend: Backend) -> None:
    backend.put("a/x", b"0123456789")
    ranges = {(0, 3): b"012", (2, 5): b"234", (8, 50): b"89", (4, 4): b"", (10, 12): b"", (50, 60): b""}
    # A server closes connections that are kept when it likes.
    read = {place: with_retries(partial(backend.remote().read_range, "a/x", *place)) for place in ranges}
    assert read == ranges
    assert with_retries(partial(backend.remote().read_file, "a/x")) == b"0123456789"


def test_missing_file_is_not_found(backend: Backend) -> None:
    remote = backend.remote()
    for read in (partial(remote.read_file, "a/x"), partial(remote.read_range, "a/x", 0, 5)):
        with pytest.raises(RemoteFileNotFoundError):
            read()
    if backend.lists_files:
        assert list(remote.list_files("a/x")) == []


@only("gcs", "s3")
def test_objects_are_written_under_conditions(backend: Backend) -> None:
    check_conditions(backend.remote())


def test_objects_of_fsspec_are_written_under_conditions() -> None:
    pytest.importorskip("fsspec", reason="fsspec is not installed")
    remote: Any = get_cloud_storage(f"memory://{uuid4()}")
    check_conditions(remote, has_versions=False)
    remote.write_file("x-v1", b"")
    assert list(remote.list_files("x-v1")) == [], "a file in the place of a directory"
