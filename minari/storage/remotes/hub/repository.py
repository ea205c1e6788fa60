"""Dataset repositories of the Hub: search, and reading of files and of the metadata of datasets."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import quote

from minari._base.parallel import parallel_map
from minari._model.dataset_id import is_part
from minari.errors import DatasetCorruptError, RemoteAccessError
from minari.storage.remotes.hub.client import HubClient, RefusedError, understood
from minari.storage.remotes.hub.repository_index import datasets_in
from minari.storage.transfer.checksums import Checksum
from minari.storage.transfer.index import INDEX_FILE_NAME, parse_index
from minari.storage.transfer.limits import with_retries
from minari.storage.transfer.remote_files import METADATA_NAME, RemoteFile, RemoteFileNotFoundError


__all__ = ["HubRepository", "RepositoryState", "search_repositories"]

_AS_STORED = {"Accept-Encoding": "identity"}  # a range of compressed content would be different
_LFS_HEADERS = {"Accept": "application/vnd.git-lfs+json", "Content-Type": "application/vnd.git-lfs+json"}
_LFS_AT_ONCE = 256  # number of contents in one request
_BRANCH = "main"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RepositoryState:
    """State of a repository at one moment.

    Attributes:
        commit: id of the latest commit.
        private: True if it is hidden from the public.
        files: names of all files.
    """

    commit: str
    private: bool
    files: frozenset[str]


@dataclass(frozen=True, slots=True)
class HubRepository:
    """Dataset repository, which need not exist.

    Attributes:
        client: client of the Hub.
        name: owner and name, joined by ``/``.
    """

    client: HubClient
    name: str

    @property
    def _api(self) -> str:
        return f"/api/datasets/{quote(self.name)}"

    def state(self) -> RepositoryState:
        """Return the current state.

        Raises:
            RemoteFileNotFoundError: there is no such repository, or it is hidden from this user.
        """
        action = f"looking at the repository {self.name}"
        told = self.client.ask(self._api, action)
        with understood(action):
            state = RepositoryState(str(told["sha"]), bool(told.get("private")), _siblings(told))
        if state.files:
            return state
        # The Hub omitted them, since every repository has files.
        return RepositoryState(
            state.commit, state.private, frozenset(file.name for file in self.tree("", state.commit))
        )

    def files(self) -> frozenset[str]:
        """Return the names of the files; none if the repository does not exist or is hidden from this user."""
        try:
            return self.state().files
        except RemoteFileNotFoundError:
            return frozenset()

    def tree(self, directory: str, revision: str = _BRANCH) -> Iterator[RemoteFile]:
        """Return the files below a directory, with names relative to the root of the repository.

        Args:
            directory: path without leading and trailing slashes; empty for all files.
            revision: a branch or a commit.

        Raises:
            RemoteFileNotFoundError: there is no such directory.
        """
        address = f"{self._api}/tree/{quote(revision, safe='')}" + (f"/{quote(directory)}" if directory else "")
        action = f"listing {directory or 'the files'} of {self.name}"
        for entry in self.client.list(address, {"recursive": "true", "expand": "false"}, action):
            with understood(action):
                if entry["type"] != "file":
                    continue
                lfs = entry.get("lfs")
                checksum = Checksum("sha256", str(lfs["oid"])) if lfs else Checksum("git-sha1", str(entry["oid"]))
                file = RemoteFile(str(entry["path"]), int(lfs["size"] if lfs else entry["size"]), checksum)
            yield file

    def read(self, path: str, span: tuple[int, int] | None = None, revision: str = _BRANCH) -> bytes:
        """Return a file, or its bytes from ``span[0]`` up to ``span[1]``, fewer if it ends before.

        Raises:
            RemoteFileNotFoundError: there is no file with that name.
        """
        address = f"/datasets/{quote(self.name)}/resolve/{quote(revision, safe='')}/{quote(path)}"
        return self._read(address, span, f"reading {path} of {self.name}")

    def read_signed(self, address: str, span: tuple[int, int], action: str) -> bytes:
        """Return bytes of the file at an address of :meth:`find_contents`, like :meth:`read`.

        Args:
            address: address that grants access by itself.
            span: start and stop of the requested bytes.
            action: phrase for messages.
        """
        return self._read(address, span, action, signed=True)

    def _read(self, address: str, span: tuple[int, int] | None, action: str, *, signed: bool = False) -> bytes:
        if span is not None and span[0] >= span[1]:
            return b""
        try:
            return self.client.request(address, action, headers=_AS_STORED, signed=signed, span=span).content
        except RefusedError as error:
            if error.status == 416:  # the file ends before
                return b""
            raise

    def find_contents(self, wanted: Sequence[tuple[str, int]], max_workers: int) -> dict[str, str]:
        """Return temporary addresses of large contents.

        Args:
            wanted: sha256 and size of each.
            max_workers: number of concurrent requests.

        Returns:
            Sha256 -> address; the Hub may omit some.
        """
        groups = [wanted[start : start + _LFS_AT_ONCE] for start in range(0, len(wanted), _LFS_AT_ONCE)]
        answers = parallel_map(self._ask_downloads, groups, max_workers)
        return {oid: address for answer in answers for oid, address in answer.items()}

    def _ask_downloads(self, contents: Sequence[tuple[str, int]]) -> dict[str, str]:
        objects = [{"oid": sha256, "size": size} for sha256, size in contents]
        asked = {"operation": "download", "transfers": ["basic"], "hash_algo": "sha256", "objects": objects}
        address = f"/datasets/{self.name}.git/info/lfs/objects/batch"
        action = f"asking where contents of the repository {self.name} lie"
        told = with_retries(partial(self.client.ask, address, action, content=asked, headers=_LFS_HEADERS))
        with understood(action):
            found = {str(each["oid"]): (each.get("actions") or {}).get("download", {}) for each in told["objects"]}
            # Contents that need further headers are read in the usual way.
            return {oid: str(act["href"]) for oid, act in found.items() if "href" in act and not act.get("header")}

    def read_index(self, files: Iterable[str] | None = None, revision: str = _BRANCH) -> dict[str, bytes]:
        """Return the entries of the index; none if there is no readable index.

        Args:
            files: names of all files in the repository, if known.
            revision: a branch or a commit.
        """
        if files is not None and INDEX_FILE_NAME not in files:
            return {}
        try:
            return parse_index(with_retries(partial(self.read, INDEX_FILE_NAME, revision=revision)))
        except (RemoteFileNotFoundError, RemoteAccessError):  # deleted in the meantime, or in a gated repository
            return {}
        except DatasetCorruptError as error:
            _log.warning("%s It is rebuilt when a dataset is uploaded to %s.", error, self.name)
            return {}

    def metadata(self, files: Iterable[str], max_workers: int, revision: str = _BRANCH) -> dict[str, bytes]:
        """Return the metadata of all datasets in the repository, from the index if it has them.

        Args:
            files: names of all files in the repository.
            max_workers: number of concurrent requests.
            revision: a branch or a commit.

        Returns:
            Path of the dataset in the repository -> content of its ``metadata.json``.
        """
        known = frozenset(files)
        paths = {dataset_id.partition("/")[2] for dataset_id in datasets_in(self.name.partition("/")[2], known)}
        index = self.read_index(known, revision) if paths else {}
        entries = {path: content for path, content in index.items() if path in paths}

        def fetched(path: str) -> tuple[str, bytes]:
            name = f"{path}/{METADATA_NAME}" if path else METADATA_NAME
            return path, with_retries(partial(self.read, name, revision=revision))

        return entries | dict(parallel_map(fetched, sorted(paths - set(entries)), max_workers))


def search_repositories(
    client: HubClient, query: Mapping[str, str], action: str, max_workers: int
) -> dict[str, frozenset[str]]:
    """Return the names of the files in each repository of a search.

    Args:
        client: client of the Hub.
        query: parameters of the search.
        action: phrase for messages.
        max_workers: number of concurrent requests.

    Returns:
        Owner and name of the repository, joined by ``/`` -> names of its files, without repositories whose names
        cannot be part of an id.
    """
    told = client.list("/api/datasets", {**query, "expand": "siblings"}, action)
    with understood(action):
        entries = {str(entry["id"]): _siblings(entry) for entry in told if is_part(entry["id"].partition("/")[2])}
    untold = [name for name, files in entries.items() if not files]

    def looked_through(name: str) -> tuple[str, frozenset[str]]:
        return name, with_retries(HubRepository(client, name).files)

    return entries | dict(parallel_map(looked_through, untold, max_workers))


def _siblings(entry: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(str(sibling["rfilename"]) for sibling in entry.get("siblings") or ())
