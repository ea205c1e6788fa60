"""Listing the local datasets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import minari
from benchmarks.workloads.data import metadata_files
from benchmarks.workloads.workload import Floor, Workload, root_at


def _list(root: Path) -> dict[str, dict[str, Any]]:
    with root_at(root):
        return minari.list_local_datasets()


def _parse(files: list[Path]) -> list[Any]:
    return [json.loads(file.read_bytes()) for file in files]


def _steps(root: Path, listed: dict[str, dict[str, Any]]) -> int:
    return len(listed) + sum(int(metadata["total_steps"]) for metadata in listed.values())


def _workload(size: int, quick: int, flat_with: str | None = None) -> Workload:
    return Workload(
        name=f"list_{size}",
        title=f"List {size:,} local datasets",
        target=2,
        data=f"many_{size}",
        setup=lambda job: job.data,
        run=_list,
        check=_steps,
        warm=True,
        floor=Floor(
            note="reading the metadata files at known paths and parsing them with `json.loads`",
            setup=lambda job: metadata_files(job.data),
            run=_parse,
        ),
        per="entry",
        count=lambda job: job.size,
        size=size,
        quick=quick,
        flat_with=flat_with,
    )


WORKLOADS = (_workload(200, 5), _workload(5000, 20, flat_with="list_200"))
