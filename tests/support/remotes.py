"""Datasets and trees for the tests of remotes: small, made by hand, and compared byte for byte."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from minari.dataset.versions import FORMAT_VERSION
from minari.progress import ProgressTask
from minari.storage.remotes.file import FileStorage


NAMESPACE_FILE = "namespace_metadata.json"


def write_dataset(
    root: Path,
    dataset_id: str,
    *,
    version: str = FORMAT_VERSION,
    combined: list[str] | None = None,
    files: Mapping[str, bytes] | None = None,
    **metadata: Any,
) -> Path:
    """Make the folder of a dataset with metadata that are in order; what the data files hold is any bytes."""
    space = json.dumps({"type": "Discrete", "dtype": "int64", "start": 0, "n": 2})
    raw = {
        "total_episodes": 1,
        "total_steps": 3,
        "data_format": "hdf5",
        "observation_space": space,
        "action_space": space,
        "dataset_id": dataset_id,
        "minari_version": version,
        **({} if combined is None else {"combined_datasets": combined}),
        **metadata,
    }
    folder = root / dataset_id
    contents = {"data/metadata.json": json.dumps(raw).encode(), "data/main_data.hdf5": dataset_id.encode()}
    for name, content in {**contents, **(files or {})}.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return folder


def write_namespace(root: Path, namespace: str, **metadata: Any) -> Path:
    """Make one namespace, without those around it."""
    file = root / namespace / NAMESPACE_FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(metadata), encoding="utf-8")
    return file


def tree(root: Path) -> dict[str, bytes | None]:
    """Everything below a folder, hidden or not: files with their bytes, folders with None."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes() if path.is_file() else None for path in root.rglob("*")
    }


class Interference:
    """An observer of progress that does something when so many units of an operation are done."""

    def __init__(self, action: Callable[[], object], after: int = 1) -> None:
        self.action, self.after = action, after
        self.tasks: list[ProgressTask] = []
        self.done: list[int] = []
        self.finished_tasks: list[ProgressTask] = []

    def started(self, task: ProgressTask) -> None:
        self.tasks.append(task)
        self.done.append(0)

    def advanced(self, task: ProgressTask, amount: int) -> None:
        position = self.tasks.index(task)
        self.done[position] += amount
        if self.done[position] == self.after:
            self.action()

    def finished(self, task: ProgressTask) -> None:
        self.finished_tasks.append(task)


def interrupt() -> None:
    """What Ctrl-C does."""
    raise KeyboardInterrupt


class SpyStorage(FileStorage):
    """A folder as a remote that counts what it is asked for and can be told to fail."""

    calls: ClassVar[Counter[str]] = Counter()
    failures: ClassVar[dict[str, Exception]] = {}

    def _note(self, call: str) -> None:
        self.calls[call] += 1
        if call in self.failures:
            raise self.failures[call]

    def list_datasets(self, prefix: str | None = None) -> list[str]:
        self._note(f"list_datasets {prefix}")
        return super().list_datasets(prefix)

    def get_dataset_metadata(self, dataset_id: str) -> dict[str, Any]:
        self._note(f"get_dataset_metadata {dataset_id}")
        return super().get_dataset_metadata(dataset_id)

    def download_dataset(self, dataset_id: str, path: Path) -> None:
        self._note(f"download_dataset {dataset_id}")
        super().download_dataset(dataset_id, path)

    def upload_dataset(self, dataset_id: str, *, root: Any = None) -> None:
        self._note(f"upload_dataset {dataset_id}")
        super().upload_dataset(dataset_id, root=root)

    @classmethod
    def downloads(cls) -> list[str]:
        """The ids that were asked for, in order."""
        return [call.split()[1] for call in cls.calls if call.startswith("download_dataset")]
