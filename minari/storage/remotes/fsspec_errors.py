"""What goes wrong in a client of fsspec, as an error of this library, whichever client it is.

Clients are told apart by what their exceptions carry and by their names, so that none has to be imported.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from minari._base.addresses import plain_text
from minari.errors import RemoteAccessError, RemoteError, RemoteUnreachableError
from minari.storage.remotes.object_storage import ConflictError
from minari.storage.transfer.remote_files import RemoteFileNotFoundError


__all__ = ["PastTheEndError", "as_remote_error", "without_secrets"]

_CREDENTIALS = {
    "AuthenticationException",
    "ClientAuthenticationError",
    "CredentialRetrievalError",
    "CredentialUnavailableError",
    "NoAuthTokenError",
    "NoCredentialsError",
    "PartialCredentialsError",
    "ProfileNotFound",
    "TokenRetrievalError",
    "UnauthorizedSSOTokenError",
}
_FINAL = {"ConfigParseError", "InvalidEndpointError", "NoRegionError", "ParamValidationError"}
# What S3 and Azure say, with a status that means a mistake of ours, of content that changed on its way to them.
_DAMAGED = {"BadDigest", "IncompleteBody", "Md5Mismatch", "RequestTimeout", "XAmzContentSHA256Mismatch"}
_BUSY = {408, 409, 425, 429}  # 409 is said of two writers at the same moment; the next attempt tells who has won


class PastTheEndError(RemoteError):
    """A part of an object was asked for that begins where the object has ended."""


def as_remote_error(error: Exception, action: str, hint: str, secrets: Collection[str] = ()) -> Exception:
    """The error to raise in the place of one of a client's.

    Args:
        error: of the client.
        action: what was tried, as the beginning of a sentence: ``"Reading x in s3://bucket"``.
        hint: where the client gets credentials from, as a sentence.
        secrets: that are not shown, should the client repeat them.

    Returns:
        An error of this library, or the same one where it is a mistake in a program.
    """
    causes = list(_causes(error))
    kinds = {kind.__name__ for cause in causes for kind in type(cause).__mro__}
    status = next(filter(None, map(_status, causes)), None)
    what = f"{action} failed: {without_secrets(str(error), secrets) or type(error).__name__}"
    if isinstance(error, FileExistsError) or status == 412:
        return ConflictError(f"{what}.")
    if isinstance(error, FileNotFoundError) or status == 404:
        return RemoteFileNotFoundError(f"{what}.")
    if isinstance(error, PermissionError) or status in (401, 403) or kinds & _CREDENTIALS:
        return RemoteAccessError(f"{what}. {hint}")
    if status == 416:
        return PastTheEndError(f"{what}.")
    if any(_code(cause) in _DAMAGED for cause in causes):
        return RemoteUnreachableError(f"{what}.")
    if kinds & _FINAL or (status is not None and 400 <= status < 500 and status not in _BUSY):
        return RemoteError(f"{what}.")
    if isinstance(error, (OSError, EOFError, TimeoutError)) or type(error).__module__ != "builtins":
        return RemoteUnreachableError(f"{what}.")
    return RemoteError(f"{what}. {hint}") if isinstance(error, (ValueError, NotImplementedError)) else error


def without_secrets(text: str, secrets: Collection[str] = ()) -> str:
    """The beginning of a text on one line, without what stands in addresses before ``@`` and after ``?``.

    >>> without_secrets("no answer from https://ann:secret@host/x?signature=5")
    'no answer from https://host/x'

    Args:
        text: what a client says.
        secrets: further ones.
    """
    for secret in sorted(secrets, key=len, reverse=True):  # one may hold another
        text = text.replace(secret, "...")
    lines = text.strip().splitlines()
    return plain_text(" ".join(lines[: 2 if lines[0].endswith(":") else 1]).rstrip(" .")) if lines else ""


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__


def _status(error: BaseException) -> int | None:
    """The status of the answer: as botocore, azure, and aiohttp keep it."""
    found: Any = _response(error).get("ResponseMetadata", {}).get("HTTPStatusCode")
    for name in ("status_code", "status"):
        found = found or getattr(error, name, None)
    return found if isinstance(found, int) else None


def _code(error: BaseException) -> str | None:
    """What the store calls the error: as botocore and azure keep it."""
    found = _response(error).get("Error", {}).get("Code") or getattr(error, "error_code", None)
    return None if found is None else str(getattr(found, "value", found))


def _response(error: BaseException) -> dict[str, Any]:
    response = getattr(error, "response", None)
    return response if isinstance(response, dict) else {}
