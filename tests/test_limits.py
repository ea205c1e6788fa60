"""The children with limits that the tests of hostile data run in say truly what became of them."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minari.errors import DatasetCorruptError
from support.limits import run_limited


pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits are those of Linux")


def ours() -> None:
    raise DatasetCorruptError("damaged")


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


@pytest.mark.parametrize(
    ("work", "expected"),
    [
        (lambda: [1, "two"], {"kind": "returned", "value": [1, "two"]}),
        (ours, {"kind": "raised", "error": "DatasetCorruptError", "is_ours": True}),
        (lambda: {}["x"], {"kind": "raised", "error": "KeyError", "is_ours": False}),
        (lambda: os.kill(os.getpid(), signal.SIGSEGV), {"kind": "crash", "error": "SIGSEGV"}),
        (lambda: time.sleep(60), {"kind": "hang"}),
        (lambda: np.empty(1 << 40, np.uint8).size, {"kind": "memory"}),
        (python("print(1)"), {"kind": "returned", "value": "1\n"}),
        (python("{}['x']"), {"kind": "raised", "error": "KeyError"}),
        (python("bytearray(1 << 40)"), {"kind": "memory"}),
        (python("import os; os.abort()"), {"kind": "crash", "error": "SIGABRT"}),
        (python("import time; time.sleep(60)"), {"kind": "hang"}),
    ],
    ids=lambda value: value.get("kind") if isinstance(value, dict) else "",
)
def test_outcome(work: Callable[[], Any] | list[str], expected: dict[str, Any]) -> None:
    outcome = run_limited(work, seconds=0.5 if expected["kind"] == "hang" else 30)
    assert {name: getattr(outcome, name) for name in expected} == expected
    assert expected.get("error") != "SIGSEGV" or "test_limits.py" in outcome.text


def test_peak_of_memory_is_measured() -> None:
    assert run_limited(lambda: int(np.ones(200 << 20, np.uint8)[-1])).peak > 150 << 20
