"""The client library of Google Cloud Storage: how it is set up, and its exceptions as those of this library."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import requests
import urllib3
from google.api_core.exceptions import GoogleAPICallError, NotFound, PreconditionFailed
from google.auth.credentials import AnonymousCredentials, Credentials
from google.auth.environment_vars import CREDENTIALS
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, TransportError
from google.cloud import storage
from google.oauth2 import service_account
from google.resumable_media import DataCorruption

from minari._base.addresses import plain_text
from minari.errors import MinariError, RemoteAccessError, RemoteError, RemoteUnreachableError
from minari.storage.remotes.object_storage import ConflictError
from minari.storage.remotes.paced_http import PacedResponse
from minari.storage.transfer.pace import Limits
from minari.storage.transfer.remote_files import SMALL_FILE_LIMIT, RemoteFileNotFoundError, too_large


__all__ = ["failures_told", "make_client", "read_key"]

# These have no types of their own.
_ServiceAccount: Any = service_account.Credentials
_Anonymous: Any = AnonymousCredentials

_MOST_REDIRECTS = 5
_TRANSIENT = (408, 429)  # beside all from 500
_HOW_TO_ACCESS = (
    "give the path of a service-account key file as the token (--key-path), set GOOGLE_APPLICATION_CREDENTIALS to "
    "it, or log in with `gcloud auth application-default login`"
)


def read_key(token: str) -> Credentials:
    """The credentials in the key file of a service account.

    Args:
        token: the path of the file.

    Raises:
        RemoteAccessError: there is no such file, or it holds no such key.
    """
    # Someone who gives a secret in place of a path must not find it in the message.
    called = f" {token}" if token.endswith(".json") and not set(token) & set('{"\n') else ""
    try:
        credentials: Credentials = _ServiceAccount.from_service_account_file(str(Path(token).expanduser()))
    except OSError:
        raise RemoteAccessError(
            f"The token for Google Cloud Storage must be the path of a service-account key file, and there is no "
            f"file{called} that can be read; check the path."
        ) from None
    except (ValueError, TypeError, KeyError, AttributeError, GoogleAuthError):
        raise RemoteAccessError(
            f"The file{called} given as the token for Google Cloud Storage holds no service-account key; download "
            "the key of the account again, as JSON."
        ) from None
    return credentials


def make_client(credentials: Credentials | None, connections: int, limits: Limits | None = None) -> storage.Client:
    """A client that keeps so many connections.

    Args:
        credentials: None for those that the client finds in its environment, and none at all where there
            are none: buckets that are public can be read.
        connections: how many are used at the same time.
        limits: how slow an answer may be.

    Raises:
        RemoteAccessError: the environment names credentials that are missing or malformed.
    """
    try:
        client = storage.Client(project="<none>", credentials=credentials)
    except DefaultCredentialsError:
        if os.environ.get(CREDENTIALS):
            raise RemoteAccessError(
                f"The file that {CREDENTIALS} names is missing, or holds no credentials; correct it, or unset it."
            ) from None
        client = storage.Client(project="<none>", credentials=_Anonymous())
    session = client._http
    if not getattr(session, "is_mtls", False):
        for prefix in ("https://", "http://"):
            session.mount(prefix, _BoundedAdapter(limits or Limits(), pool_connections=4, pool_maxsize=connections))
    session.max_redirects = _MOST_REDIRECTS
    return client


class _BoundedAdapter(requests.adapters.HTTPAdapter):
    """Makes requests whose answers are neither too slow nor too large.

    Args:
        limits: how slow an answer may be.
        **options: as for the base class.
    """

    def __init__(self, limits: Limits, **options: Any) -> None:
        self._pools = {
            "http": _paced_pool(urllib3.HTTPConnectionPool, limits),
            "https": _paced_pool(urllib3.HTTPSConnectionPool, limits),
        }
        super().__init__(**options)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, *args: Any, **options: Any) -> Any:
        manager = super().proxy_manager_for(*args, **options)
        manager.pool_classes_by_scheme = self._pools
        return manager

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        response = super().send(request, *args, **options)
        response.raw.stream = partial(_bounded, response.raw.stream)
        return response


def _paced_pool(pool: Any, limits: Limits) -> Any:
    answers = {"response_class": staticmethod(partial(PacedResponse, limits=limits))}
    connection = type("_PacedConnection", (pool.ConnectionCls,), answers)
    return type("_PacedPool", (pool,), {"ConnectionCls": connection})


def _bounded(stream: Callable[..., Iterator[bytes]], *args: Any, **options: Any) -> Iterator[bytes]:
    """The content of an answer, of which no more is taken than a small file or a piece of a large one may have."""
    size = 0
    for piece in stream(*args, **options):
        size += len(piece)
        if size > SMALL_FILE_LIMIT:
            raise too_large("What came from Google Cloud Storage", SMALL_FILE_LIMIT)
        yield piece


@contextmanager
def failures_told(action: str, *, missing: str) -> Iterator[None]:
    """What the client raises, as errors of this library.

    The client's own messages hold addresses by which anyone could write, so none of them is repeated.

    Args:
        action: what failed, such as "Reading x from gcp://bucket".
        missing: what to say when there is nothing of that name.
    """
    try:
        yield
    except NotFound:
        raise RemoteFileNotFoundError(missing) from None
    except PreconditionFailed:
        raise ConflictError(
            f"{action} failed: the object is not what it was to be; another program wrote it."
        ) from None
    except GoogleAPICallError as error:
        raise _refused(action, error) from None
    except TransportError:
        raise RemoteUnreachableError(f"{action} failed: Google's server for access tokens does not answer.") from None
    except GoogleAuthError as error:
        if getattr(error, "retryable", False):
            raise RemoteUnreachableError(f"{action} failed: Google gave no access token for now.") from None
        raise RemoteAccessError(f"{action} failed: it takes credentials that are accepted; {_HOW_TO_ACCESS}.") from None
    except DataCorruption:
        raise RemoteUnreachableError(f"{action} failed: it was damaged on the way.") from None
    except requests.exceptions.Timeout:
        raise RemoteUnreachableError(f"{action} failed: the server took too long to answer; try again later.") from None
    except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        if isinstance(error, MinariError):
            raise
        raise RemoteUnreachableError(
            f"{action} failed: the connection was refused, or broke; see that the network is there, and try again."
        ) from None
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        if isinstance(error, MinariError):
            raise
        raise RemoteError(
            f"{action} failed: what answered is no Google Cloud Storage, as it does not speak like one; see whether "
            "the network asks for a login."
        ) from None


def _refused(action: str, error: GoogleAPICallError) -> RemoteError:
    code = int(error.code or 0)
    said = plain_text("; ".join(str(detail.get("message")) for detail in error.errors if isinstance(detail, dict)))
    text = f"{action} failed: the server answered {code}{f' ({said})' if said else ''}"
    if code in (401, 403):
        return RemoteAccessError(f"{text}; see that the account may do it, or {_HOW_TO_ACCESS}.")
    if code in _TRANSIENT or code >= 500 or "crc32c" in said.lower():  # the last: damaged on the way
        return RemoteUnreachableError(f"{text}.", _retry_after(error.response))
    return RemoteError(f"{text}.")


def _retry_after(response: Any) -> float | None:
    """For how many seconds the server asks to be left alone."""
    value = response.headers.get("Retry-After", "") if isinstance(response, requests.Response) else ""
    return float(value) if re.fullmatch("[0-9]{1,9}", value) else None
