"""Runs in the environment of the released package: reads a job a line, does it, writes its result a line.

A job names a function of `support.operations`, the root of the local datasets and the arguments.
"""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any


sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
warnings.simplefilter("ignore")

# Whatever the package prints must not come between the answers.
answers = sys.stdout
sys.stdout = sys.stderr

from support import operations  # noqa: E402
from support.exchange import decode, encode  # noqa: E402


def answer(job: dict[str, Any]) -> dict[str, Any]:
    """Do one job; an error is an answer too: its type, its message and the places it came through."""
    os.environ["MINARI_DATASETS_PATH"] = job["root"]
    try:
        return {"result": getattr(operations, job["operation"])(**job["arguments"])}
    except Exception as error:
        places = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
        return {"error": f"{type(error).__name__}: {error}", "places": places}


for line in sys.stdin:
    print(encode(answer(decode(line))), file=answers, flush=True)
