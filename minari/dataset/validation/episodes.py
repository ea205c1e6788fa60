"""Checks of episodes among each other: their ends, their contents, and their seeds."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from minari._base.checksums import bytes_checksum
from minari._base.json_text import shortened
from minari._model.content_digest import content_digest
from minari.dataset.validation.examined import Examined, ReadEpisode, RunningCheck
from minari.dataset.validation.findings import Finding, Level
from minari.dataset.validation.tally import Tally, counted, listed, place_text
from minari.spaces import ColumnPath, path_name


__all__ = ["DuplicateCheck", "EndCheck", "SeedCheck"]

_MOST_GROUPS = 5  # in a message
_MOST_MEMBERS = 8  # of each


class EndCheck(RunningCheck):
    """Looks for episodes that continue after a termination or truncation, or have none at their last step."""

    def __init__(self, examined: Examined) -> None:
        super().__init__(examined)
        self._early: dict[ColumnPath, Tally] = {}
        self._endless: dict[ColumnPath, Tally] = {}

    def add(self, episode: ReadEpisode) -> None:
        """Examine the flags of an episode."""
        for trajectory in episode.trajectories:
            steps, has_end = len(trajectory.rewards), False
            for path, flags in trajectory.ends.items():
                if flags[:-1].any():
                    early = np.flatnonzero(flags[:-1])
                    tally = self._early.setdefault((*trajectory.prefix, *path), Tally())
                    tally.add(episode.index, int(early[0]), len(early))
                has_end |= bool(steps and flags[-1])
            if steps and not has_end:
                self._endless.setdefault(trajectory.prefix, Tally()).add(episode.index, steps - 1)

    def findings(self) -> Iterator[Finding]:
        """Yield a finding for each kind of flag, and one for missing ends."""
        for path, tally in self._early.items():
            name = path_name(path)
            message = f"Episodes continue after {counted(tally.count, 'step')} with {name}, {place_text(tally)}."
            yield Finding("warning", "flags", message, tally.episode, name, step=tally.step, count=tally.count)
        for prefix, tally in self._endless.items():
            of_agent = f" of {path_name(prefix)}" if prefix else ""
            message = f"The last step{of_agent} is neither terminated nor truncated in {listed(tally)}."
            leaf = path_name(prefix) if prefix else None
            yield Finding("warning", "no end", message, tally.episode, leaf, step=tally.step, count=tally.episodes)


class DuplicateCheck(RunningCheck):
    """Looks for episodes with the same values, by digests of 16 bytes an episode."""

    def __init__(self, examined: Examined) -> None:
        super().__init__(examined)
        self._episodes, self._digests = array("q"), bytearray()

    def add(self, episode: ReadEpisode) -> None:
        """Remember the digest of an episode."""
        self._episodes.append(episode.index)
        self._digests += bytes.fromhex(content_digest(episode.columns))

    def findings(self) -> Iterator[Finding]:
        """Yield one finding about all groups of equal episodes."""
        halves = np.frombuffer(bytes(self._digests), "<u8").reshape(-1, 2)
        groups = _equal(self._episodes, halves)
        if groups:
            more = sum(map(len, groups)) - len(groups)
            message = (
                f"{counted(more, 'episode')} {'repeats' if more == 1 else 'repeat'} the values of others: "
                f"{_groups_text(groups)}."
            )
            yield Finding(self._level(), "duplicates", message, groups[0][0], count=more)

    def _level(self) -> Level:
        """Return how likely duplicates are a mistake: episodes of few discrete states may well be the same."""
        codecs = self.examined.codecs.values()
        is_any = any(leaf.low is not None for codec in codecs for leaf in codec.observations.leaves())
        return "warning" if is_any else "note"


def _equal(episodes: Sequence[int], keys: npt.NDArray[np.uint64]) -> list[list[int]]:
    """Return the groups of episodes with equal keys, of shape (E, k), in the order of their first members."""
    if len(keys) < 2:
        return []
    order = np.lexsort(keys.T)
    is_new = (keys[order[1:]] != keys[order[:-1]]).any(axis=1)
    if is_new.all():
        return []
    parts = np.split(np.asarray(episodes)[order], np.flatnonzero(is_new) + 1)
    return sorted(sorted(part.tolist()) for part in parts if len(part) > 1)


def _groups_text(groups: Sequence[Sequence[int]]) -> str:
    named = [_members_text(group) for group in groups[:_MOST_GROUPS]]
    rest = len(groups) - len(named)
    return "; ".join(named) + (f"; and {counted(rest, 'group')} more" if rest else "")


def _members_text(group: Sequence[int]) -> str:
    rest = len(group) - _MOST_MEMBERS
    return ", ".join(map(str, group[:_MOST_MEMBERS])) + (f" and {rest:,} more" if rest > 0 else "")


class SeedCheck(RunningCheck):
    """Looks for seeds that no environment takes, that occur twice, or that only some episodes have."""

    def __init__(self, examined: Examined) -> None:
        super().__init__(examined)
        self._negative, self._without = Tally(), Tally()
        self._episodes, self._keys = array("q"), array("Q")
        self._total = 0

    def add(self, episode: ReadEpisode) -> None:
        """Remember the seed of an episode with its options."""
        if not episode.metadata:
            return
        self._total += 1
        seed = episode.metadata.get("seed")
        if seed is None:
            self._without.add(episode.index)
            return
        if seed < 0:
            self._negative.add(episode.index)
            self._negative.compare(str(seed), float(-seed))
        self._episodes.append(episode.index)
        text = f"{seed} {_options_text(episode.metadata.get('options'))}"
        self._keys.append(bytes_checksum(text.encode("utf-8", "surrogatepass")))

    def findings(self) -> Iterator[Finding]:
        """Yield a finding for each problem."""
        if self._negative.episodes:
            message = (
                f"Seeds are negative in {listed(self._negative)}, as low as {self._negative.worst}, expected whole "
                f"numbers from 0, which environments take."
            )
            first = self._negative
            yield Finding("error", "seed", message, first.episode, count=first.episodes, worst=first.worst)
        groups = _equal(self._episodes, np.array(self._keys, np.uint64).reshape(-1, 1))
        if groups:
            count = sum(map(len, groups))
            message = f"{counted(count, 'episode')} share a seed and options with others: {_groups_text(groups)}."
            yield Finding("note", "seed", message, groups[0][0], count=count)
        if self._keys and self._without.episodes:
            message = f"There is no seed for {listed(self._without)} out of {self._total:,}."
            yield Finding("note", "seed", message, self._without.episode, count=self._without.episodes)


def _options_text(options: Any) -> str:
    if not options:
        return ""
    try:
        return json.dumps(options, sort_keys=True, default=lambda value: np.asarray(value).tolist())
    except (TypeError, ValueError):
        return shortened(options)
