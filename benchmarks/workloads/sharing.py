"""One operation on a remote, in either release; environment variables select the servers."""

from __future__ import annotations

import gc
import importlib
import importlib.util
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


#: What each release imports when it first needs it, or before: for all remotes, and for each kind.
_MODULES = ("minari.storage.hosting", "minari.dataset.minari_dataset", "h5py")
_REMOTES = {"gcp": ("minari.storage.remotes.gcp",), "hf": ("minari.storage.remotes.huggingface",)}
#: What the Hub's client is built on, whichever of its releases is installed; it imports that with its first request.
_HTTP = ("httpcore2", "httpcore", "requests")
_FILE = 64 << 10  # bytes


def share(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Run the operation and return its duration in seconds, without imports.

    Raises:
        ValueError: What came is not what was asked for.
    """
    root = Path(arguments["root"])
    root.mkdir(parents=True, exist_ok=True)
    os.environ["MINARI_DATASETS_PATH"] = str(root)
    os.environ["MINARI_REMOTE"] = arguments["address"]
    minari = minari_of_this_side()
    for module in (*_MODULES, *_REMOTES[arguments["address"].partition("://")[0]]):
        importlib.import_module(module)
    for module in filter(importlib.util.find_spec, _HTTP):
        importlib.import_module(module)
    dataset_id, token = arguments["name"], arguments["token"]
    if arguments["action"] == "prepare":
        _prepare(dataset_id, arguments["size"], arguments["count"], token)
        return {}
    act = {
        "list": minari.list_remote_datasets,
        "upload": lambda: minari.upload_dataset(dataset_id, token),
        "download": lambda: minari.download_dataset(dataset_id),
    }[arguments["action"]]
    gc.collect()
    begin = time.perf_counter()
    act()
    seconds = time.perf_counter() - begin
    if arguments["action"] == "download" and len(list(root.rglob("part-*.bin"))) != arguments["size"] - 2:
        raise ValueError(f"{dataset_id} did not come whole")
    return {"seconds": seconds}


def _prepare(dataset_id: str, files: int, count: int, token: str) -> None:
    """Create a local dataset of many files and many small datasets on the remote.

    The released package cannot list a bucket with a dataset in the format arrow, so the files of the first
    lie beside the data of one in HDF5.
    """
    noise = np.random.default_rng(0)
    directory = Path(str(_small(dataset_id).storage.data_path))
    for number in range(files - 2):
        (directory / f"part-{number:03}.bin").write_bytes(noise.bytes(_FILE))
    for number in range(count):
        small = f"bench/small-{number}-v0"
        _small(small)
        minari_of_this_side().upload_dataset(small, token)


def _small(dataset_id: str) -> Any:
    ends = np.arange(1, 11) % 10 == 0
    arrays = {"observations": np.zeros((10, 3)), "actions": np.zeros(10), "rewards": np.zeros(10)}
    make = minari_of_this_side().create_dataset_from_arrays
    return make(dataset_id, **arrays, terminations=ends, final_observation="repeat")


def minari_of_this_side() -> Any:
    """Import the release of this interpreter after the variables are set."""
    return importlib.import_module("minari")
