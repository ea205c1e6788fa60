"""A remote for the tests of what is done with remotes."""

from __future__ import annotations

from collections import Counter
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, ClassVar

import minari
from minari.storage.remotes.directory import FileStorage
from minari.storage.transfer.meter import Advance
from minari.storage.transfer.upload_snapshot import UploadSnapshot
from minari.testing.sharing import (
    NAMESPACE_FILE,
    Interference,
    interrupt,
    tree,
    uploaded,
    visible,
    write_dataset,
    write_namespace,
)


__all__ = [
    "NAMESPACE_FILE",
    "Interference",
    "SpyStorage",
    "interrupt",
    "tree",
    "upload_dataset",
    "uploaded",
    "visible",
    "write_dataset",
    "write_namespace",
]

#: Upload datasets of which only the metadata is real, as those of :func:`write_dataset`.
upload_dataset = partial(minari.upload_dataset, validate=False)


class SpyStorage(FileStorage):
    """A directory as a remote that counts requests and can be set to fail."""

    calls: ClassVar[Counter[str]] = Counter()
    failures: ClassVar[dict[str, Exception]] = {}

    def _note(self, call: str) -> None:
        self.calls[call] += 1
        if call in self.failures:
            raise self.failures[call]

    def list_with_metadata(self, prefix: str | None = None) -> dict[str, bytes | None]:
        self._note(f"list_datasets {prefix}")
        return super().list_with_metadata(prefix)

    def get_dataset_metadata(self, dataset_id: str) -> dict[str, Any]:
        self._note(f"get_dataset_metadata {dataset_id}")
        return super().get_dataset_metadata(dataset_id)

    def unchanged(self, dataset_id: str) -> AbstractContextManager[None]:
        self._note(f"download_dataset {dataset_id}")
        return super().unchanged(dataset_id)

    def send_snapshot(self, snapshot: UploadSnapshot, advance: Advance, *, force: bool) -> None:
        self._note(f"upload_dataset {snapshot.dataset_id}")
        super().send_snapshot(snapshot, advance, force=force)

    @classmethod
    def downloads(cls) -> list[str]:
        """The ids that were asked for, in order."""
        return [call.split()[1] for call in cls.calls if call.startswith("download_dataset")]
