"""The kinds of remotes by the scheme of their address, each imported when it is first used."""

from __future__ import annotations

import re

from minari.errors import RemoteError
from minari.plugins import Target, find_target, known_targets, load_class
from minari.storage.datasets_root_dir import get_default_remote
from minari.storage.remotes.cloud_storage import CloudStorage


#: What is asked where neither a remote is named nor ``MINARI_REMOTE`` set.
DEFAULT_REMOTE = "hf://farama-minari"

ENTRY_POINT_GROUP = "minari.remotes"

_remotes: dict[str, Target] = {
    "file": ("minari.storage.remotes.file:FileStorage", "minari"),
}
#: Schemes with a meaning that is settled, for which a package may bring the class.
_RESERVED = ("gcp", "gs", "hf")

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.+)", re.DOTALL)


def register_remote(scheme: str, target: str, requirement: str) -> None:
    """Make a kind of remote known, as a package does that brings one of its own.

    An entry point of the group ``minari.remotes``, called like the scheme, does the same.

    Args:
        scheme: what stands before ``://`` in its addresses, in lower case.
        target: ``"package.module:Class"`` of a subclass of :class:`CloudStorage`.
        requirement: what ``pip install`` needs where the module cannot be imported.
    """
    _remotes[scheme] = (target, requirement)


def get_remote_schemes() -> list[str]:
    """The schemes of the remotes that can be used, sorted."""
    return sorted(known_targets(_remotes, ENTRY_POINT_GROUP))


def get_cloud_storage(remote_path: str | None = None, token: str | None = None) -> CloudStorage:
    """The remote at an address.

    Args:
        remote_path: ``scheme://name``; by default that of the variable ``MINARI_REMOTE``, which is
            read at each call, or else ``hf://farama-minari``.
        token: what the remote asks of those who write to it: the token of a Hub, or the path of a
            service-account key.

    Raises:
        RemoteError: the address is malformed, there is no class for its scheme, or the remote is out
            of reach.
        MissingDependencyError: the package that the class needs is not installed.
    """
    scheme, name = _parse(get_default_remote() if remote_path is None else remote_path)
    return _remote_class(scheme)(name, token)


def split_address(address: str) -> tuple[str, str]:
    """The remote and the dataset id in the full address of a dataset.

    What follows ``scheme://`` up to the next ``/`` is the name of the remote, and the rest the id,
    unless the class for the scheme says otherwise, as that of ``file`` does.

    Args:
        address: such as ``hf://farama-minari/D4RL/door/human-v2``. The id in it is not checked.

    Returns:
        What :func:`get_cloud_storage` takes, and the id.

    Raises:
        RemoteError: the address is malformed, or there is no class for its scheme.
        MissingDependencyError: the package that the class needs is not installed.
    """
    scheme, location = _parse(address)
    name, dataset_id = _remote_class(scheme).split_location(location)
    return f"{scheme}://{name}", dataset_id


def _parse(address: str) -> tuple[str, str]:
    """The scheme, and what follows it without slashes at the end."""
    found = _ADDRESS.fullmatch(address) if isinstance(address, str) else None
    if found is None:
        raise RemoteError(
            f"The address of a remote must be of the form scheme://name, such as file:///folder, got "
            f"{address!r}; the schemes that can be used are {', '.join(get_remote_schemes())}."
        )
    return found[1].lower(), found[2].rstrip("/") or "/"


def _remote_class(scheme: str) -> type[CloudStorage]:
    target = find_target(scheme, _remotes, ENTRY_POINT_GROUP)
    if target is None:
        raise RemoteError(_no_class(scheme))
    remote_class: type[CloudStorage] = load_class(target, f"Remotes of the form {scheme}://name need")
    return remote_class


def _no_class(scheme: str) -> str:
    usable = ", ".join(f"{known}://" for known in get_remote_schemes())
    if scheme in _RESERVED:
        return (
            f"This release cannot reach remotes of the form {scheme}://name by itself yet; install a package "
            f"that brings an entry point {scheme!r} of the group {ENTRY_POINT_GROUP!r}, or name a remote "
            f"that begins with {usable} (by MINARI_REMOTE, for example)."
        )
    return (
        f"There is no kind of remote called {scheme!r}; expected scheme://name with one of {usable}, or a "
        f"package that brings an entry point {scheme!r} of the group {ENTRY_POINT_GROUP!r}."
    )
