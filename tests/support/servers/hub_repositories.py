"""The data of a test Hub: accounts, dataset repositories, their commits, and large contents by SHA-256."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

import yaml


LFS_ENDINGS = (".arrow", ".bin", ".gz", ".h5", ".hdf5", ".npz", ".parquet", ".zip")
LFS_SIZE = 10 * 1024 * 1024  # bytes: from here on a file is large whatever it is called


class HubError(Exception):
    """An answer of the Hub that is no success."""

    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code


@dataclass(frozen=True, slots=True)
class Blob:
    """A file of a commit: its content, or the SHA-256 and size of a content that lies elsewhere."""

    content: bytes = b""
    lfs: str | None = None
    lfs_size: int = 0

    @property
    def size(self) -> int:
        return len(self.content) if self.lfs is None else self.lfs_size

    @property
    def oid(self) -> str:
        content = self.content if self.lfs is None else self._pointer()
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()

    def _pointer(self) -> bytes:
        return f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.lfs}\nsize {self.lfs_size}\n".encode()


@dataclass(slots=True)
class Repository:
    """A dataset repository: its files as of the newest commit, and which commits there were."""

    name: str
    private: bool = False
    gated: bool = False
    files: dict[str, Blob] = field(default_factory=dict)
    commits: list[tuple[str, str]] = field(default_factory=list)
    trees: dict[str, dict[str, Blob]] = field(default_factory=dict)

    @property
    def head(self) -> str:
        return self.commits[-1][0]

    @property
    def owner(self) -> str:
        return self.name.partition("/")[0]

    @property
    def tags(self) -> list[str]:
        """Those that the card names in its front matter."""
        card = self.files.get("README.md", Blob()).content.decode("utf-8", "replace")
        front_matter = card[4:].partition("\n---")[0] if card.startswith("---\n") else ""
        return list((yaml.safe_load(front_matter) or {}).get("tags", ()))

    def commit(self, files: dict[str, Blob], summary: str) -> str:
        oid = hashlib.sha1(f"{self.name} {len(self.commits)} {summary}".encode()).hexdigest()
        self.files = files
        self.commits.append((oid, summary))
        self.trees[oid] = files
        return oid

    def tree(self, revision: str) -> dict[str, Blob]:
        if revision == "main":
            return self.files
        if revision not in self.trees:
            raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return self.trees[revision]


@dataclass(frozen=True, slots=True)
class Account:
    """The owner of a token, and its permissions."""

    user: str
    organizations: frozenset[str]
    writes: bool

    def belongs_to(self, owner: str) -> bool:
        return owner == self.user or owner in self.organizations


class Repositories:
    """All that the Hub keeps; one lock, as a commit is one step."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.accounts: dict[str, Account] = {}
        self.by_name: dict[str, Repository] = {}
        self.contents: dict[str, bytes] = {}

    def account(self, token: str | None) -> Account | None:
        if token is None:
            return None
        if token not in self.accounts:
            raise HubError(401, "Invalid credentials in Authorization header")
        return self.accounts[token]

    def readable(self, name: str, account: Account | None, *, content: bool = False) -> Repository:
        """A repository that the account may see, or may read the files of; the answers are those of the Hub."""
        repository = self.by_name.get(name)
        hidden = (
            repository is not None and repository.private and not (account and account.belongs_to(repository.owner))
        )
        if repository is None or hidden:
            if account is None:
                raise HubError(401, "Invalid username or password.")
            raise HubError(404, "Repository not found", "RepoNotFound")
        if content and repository.gated and not (account and account.belongs_to(repository.owner)):
            status = 403 if account else 401
            raise HubError(status, f"Access to dataset {name} is restricted.", "GatedRepo")
        return repository

    def writable(self, name: str, account: Account | None) -> Repository:
        repository = self.readable(name, account)
        self.check_writes(repository.owner, account)
        return repository

    @staticmethod
    def check_writes(owner: str, account: Account | None) -> None:
        if account is None:
            raise HubError(401, "Invalid username or password.")
        if not (account.writes and account.belongs_to(owner)):
            raise HubError(403, f'You don\'t have the rights to write under the namespace "{owner}"')

    def create(self, name: str, *, private: bool = False) -> Repository:
        with self.lock:
            repository = self.by_name[name] = Repository(name, private)
            repository.commit(
                {".gitattributes": Blob(b"*.hdf5 filter=lfs diff=lfs merge=lfs -text\n")}, "initial commit"
            )
            return repository

    def put(self, name: str, files: Mapping[str, bytes], *, private: bool = False, summary: str = "seed") -> Repository:
        """Files put into a repository from behind, those that are large or end as such as LFS."""
        with self.lock:
            repository = self.by_name.get(name) or self.create(name, private=private)
            blobs = {path: self.blob(path, content) for path, content in files.items()}
            repository.commit({**repository.files, **blobs}, summary)
            return repository

    def blob(self, path: str, content: bytes) -> Blob:
        if not (content and is_large(path, len(content))):
            return Blob(content)
        return Blob(lfs=self.keep(content), lfs_size=len(content))

    def keep(self, content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()
        self.contents[digest] = content
        return digest

    def content(self, blob: Blob) -> bytes:
        return blob.content if blob.lfs is None else self.contents[blob.lfs]


def is_large(path: str, size: int) -> bool:
    """Return whether the Hub requests a file as LFS."""
    return path.endswith(LFS_ENDINGS) or size >= LFS_SIZE
