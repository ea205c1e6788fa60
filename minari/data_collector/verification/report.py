"""The result of a verification, of each episode and of all of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal, TypeAlias

from minari._model.recorded_with import differing_versions


__all__ = ["EXACT", "Divergence", "EpisodeVerification", "Status", "VerificationReport"]

Status: TypeAlias = Literal["exact", "within tolerance", "diverged", "not reproducible"]

EXACT: Final = "exact"
STATUSES: Final[tuple[Status, ...]] = ("exact", "within tolerance", "diverged", "not reproducible")


@dataclass(frozen=True, slots=True)
class Divergence:
    """The first value of an episode that the environment does not give again.

    Attributes:
        step: the step after which it is, counted from 0; None for the reset. With many agents it is the joint step, or
            turn.
        leaf: the column, such as ``"observations/position"`` or ``"rewards"``, after the name of an agent if there are
            many; ``"steps"`` if the environment cannot go on, and ``"agents"`` if others act than those recorded.
        index: the position inside an array, of the element that is off the most; empty for a single value.
        recorded: the value of the dataset, as JSON can represent it.
        replayed: the value of the environment.
        difference: the absolute difference; None for values that are not numbers.
    """

    step: int | None
    leaf: str
    index: tuple[int, ...]
    recorded: Any
    replayed: Any
    difference: float | None = None

    @property
    def place(self) -> str:
        """Return where it is: ``"step 17 in observations[1]"``."""
        index = f"[{', '.join(map(str, self.index))}]" if self.index else ""
        return f"{'the reset' if self.step is None else f'step {self.step}'} in {self.leaf}{index}"

    def __str__(self) -> str:
        off = "" if self.difference is None else f", off by {self.difference:.6g}"
        recorded, replayed = _distinct_texts(self.recorded, self.replayed)
        return f"{self.place}: recorded {recorded}, replayed {replayed}{off}"


def _distinct_texts(a: Any, b: Any) -> tuple[str, str]:
    """Return two values as text, numbers with as many digits as distinguish them."""
    for digits in (6, 9, 12):
        texts = [f"{value:.{digits}g}" if isinstance(value, float) else str(value) for value in (a, b)]
        if texts[0] != texts[1]:
            return texts[0], texts[1]
    return str(a), str(b)


@dataclass(frozen=True, slots=True)
class EpisodeVerification:
    """The result for one episode.

    Attributes:
        episode: its number in the whole dataset.
        status: ``"exact"`` if the environment gives every value again, ``"within tolerance"`` if no value is off by
            more than was tolerated, ``"diverged"``, or ``"not reproducible"`` if it cannot be started again.
        divergence: the first value that differs, if it has diverged.
        largest_difference: the largest absolute difference that was tolerated.
        note: a sentence about the replay; for an episode that is not reproducible, the reason.
    """

    episode: int
    status: Status
    divergence: Divergence | None = None
    largest_difference: float = 0.0
    note: str | None = None

    def __str__(self) -> str:
        text = f"episode {self.episode} diverged at {self.divergence}" if self.divergence else ""
        text = text or f"episode {self.episode} is {self.status}"
        return f"{text} ({self.note})" if self.note else text


@dataclass(frozen=True, slots=True)
class VerificationReport:
    """The result of :func:`minari.verify`.

    Attributes:
        dataset: id of the dataset.
        episodes: the results, in the order in which the episodes were asked for.
        total_episodes: number of episodes of the dataset.
        total_steps: number of steps of the dataset.
        tolerance: the tolerated difference, absolute and relative.
        date: day of the verification, in UTC.
        env: what was given to make the environment of; None for the environment that the dataset names.
        recorded_with: versions of what has recorded the dataset, as far as they are known.
        replayed_with: versions of what has replayed it.
        notes: sentences about what could not be compared.
    """

    dataset: str
    episodes: tuple[EpisodeVerification, ...]
    total_episodes: int
    total_steps: int
    tolerance: float
    date: str
    env: str | None = None
    recorded_with: dict[str, Any] = field(default_factory=dict)
    replayed_with: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Return whether no episode has diverged."""
        return not self.counts["diverged"]

    @property
    def counts(self) -> dict[str, int]:
        """Return the number of episodes of each status."""
        counted = Counter(episode.status for episode in self.episodes)
        return {status: counted[status] for status in STATUSES}

    @property
    def first_divergence(self) -> EpisodeVerification | None:
        """Return the first episode that has diverged; None if there is none."""
        return next((episode for episode in self.episodes if episode.status == "diverged"), None)

    @property
    def differing_versions(self) -> dict[str, tuple[str, str]]:
        """Return the packages of which another version has recorded: name -> the recorded and the present one."""
        return differing_versions(self.recorded_with, self.replayed_with)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as a JSON object."""
        return {
            **{name: value for name, value in asdict(self).items() if name not in ("episodes", "notes")},
            "ok": self.ok,
            "counts": self.counts,
            "notes": list(self.notes),
            "episodes": [_as_json(episode) for episode in self.episodes],
        }

    def summary(self) -> dict[str, Any]:
        """Return what is kept in the metadata of the dataset under ``"verification"``."""
        first = self.first_divergence
        kept: dict[str, Any] = {
            "date": self.date,
            "counts": {status: count for status, count in self.counts.items() if count},
            "episodes": len(self.episodes),
            "total_episodes": self.total_episodes,
            "total_steps": self.total_steps,
            "tolerance": self.tolerance,
            "env": self.env,
            "recorded_with": self.recorded_with,
            "replayed_with": self.replayed_with,
        }
        if first is not None:
            kept["first_divergence"] = _as_json(first)
        return {key: value for key, value in kept.items() if value is not None}


def _as_json(episode: EpisodeVerification) -> dict[str, Any]:
    found = asdict(episode)
    if found["divergence"] is not None:
        found["divergence"]["index"] = list(found["divergence"]["index"])
    return found
