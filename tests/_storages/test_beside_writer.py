"""Readers beside a writer, in each format and in each kind of thread and process."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from support.beside import HOWS, create
from support.programs import run, start


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


def assert_nothing_wrong(directory: Path, data_format: str, how: str, episodes: int) -> None:
    """Let readers read in a separate program, since pytest has threads."""
    if how == "forked" and not hasattr(os, "fork"):
        pytest.skip("there is no fork")
    readers = start("from support.beside import main; main()", data_format, how, str(episodes), str(directory))
    out, err = readers.communicate(timeout=400)
    assert readers.returncode == 0, err
    seen: dict[str, Any] = json.loads(out)
    assert (seen["wrong"], seen["false"], seen["first"]) == (0, 0, "")
    assert seen["read"] >= episodes
    assert seen["changes"]


def test_forks_of_a_reading_process_see_nothing_wrong(tmp_path: Path, data_format: str) -> None:
    assert_nothing_wrong(tmp_path, data_format, "forked", 120)


@pytest.mark.soak
@pytest.mark.parametrize("how", HOWS)
def test_readers_see_nothing_wrong(tmp_path: Path, data_format: str, how: str) -> None:
    assert_nothing_wrong(tmp_path, data_format, how, 6000)


def test_reading_imports_nothing_that_a_fork_does_not_wait_for(tmp_path: Path, data_format: str) -> None:
    assert run(IMPORTS, str(create(tmp_path, data_format))).split() == []
