"""A run of many faults in a server process into which the library is preloaded."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path

from fuzz.campaign import serve

from .faults import FaultVerdict
from .operations import CASES


def missing() -> str:
    """Return the reason why faults are not possible here, if any."""
    if not sys.platform.startswith("linux"):
        return "system calls are counted by a preloaded library, as Linux has them"
    if shutil.which("cc") is None:
        return "there is no C compiler (cc)"
    return ""


@cache
def compiled() -> str:
    """The path of the compiled library, which stays as long as this process."""
    directory = tempfile.mkdtemp(prefix="minari-faults-")
    library = Path(directory, "faults.so")
    source = Path(__file__).with_name("faults.c")
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-w", "-o", library, source, "-ldl"], check=True)
    return str(library)


def seeds(count: int, share: int = 0, shares: int = 1) -> list[int]:
    """The seeds below a count that belong to one of several shares, each with operations of its own."""
    return [seed for seed in range(count) if seed % len(CASES) % shares == share]


def run(order: Sequence[int]) -> Iterator[FaultVerdict]:
    """The verdicts of these seeds, as they come.

    Raises:
        RuntimeError: the server itself failed.
    """
    library = compiled()
    work = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="minari-kill-", dir=work, ignore_cleanup_errors=True) as directory:
        environment = {
            "LD_PRELOAD": library,
            "MALLOC_ARENA_MAX": "1",
            "ARROW_DEFAULT_MEMORY_POOL": "system",
            "MINARI_LOCK_TIMEOUT": "5",
        }
        for verdict in serve("kill.server", library, directory, order=list(order), **environment):
            yield FaultVerdict(**verdict)


def report(verdicts: Iterable[FaultVerdict], limit: int = 15) -> str:
    """The failures, those of one kind together, and how to do one over; empty where there are none."""
    groups: dict[str, list[FaultVerdict]] = {}
    for verdict in verdicts:
        if verdict.problem:
            groups.setdefault(_symptom(verdict.problem), []).append(verdict)
    lines = []
    for symptom, group in sorted(groups.items(), key=lambda item: -len(item[1]))[:limit]:
        first = group[0]
        operations = sorted({verdict.operation for verdict in group})
        lines += [
            f"{len(group)} x {symptom}",
            f"    in {', '.join(operations[:12])}{' ...' if len(operations) > 12 else ''}",
            f"    {first.operation}, {first.fault}; the operation: {first.outcome.strip()[:300]!r}",
            f"    {first.problem[:400]}",
            f"    python -m tests.kill.replay {' '.join(str(verdict.seed) for verdict in group[:12])}",
        ]
    if len(groups) > limit:
        lines.append(f"... and {len(groups) - limit} further kinds")
    return "\n".join(lines)


def _symptom(problem: str) -> str:
    """The first words of a problem, and of the message that it is about."""
    head, _, rest = problem.partition(":")
    return f"{head}:{' '.join(rest.split()[:6])[:60]}" if "fails" in head or "read" in head else head


def count(verdicts: Iterable[FaultVerdict]) -> dict[str, int]:
    """Count the faults of each kind, and the failures."""
    kinds = Counter(verdict.fault.partition(" at call")[0] for verdict in verdicts)
    return dict(sorted(kinds.items()))
