"""The file meta/minari.json, in which our export keeps the spaces and what the columns were."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym

from minari._base.files import FilesBeneath
from minari._base.json_text import parse_json, shortened
from minari.errors import InterchangeError
from minari.spaces.serialization import deserialize_space, serialize_space


__all__ = ["NAME", "Sidecar", "read_sidecar"]

NAME = "meta/minari.json"
_LARGEST = 2**26


@dataclass(frozen=True, slots=True)
class Sidecar:
    """Spaces and structure, for which LeRobot has no place.

    Attributes:
        observation_space: the space of the observations.
        action_space: the space of the actions.
        columns: for each column, the path of its values, such as ``("observations", "image")``, and their shape.
    """

    observation_space: gym.Space[Any]
    action_space: gym.Space[Any]
    columns: Mapping[str, tuple[tuple[Any, ...], tuple[int, ...]]]

    def write(self, path: Path) -> None:
        """Write the file into a directory of LeRobot."""
        content = {
            "version": 1,
            "observation_space": serialize_space(self.observation_space),
            "action_space": serialize_space(self.action_space),
            "columns": {name: [list(place), list(shape)] for name, (place, shape) in self.columns.items()},
        }
        (path / NAME).write_text(json.dumps(content, indent=1), encoding="utf-8")


def read_sidecar(path: Path) -> Sidecar | None:
    """Return the file of a directory; None if there is none.

    Raises:
        InterchangeError: it is damaged.
    """
    if not (path / NAME).is_file():
        return None
    content = parse_json(FilesBeneath(str(path)).read(NAME, _LARGEST))
    try:
        columns = {
            name: (tuple(place), tuple(shape))
            for name, (place, shape) in content["columns"].items()
            if all(type(part) in (str, int) for part in place) and all(type(n) is int and n >= 0 for n in shape)
        }
        observations, actions = (deserialize_space(content[f"{name}_space"]) for name in ("observation", "action"))
        return Sidecar(observations, actions, columns)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise InterchangeError(
            f"{path / NAME} is damaged ({shortened(str(error))[1:-1]}); remove it to read the dataset without it."
        ) from error
