"""One dataset repository of the Hub: what lies in it, and how it is changed."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from minari.errors import RemoteAccessError, RemoteError
from minari.storage.remotes.hub.client import LONG, HubClient, RefusedError, understood
from minari.storage.transfer.checksums import Checksum
from minari.storage.transfer.remote_files import RemoteFile, RemoteFileNotFoundError


__all__ = ["Change", "HubRepository", "OutdatedError", "RepositoryState"]

_AS_STORED = {"Accept-Encoding": "identity"}  # compressed on the way, a range would be one of something else
_BRANCH = "main"


class OutdatedError(RemoteError):
    """Someone else has changed the repository since it was looked at."""


@dataclass(frozen=True, slots=True)
class RepositoryState:
    """A repository at one moment.

    Attributes:
        commit: by which the moment is known.
        private: whether only some may see it.
        files: the names of all files.
    """

    commit: str
    private: bool
    files: frozenset[str]


@dataclass(frozen=True, slots=True)
class Change:
    """What a commit does to one file.

    Attributes:
        path: of the file, in the repository.
        content: that the file has from now on.
        lfs: or the sha256 and the size of a content that the Hub has received. Neither: the file goes.
    """

    path: str
    content: bytes | None = None
    lfs: tuple[str, int] | None = None

    @property
    def is_removal(self) -> bool:
        """Whether the file goes."""
        return self.content is None and self.lfs is None

    def as_line(self) -> dict[str, Any]:
        """As the Hub wants to be told."""
        if self.lfs is not None:
            oid, size = self.lfs
            return {"key": "lfsFile", "value": {"path": self.path, "algo": "sha256", "oid": oid, "size": size}}
        if self.content is None:
            return {"key": "deletedFile", "value": {"path": self.path}}
        text = base64.b64encode(self.content).decode()
        return {"key": "file", "value": {"path": self.path, "content": text, "encoding": "base64"}}


@dataclass(frozen=True, slots=True)
class HubRepository:
    """A dataset repository, whether or not there is one of this name.

    Attributes:
        client: by which the Hub is asked.
        name: of the owner and of the repository, joined by ``/``.
    """

    client: HubClient
    name: str

    @property
    def api(self) -> str:
        """The beginning of the addresses of what the Hub knows of it."""
        return f"/api/datasets/{quote(self.name)}"

    def state(self) -> RepositoryState:
        """What there is.

        Raises:
            RemoteFileNotFoundError: there is no such repository, or it is not to be seen.
        """
        action = f"looking at the repository {self.name}"
        told = self.client.ask("GET", self.api, action)
        with understood(action):
            commit = str(told["sha"])
            files = frozenset(str(sibling["rfilename"]) for sibling in told.get("siblings") or ())
            is_private = bool(told.get("private"))
        if not files:  # not told, as every repository has some
            files = frozenset(file.name for file in self.tree("", commit))
        return RepositoryState(commit, is_private, files)

    def create(self, *, private: bool) -> None:
        """Make it, where there is none yet.

        Raises:
            RemoteAccessError: the token is missing or not enough.
        """
        owner, _, name = self.name.partition("/")
        asked: dict[str, object] = {"type": "dataset", "organization": owner, "name": name}
        if private:  # left out, an organization's own choice holds
            asked |= {"visibility": "private", "private": True}
        action = f"making the repository {self.name}"
        try:
            self.client.request("POST", "/api/repos/create", action, content=asked, patience=LONG)
        except RefusedError as error:
            if error.status != 409:  # which says that it is there
                raise
        except RemoteFileNotFoundError:
            raise RemoteAccessError(
                f"The Hub does not allow {action} without a token; give one, or log in (`hf auth login`, or HF_TOKEN)."
            ) from None

    def read(self, path: str, span: tuple[int, int] | None = None, revision: str = _BRANCH) -> bytes:
        """A file, or the bytes of it from ``span[0]`` up to ``span[1]``, fewer where it ends before.

        Raises:
            RemoteFileNotFoundError: there is none of that name.
        """
        address = f"/datasets/{quote(self.name)}/resolve/{quote(revision, safe='')}/{quote(path)}"
        return self.read_at(address, span, f"reading {path} of {self.name}")

    def read_at(self, address: str, span: tuple[int, int] | None, action: str, *, signed: bool = False) -> bytes:
        """What lies at an address, or a part of it, as for :meth:`read`.

        Args:
            address: on the Hub, or one that the Hub has told.
            span: of the bytes that are wanted; None for all of them.
            action: for messages.
            signed: whether the address itself gives access.
        """
        if span is not None and span[0] >= span[1]:
            return b""
        try:
            return self.client.request("GET", address, action, headers=_AS_STORED, signed=signed, span=span).content
        except RefusedError as error:
            if error.status == 416:  # the file ends before
                return b""
            raise

    def tree(self, folder: str, revision: str = _BRANCH) -> Iterator[RemoteFile]:
        """The files below a folder, named from the root of the repository.

        Args:
            folder: without slashes around it; empty for all files.
            revision: a branch or a commit.

        Raises:
            RemoteFileNotFoundError: there is no such folder.
        """
        address = f"{self.api}/tree/{quote(revision, safe='')}" + (f"/{quote(folder)}" if folder else "")
        action = f"listing {folder or 'the files'} of {self.name}"
        for entry in self.client.listing(address, {"recursive": "true", "expand": "false"}, action):
            with understood(action):
                if entry["type"] != "file":
                    continue
                lfs = entry.get("lfs")
                checksum = Checksum("sha256", str(lfs["oid"])) if lfs else Checksum("git-sha1", str(entry["oid"]))
                file = RemoteFile(str(entry["path"]), int(lfs["size"] if lfs else entry["size"]), checksum)
            yield file

    def commit(self, state: RepositoryState, summary: str, changes: Sequence[Change]) -> RepositoryState | None:
        """Change files, all of them or none.

        Args:
            state: that the changes were made for.
            summary: what is done, for those who read the history.
            changes: one for each file.

        Returns:
            What there is then, None where the Hub does not tell its commit.

        Raises:
            OutdatedError: there is another commit since.
        """
        header = {"key": "header", "value": {"summary": summary, "description": "", "parentCommit": state.commit}}
        lines = [header, *(change.as_line() for change in changes)]
        try:
            told = self.client.ask(
                "POST",
                f"{self.api}/commit/{_BRANCH}",
                f"writing to the repository {self.name}",
                content=b"".join(json.dumps(line).encode() + b"\n" for line in lines),
                headers={"Content-Type": "application/x-ndjson"},
                patience=LONG,
            )
        except RefusedError as error:
            if error.status in (409, 412):
                raise OutdatedError(f"The repository {self.name} was changed by someone else meanwhile.") from None
            raise
        with understood(f"writing to the repository {self.name}"):
            commit = told.get("commitOid")
        if not commit:
            return None
        gone = {change.path for change in changes if change.is_removal}
        there = state.files | {change.path for change in changes}
        return RepositoryState(str(commit), state.private, there - gone)
