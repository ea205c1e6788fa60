"""Counts of what a check has found in the episodes of a dataset."""

from __future__ import annotations

from dataclasses import dataclass, field


__all__ = ["Tally", "counted", "episodes_text", "listed", "place_text"]

_MOST_NAMED = 5  # episodes in a message


@dataclass(slots=True)
class Tally:
    """Counts of one thing that has been found in some episodes.

    Attributes:
        episode: the first of the episodes.
        step: the first step in it; None if it is not about steps.
        count: the number of steps or values.
        episodes: the number of episodes.
        worst: the value that deviates most, as text.
        excess: by how much.
        named: the first of the episodes.
    """

    episode: int = -1
    step: int | None = None
    count: int = 0
    episodes: int = 0
    worst: str | None = None
    excess: float = -1.0
    named: list[int] = field(default_factory=list)

    def add(self, episode: int, step: int | None = None, count: int = 1) -> None:
        """Count values of an episode."""
        if not self.episodes:
            self.episode, self.step = episode, step
        if len(self.named) < _MOST_NAMED:
            self.named.append(episode)
        self.count += count
        self.episodes += 1

    def compare(self, value: str, excess: float) -> None:
        """Remember the value if it deviates more than those before."""
        if self.worst is None or excess > self.excess:
            self.worst, self.excess = value, excess


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: ``"1 episode"``, ``"2,000 episodes"``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def listed(tally: Tally) -> str:
    """Return the number of episodes with the first of them: ``"3 episodes (4, 7, 9)"``."""
    dots = ", …" if tally.episodes > len(tally.named) else ""
    return f"{counted(tally.episodes, 'episode')} ({', '.join(map(str, tally.named))}{dots})"


def episodes_text(tally: Tally) -> str:
    """Return the number of episodes with the first of them: ``"3 episodes, first in episode 4"``."""
    if tally.episodes == 1:
        return f"episode {tally.episode}"
    return f"{counted(tally.episodes, 'episode')}, first in episode {tally.episode}"


def place_text(tally: Tally) -> str:
    """Return where something was found: ``"in 3 episodes, first at step 2 of episode 4"``."""
    if tally.step is None:
        return f"in {episodes_text(tally)}"
    if tally.episodes == 1:
        return f"in episode {tally.episode}, first at step {tally.step}"
    return f"in {counted(tally.episodes, 'episode')}, first at step {tally.step} of episode {tally.episode}"
