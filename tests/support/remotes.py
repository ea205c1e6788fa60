"""A remote for the tests of what is done with remotes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

from minari.storage.remotes.file import FileStorage
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
    "uploaded",
    "visible",
    "write_dataset",
    "write_namespace",
]


class SpyStorage(FileStorage):
    """A folder as a remote that counts what it is asked for and can be told to fail."""

    calls: ClassVar[Counter[str]] = Counter()
    failures: ClassVar[dict[str, Exception]] = {}

    def _note(self, call: str) -> None:
        self.calls[call] += 1
        if call in self.failures:
            raise self.failures[call]

    def survey(self, prefix: str | None = None) -> dict[str, bytes | None]:
        self._note(f"list_datasets {prefix}")
        return super().survey(prefix)

    def get_dataset_metadata(self, dataset_id: str) -> dict[str, Any]:
        self._note(f"get_dataset_metadata {dataset_id}")
        return super().get_dataset_metadata(dataset_id)

    def fetch_dataset(self, dataset_id: str, folder: Path, like: Path | None = None) -> Path:
        self._note(f"download_dataset {dataset_id}")
        return super().fetch_dataset(dataset_id, folder, like)

    def upload_dataset(self, dataset_id: str, *, root: Any = None, force: bool = False) -> None:
        self._note(f"upload_dataset {dataset_id}")
        super().upload_dataset(dataset_id, root=root, force=force)

    @classmethod
    def downloads(cls) -> list[str]:
        """The ids that were asked for, in order."""
        return [call.split()[1] for call in cls.calls if call.startswith("download_dataset")]
