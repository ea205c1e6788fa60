"""All workloads, in the order of the table. The package runs under both releases."""

from __future__ import annotations

from benchmarks.workloads import formats, listing, reading, recording, starting, writing
from benchmarks.workloads.data import DATA
from benchmarks.workloads.workload import Data, Floor, Job, Workload


__all__ = ["DATA", "WORKLOADS", "Data", "Floor", "Job", "Workload"]

_ORDER = (
    "record_cartpole",
    "record_vector",
    "record_frames",
    "write_hdf5",
    "append_hdf5",
    "write_arrow_100",
    "write_arrow_1000",
    "write_parquet_100",
    "write_parquet_1000",
    "iterate_arrow",
    "iterate_parquet",
    "iterate",
    "iterate_copy",
    "open_and_sum",
    "program_open_and_sum",
    "sample_episodes",
    "filter_episodes",
    "combine",
    "iterate_released",
    "list_200",
    "list_5000",
    "import_minari",
    "cli_help",
    "cli_list_empty",
)

_BY_NAME = {
    workload.name: workload
    for module in (recording, writing, formats, reading, listing, starting)
    for workload in module.WORKLOADS
}

WORKLOADS: tuple[Workload, ...] = tuple(_BY_NAME[name] for name in _ORDER)
