"""Stores that fsspec opens and that have no class of their own; and what goes wrong in any client."""

from __future__ import annotations

import subprocess
import sys

import pytest


pytest.importorskip("fsspec", reason="fsspec is not installed")

from minari.errors import RemoteAccessError, RemoteError, RemoteUnreachableError
from minari.storage.remotes import get_cloud_storage
from minari.storage.remotes.fsspec import as_remote_error, without_secrets
from minari.storage.remotes.object_storage import ConflictError
from minari.storage.transfer.remote_files import RemoteFileNotFoundError


def test_password_in_an_address_is_not_shown() -> None:
    remote = get_cloud_storage("sftp://ann:secret@nowhere.invalid/directory")
    assert "secret" not in f"{remote!r} {remote.address}"
    assert remote.address == "sftp://nowhere.invalid/directory"


def test_missing_package_is_named() -> None:
    # A package of that name that cannot be imported takes the place of the one that may be installed.
    program = "import sys; sys.modules['paramiko'] = None\nfrom minari.storage.remotes import get_cloud_storage\n"
    program += "get_cloud_storage('sftp://nowhere.invalid/x').list_datasets()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "MissingDependencyError: Remotes of the form sftp://name need" in done.stderr
    assert "paramiko" in done.stderr


class BotoError(Exception):
    __module__ = "botocore.exceptions"

    def __init__(self, status: int, code: str) -> None:
        super().__init__(f"An error occurred ({code})")
        self.response = {"ResponseMetadata": {"HTTPStatusCode": status}, "Error": {"Code": code}}


class AzureError(Exception):
    __module__ = "azure.core.exceptions"

    def __init__(self, status: int | None, code: str | None = None) -> None:
        super().__init__("The server said no.\nRequestId:1")
        self.status_code, self.error_code = status, code


class NoCredentialsError(Exception):
    __module__ = "botocore.exceptions"


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (FileNotFoundError("x"), RemoteFileNotFoundError),
        (AzureError(404), RemoteFileNotFoundError),
        (FileExistsError("x"), ConflictError),
        (caused(OSError(22, "no"), BotoError(412, "PreconditionFailed")), ConflictError),
        (AzureError(412), ConflictError),
        (PermissionError("no"), RemoteAccessError),
        (AzureError(403), RemoteAccessError),
        (NoCredentialsError("none"), RemoteAccessError),
        (caused(OSError(5, "no"), BotoError(503, "SlowDown")), RemoteUnreachableError),
        (caused(OSError(22, "no"), BotoError(400, "XAmzContentSHA256Mismatch")), RemoteUnreachableError),
        (AzureError(400, "Md5Mismatch"), RemoteUnreachableError),
        (AzureError(409, "AnotherOperation"), RemoteUnreachableError),
        (AzureError(None), RemoteUnreachableError),
        (TimeoutError(), RemoteUnreachableError),
        (ConnectionResetError("gone"), RemoteUnreachableError),
        (AzureError(400), RemoteError),
        (ValueError("an option"), RemoteError),
    ],
)
def test_errors_of_clients_become_ours(error: Exception, expected: type[Exception]) -> None:
    found = as_remote_error(error, "Reading x", "Set SOMETHING.")
    assert type(found) is expected
    assert str(found).startswith("Reading x failed: ")
    names_credentials = expected is RemoteAccessError or type(error) is ValueError  # a missing option, perhaps
    assert ("Set SOMETHING." in str(found)) == names_credentials
    assert "\n" not in str(found)


def test_programming_errors_stay_what_they_are() -> None:
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
def test_secrets_are_removed_from_messages(text: str, expected: str) -> None:
    assert without_secrets(text) == expected
