"""Failures of the operating system become errors of this library, with the path and the remedy."""

from __future__ import annotations

import errno
import logging
import pickle

import pytest

from minari._base.system_errors import failures_logged, storage_errors
from minari.errors import DatasetBusyError, MinariError, StorageError


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "make room"),
        (errno.EDQUOT, "make room"),
        (errno.EACCES, "may write there"),
        (errno.EROFS, "may write there"),
        (errno.EIO, "mounted and sound"),
        (errno.ESTALE, "mounted and sound"),
    ],
)
def test_what_the_system_refuses(number: int, advice: str) -> None:
    message = rf"^/sets/a-v0 cannot be written \(.* at /sets/file\).*{advice}"
    with pytest.raises(StorageError, match=message) as caught, storage_errors("/sets/a-v0"):
        raise OSError(number, "refused", "/sets/file")
    error = caught.value
    assert (error.errno, error.strerror, error.filename) == (number, "refused", "/sets/file")
    assert isinstance(error, OSError)
    assert isinstance(error, MinariError)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.errno, again.filename) == (str(error), number, "/sets/file")


@pytest.mark.parametrize("error", [DatasetBusyError("busy"), KeyError("k"), ValueError("v")])
def test_other_errors_stay_what_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, storage_errors("/sets/a-v0"):
        raise error
    assert caught.value is error


def test_after_the_commit_it_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), failures_logged("Removing the journal"):
        raise OSError(errno.EIO, "Input/output error")
    assert "Removing the journal failed" in caplog.text
    with pytest.raises(KeyError), failures_logged("Removing the journal"):
        raise KeyError
