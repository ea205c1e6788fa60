"""Findings of checks, the report that holds them, and their collection."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, TypeAlias

from minari._base.json_text import shortened
from minari.errors import ChecksumError, DatasetChangedError, MinariError


__all__ = ["LEVELS", "Findings", "Finding", "Level", "Report", "failure", "guarded"]

Level: TypeAlias = Literal["error", "warning", "note"]

LEVELS: tuple[Level, ...] = ("error", "warning", "note")
_MOST_FINDINGS = 1000  # of one kind; the report counts the others


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem found by a check.

    Attributes:
        level: ``"error"`` if values are wrong or unreadable, ``"warning"`` for unusual data that may be a
            mistake, ``"note"`` for information.
        kind: the kind of problem in one or two words: ``"checksum"``, ``"rows"``, ``"unreadable"``.
        message: a sentence that describes it.
        episode: number of the episode, or of the first one that it concerns; None if it concerns the whole dataset.
        leaf: the column, such as ``"observations/camera"``; None if it is not about one.
        path: the file or directory; None if it is not about one.
        step: the first step of that episode that it concerns; None if it is not about steps.
        count: the number of values, steps or episodes that it stands for, as the message says.
        worst: the value that deviates most, as text; None if values are not compared.
    """

    level: Level
    kind: str
    message: str
    episode: int | None = None
    leaf: str | None = None
    path: str | None = None
    step: int | None = None
    count: int = 1
    worst: str | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """The result of :func:`validate`.

    Attributes:
        dataset: the id or path that was validated.
        episodes: number of episodes that were read.
        findings: the findings in order; the first thousand of each kind.
        counts: the number of findings of each level, including omitted ones.
        profile: the profile that the dataset was compared with; None for none.
    """

    dataset: str
    episodes: int
    findings: tuple[Finding, ...]
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(LEVELS, 0))
    profile: str | None = None

    @property
    def ok(self) -> bool:
        """Return whether there is no finding of the level ``"error"``."""
        return not self.counts["error"]

    def as_dict(self) -> dict[str, Any]:
        """Return the report as a JSON object."""
        return {
            "dataset": self.dataset,
            "ok": self.ok,
            "episodes": self.episodes,
            "profile": self.profile,
            "counts": dict(self.counts),
            "findings": [asdict(finding) for finding in self.findings],
        }


class Findings:
    """Collected findings, limited to the number of each kind in a report.

    Args:
        refused: the kinds of warnings that are errors.
    """

    def __init__(self, refused: Collection[str] = ()) -> None:
        self.found: list[Finding] = []
        self.counts: dict[str, int] = dict.fromkeys(LEVELS, 0)
        self._refused = frozenset(refused)
        self._kinds: Counter[str] = Counter()

    def take(self, findings: Iterable[Finding]) -> None:
        """Add findings."""
        for finding in findings:
            if finding.level == "warning" and finding.kind in self._refused:
                finding = replace(finding, level="error")
            self.counts[finding.level] += 1
            self._kinds[finding.kind] += 1
            if self._kinds[finding.kind] <= _MOST_FINDINGS:
                self.found.append(finding)


def failure(error: Exception, *, episode: int | None = None, path: str | None = None) -> Finding:
    """Return the message of an exception as a finding; unexpected exceptions are reported too."""
    is_ours = isinstance(error, (MinariError, OSError))
    message = str(error) if is_ours else f"{type(error).__name__}: {shortened(str(error))}"
    kind = "checksum" if isinstance(error, ChecksumError) else "unreadable"
    return Finding("error", kind, message, episode, None, path)


def guarded(
    check: Callable[[], Iterable[Finding]], *, episode: int | None = None, path: str | None = None
) -> Iterator[Finding]:
    """Yield the findings of a check, and the exception that ends it as a finding.

    Raises:
        DatasetChangedError: the dataset was edited in the meantime, which is not a finding.
    """
    try:
        yield from check()
    except DatasetChangedError:
        raise
    except Exception as error:
        yield failure(error, episode=episode, path=path)
