"""Checks that tests of several formats share."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minari
from interchange.conftest import Sample
from minari.errors import InterchangeError
from minari.interchange import read


def fresh(*dataset_ids: str) -> None:
    """Delete datasets that an earlier example has made."""
    for dataset_id in dataset_ids:
        if dataset_id in minari.list_local_datasets():
            minari.delete_dataset(dataset_id)


def flat(tree: Any, prefix: str) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    """Yield nested values by the names that truth files use."""
    if isinstance(tree, Mapping):
        for key, part in tree.items():
            yield from flat(part, f"{prefix}/{key}")
    elif isinstance(tree, tuple):
        for number, part in enumerate(tree):
            yield from flat(part, f"{prefix}/{number}")
    else:
        yield prefix, np.asarray(tree)


def values_of(episode: Any) -> dict[str, np.ndarray[Any, Any]]:
    """The values of an episode by the names that truth files use."""
    return {
        **dict(flat(episode.observations, "observations")),
        **dict(flat(episode.actions, "actions")),
        "rewards": episode.rewards,
        "terminated": episode.terminations,
        "truncated": episode.truncations,
    }


def assert_like_truth(
    episode: Any,
    found: Sample,
    number: int,
    *,
    final: bool = True,
    skip: Callable[[str], bool] = lambda name: False,
    tolerance: Mapping[str, float] | None = None,
) -> None:
    """Compare an episode with the truth: names, dtypes, shapes and values.

    Args:
        episode: the episode.
        found: the sample.
        number: the number of the episode in the truth.
        final: False if the last observation is not that of the truth.
        skip: whether a name is not compared.
        tolerance: how far observations may be off, by their key, all but the last row.
    """
    truth, ours = found.episode(number), values_of(episode)
    compared = {name: values for name, values in truth.items() if not name.startswith("infos") and not skip(name)}
    assert compared.keys() <= ours.keys()
    for name, theirs in compared.items():
        a, b = ours[name], theirs
        if name.startswith("observations") and (not final or tolerance):
            a, b = a[:-1], b[:-1]
        assert (a.dtype, a.shape) == (b.dtype, b.shape), name
        key = name.rpartition("/")[2]
        if tolerance and key in tolerance:
            np.testing.assert_allclose(a, b, rtol=0, atol=tolerance[key] * 1.001, err_msg=name)
        else:
            np.testing.assert_array_equal(a, b, err_msg=name)


def assert_same_episodes(again: Any, dataset: Any) -> None:
    """Compare two datasets value for value."""
    assert len(again) == len(dataset)
    for ours, theirs in zip(again, dataset, strict=True):
        a, b = values_of(ours), values_of(theirs)
        a.update(flat(ours.infos, "infos"))
        b.update(flat(theirs.infos, "infos"))
        assert a.keys() == b.keys()
        for name, value in b.items():
            assert (a[name].dtype, a[name].shape) == (value.dtype, value.shape), name
            np.testing.assert_array_equal(a[name], value, err_msg=name)


def damaged_copies(data: bytes, count: int = 12, seed: int = 0) -> Iterator[bytes]:
    """Yield copies of a file that are cut, or of which a few bytes are flipped or zeroed."""
    generator = np.random.default_rng(seed)
    for number in range(count):
        changed = bytearray(data)
        place = int(generator.integers(len(data)))
        if number % 4 == 0:
            del changed[place:]
        elif number % 4 == 1:
            changed[place : place + 64] = bytes(min(64, len(data) - place))
        else:
            for at in generator.integers(min(len(data), 4096 if number % 4 == 2 else len(data)), size=4):
                changed[at] ^= 1 << int(generator.integers(8))
        yield bytes(changed)


def assert_read_or_refused(path: Path, name: str, **options: Any) -> None:
    """Read everything; only errors of the formats may be raised, each of one line."""
    message = ""
    try:
        for _ in read(path, name, **options).episodes:
            pass
    except InterchangeError as error:
        message = str(error)
    assert "\n" not in message


def run_library(variable: str, script: str, *arguments: object) -> str:
    """Run a script with the Python that has a library, or skip the test."""
    python = os.environ.get(variable)
    if not python:
        pytest.skip(f"the library is not there; {variable} names a Python that has it")
    ran = subprocess.run(
        [python, "-c", script, *map(str, arguments)], capture_output=True, text=True, timeout=300, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout
