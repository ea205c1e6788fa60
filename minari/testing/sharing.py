"""Datasets and trees for the tests of remotes: small, handmade, and compared byte for byte."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from minari._model.format_version import FORMAT_VERSION
from minari.progress import ProgressTask


__all__ = [
    "NAMESPACE_FILE",
    "Interference",
    "interrupt",
    "tree",
    "uploaded",
    "visible",
    "write_dataset",
    "write_namespace",
]

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
    """Create the directory of a dataset with valid metadata; data files have arbitrary bytes."""
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
    directory = root / dataset_id
    contents = {"data/metadata.json": json.dumps(raw).encode(), "data/main_data.hdf5": dataset_id.encode()}
    for name, content in {**contents, **(files or {})}.items():
        file = directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return directory


def write_namespace(root: Path, namespace: str, **metadata: Any) -> Path:
    """Create one namespace, without its parents."""
    file = root / namespace / NAMESPACE_FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(metadata), encoding="utf-8")
    return file


def tree(root: Path) -> dict[str, bytes | None]:
    """Everything below a directory, hidden or not: files with their bytes, directories with None."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes() if path.is_file() else None for path in root.rglob("*")
    }


def visible(root: Path) -> dict[str, bytes | None]:
    """Return the result of :func:`tree` without hidden entries."""
    return {
        name: content
        for name, content in tree(root).items()
        if not any(part.startswith(".") for part in name.split("/"))
    }


def uploaded(root: Path) -> dict[str, bytes | None]:
    """Return :func:`tree` of a directory that is a remote, without what uploads add: manifests and the index."""
    added = ("/data/manifest.json", "datasets_index.json.gz")
    return {name: content for name, content in tree(root).items() if not name.endswith(added)}


class Interference:
    """Observer of progress that performs an action after a number of units of an operation.

    Args:
        action: the action.
        after: minimum number of units.
        during: prefix of the description of the operation.
    """

    def __init__(self, action: Callable[[], object], after: int = 1, during: str = "") -> None:
        self.action, self.after, self.during, self.acted = action, after, during, False
        self.tasks: list[ProgressTask] = []
        self.done: list[int] = []
        self.finished_tasks: list[ProgressTask] = []

    def started(self, task: ProgressTask) -> None:
        """Start an operation."""
        self.tasks.append(task)
        self.done.append(0)

    def advanced(self, task: ProgressTask, amount: int) -> None:
        """Advance an operation."""
        position = self.tasks.index(task)
        self.done[position] += amount
        if task.description.startswith(self.during) and self.done[position] >= self.after and not self.acted:
            self.acted = True
            self.action()

    def finished(self, task: ProgressTask) -> None:
        """Finish an operation."""
        self.finished_tasks.append(task)


def interrupt() -> None:
    """Raise like Ctrl-C."""
    raise KeyboardInterrupt
