"""Data sets in the cache of Hugging Face, whose files are links, are read; links to elsewhere are refused."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from interchange.mutants import Seed, seeds
from minari.interchange import formats, read
from support.limits import run_limited


def cached(source: Path, root: Path, repository: str = "datasets--ada--toy") -> Path:
    """Put a file or directory into a cache as Hugging Face's library does, and return its place in the snapshot."""
    snapshot = root / repository / "snapshots" / "0123abcd"
    (root / repository / "blobs").mkdir(parents=True)
    for file in [source] if source.is_file() else sorted(one for one in source.rglob("*") if one.is_file()):
        place = snapshot / source.name / file.relative_to(source) if source.is_dir() else snapshot / source.name
        content = file.read_bytes()
        blob = root / repository / "blobs" / hashlib.sha256(content).hexdigest()
        blob.write_bytes(content)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(os.path.relpath(blob, place.parent))
    sidecar = source.with_suffix(".json")
    if source.is_file() and sidecar.is_file():  # of ManiSkill
        shutil.copyfile(sidecar, snapshot / sidecar.name)
    return snapshot / source.name


def contents(value: Any) -> Any:
    """All values of an episode, in a form in which they can be compared."""
    if isinstance(value, Mapping):
        return {key: contents(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [contents(part) for part in value]
    if hasattr(value, "agents"):
        return contents(value.agents)
    if hasattr(value, "observations"):
        return contents([value.observations, value.actions, value.rewards, value.terminations, value.infos])
    return (value.dtype, value.shape, value.tobytes()) if isinstance(value, np.ndarray) else repr(value)


def _same(seed: Seed, place: Path, *, sniffs: bool) -> bool:
    """Return whether a copy of a sample has the same episodes, and is of the same format by its files."""
    found = [contents(one) for one in read(place, seed.name, **seed.options).episodes]
    if sniffs and read(place, **seed.options).report.format != seed.name:
        return False
    return found == [contents(one) for one in read(seed.path, seed.name, **seed.options).episodes]


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("exports")


@pytest.mark.parametrize("name", [name for name in formats() if name not in ("sb3", "crowdplay")])
def test_data_in_a_cache_of_links_are_read(name: str, exports: Path, tmp_path: Path) -> None:
    """Each sample is the same through links, also where its format is found by its files."""
    missing = ""
    for number, seed in enumerate(seeds(name, exports)):
        if seed.name == "rllib" and seed.path.name == "pendulum_packed":
            continue  # is refused
        place = cached(seed.path, tmp_path / str(number))
        # In a child, as tensorstore aborts forks of a process in which it has been used.
        outcome = run_limited(partial(_same, seed, place, sniffs=number == 0), seconds=120)
        if outcome.error == "MissingDependencyError":
            missing = outcome.text
        else:
            assert outcome.value is True, outcome
    if missing:
        pytest.skip(missing)


@pytest.mark.parametrize("target", ["outside", "other repository", "snapshot that looks alike"])
@pytest.mark.parametrize("name", [name for name in formats() if name not in ("sb3", "crowdplay", "csv", "parquet")])
def test_links_that_leave_the_repository_are_refused(name: str, target: str, exports: Path, tmp_path: Path) -> None:
    """A file that is a link to another place is not read, whatever is there."""
    known = [seed for seed in seeds(name, exports) if seed.path.is_dir() and seed.path.name != "pendulum_packed"]
    for number, seed in enumerate(known):
        root = tmp_path / str(number)
        place = cached(seed.path, root)
        cached(seed.path, root, "datasets--eve--other")
        if target == "snapshot that looks alike":  # a directory of that name without a repository around it
            place = Path(shutil.copytree(place, root / "snapshots" / "0123abcd" / seed.path.name, symlinks=True))
            shutil.copytree(root / "datasets--ada--toy" / "blobs", root / "blobs")
        for file in [one for one in sorted(place.rglob("*")) if one.is_symlink()]:
            blob = root / "blobs" / file.readlink().name if target == "snapshot that looks alike" else file.resolve()
            if target == "other repository":
                blob = root / "datasets--eve--other" / "blobs" / blob.name
            elif target == "outside":
                blob = Path(shutil.copy(blob, root / f"{blob.name}.outside"))
            file.unlink()
            file.symlink_to(blob)
        outcome = run_limited(partial(_same, seed, place, sniffs=False), seconds=120)
        assert outcome.error == "InterchangeError", outcome
