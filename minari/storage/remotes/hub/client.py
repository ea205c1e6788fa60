"""Requests to the Hugging Face Hub: bounded in time, never repeated here, their failures as errors of this library.

The session, the login and the endpoint are those of ``huggingface_hub``, so that whatever a user has set up
for it (proxies, certificates, mirrors, offline mode) holds here too. Its own calls are not used: they wait
without a limit for a Hub that has stopped answering, and repeat requests for minutes.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode, urljoin

import huggingface_hub
from huggingface_hub import constants, get_token
from huggingface_hub.errors import HfHubHTTPError

from minari._base.addresses import plain_text, without_credentials
from minari.errors import MinariError, RemoteAccessError, RemoteError, RemoteUnreachableError
from minari.storage.remotes.hub.session import Answer, Request, Timeouts, ask
from minari.storage.transfer.limits import Limits
from minari.storage.transfer.remote_files import RemoteFileNotFoundError


__all__ = ["LONG", "HubClient", "RefusedError", "understood"]

_CONNECT, _READ, _WRITE = 5.0, 15.0, 15.0  # seconds

#: For requests that the Hub has more to do for, in seconds.
LONG = 60.0

_AGENT = f"minari; hf_hub/{huggingface_hub.__version__}"
# What the HTTP library of the installed release raises: its base is one of the Hub's own error.
# A RuntimeError is what a session says that another thread has closed.
_FAILURES: tuple[type[Exception], ...] = (OSError, RuntimeError, *HfHubHTTPError.__bases__)
_WRONG_TOKEN = "Invalid credentials in Authorization header"  # the one 401 that is about the token itself
_OVERLOADED = frozenset({408, 429, 500, 502, 503, 504})
_NEXT_PAGE = re.compile(r'<([^<>]+)>\s*;\s*rel="next"')
_MOST_ENTRIES = 1_000_000  # of a listing
_MOST_PAGES = 10_000


class RefusedError(RemoteError):
    """The Hub does not do what it was asked, for a reason that is none of the usual ones.

    Attributes:
        status: of the answer.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class HubClient:
    """The Hub, as one user sees it.

    Args:
        token: by default that of the Hub's own login or environment, looked up at each request.
        limits: how slow an answer may be.

    Raises:
        RemoteAccessError: what is given can be no token.
    """

    def __init__(self, token: str | None = None, limits: Limits | None = None) -> None:
        self._token = _checked_token(token)
        self._limits = limits or Limits()

    @property
    def endpoint(self) -> str:
        """The address of the Hub."""
        return (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")

    @property
    def has_token(self) -> bool:
        """Whether the Hub is told who asks."""
        return self._current_token() is not None

    def _current_token(self) -> str | None:
        if self._token is not None or constants.HF_HUB_DISABLE_IMPLICIT_TOKEN:
            return self._token
        return _checked_token(get_token())

    def request(
        self,
        method: str,
        address: str,
        action: str,
        *,
        content: Any = None,
        headers: Mapping[str, str] | None = None,
        signed: bool = False,
        patience: float | None = None,
        span: tuple[int, int] | None = None,
    ) -> Answer:
        """Make one request.

        Args:
            method: of HTTP.
            address: on the Hub, beginning with ``/``; or a whole one that the Hub has told.
            action: what is being done, for messages, such as ``"reading x"``.
            content: to be sent: bytes, a value for JSON, or something to read from that knows its length.
            headers: further ones.
            signed: whether the address itself gives access, so that the token must stay here.
            patience: for how long nothing may come, in seconds; by default for as long as a file may take.
            span: of the bytes of a file, from where to where they are wanted; by default all of them.

        Raises:
            RemoteUnreachableError: there was no answer, or one that says to come again later.
            RemoteAccessError: the token is missing, wrong or not enough.
            RemoteFileNotFoundError: there is no such thing, or nobody without a token may know of it.
            DatasetCorruptError: the answer is too large.
            RefusedError: anything else.
        """
        sent = {"User-Agent": _AGENT, "Accept-Encoding": "gzip", **(headers or {})}
        if span is not None:
            sent["Range"] = f"bytes={span[0]}-{span[1] - 1}"
        whole = self._whole(address)
        token = self._current_token() if whole.startswith(f"{self.endpoint}/") and not signed else None
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        if isinstance(content, (dict, list)):
            content = json.dumps(content).encode()
            sent["Content-Type"] = "application/json"
        if content is not None:
            sent["Content-Length"] = str(len(content))
        times = Timeouts(_CONNECT, _READ if patience is None else patience, _WRITE)
        try:
            answer = ask(Request(method, whole, sent, content, action, span), times, self._limits)
        except _FAILURES as error:
            if isinstance(error, MinariError):
                raise
            # What the client says may hold a signed address: neither its text nor its traceback is shown.
            reason = type(error).__name__
            raise RemoteUnreachableError(
                f"The Hub at {without_credentials(self.endpoint)} broke off or did not answer in time while {action} "
                f"({reason}); see that it can be reached, and try again."
            ) from None
        if answer.status_code >= 400:
            raise self._error(answer, action, token is not None)
        return answer

    def ask(self, method: str, address: str, action: str, **details: Any) -> Any:
        """Make one request whose answer is a value in JSON, and give that; the rest is as for :meth:`request`."""
        return _parsed(self.request(method, address, action, **details), action)

    def pages(self, address: str, action: str) -> Iterator[list[dict[str, Any]]]:
        """The pages of a listing, from the first.

        Raises:
            RefusedError: there is no end to them.
        """
        following: str | None = address
        seen: set[str] = set()
        while following is not None:
            if following in seen or len(seen) == _MOST_PAGES:
                raise RefusedError(f"The Hub goes on without an end while {action}; try again later.", 200)
            seen.add(following)
            answer = self.request("GET", following, action)
            page = _parsed(answer, action)
            if not isinstance(page, list):
                raise _no_hub(action, answer)
            yield page
            found = _NEXT_PAGE.search(answer.headers.get("Link", ""))
            following = self._whole(urljoin(self.endpoint, found[1])) if found else None

    def listing(self, address: str, query: Mapping[str, object], action: str) -> list[dict[str, Any]]:
        """All entries of a listing."""
        whole = f"{address}?{urlencode(query, doseq=True)}" if query else address
        entries: list[dict[str, Any]] = []
        for page in self.pages(whole, action):
            entries += page
            if len(entries) > _MOST_ENTRIES:
                raise RefusedError(f"The Hub lists more than {_MOST_ENTRIES:,} things while {action}.", 200)
        return entries

    def _whole(self, address: str) -> str:
        """A whole address; one that names the public Hub goes to the endpoint, which may be a mirror of it."""
        if address.startswith("/"):
            return self.endpoint + address
        public = "https://huggingface.co/"
        return f"{self.endpoint}/{address.removeprefix(public)}" if address.startswith(public) else address

    def _error(self, answer: Any, action: str, has_token: bool) -> Exception:
        status = answer.status_code
        said = _message(answer)
        told = f" (it says: {said})" if said else ""
        if status in _OVERLOADED:
            return RemoteUnreachableError(
                f"The Hub answered with {status} while {action}{told}; try again later.", _retry_after(answer)
            )
        if answer.headers.get("X-Error-Code") == "GatedRepo":
            return RemoteAccessError(
                f"The Hub does not allow {action}: the repository is gated; ask for access on its page, and log in "
                "(`hf auth login`, or HF_TOKEN) as who has it."
            )
        if status == 401 and (has_token or answer.headers.get("X-Error-Message") == _WRONG_TOKEN):
            return RemoteAccessError(
                f"The Hub does not accept the token that was given for {action}; make another at "
                f"{without_credentials(self.endpoint)}/settings/tokens, and give that, or log in (`hf auth login`)."
            )
        if status == 403:
            return RemoteAccessError(
                f"The Hub does not allow {action}{told}; see that the token may do so, and that its user belongs "
                "to the organization."
            )
        if status in (401, 404):
            return RemoteFileNotFoundError(
                f"The Hub knows nothing of it while {action}, or keeps it private: check the spelling, and log in "
                "(`hf auth login`, or HF_TOKEN) as someone who may see it."
            )
        return RefusedError(f"The Hub answered with {status} while {action}{told}.", status)


def _checked_token(token: str | None) -> str | None:
    if token is not None and not re.fullmatch(r"[!-~]+", token):
        raise RemoteAccessError(
            "The token holds blanks or letters that no token of the Hub has; copy it once more, as it is."
        )
    return token


@contextmanager
def understood(action: str) -> Iterator[None]:
    """Turn what goes wrong with the parts of an answer in the block into an error about the Hub.

    Args:
        action: what is being done, for the message.

    Raises:
        RefusedError: the answer has other parts than those of a Hub.
    """
    try:
        yield
    except MinariError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError):
        raise RefusedError(
            f"What answered while {action} is no Hub, as something is missing or of another kind in what it says; see "
            "HF_ENDPOINT.",
            200,
        ) from None


def _parsed(answer: Any, action: str) -> Any:
    try:
        return answer.json()
    except ValueError:
        raise _no_hub(action, answer) from None


def _no_hub(action: str, answer: Any) -> RefusedError:
    return RefusedError(
        f"What answered while {action} is no Hub, as it does not speak like one; see HF_ENDPOINT, and whether the "
        "network asks for a login.",
        answer.status_code,
    )


def _message(answer: Any) -> str:
    """What the Hub says about an error, as one short line."""
    said = answer.headers.get("X-Error-Message")
    if not said:
        try:
            said = answer.json()["error"]
        except (ValueError, KeyError, TypeError):
            return ""
    return plain_text(said).rstrip(".")


def _retry_after(answer: Any) -> float | None:
    """For how long the Hub wants to be left alone, in seconds."""
    seconds = answer.headers.get("Retry-After", "")
    if re.fullmatch("[0-9]{1,9}", seconds):
        return float(seconds)
    # The newer way: ratelimit: "api";r=0;t=55
    found = re.search(r";\s*r=0\s*;\s*t=(\d{1,9})", answer.headers.get("RateLimit", ""))
    return float(found[1]) if found else None
