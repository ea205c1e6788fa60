"""Kinds of remotes by the scheme of their addresses, each imported when it is first used."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from minari._base.addresses import is_path, without_credentials
from minari._base.json_text import shortened
from minari._base.lazy import LazyModule
from minari._base.plugins import Target, find_target, known_targets, load_class
from minari._base.settings import get_default_remote, is_remote_of_variable
from minari._base.suggestions import did_you_mean
from minari.errors import RemoteError
from minari.storage.remotes.base import MAX_WORKERS, CloudStorage


fsspec: Any = LazyModule("fsspec")  # optional; it supports further schemes

#: The remote if none is given and ``MINARI_REMOTE`` is not set.
DEFAULT_REMOTE = "hf://farama-minari"

ENTRY_POINT_GROUP = "minari.remotes"

_FSSPEC_STORE = "minari.storage.remotes.fsspec:FsspecStorage"

REMOTES: dict[str, Target] = {
    "file": ("minari.storage.remotes.directory:FileStorage", "minari"),
    **dict.fromkeys(("gcp", "gs"), ("minari.storage.remotes.gcp:GCPStorage", "minari[gcs]")),
    "hf": ("minari.storage.remotes.huggingface:HuggingFaceStorage", "minari[hf]"),
    "http": ("minari.storage.remotes.http:HttpStorage", "urllib3"),
    "https": ("minari.storage.remotes.http:HttpsStorage", "urllib3"),
    **dict.fromkeys(("s3", "s3a"), ("minari.storage.remotes.s3:S3Storage", "minari[s3]")),
    **dict.fromkeys(("abfs", "abfss", "az"), ("minari.storage.remotes.azure:AzureStorage", "minari[azure]")),
}

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.+)", re.DOTALL)


def register_remote(scheme: str, target: str, requirement: str) -> None:
    """Register a kind of remote of another package.

    An entry point of the group ``minari.remotes`` with the name of the scheme does the same.

    Args:
        scheme: scheme of its addresses, in lower case.
        target: ``"package.module:Class"`` of a subclass of :class:`CloudStorage`.
        requirement: argument of ``pip install`` in the message if the module cannot be imported.
    """
    REMOTES[scheme] = (target, requirement)


def get_remote_schemes() -> list[str]:
    """Return the schemes of the available remotes, sorted."""
    return sorted(known_targets(REMOTES, ENTRY_POINT_GROUP))


def get_cloud_storage(
    remote_path: str | None = None,
    token: str | None = None,
    *,
    max_workers: int = MAX_WORKERS,
    private: bool = False,
) -> CloudStorage:
    """Return the remote at an address; no request is sent.

    Args:
        remote_path: ``scheme://name``; by default the value of ``MINARI_REMOTE``, which is read at each call,
            or ``hf://farama-minari``.
        token: credentials for the remote: the token of a Hub, or the path of a service-account key.
        max_workers: number of concurrent requests.
        private: True to make uploaded datasets private, which a Hub supports.

    Raises:
        RemoteError: the address is malformed, there is no class for its scheme, or the remote cannot be
            used.
        MissingDependencyError: the package that the class needs is not installed.
    """
    address = get_default_remote() if remote_path is None else remote_path
    try:
        scheme, name = parse_address(address)
        return _remote_class(scheme)(name, token, scheme=scheme, max_workers=max_workers, private=private)
    except RemoteError as error:
        if is_remote_of_variable(address):
            error.args = (f"{error} It is named by MINARI_REMOTE; correct or unset that.", *error.args[1:])
        raise


def get_remote_class(address: str | None = None) -> type[CloudStorage]:
    """Return the class for the remote at an address, or for a dataset on it.

    Args:
        address: by default the value of ``MINARI_REMOTE``, or ``hf://farama-minari``.

    Raises:
        RemoteError: the address is malformed, or there is no class for its scheme.
        MissingDependencyError: the package that the class needs is not installed.
    """
    return _remote_class(parse_address(get_default_remote() if address is None else address)[0])


def split_address(address: str) -> tuple[str, str]:
    """Return the remote and the dataset id in the full address of a dataset.

    An address that begins with that of ``MINARI_REMOTE`` is split there. Otherwise, the part from ``scheme://`` to
    the next ``/`` is the name of the remote, and the rest is the id, unless the class for the scheme decides
    otherwise: for ``file`` and ``https``, the text alone does not show where the id begins, so that the directory is
    examined.

    Args:
        address: such as ``hf://farama-minari/D4RL/door/human-v2``. The id in it is not checked.

    Returns:
        The argument for :func:`get_cloud_storage`, and the id.

    Raises:
        RemoteError: the address is malformed, or there is no class for its scheme.
        MissingDependencyError: the package that the class needs is not installed.
    """
    scheme, location = parse_address(address)
    usual = f"{get_default_remote().rstrip('/')}/"
    if f"{scheme}://{location}".startswith(usual):
        return usual[:-1], f"{scheme}://{location}".removeprefix(usual)
    name, dataset_id = _remote_class(scheme).find_location(location)
    return f"{scheme}://{name}", dataset_id


def parse_address(address: str) -> tuple[str, str]:
    """Return the scheme of an address and the rest without trailing slashes; no request is sent.

    Raises:
        RemoteError: the address is malformed.
    """
    found = _ADDRESS.fullmatch(address) if isinstance(address, str) else None
    if found is None:
        got = shortened(without_credentials(address) if isinstance(address, str) else address)
        raise RemoteError(
            f"The address of a remote must be of the form scheme://name, such as file:///directory, got {got}; the "
            f"available schemes are {', '.join(get_remote_schemes())}.{_as_file_address(address)}"
        )
    return found[1].lower(), found[2].rstrip("/") or "/"


def _as_file_address(address: object) -> str:
    """Return a hint for a plain path, empty for anything else."""
    if not isinstance(address, (str, os.PathLike)) or not address:
        return ""
    path = Path(address).expanduser()
    is_likely = is_path(address) or path.is_dir()
    return f" For a directory, write {path.absolute().as_uri()}." if is_likely else ""


def _remote_class(scheme: str) -> type[CloudStorage]:
    target = find_target(scheme, REMOTES, ENTRY_POINT_GROUP)
    if target is None:
        with suppress(ImportError):
            if scheme in fsspec.available_protocols():
                target = (_FSSPEC_STORE, "fsspec")
    if target is None:
        usable = ", ".join(f"{known}://" for known in get_remote_schemes())
        raise RemoteError(
            f"There is no kind of remote called {scheme!r}; expected scheme://name with one of {usable}, one of "
            f"fsspec if that is installed, or one of a package with an entry point {scheme!r} in the "
            f"group {ENTRY_POINT_GROUP!r}.{did_you_mean(scheme, get_remote_schemes())}"
        )
    remote_class: type[CloudStorage] = load_class(target, f"Remotes of the form {scheme}://name need")
    return remote_class
