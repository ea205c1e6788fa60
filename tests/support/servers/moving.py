"""A dataset that takes a while to move, and programs that move it."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from minari._model.manifest import MANIFEST_NAME, Manifest, ManifestFile
from minari.storage.remotes import CloudStorage
from minari.storage.transfer.checksums import checksum_of
from minari.testing.sharing import tree, visible
from support.servers.backends import Backend


ID = "lab/x-v0"
PIECE = 1 << 18  # bytes: small enough that ten of them move in no time, larger than OVERHEAD
LARGE = np.random.default_rng(0).bytes(10 * PIECE)
OVERHEAD = 100_000  # bytes: listings, manifests, metadata, more than there ever are

DOWNLOAD = """
import sys
from minari import download_dataset
from minari.storage.transfer import limits
limits.FIRST_PAUSE = 0.01
download_dataset("lab/x-v0", remote=sys.argv[1], root=sys.argv[2], max_workers=int(sys.argv[3]))
"""
UPLOAD = """
import sys
from minari.storage.remotes import get_cloud_storage
from minari.storage.transfer import limits
limits.FIRST_PAUSE = 0.01
get_cloud_storage(sys.argv[1], sys.argv[2] or None, max_workers=1).upload_dataset("lab/x-v0")
"""


def new_files(count: int = 10) -> dict[str, bytes]:
    """Some that no server has ever seen, of a PIECE each."""
    return {f"data/part-{number}.hdf5": os.urandom(PIECE) for number in range(count)}


def upload_in_pieces(backend: Backend) -> None:
    """Upload the dataset, whose large file is LARGE, and have its manifest tell of small pieces."""
    backend.upload(ID, max_workers=1)
    manifest = Manifest.parse(backend.files()[f"{ID}/{MANIFEST_NAME}"], "it")
    pieces = tuple(checksum_of(LARGE[at : at + PIECE], "sha256").value for at in range(0, len(LARGE), PIECE))
    large = ManifestFile(len(LARGE), checksum_of(LARGE, "sha256").value, pieces)
    smaller = replace(manifest, files={**manifest.files, "data/main_data.hdf5": large}, piece_size=PIECE)
    backend.put(f"{ID}/{MANIFEST_NAME}", smaller.dump())
    if backend.has_network:
        backend.proxy.forget()


def one_by_one(backend: Backend) -> CloudStorage:
    """One piece after another, so that what has come can be counted."""
    return backend.remote(max_workers=1)


def assert_arrives(backend: Backend, arrival: Path, directory: Path) -> None:
    """Download the dataset, piece after piece, and require what a local directory has."""
    one_by_one(backend).download_dataset(ID, arrival)
    assert_same(arrival, directory)


def assert_same(arrival: Path, directory: Path) -> None:
    """Require the dataset of a local directory, and nothing hidden beside."""
    assert tree(arrival / ID) == tree(directory)
    assert tree(arrival) == visible(arrival)


def put_in_place(root: Path) -> list[str]:
    """The files that are not hidden."""
    return [name for name, content in visible(root).items() if content is not None]


def kill_when(condition: Callable[[], bool], program: subprocess.Popen[str]) -> None:
    """Kill a program, as `kill -9` does, as soon as something is so."""
    end = time.monotonic() + 60
    while not condition():
        assert program.poll() is None, program.communicate()
        assert time.monotonic() < end, "nothing moves"
        time.sleep(0.002)
    program.kill()
    program.communicate()
