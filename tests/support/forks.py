"""Commands of the command line in processes that do not import everything again.

Most of the time of a short command goes into imports. A server has done them, and forks a process for each
command, with an environment, a directory and streams of its own, that ends as any other does.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any


#: What commands use. Clients of remotes are not among them, since some read the environment when they are imported.
_LOADED = (
    "minari.cli.listing",
    "minari.cli.changing",
    "minari.cli.recovery",
    "minari.cli.commands",
    "minari.cli.record",
    "minari.cli.sharing",
    "minari.cli.show",
    "minari.cli.validate",
    "minari._storages.hdf5.storage",
    "minari._storages.arrow.storage",
    "minari._storages.zarr.storage",
    "minari.storage.hosting",
    "minari.storage.remotes.directory",
    "gymnasium",
    "h5py",
    "pyarrow.parquet",
    "rich.progress",
    "rich.table",
    "typer._adapters",
    "zarr",
)
_SECONDS = 120


def run_module(
    module: str,
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str],
    directory: Path,
    answer: str = "",
    fresh: bool = False,
) -> tuple[int, str, str]:
    """Run a module as ``python -m`` does.

    Args:
        module: its name.
        arguments: the command line after it.
        environment: all of its environment variables; what is read of them when Python starts or modules are
            imported is that of the first command.
        directory: where it works.
        answer: its standard input.
        fresh: start an interpreter, and fork none.

    Returns:
        Its exit code, standard output and standard error.
    """
    with tempfile.TemporaryDirectory(prefix="minari-command-") as scratch:
        streams = [Path(scratch, name) for name in ("in", "out", "err")]
        streams[0].write_text(answer, encoding="utf-8")
        streams[1].touch()
        streams[2].touch()
        order = {
            "module": module,
            "arguments": list(arguments),
            "environment": dict(environment),
            "directory": str(directory),
            "streams": [str(path) for path in streams],
        }
        if fresh or not hasattr(os, "fork"):
            return _run_directly(order)
        server = _server(environment["PYTHONPATH"])
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(json.dumps(order) + "\n")
        server.stdin.flush()
        code = int(server.stdout.readline())
        return code, streams[1].read_text(encoding="utf-8"), streams[2].read_text(encoding="utf-8")


def _run_directly(order: dict[str, Any]) -> tuple[int, str, str]:
    with Path(order["streams"][0]).open("rb") as answer:
        done = subprocess.run(
            [sys.executable, "-m", order["module"], *order["arguments"]],
            cwd=order["directory"],
            env=order["environment"],
            stdin=answer,
            capture_output=True,
            encoding="utf-8",
            timeout=_SECONDS,
        )
    return done.returncode, done.stdout, done.stderr


@cache
def _server(python_path: str) -> subprocess.Popen[str]:
    """The server of this process, which ends with it, as nobody writes to it any more."""
    environment = {**os.environ, "PYTHONPATH": python_path, "PYTHONUTF8": "1", "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-P", __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )


def preload(names: Iterable[str]) -> None:
    """Import modules that the forks of this process use, those that are installed."""
    for name in names:
        try:
            import_module(name)
        except ImportError:
            continue
    gc.collect()
    gc.freeze()  # else a child copies all memory when it collects what is not in use


def _serve() -> None:
    """Fork a process for each line."""
    orders, codes = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w", buffering=1)
    preload(_LOADED)
    for line in orders:
        child = os.fork()
        if child == 0:
            try:
                _become(json.loads(line))
            finally:
                os._exit(1)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=codes)


def _become(order: dict[str, Any]) -> None:
    """Run the module in this process, and end it; without taking all modules apart, which takes a while."""
    signal.alarm(_SECONDS)
    for descriptor, (path, flags) in enumerate(
        zip(order["streams"], (os.O_RDONLY, os.O_WRONLY, os.O_WRONLY), strict=True)
    ):
        stream = os.open(path, flags)
        os.dup2(stream, descriptor)
        os.close(stream)
    os.chdir(order["directory"])
    os.environ.clear()
    os.environ.update(order["environment"])
    sys.path[:0] = [""]
    sys.argv = [order["module"], *order["arguments"]]
    code = 0
    try:
        runpy.run_module(order["module"], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _serve()
