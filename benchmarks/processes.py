"""Fresh processes: workers, which time themselves, and programs, which are timed from here."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.errors import BenchmarkError


WORKER = Path(__file__).with_name("worker.py")


def environment(**more: str) -> dict[str, str]:
    """Return the variables of this process, except those that change how Python starts or finds modules."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MINARI"))}
    return {**kept, **more}


def call_worker(python: Path, task: str, arguments: Mapping[str, Any], limit: float | None = None) -> dict[str, Any]:
    """Return the answer of a worker; `-I` makes it use its installed package instead of this checkout.

    Args:
        python: The interpreter.
        task: What to do.
        arguments: What the task needs.
        limit: Seconds after which the worker is ended; None for no limit.

    Raises:
        BenchmarkError: It failed, and the message ends with what it wrote; or it took too long.
    """
    command = [str(python), "-I", str(WORKER), task, json.dumps(arguments)]
    done = _run(command, environment(), limit)
    # Some libraries write a notice when the interpreter exits, after the answer.
    for line in reversed(done.stdout.splitlines()):
        if line.startswith("{"):
            answer: dict[str, Any] = json.loads(line)
            return answer
    raise BenchmarkError(f"`{' '.join(command)}` gave no answer.")


def time_program(command: list[str], root: Path) -> tuple[float, str]:
    """Return the seconds that a program takes from start to end, and its output.

    Args:
        command: The program and its arguments.
        root: Of its local datasets.

    Raises:
        BenchmarkError: It failed.
    """
    variables = environment(MINARI_DATASETS_PATH=str(root))
    begin = time.perf_counter()
    done = _run(command, variables)
    return time.perf_counter() - begin, done.stdout


def settle() -> None:
    """Flush pending writes to disk, so that the next process does not wait for them."""
    if hasattr(os, "sync"):
        os.sync()


def _run(command: list[str], variables: dict[str, str], limit: float | None = None) -> subprocess.CompletedProcess[str]:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            env=variables,
            check=False,
            timeout=limit,
        )
    except subprocess.TimeoutExpired:
        raise BenchmarkError(f"it took more than {limit:.0f} seconds") from None
    except OSError as error:
        raise BenchmarkError(f"{command[0]} cannot be run: {error}.") from error
    if done.returncode:
        shown = " ".join(command)
        raise BenchmarkError(f"`{shown}` failed with exit code {done.returncode}:\n{done.stderr[-3000:]}")
    return done
