"""Columns of a dataset in tables of numbers and texts, and the description that lets them be read back exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from minari._base.json_text import shortened
from minari._model.episode import EpisodeData
from minari._storages.arrow.conversions import pa
from minari.dataset.minari_dataset import MinariDataset
from minari.errors import InterchangeError
from minari.interchange.encoded_frames import is_encoded
from minari.interchange.format import Report
from minari.spaces import is_utf8_text
from minari.spaces.serialization import deserialize_space, serialize_space


__all__ = ["OwnColumns", "Place", "arrow_array", "common_columns", "leaves_of"]

_DEEPEST = 5  # axes of a value
_OUTCOMES = "rewards", "terminations", "truncations"

#: The path of a leaf: its field, such as ``"observations"``, and the keys below.
Place: TypeAlias = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class OwnColumns:
    """Spaces and structure of a dataset, for which tables of other programs have no place.

    Attributes:
        observation_space: the space of the observations.
        action_space: the space of the actions.
        columns: for each column, the place of its values, such as ``("observations", "image")``, and their shape.
    """

    observation_space: gym.Space[Any]
    action_space: gym.Space[Any]
    columns: Mapping[str, tuple[Place, tuple[int, ...]]]

    def as_json(self) -> dict[str, Any]:
        """Return the description as a JSON object."""
        return {
            "version": 1,
            "observation_space": serialize_space(self.observation_space),
            "action_space": serialize_space(self.action_space),
            "columns": {name: [list(place), list(shape)] for name, (place, shape) in self.columns.items()},
        }

    @classmethod
    def from_json(cls, content: Any, where: object) -> OwnColumns:
        """Return the description in a JSON object.

        Raises:
            InterchangeError: it is damaged.
        """
        try:
            columns = {
                name: (tuple(place), tuple(shape))
                for name, (place, shape) in content["columns"].items()
                if all(type(part) in (str, int) for part in place) and all(type(n) is int and n >= 0 for n in shape)
            }
            observations, actions = (deserialize_space(content[f"{name}_space"]) for name in ("observation", "action"))
            return cls(observations, actions, columns)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise InterchangeError(
                f"{where} is damaged ({shortened(str(error))[1:-1]}); remove it to read the dataset without it."
            ) from error

    def tree(self, section: str, leaf: Callable[[str, tuple[int, ...]], Any], where: object) -> Any:
        """Return what a function makes of each column of a section, nested like its values.

        Args:
            section: ``"observations"``, ``"actions"`` or ``"infos"``.
            leaf: called with the name of a column and the shape of its values.
            where: the description, for messages.

        Raises:
            InterchangeError: a part of a space has no column.
        """
        found = {place: leaf(name, shape) for name, (place, shape) in self.columns.items() if place[:1] == (section,)}
        spaces = {"observations": self.observation_space, "actions": self.action_space}
        return _like(spaces[section], found, (section,), where) if section in spaces else _below(found)

    def column_of(self, section: str) -> str | None:
        """Return the column with the rewards or flags."""
        return next((name for name, (place, _) in self.columns.items() if place == (section,)), None)


def _like(space: gym.Space[Any], leaves: Mapping[Place, Any], place: Place, where: object) -> Any:
    if isinstance(space, gym.spaces.Dict):
        return {key: _like(part, leaves, (*place, key), where) for key, part in space.spaces.items()}
    if isinstance(space, gym.spaces.Tuple):
        return tuple(_like(part, leaves, (*place, number), where) for number, part in enumerate(space.spaces))
    if place not in leaves:
        raise InterchangeError(
            f"{where} names no column of {'/'.join(map(str, place))}; remove it to read the dataset without it."
        )
    return leaves[place]


def _below(leaves: Mapping[Place, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for (_, *outer), rows in leaves.items():
        inner = tree
        for part in outer[:-1]:
            inner = inner.setdefault(part, {})
        inner[outer[-1]] = rows
    return tree


def _leaves(values: Any, place: Place) -> Iterator[tuple[Place, Any]]:
    if isinstance(values, Mapping):
        for key, part in values.items():
            yield from _leaves(part, (*place, key))
    elif isinstance(values, tuple):
        for number, part in enumerate(values):
            yield from _leaves(part, (*place, number))
    else:
        yield place, values


def leaves_of(episode: EpisodeData) -> dict[Place, Any]:
    """Return the columns of an episode by their places."""
    found: dict[Place, Any] = {}
    for section in ("observations", "actions", "infos"):
        found.update(_leaves(getattr(episode, section), (section,)))
    for section in _OUTCOMES:
        found[(section,)] = getattr(episode, section)
    return found


def _signature(values: Any, frame: tuple[int, ...]) -> tuple[Any, ...] | None:
    """Return what all rows of a column have in common, those of encoded frames the given shape; None if it differs."""
    if is_encoded(values):
        return np.dtype(np.uint8), frame
    if isinstance(values, np.ndarray) and values.dtype.kind in "biuf" and values.dtype.itemsize <= 8:
        shape = values.shape[1:]
        return (values.dtype, shape) if len(shape) <= _DEEPEST and all(shape) else None
    if isinstance(values, (list, np.ndarray)) and all(isinstance(text, str) for text in values):
        return np.dtype(object), ()
    return None


def _is_text(place: Place) -> bool:
    """Return whether a name of a column can have the keys of a leaf in it."""
    return all(is_utf8_text(str(key)) for key in place)


def common_columns(
    dataset: MinariDataset, episodes: Iterable[EpisodeData], name: str, report: Report
) -> dict[Place, tuple[np.dtype[Any], tuple[int, ...]]]:
    """Return dtype and shape of the columns that all episodes have.

    Args:
        dataset: the dataset.
        episodes: its episodes; their frames may be encoded.
        name: of the format, for messages.
        report: records the infos that are left out.

    Raises:
        InterchangeError: observations, actions or outcomes are not numbers and texts, or differ between episodes.
    """
    known: dict[Place, Any] = {}
    shapes = {leaf.path: leaf.shape for leaf in dataset.storage.image_leaves}
    for number, episode in enumerate(episodes):
        found = {
            place: _signature(values, shapes.get(place, ())) if _is_text(place) else None
            for place, values in leaves_of(episode).items()
        }
        for place in {**known, **found}:
            is_info, what = place[0] == "infos", "/".join(map(str, place))
            if found.get(place) is None and not is_info:
                raise InterchangeError(
                    f"The {what} of {dataset.id} are no numbers or texts of a fixed shape, expected these as {name} "
                    f"has no others; flatten them with a wrapper before recording."
                )
            if found.get(place) is None or (number and known.get(place) != found[place]):
                if not is_info:
                    raise InterchangeError(
                        f"The {what} differ in dtype or shape between episodes, expected the same in all of them; "
                        f"export views of episodes that are alike."
                    )
                known[place] = None
            else:
                known[place] = found[place]
    for place in [place for place, signature in known.items() if signature is None]:
        what = "/".join(map(str, place))
        what = what if _is_text(place) else shortened(what)
        report.note("missing", f"{what}, which not all episodes have as numbers or texts of one shape")
        del known[place]
    return known


def arrow_array(values: npt.NDArray[Any]) -> Any:
    """Return rows as an array of Arrow: numbers, lists of a fixed length, or nested lists; texts as they are."""
    if values.dtype == np.dtype(object):
        return pa.array(list(values), pa.string())
    flat, shape = pa.array(np.ascontiguousarray(values).reshape(-1)), values.shape[1:]
    if shape in ((), (1,)):
        return flat
    if len(shape) == 1:
        return pa.FixedSizeListArray.from_arrays(flat, shape[0])
    for size in reversed(shape):
        count = len(flat) // size
        flat = pa.ListArray.from_arrays(pa.array(np.arange(count + 1, dtype=np.int32) * size), flat)
    return flat
