"""Samples of other formats, with their truth."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.official import fixtures_directory


@dataclass(frozen=True)
class Sample:
    """A file or directory of another program, and what is in it.

    Attributes:
        path: of the file or directory.
        truth: the description beside it.
        arrays: the values of its episodes, such as ``ep000/observations``.
    """

    path: Path
    truth: dict[str, Any]
    arrays: dict[str, np.ndarray[Any, Any]]

    def episode(self, number: int) -> dict[str, np.ndarray[Any, Any]]:
        """The values of an episode by their names."""
        prefix = f"ep{number:03d}/"
        return {key.removeprefix(prefix): value for key, value in self.arrays.items() if key.startswith(prefix)}


def sample(directory: str, name: str, suffix: str = "") -> Sample:
    """Return a sample by its directory and name, or skip the test."""
    root = fixtures_directory()
    if root is None or not (root / "foreign").is_dir():
        pytest.skip("the samples of other formats are not there; MINARI_FIXTURES names their directory")
    place = root / "foreign" / directory
    truth = json.loads((place / f"{name}.truth.json").read_text(encoding="utf-8"))
    with np.load(place / f"{name}.truth.npz") as file:
        arrays = {key: file[key] for key in file}
    return Sample(place / f"{name}{suffix}", truth, arrays)
