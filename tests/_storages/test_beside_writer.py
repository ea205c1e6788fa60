"""Readers beside a writer, in each format and in each kind of thread and process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import minari
from support.beside import HOWS, create
from support.copies import require_format
from support.programs import run


#: Prints what is imported outside of :func:`minari._base.lazy.import_late` while an episode is read for the first
#: time, and again when the files seem to have changed.
IMPORTS = """
    import os
    import pathlib
    import sys

    import minari
    from minari._base import lazy

    class Finder:
        def find_spec(self, name, path=None, target=None):
            if not lazy._importing:
                print(name)

    dataset = minari.open_dataset(sys.argv[1])
    sys.meta_path.insert(0, Finder())
    dataset[0]
    for path in pathlib.Path(sys.argv[1]).rglob("*"):
        os.utime(path, (1, 1))
    dataset[1]
    minari.open_dataset(sys.argv[1])[2]
"""


def beside(directory: Path, data_format: str, how: str, episodes: int) -> dict[str, object]:
    """Return what the readers see, in a separate program, since pytest has threads."""
    require_format(data_format)
    paths = [str(Path(minari.__file__).parents[1]), str(Path(__file__).parents[1])]
    command = [sys.executable, "-m", "support.beside", data_format, how, str(episodes), str(directory)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400, check=True)
    seen: dict[str, object] = json.loads(done.stdout)
    return seen


def assert_nothing_wrong(seen: dict[str, object], episodes: int) -> None:
    assert (seen["wrong"], seen["false"], seen["first"]) == (0, 0, "")
    assert isinstance(seen["read"], int)
    assert seen["read"] >= episodes
    assert seen["changes"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.parametrize("data_format", ["hdf5", "arrow", "parquet", "zarr"])
def test_forked_while_a_thread_reads_for_the_first_time(tmp_path: Path, data_format: str) -> None:
    assert_nothing_wrong(beside(tmp_path, data_format, "forked", 120), 120)


@pytest.mark.soak
@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("data_format", ["hdf5", "arrow", "parquet", "zarr"])
def test_readers_see_nothing_wrong(tmp_path: Path, data_format: str, how: str) -> None:
    if how == "forked" and not hasattr(os, "fork"):
        pytest.skip("there is no fork")
    assert_nothing_wrong(beside(tmp_path, data_format, how, 6000), 6000)


@pytest.mark.parametrize("data_format", ["hdf5", "arrow", "parquet", "zarr"])
def test_reading_imports_nothing_that_a_fork_does_not_wait_for(tmp_path: Path, data_format: str) -> None:
    require_format(data_format)
    assert run(IMPORTS, str(create(tmp_path, data_format))).split() == []
