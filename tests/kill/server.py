"""The process that the faults library is preloaded into: reads seeds as JSON, writes one verdict a line."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import warnings
from pathlib import Path

from support.forks import preload

from .faults import Faults


_LOADED = (
    "minari._storages.hdf5.storage",
    "minari._storages.arrow.storage",
    "minari._storages.zarr.storage",
    "minari.storage.hosting",
    "minari.storage.remotes.directory",
    "pyarrow.parquet",
    "h5py",
    "zarr",
)


def main() -> None:
    library, work = sys.argv[1:]
    out = os.fdopen(os.dup(1), "w", buffering=1)
    seeds = json.load(sys.stdin)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1):
        os.dup2(null, descriptor)
    warnings.simplefilter("ignore")
    tempfile.tempdir = work
    preload(_LOADED)
    faults = Faults(library, Path(work))
    for seed in seeds:
        print(json.dumps(faults.run(seed).as_json()), file=out)


if __name__ == "__main__":
    main()
