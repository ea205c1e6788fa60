"""``az://container``: Azure Blob Storage."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import adlfs  # noqa: F401 (fsspec opens the addresses with it)
from azure.core import MatchConditions
from azure.storage.blob import ContentSettings

from minari.storage.remotes.fsspec import FsspecStorage
from minari.storage.transfer.checksums import Checksum, checksums_of, read_in_pieces
from minari.storage.transfer.meter import unreported
from minari.storage.transfer.remote_files import RemoteFile


__all__ = ["AzureStorage"]


class AzureStorage(FsspecStorage):
    """Container, or the part of it below a prefix.

    Args:
        name: ``container`` or ``container/prefix``.
        token: path of a JSON file with options of adlfs: ``account_name``, ``account_key`` and so on.
            By default, the usual environment variables are used: ``AZURE_STORAGE_CONNECTION_STRING``, or
            ``AZURE_STORAGE_ACCOUNT_NAME`` with ``AZURE_STORAGE_ACCOUNT_KEY``, and their like.
        **options: as for :class:`CloudStorage`.
    """

    SCHEME = "az"
    CHECKSUMS = ("md5",)
    IN_CONTAINER = True
    HINT: ClassVar[str] = (
        "Set AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or give as "
        "the token the path of a JSON file with account_name and account_key."
    )

    def _client_options(self) -> dict[str, Any]:
        return {"connection_timeout": self.LIMITS.connect_timeout, "read_timeout": self.LIMITS.read_timeout}

    def _prepare(self, filesystem: Any) -> None:
        # adlfs has no option that keeps its client from retrying for more than a minute.
        filesystem.service_client._config.retry_policy.total_retries = 0

    def _listed(self, prefix: str) -> Mapping[str, Mapping[str, Any]]:
        found = super()._listed(prefix)
        if not found:  # which adlfs also reports for a missing container
            self._request("Looking for", "the container", "info", self._path("").partition("/")[0])
        return found

    def _checksum(self, info: Mapping[str, Any]) -> Checksum | None:
        md5 = (info.get("content_settings") or {}).get("content_md5")
        return Checksum("md5", bytes(md5).hex()) if md5 else None

    def put_file(self, name: str, path: Path, sent: Callable[[int], None] = unreported) -> RemoteFile:
        """Send a file; the store verifies each block and keeps the checksum of the whole."""
        size = path.stat().st_size
        md5 = checksums_of(read_in_pieces(path), size, ["md5"])["md5"]
        settings = ContentSettings(content_md5=bytearray.fromhex(md5.value))
        self._send(name, path, size, sent, content_settings=settings, validate_content=True)
        return self._remote_file(name, self._call("Looking at", name, "info"))

    def _conditions(self, match: str) -> dict[str, Any]:
        return {"etag": match, "match_condition": MatchConditions.IfNotModified}
