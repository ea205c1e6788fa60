"""The report of an edit: everything that it changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

from minari._base.json_text import shortened
from minari._model.metadata import json_value
from minari._model.metadata_json import size_text
from minari.errors import MetadataError


__all__ = ["Change", "EditReport", "ranges"]

D = TypeVar("D")


class Change(NamedTuple):
    """A changed value.

    Attributes:
        old: the value before the edit, None if there was none.
        new: the value after it, None if it was removed.
        is_removed: True if it was removed.
    """

    old: Any
    new: Any
    is_removed: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return the change in a form that JSON represents."""
        return {"old": _plain(self.old), "new": _plain(self.new), "is_removed": self.is_removed}


@dataclass(frozen=True)
class EditReport(Generic[D]):
    """Everything that an edit changes. Numbers of episodes are those before the edit.

    Attributes:
        dataset_id: the id of the dataset.
        new_dataset_id: the id of the dataset that was made instead of changing it; None if it was edited in place.
        episodes_before: the number of episodes of the dataset, or view.
        episodes_after: the number of episodes that are left.
        steps_before: the number of steps of the dataset, or view.
        steps_after: the number of steps that are left.
        dropped_episodes: the numbers of the dropped episodes.
        dropped_fields: the names of the dropped leaves and infos.
        renamed_fields: the new names of leaves and infos, by the old ones.
        metadata: the changed metadata of the dataset, by key.
        episode_metadata: the changed metadata of episodes, by number and key.
        size_before: the size in MB.
        size_after: the size in MB afterwards; None if nothing was done.
        dry_run: True if nothing was done.
        dataset: the edited dataset, opened again; None if nothing was done.
    """

    dataset_id: str
    new_dataset_id: str | None
    episodes_before: int
    episodes_after: int
    steps_before: int
    steps_after: int
    dropped_episodes: tuple[int, ...] = ()
    dropped_fields: tuple[str, ...] = ()
    renamed_fields: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, Change] = field(default_factory=dict)
    episode_metadata: Mapping[int, Mapping[str, Change]] = field(default_factory=dict)
    size_before: float | None = None
    size_after: float | None = None
    dry_run: bool = False
    dataset: D | None = field(default=None, repr=False)

    @property
    def drops_data(self) -> bool:
        """Return whether episodes or fields are lost, unless the edit makes a new dataset."""
        return bool(self.dropped_episodes or self.dropped_fields)

    @property
    def sentences(self) -> list[str]:
        """Return what changes, in sentences."""
        found = []
        if self.dropped_episodes:
            dropped, noun = len(self.dropped_episodes), "episode" if len(self.dropped_episodes) == 1 else "episodes"
            found.append(
                f"Drops {dropped} of {self.episodes_before} episodes ({noun} {ranges(self.dropped_episodes)}), "
                f"{self.steps_before - self.steps_after} of {self.steps_before} steps."
            )
        if self.dropped_fields:
            found.append(f"Drops {', '.join(self.dropped_fields)}.")
        found += [f"Renames {old} to {new}." for old, new in self.renamed_fields.items()]
        found += [_sentence(key, change) for key, change in self.metadata.items()]
        alike: dict[tuple[str, str], list[int]] = {}  # episodes of which the same is said
        for number, changes in self.episode_metadata.items():
            for key, change in changes.items():
                said = f"Removes {key} of episode" if change.is_removed else f"Sets {key} of episode"
                alike.setdefault((said, "." if change.is_removed else _values(change)), []).append(number)
        found += [
            f"{said}{'' if len(numbers) == 1 else 's'} {ranges(numbers)}{rest}"
            for (said, rest), numbers in alike.items()
        ]
        if None not in (self.size_before, self.size_after) and self.size_before != self.size_after:
            found.append(f"The size is {size_text(self.size_after or 0)}, it was {size_text(self.size_before or 0)}.")
        return found

    def as_dict(self) -> dict[str, Any]:
        """Return the report in a form that JSON represents."""
        return {
            **{name: getattr(self, name) for name in _PLAIN},
            "dropped_episodes": list(self.dropped_episodes),
            "dropped_fields": list(self.dropped_fields),
            "renamed_fields": dict(self.renamed_fields),
            "metadata": {key: change.as_dict() for key, change in self.metadata.items()},
            "episode_metadata": {
                str(number): {key: change.as_dict() for key, change in changes.items()}
                for number, changes in self.episode_metadata.items()
            },
        }


_PLAIN = (
    *("dataset_id", "new_dataset_id", "episodes_before", "episodes_after", "steps_before", "steps_after"),
    *("size_before", "size_after", "dry_run"),
)


def _plain(value: Any) -> Any:
    try:
        return json_value(value, "value")
    except MetadataError:  # such as bytes in metadata of episodes
        return shortened(value)


def _sentence(what: str, change: Change) -> str:
    if change.is_removed:
        return f"Removes {what}, which was {shortened(_plain(change.old))}."
    return f"Sets {what}{_values(change)}"


def _values(change: Change) -> str:
    was = "" if change.old is None else f", which was {shortened(_plain(change.old))}"
    return f" to {shortened(_plain(change.new))}{was}."


def ranges(numbers: Iterable[int]) -> str:
    """Return numbers in increasing order, as they are written on the command line.

    >>> ranges([3, 7, 10, 11, 12])
    '3, 7, 10-12'
    """
    found: list[list[int]] = []
    for number in sorted(set(numbers)):
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in found)
