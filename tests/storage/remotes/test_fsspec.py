"""Stores that fsspec opens and that have no class of their own; and what goes wrong in any client."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest


pytest.importorskip("fsspec", reason="fsspec is not installed")

from minari import errors
from minari.storage.remotes import get_cloud_storage
from minari.storage.remotes.fsspec import as_remote_error, without_secrets
from minari.storage.remotes.object_storage import ABSENT, ConflictError
from minari.storage.transfer.remote_files import RemoteFileNotFoundError
from minari.testing import RemoteConformance


class TestMemory(RemoteConformance):
    """Conformance of a remote in the memory store of fsspec."""

    @pytest.fixture
    def address(self) -> str:
        return f"memory://{uuid4()}"


class TestADirectory(RemoteConformance):
    """The same in a store that has directories, which have to be made."""

    @pytest.fixture
    def address(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
        address = f"local://{tmp_path}/stored"
        monkeypatch.setenv("MINARI_REMOTE", address)
        return address


def test_conditions() -> None:
    remote: Any = get_cloud_storage(f"memory://{uuid4()}")
    remote.put("a/x", b"1", match=ABSENT)
    with pytest.raises(ConflictError):
        remote.put("a/x", b"2", match=ABSENT)
    assert remote.read_version("a/x") == (b"1", None), "this store cannot tell versions"
    remote.put("a/x", b"3")
    assert remote.read_file("a/x") == b"3"
    remote.delete("a/x")
    remote.delete("a/x")
    with pytest.raises(RemoteFileNotFoundError):
        remote.read_file("a/x")


def test_a_file_in_the_place_of_a_directory() -> None:
    remote: Any = get_cloud_storage(f"memory://{uuid4()}")
    remote.write_file("x-v1", b"")
    assert list(remote.list_files("x-v1")) == []


def test_a_password_in_an_address_is_not_shown() -> None:
    remote = get_cloud_storage("sftp://ann:secret@nowhere.invalid/directory")
    assert "secret" not in f"{remote!r} {remote.address}"
    assert remote.address == "sftp://nowhere.invalid/directory"


def test_a_package_that_is_not_installed() -> None:
    # A package of that name that cannot be imported takes the place of the one that may be installed.
    program = "import sys; sys.modules['paramiko'] = None\nfrom minari.storage.remotes import get_cloud_storage\n"
    program += "get_cloud_storage('sftp://nowhere.invalid/x').list_datasets()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=os.environ, check=False)
    assert "MissingDependencyError: Remotes of the form sftp://name need" in done.stderr
    assert "paramiko" in done.stderr


class _BotoError(Exception):
    __module__ = "botocore.exceptions"

    def __init__(self, status: int, code: str) -> None:
        super().__init__(f"An error occurred ({code})")
        self.response = {"ResponseMetadata": {"HTTPStatusCode": status}, "Error": {"Code": code}}


class _AzureError(Exception):
    __module__ = "azure.core.exceptions"

    def __init__(self, status: int | None, code: str | None = None) -> None:
        super().__init__("The server said no.\nRequestId:1")
        self.status_code, self.error_code = status, code


class NoCredentialsError(Exception):
    __module__ = "botocore.exceptions"


def _from(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (FileNotFoundError("x"), RemoteFileNotFoundError),
        (_AzureError(404), RemoteFileNotFoundError),
        (FileExistsError("x"), ConflictError),
        (_from(OSError(22, "no"), _BotoError(412, "PreconditionFailed")), ConflictError),
        (_AzureError(412), ConflictError),
        (PermissionError("no"), errors.RemoteAccessError),
        (_AzureError(403), errors.RemoteAccessError),
        (NoCredentialsError("none"), errors.RemoteAccessError),
        (_from(OSError(5, "no"), _BotoError(503, "SlowDown")), errors.RemoteUnreachableError),
        (_from(OSError(22, "no"), _BotoError(400, "XAmzContentSHA256Mismatch")), errors.RemoteUnreachableError),
        (_AzureError(400, "Md5Mismatch"), errors.RemoteUnreachableError),
        (_AzureError(409, "AnotherOperation"), errors.RemoteUnreachableError),
        (_AzureError(None), errors.RemoteUnreachableError),
        (TimeoutError(), errors.RemoteUnreachableError),
        (ConnectionResetError("gone"), errors.RemoteUnreachableError),
        (_AzureError(400), errors.RemoteError),
        (ValueError("an option"), errors.RemoteError),
    ],
)
def test_what_goes_wrong_in_a_client(error: Exception, expected: type[Exception]) -> None:
    found = as_remote_error(error, "Reading x", "Set SOMETHING.")
    assert type(found) is expected
    assert str(found).startswith("Reading x failed: ")
    assert ("Set SOMETHING." in str(found)) == (
        expected is errors.RemoteAccessError or type(error) is ValueError  # an option that is missing, perhaps
    )
    assert "\n" not in str(found)


def test_mistakes_in_programs_stay_what_they_are() -> None:
    error = TypeError("no such argument")
    assert as_remote_error(error, "Reading x", "") is error


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("see https://ann:pw@host/x?sig=abc&y=2, please.", "see https://host/x, please"),
        ("Failed:\nthe name\nmore", "Failed: the name"),
    ],
)
def test_without_secrets(text: str, expected: str) -> None:
    assert without_secrets(text) == expected
