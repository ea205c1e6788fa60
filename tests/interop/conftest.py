"""The released package, in a Python environment of its own.

``MINARI_REFERENCE_PYTHON`` names the interpreter of one that has ``minari[all]==0.5.4`` and Pillow.
Without it the environment is made once, in pytest's cache.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
import uuid
import venv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from support import operations
from support.exchange import decode, encode


RELEASE = "0.5.4"
# Pillow is missing from the package's own extras.
REQUIREMENTS = (f"minari[all]=={RELEASE}", "pillow")
DRIVER = Path(__file__).with_name("reference_driver.py")

#: Parts of what pip says when it cannot reach an index.
NO_NETWORK = ("ConnectionError", "establish a new connection", "ResolutionError", "TimeoutError", "ProxyError",
              "Network is unreachable", "failure in name resolution")  # fmt: skip
#: What a program of the released package begins with, and what it ends with.
BEGINNING = """
import os, sys, warnings
warnings.simplefilter("ignore")
sys.path.insert(0, {tests!r})
answers, sys.stdout = sys.stdout, sys.stderr
import minari
from support import operations
from support import operations
from support.exchange import encode
result = None
"""
END = """
print(encode(result), file=answers)
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.interop)


@pytest.fixture(scope="session")
def reference_python(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with the released package."""
    given = os.environ.get("MINARI_REFERENCE_PYTHON")
    if given:
        return Path(given)
    cache = getattr(request.config, "cache", None)
    home = cache.mkdir("minari-reference") if cache else tmp_path_factory.mktemp("minari-reference")
    # A finished environment is named in this file; until then nobody uses it, and two makers do not meet.
    ready = home / f"minari-{RELEASE}-python-{sys.version_info.major}.{sys.version_info.minor}.txt"
    if ready.exists() and Path(ready.read_text(encoding="utf-8")).exists():
        return Path(ready.read_text(encoding="utf-8"))
    python = _make_environment(home / uuid.uuid4().hex)
    draft = ready.with_suffix(f".{uuid.uuid4().hex}")
    draft.write_text(str(python), encoding="utf-8")
    draft.replace(ready)
    return python


def _make_environment(directory: Path) -> Path:
    venv.create(directory, with_pip=True)
    python = directory / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *REQUIREMENTS]
    install = subprocess.run(pip, capture_output=True, text=True, check=False)
    if install.returncode == 0:
        return python
    shutil.rmtree(directory, ignore_errors=True)
    said = install.stdout + install.stderr
    if any(sign in said for sign in NO_NETWORK):
        pytest.skip(f"no network to install {' '.join(REQUIREMENTS)} from; set MINARI_REFERENCE_PYTHON instead")
    pytest.fail(f"pip could not install {' '.join(REQUIREMENTS)}:\n{said}")


class ReferenceProcess:
    """One process of the released package that does job after job."""

    def __init__(self, python: Path, log: IO[str]) -> None:
        self._log = log
        # Isolated: neither this checkout nor PYTHONPATH may stand in for the released package.
        self._process = subprocess.Popen(
            [python, "-I", DRIVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, encoding="utf-8"
        )

    def call(self, operation: str, root: Path, arguments: dict[str, Any]) -> Any:
        """Have the released package do an operation; its errors become failures of the test."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(encode({"operation": operation, "root": str(root), "arguments": arguments}) + "\n")
        stdin.flush()
        line = stdout.readline()
        if not line:
            self._log.seek(0)
            raise AssertionError(f"the released package died on {operation}: {self._log.read()[-2000:]}")
        answer = decode(line)
        if "error" in answer:
            raise AssertionError(f"the released package failed to {operation}: {answer['error']} {answer['places']}")
        return answer["result"]

    def close(self) -> None:
        self._process.communicate(timeout=60)


@pytest.fixture(scope="session")
def reference_process(reference_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReferenceProcess]:
    path = tmp_path_factory.mktemp("reference") / "stderr.txt"
    with path.open("w+", encoding="utf-8") as log:
        process = ReferenceProcess(reference_python, log)
        try:
            assert process.call("version", path.parent, {}) == RELEASE
            yield process
        finally:
            process.close()


class Reference:
    """The released package as a test sees it: `support.operations`, on the datasets of the test."""

    def __init__(self, process: ReferenceProcess, root: Path) -> None:
        self._process = process
        self._root = root

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        names = getattr(operations, operation).__code__.co_varnames

        def call(*positional: Any, **keywords: Any) -> Any:
            arguments = dict(zip(names, positional, strict=False)) | keywords
            return self._process.call(operation, self._root, arguments)

        return call


@pytest.fixture
def reference(reference_process: ReferenceProcess, datasets_root: Path) -> Reference:
    """The released package, working on the datasets of this test."""
    return Reference(reference_process, datasets_root)


@pytest.fixture
def released(reference_python: Path, tmp_path: Path) -> Callable[..., Any]:
    """A function ``released(program, root, **environment)``: what the released package makes of the name ``result``."""

    def run(program: str, root: Path, **variables: str) -> Any:
        whole = BEGINNING.format(tests=str(DRIVER.parents[1])) + textwrap.dedent(program) + END
        environment = {**os.environ, "MINARI_DATASETS_PATH": str(root), **variables}
        command = [reference_python, "-I", "-c", whole]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return decode(done.stdout.splitlines()[-1])

    return run
