"""The two interpreters: the one that runs the benchmarks and one with the released package."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import uuid
import venv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.errors import BenchmarkError
from benchmarks.processes import call_worker


RELEASE = "0.5.4"
#: Pillow is missing from the released package's own extras.
REQUIRED = (f"minari[all]=={RELEASE}", "pillow")
#: Packages that both sides should have in the same version, as only Minari is compared.
SHARED = ("numpy", "gymnasium", "h5py", "pyarrow")


@dataclass(frozen=True, slots=True)
class Side:
    """An interpreter and its installed packages.

    Attributes:
        name: "ours" or "released".
        python: The interpreter.
        versions: Versions of Python, Minari and its dependencies; also `path` and `scripts`.
    """

    name: str
    python: Path
    versions: dict[str, Any]

    @property
    def command_line(self) -> Path:
        """The program ``minari``.

        Raises:
            BenchmarkError: It is not installed.
        """
        found = shutil.which("minari", path=self.versions["scripts"])
        if found is None:
            raise BenchmarkError(
                f'There is no program `minari` in {self.versions["scripts"]}: run pip install -e ".[benchmarks]".'
            )
        return Path(found)

    def installed(self) -> dict[str, str]:
        """Return the versions without the paths."""
        return {name: text for name, text in self.versions.items() if name not in ("path", "scripts") and text}


def default_directory() -> Path:
    """Return the cache directory for environments of the current user."""
    if os.name == "nt":
        cache = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    else:
        cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "minari-benchmarks"


def our_side() -> Side:
    """Return the interpreter that runs the benchmarks."""
    return _side("ours", Path(sys.executable))


def rival_interpreters(given: Sequence[str], known: Sequence[str]) -> dict[str, Path]:
    """Return the interpreters of rivals, given as ``NAME=PYTHON``, by name.

    Raises:
        BenchmarkError: a rival is unknown, or given without an interpreter.
    """
    found: dict[str, Path] = {}
    for text in given:
        name, _, python = text.partition("=")
        if not python or name not in known:
            expected = " or ".join(f"{one}=PYTHON" for one in known)
            raise BenchmarkError(f"--rival is {text!r}, expected {expected}.")
        found[name] = Path(python)
    return found


def released_side(given: Path | None, directory: Path, ours: Side, echo: Callable[[str], None]) -> Side:
    """Return an interpreter with the released package.

    Args:
        given: An interpreter that has it; None to create an environment.
        directory: Directory for such environments.
        ours: The other side, whose versions are used where pip can install them.
        echo: Prints a message before slow steps.

    Raises:
        BenchmarkError: The interpreter has another release, or the environment cannot be created.
    """
    side = _side("released", given or _kept_environment(directory, ours, echo))
    if side.versions["minari"] != RELEASE:
        raise BenchmarkError(f"{side.python} has minari {side.versions['minari']}, expected {RELEASE}.")
    return side


def _side(name: str, python: Path) -> Side:
    return Side(name, python, call_worker(python, "versions", {}))


def _kept_environment(directory: Path, ours: Side, echo: Callable[[str], None]) -> Path:
    """Return the environment for our versions; create it if needed."""
    shared = [f"{package}=={ours.versions[package]}" for package in SHARED if ours.versions[package]]
    wanted = "\n".join([f"python=={ours.versions['python']}", *REQUIRED, *shared])
    # This file names a complete environment and its requirements; an incomplete one has no such file.
    ready = directory / f"{hashlib.sha256(wanted.encode()).hexdigest()[:12]}.json"
    if ready.exists():
        python = Path(json.loads(ready.read_text(encoding="utf-8"))["python"])
        if python.exists():
            return python
    home = directory / uuid.uuid4().hex[:12]
    echo(f"Creating an environment for minari {RELEASE} in {home} (once)")
    python = make_environment(home, shared, echo)
    draft = ready.with_suffix(f".{home.name}")
    draft.write_text(json.dumps({"python": str(python), "asked": wanted.splitlines()}, indent=2), encoding="utf-8")
    draft.replace(ready)
    return python


def make_environment(home: Path, shared: list[str], echo: Callable[[str], None]) -> Path:
    """Create an environment in place, as it cannot be moved; delete it on failure."""
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    try:
        venv.create(home, with_pip=True, symlinks=os.name != "nt")
        said = _install(python, [*REQUIRED, *shared])
        if said is not None and shared:
            echo(f"pip cannot install {', '.join(shared)} together; it chooses the versions itself")
            said = _install(python, list(REQUIRED))
        if said is not None:
            raise BenchmarkError(
                f"pip could not install {' '.join(REQUIRED)}; give an interpreter that has them with "
                f"--released-python. It said: {said[-2000:]}"
            )
    except BaseException:
        shutil.rmtree(home, ignore_errors=True)
        raise
    return python


def _install(python: Path, requirements: list[str]) -> str | None:
    """Return None, or the output of pip if it failed."""
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else done.stdout + done.stderr
