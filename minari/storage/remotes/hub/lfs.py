"""Asks the Hub where large contents lie, or are to be sent, many at once: the batches of Git LFS."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from minari._base.parallel import parallel_map
from minari.storage.remotes.hub.client import understood
from minari.storage.remotes.hub.repository import HubRepository
from minari.storage.transfer.limits import with_retries


__all__ = ["AT_ONCE", "LFS_HEADERS", "ask_batch", "find_contents"]

#: Contents that the Hub is asked about in one request.
AT_ONCE = 256

LFS_HEADERS = {"Accept": "application/vnd.git-lfs+json", "Content-Type": "application/vnd.git-lfs+json"}


def find_contents(repository: HubRepository, wanted: Sequence[tuple[str, int]], max_workers: int) -> dict[str, str]:
    """Where large contents can be read for a while, without asking the Hub about each.

    Args:
        repository: that holds them.
        wanted: the sha256 and the size of each.
        max_workers: how many requests may run at the same time.

    Returns:
        Sha256 -> address, of those that the Hub tells one of.
    """
    groups = [wanted[start : start + AT_ONCE] for start in range(0, len(wanted), AT_ONCE)]
    answers = parallel_map(partial(ask_batch, repository, "download"), groups, max_workers)
    told = [each for answer in answers for each in answer]
    with understood(f"asking where contents of the repository {repository.name} lie"):
        found = {str(each["oid"]): (each.get("actions") or {}).get("download", {}) for each in told}
        # Where it takes more than the address, the usual way does it.
        return {
            oid: str(action["href"]) for oid, action in found.items() if "href" in action and not action.get("header")
        }


def ask_batch(repository: HubRepository, operation: str, contents: Sequence[tuple[str, int]]) -> list[dict[str, Any]]:
    """What the Hub says about contents that are to be moved, at most :data:`AT_ONCE` of them.

    Args:
        repository: that holds them, or is going to.
        operation: ``"upload"`` or ``"download"``.
        contents: the sha256 and the size of each.
    """
    asked = {
        "operation": operation,
        "transfers": ["basic", "multipart"],
        "hash_algo": "sha256",
        "objects": [{"oid": sha256, "size": size} for sha256, size in contents],
    }
    address = f"/datasets/{repository.name}.git/info/lfs/objects/batch"
    action = f"asking where to {operation} contents of the repository {repository.name}"
    ask = partial(repository.client.ask, "POST", address, action, content=asked, headers=LFS_HEADERS)
    answer = with_retries(ask)
    with understood(action):
        told: list[dict[str, Any]] = answer["objects"]
        return [dict(each) for each in told]
