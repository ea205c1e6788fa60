"""A recorder that is stopped at any moment, in any way: no finished episode is lost, doubled or changed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import minari
from kill.campaign import compiled, missing


pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())

INTERRUPTIONS, SOAKED, SHARES = 50, 1_000, 5


def interrupted(seeds: list[int], *server: str) -> list[str]:
    """Return the errors after the interruptions of these seeds; an empty text for each without an error.

    Args:
        seeds: The seeds.
        server: The module that interrupts recorders, and the name of their kind.
    """
    module, *kind = server or ("support.interrupted",)
    work = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    tests, package = Path(__file__).parents[1], Path(minari.__file__).parents[1]
    with tempfile.TemporaryDirectory(prefix="minari-interrupted-", dir=work, ignore_cleanup_errors=True) as directory:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", module, compiled(), directory, *kind],
            input=json.dumps(seeds),
            capture_output=True,
            text=True,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(tests), str(package)]),
                "LD_PRELOAD": compiled(),
                "MINARI_LOCK_TIMEOUT": "5",
            },
            timeout=3000,
        )
    assert done.returncode == 0, done.stderr[-3000:]
    verdicts: list[str] = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(verdicts) == len(seeds)
    return [verdict for verdict in verdicts if verdict]


def test_interruptions() -> None:
    assert interrupted(list(range(INTERRUPTIONS))) == []


@pytest.mark.parametrize("kind", ["jointly", "turns"])
def test_interruptions_of_many_agents(kind: str) -> None:
    assert interrupted(list(range(INTERRUPTIONS // 8)), "support.interrupted_agents", kind) == []


@pytest.mark.parametrize("kind", ["NextStep", "SameStep"])
def test_interruptions_of_vector_environments(kind: str) -> None:
    assert interrupted(list(range(INTERRUPTIONS // 8)), "support.interrupted_vector", kind) == []


@pytest.mark.soak
@pytest.mark.parametrize(
    "kind",
    [
        (),
        ("support.interrupted_agents", "jointly"),
        ("support.interrupted_agents", "turns"),
        ("support.interrupted_vector", "NextStep"),
        ("support.interrupted_vector", "SameStep"),
    ],
)
@pytest.mark.parametrize("share", range(SHARES))
def test_many_more_interruptions(share: int, kind: tuple[str, ...]) -> None:
    assert interrupted(list(range(share, SOAKED, SHARES)), *kind) == []
