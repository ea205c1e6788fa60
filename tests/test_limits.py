"""The children with limits that the tests of hostile data run in say truly what became of them."""

from __future__ import annotations

import os
import signal
import sys
import time

import numpy as np
import pytest

from minari.errors import DatasetCorruptError
from support.limits import run_limited


pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits are those of Linux")


def test_function_that_returns() -> None:
    outcome = run_limited(lambda: [1, "two"])
    assert (outcome.kind, outcome.value) == ("returned", [1, "two"])


def test_function_that_raises() -> None:
    def ours() -> None:
        raise DatasetCorruptError("damaged")

    assert run_limited(ours).is_ours
    outcome = run_limited(lambda: {}["x"])
    assert (outcome.kind, outcome.error, outcome.is_ours) == ("raised", "KeyError", False)


def test_function_that_crashes() -> None:
    outcome = run_limited(lambda: os.kill(os.getpid(), signal.SIGSEGV))
    assert (outcome.kind, outcome.error) == ("crash", "SIGSEGV")
    assert "test_limits.py" in outcome.text


def test_function_that_never_ends() -> None:
    assert run_limited(lambda: time.sleep(60), seconds=0.3).kind == "hang"


def test_function_that_asks_for_too_much_memory() -> None:
    assert run_limited(lambda: np.empty(1 << 40, np.uint8).size).kind == "memory"
    outcome = run_limited(lambda: int(np.ones(200 << 20, np.uint8)[-1]))
    assert outcome.peak > 150 << 20


def test_command() -> None:
    def python(program: str) -> list[str]:
        return [sys.executable, "-c", program]

    assert run_limited(python("print(1)")).value == "1\n"
    assert run_limited(python("{}['x']")).error == "KeyError"
    assert run_limited(python("bytearray(1 << 40)")).kind == "memory"
    assert run_limited(python("import os; os.abort()")).error == "SIGABRT"
    assert run_limited(python("import time; time.sleep(60)"), seconds=0.5).kind == "hang"
