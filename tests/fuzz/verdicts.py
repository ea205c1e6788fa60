"""Outcomes of mutants, and which of them are failures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any


#: From harmless to worst: of several steps the worst counts.
KINDS = ("ok", "unverified", "refused", "foreign", "memory", "wrong", "escape", "hang", "crash")
FAILURES = frozenset(KINDS[3:])


@dataclass(frozen=True)
class Verdict:
    """The outcome of one mutant.

    Attributes:
        seed: of the mutant.
        subject: the dataset that was damaged.
        mutation: what was done to it.
        sort: ``damage``, ``lie`` or ``place``.
        kind: one of :data:`KINDS`.
        step: of the use of the dataset, where it happened.
        error: the exception or signal.
        text: its message and traceback.
        alone: whether it fails as well in a process of its own; None where that was not tried.
        steps: how many steps of the use there were.
    """

    seed: int
    subject: str
    mutation: str
    sort: str
    kind: str
    step: str = ""
    error: str = ""
    text: str = ""
    alone: bool | None = None
    steps: int = 0

    @property
    def failed(self) -> bool:
        return self.kind in FAILURES

    @property
    def symptom(self) -> str:
        """Return the key shared by mutants that fail for the same reason."""
        frames = [line.strip() for line in self.text.splitlines() if line.strip().startswith("File ")]
        where = next((frame for frame in reversed(frames) if "/minari/" in frame), frames[-1] if frames else "")
        where = where.partition("/minari/")[2] or where
        if self.kind == "crash":
            where = next((frame.partition("/minari/")[2] for frame in frames if "/minari/" in frame), "")
        return f"{self.kind} {self.error} {where} (in {self.step})"

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def worst(cls, verdicts: Iterable[Verdict]) -> Verdict:
        return max(verdicts, key=lambda verdict: KINDS.index(verdict.kind))


def count(verdicts: Iterable[Verdict]) -> dict[str, int]:
    """Count the verdicts of every kind."""
    found = Counter(verdict.kind for verdict in verdicts)
    return {kind: found[kind] for kind in KINDS}


def report(verdicts: Iterable[Verdict], limit: int = 15) -> str:
    """The failures, those with one symptom together, and how to do one over; empty where there are none."""
    groups: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        if verdict.failed:
            groups.setdefault(verdict.symptom, []).append(verdict)
    lines = []
    for symptom, group in sorted(groups.items(), key=lambda item: -len(item[1]))[:limit]:
        first = group[0]
        seeds = ", ".join(str(verdict.seed) for verdict in group[:8]) + (" ..." if len(group) > 8 else "")
        message = (
            first.text.strip().splitlines()[:1] if first.kind == "foreign" else first.text.strip().splitlines()[-1:]
        )
        lines += [
            f"{len(group)} x {symptom}",
            f"    {first.subject}: {first.mutation[:300]}",
            *(f"    {line[:300]}" for line in message),
            f"    alone: {first.alone}; seeds {seeds}",
            f"    python -m tests.fuzz.replay {first.seed}",
        ]
    if len(groups) > limit:
        lines.append(f"... and {len(groups) - limit} further symptoms")
    return "\n".join(lines)
